"""Imports point one way only, and private names of scikit-learn stay in one file."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import skvqdraw
from skvqdraw import metrics, plot, preprocessing, presets

PACKAGE = Path(skvqdraw.__file__).parent
# From the ground up: a module imports only from lines above its own, and each may use what packages
# the lines up to it name.
LAYERS = [
    ({"numpy", "scipy", "torch"}, "exceptions _version _codes _rows _products _fork _warn"),
    (
        {"sklearn"},
        "_sklearn _numbers files/__init__ files/atomic files/lock files/container files/json",
    ),
    (set(), "files/learned files/model boosting/__init__ boosting/beam"),
    ({"threadpoolctl", "tqdm"}, "_meeting boosting/kmeans boosting/fit"),
    (set(), "guides _guided _base losses _cluster_boosting priors/_base priors/_counts"),
    (
        {"joblib"},
        "_device _threads nn/rounds nn/refinement nn/__init__ nn/build nn/blocks nn/regions nn/networks",
    ),
    (
        set(),
        "nn/paper nn/arrays nn/preparation nn/guiding nn/tiles nn/coding nn/codebook nn/autoencoders nn/level_coding nn/objective nn/start nn/work nn/sections refiners autoencoders",
    ),
    (
        set(),
        "training/__init__ training/schedule training/plan training/distributed training/state",
    ),
    (
        set(),
        "training/task training/row_task training/early_stopping training/progress training/batches training/threads",
    ),
    (set(), "training/loop training/identity training/checkpoint training/fit training/estimator"),
    (set(), "priors/_autoregressive priors/__init__ base _vqdraw _vqvae io"),
    (set(), "streams/__init__ streams/container streams/symbols streams/tables streams/blocks"),
    ({"constriction"}, "codec"),
    (
        {"matplotlib"},
        "metrics preprocessing/_text preprocessing/_sound preprocessing/_patches preprocessing/__init__ presets pretrained",
    ),
    (
        set(),
        "datasets/_common datasets/_images datasets/_text datasets/_sound datasets/_shapes datasets/__init__",
    ),
    (set(), "plot/_display plot/_code_usage plot/_loss_curve plot/_proposals"),
    (set(), "plot/_rate_distortion plot/_samples plot/_stages plot/__init__"),
    ({"PIL"}, "cli/images cli/rows cli/arguments cli/commands cli/__init__ __main__"),
    ({"zarr"}, "zarr"),
    (set(), "__init__"),
]
ORDER = [module for _, modules in LAYERS for module in modules.split()]
FILES = sorted(PACKAGE.rglob("*.py"))


def name_of(path):
    return path.relative_to(PACKAGE).with_suffix("").as_posix()


def imports_of(path):
    """Yield (package or "", module, imported names); ours as they are called in ORDER."""
    folders = name_of(path).split("/")[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.split(".")[0], alias.name, []
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
            if not node.level:
                yield node.module.split(".")[0], node.module, names
                continue
            start = folders[: len(folders) + 1 - node.level]
            where = start + (node.module.split(".") if node.module else [])
            for name in names:  # of a folder its modules, or what its __init__ offers
                inside = "/".join([*where, name])
                module = "/".join(where)
                found = [m for m in (inside, module, f"{module}/__init__") if m in ORDER]
                yield "", found[0] if found else "__init__", names


def test_every_module_has_its_place():
    assert sorted(ORDER) == [name_of(path) for path in FILES]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_module_imports_from_modules_before_it(path):
    """So there is no circle of imports, also not where a function imports when it is called."""
    place = ORDER.index(name_of(path))
    layer = next(i for i, (_, modules) in enumerate(LAYERS) if name_of(path) in modules.split())
    allowed = set().union(*(packages for packages, _ in LAYERS[: layer + 1]))
    for package, module, names in imports_of(path):
        if not package:
            assert ORDER.index(module) < place, f"imports {module}"
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


def test_cluster_boosting_needs_nothing_but_products_of_torch():
    before = ORDER[: ORDER.index("_cluster_boosting") + 1]
    assert not {"_device", "_vqdraw"} & set(before)
    for module in before:
        packages = {package for package, _, _ in imports_of(PACKAGE / f"{module}.py")}
        assert ("torch" in packages) == (module in ("_products", "_meeting")), module


def test_no_function_is_longer_than_a_screen():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                n_lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                assert n_lines <= 50, f"{name_of(path)}: {node.name} has {n_lines} lines"


def test_public_names():
    public = (skvqdraw, skvqdraw.refiners, skvqdraw.datasets, skvqdraw.nn)
    public += (metrics, plot, preprocessing, presets)
    for module in public:
        assert all(hasattr(module, name) for name in module.__all__)


def test_optional_packages_are_not_needed():
    code = "import sys, skvqdraw.cli, skvqdraw.codec, skvqdraw.datasets, skvqdraw.plot; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    optional = {"PIL", "constriction", "matplotlib", "polars", "skops", "zarr"}
    assert not optional & set(loaded.stdout.split())
