"""The pages on adding things: their code runs as it stands, one page after the other in one namespace each."""

from __future__ import annotations

import re

import pytest
from helpers import REPOSITORY

PAGES = sorted((REPOSITORY / "docs" / "adding").glob("*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_code_of_the_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = page.read_text()
    blocks = list(BLOCK.finditer(text))
    assert len(blocks) == text.count("```") / 2 > 0  # all of it is Python
    assert "assert " in blocks[-1][1]
    namespace = {"__name__": page.stem}
    for block in blocks:
        above = text.count("\n", 0, block.start(1))  # so that a traceback has the lines of the page
        exec(compile("\n" * above + block[1], page, "exec", dont_inherit=True), namespace)
