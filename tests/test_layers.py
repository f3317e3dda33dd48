"""Imports point one way only, and private names of scikit-learn stay in one file."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import skvqdraw
from skvqdraw import metrics, plot, presets

PACKAGE = Path(skvqdraw.__file__).parent
LAYERS = {
    "_codes": 0,
    "_files": 0,
    "_fork": 0,
    "_rows": 0,
    "_safetensors": 0,
    "_version": 0,
    "_warn": 0,
    "exceptions": 0,
    "_device": 1,
    "nn": 1,
    "training": 2,
    "_sklearn": 3,
    "_cluster_boosting": 3,
    "_residual_kmeans": 3,
    "refiners": 3,
    "_base": 3,
    "_checkpoint": 3,
    "_coding": 3,
    "_fitting": 3,
    "_plain": 3,
    "_table": 3,
    "_vqdraw": 3,
    "io": 3,
    "losses": 3,
    "metrics": 3,
    "datasets": 4,
    "plot": 4,
    "pretrained": 4,
    "presets": 4,
    "__init__": 4,
}
ALLOWED = {
    0: {"numpy", "scipy"},
    1: {"torch"},
    2: set(),
    3: {"sklearn", "safetensors", "threadpoolctl", "tqdm"},
    4: {"matplotlib"},
}
FILES = sorted(PACKAGE.rglob("*.py"))


def name_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports_of(path):
    """Yield (package or "", first part of the module inside ours, imported names)."""
    depth = len(path.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.split(".")[0], alias.name, []
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
            if not node.level:
                yield node.module.split(".")[0], node.module, names
            elif node.level == depth:  # from the package itself
                for module in [node.module] if node.module else names:
                    yield "", module.split(".")[0], names
            else:  # a sibling in the same folder
                yield "", name_of(path), names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_from_its_own_layer_or_a_lower_one(path):
    layer = LAYERS[name_of(path)]
    allowed = set().union(*(ALLOWED[low] for low in range(layer + 1)))
    for package, module, names in imports_of(path):
        if not package:
            assert LAYERS[module] <= layer, f"imports {module}"
        elif package not in sys.stdlib_module_names:
            assert package in allowed, f"imports {module}"
        if package == "sklearn" and path.name != "_sklearn.py":
            private = [part for part in [*module.split("."), *names] if part.startswith("_")]
            assert not private, f"private names of scikit-learn: {private}"


def test_one_file_communicates():
    where = {
        path.relative_to(PACKAGE).as_posix()
        for path in FILES
        for package, module, names in imports_of(path)
        if package == "torch" and "distributed" in [*module.split("."), *names]
    }
    assert where == {"training/distributed.py"}
    assert not [path for path in FILES if "torch.distributed." in path.read_text()]


def test_cluster_boosting_needs_no_torch():
    waiting, seen = ["_cluster_boosting"], set()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        for package, module, _ in imports_of(PACKAGE / f"{name}.py"):
            assert package != "torch", name
            # save imports io, which knows all estimators, when it is called.
            if not package and module not in seen | {"io"}:
                waiting.append(module)
    assert "_residual_kmeans" in seen


def test_public_names():
    public = (skvqdraw, skvqdraw.refiners, skvqdraw.datasets, skvqdraw.nn, metrics, plot, presets)
    for module in public:
        assert all(hasattr(module, name) for name in module.__all__)


def test_optional_packages_are_not_needed():
    code = "import sys, skvqdraw, skvqdraw.datasets, skvqdraw.plot; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"matplotlib", "polars", "skops"} & set(loaded.stdout.split())
