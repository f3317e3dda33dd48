"""The examples run on bundled data, draw something and end with what to take away."""

import runpy
from pathlib import Path

import pytest

plt = pytest.importorskip("matplotlib.pyplot")

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def backend_without_windows():
    before = plt.get_backend()
    plt.switch_backend("Agg")
    yield
    plt.close("all")
    plt.switch_backend(before)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("plot_*.py")), ids=lambda path: path.stem)
@pytest.mark.usefixtures("backend_without_windows")
def test_example(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    runpy.run_path(str(path), run_name="__main__")
    assert plt.get_fignums()
    source = path.read_text()
    for fetch, name in (("fetch_mnist", "MNIST"), ("fetch_cifar10", "CIFAR-10")):
        if fetch in source:
            assert f"instead of {name}" in capsys.readouterr().out
    assert source.split("# %%")[-1].lstrip().startswith("# **Take away**:")
