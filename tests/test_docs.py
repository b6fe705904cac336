"""The code shown in docs/adapters.md runs as it stands, from top to bottom."""

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
