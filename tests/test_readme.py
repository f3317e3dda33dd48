"""The code blocks of the README and of the documentation run as they stand, in order.

Those of the README each in a namespace of its own, those of a page all in one.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = sorted(p for p in (ROOT / "docs").rglob("*.md") if "_build" not in p.parts)


def blocks_of(path):
    return re.findall(r"^```python\n(.*?)^```", path.read_text(), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(
    "block", blocks_of(README), ids=lambda block: block.strip().splitlines()[-1][:40]
)
def test_code_block(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, str(README), "exec"), {})


@pytest.mark.parametrize("path", [*filter(blocks_of, DOCS)], ids=lambda path: path.stem)
def test_page(path, tmp_path, monkeypatch):
    if "skvqdraw.plot" in path.read_text():
        pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(path.parent)  # a page may come with a file
    monkeypatch.syspath_prepend(ROOT / "tests" / "extensions")
    namespace = {"__name__": "__main__"}
    for block in blocks_of(path):
        exec(compile(block, str(path), "exec"), namespace)


def test_there_are_blocks():
    assert len(blocks_of(README)) >= 2
    assert sum(map(bool, map(blocks_of, DOCS))) >= 5


@pytest.mark.parametrize("path", [README, *DOCS], ids=lambda path: path.stem)
def test_links_exist(path):
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", path.read_text()):
        # What the build of the documentation writes, it checks.
        assert link.startswith("auto_examples/") or (path.parent / link).exists(), link
