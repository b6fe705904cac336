# make demo: the whole job on a real model and real words, ending with the table and the page.
# make test: the fast tests.
# make bench: the sweep against a plain PEFT loop, and how its time grows; wants a quiet machine.
# All build .venv first when it is missing or out of date.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test slow bench lint clean
demo: .venv/installed
	$(BIN)/lorabound sweep recipes/demo.yaml --out demo-out

test: .venv/installed
	$(BIN)/pytest

slow: .venv/installed
	$(BIN)/pytest -m slow

bench: .venv/installed
	$(BIN)/python bench/compare.py --out bench-out
	$(BIN)/python bench/scaling.py --out bench-out

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The stamp is written last, so an interrupted install leaves none and the next run starts from an empty .venv.
.venv/installed: pyproject.toml constraints.txt
	test -e $@ || $(PYTHON) -m venv --clear .venv
	rm -f $@
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo,dev]'
	touch $@

clean:
	rm -rf .venv demo-out bench-out
