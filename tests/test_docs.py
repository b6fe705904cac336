"""The code shown in docs/adapters.md runs as it stands, from top to bottom."""

import doctest
import re
from pathlib import Path


def test_the_snippets_of_the_adapters_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[1] / "docs" / "adapters.md"
    snippets = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(snippets) == 3
    exec("\n".join(snippets), {})
    assert capsys.readouterr().out.startswith("['")
    assert (tmp_path / "my-adapter" / "lorabound.json").is_file()


def test_the_numbers_of_the_plan_page():
    failed, tried = doctest.testfile(str(Path(__file__).parents[1] / "docs" / "plan.md"), module_relative=False)
    assert failed == 0
    assert tried > 10
