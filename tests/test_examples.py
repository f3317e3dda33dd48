"""The examples run on bundled data."""

import runpy
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("plot_*.py")), ids=lambda path: path.stem)
def test_example(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    runpy.run_path(str(path), run_name="__main__")
    assert "The bundled 8x8 digits instead of MNIST" in capsys.readouterr().out
    assert list(tmp_path.glob("*.png"))
