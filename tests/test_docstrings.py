"""Public names are documented, in numpydoc's form, and the documentation says what the code does.

Models: `sklearn/tests/test_docstring_parameters.py` and numpydoc's own validation.
"""

import ast
import configparser
import inspect
import pkgutil
import re
from importlib import import_module
from pathlib import Path

import pytest

import skvqdraw
from skvqdraw import VQDRAW, ClusterBoosting
from skvqdraw.datasets import load_digits_images
from skvqdraw.refiners import MLPRefiner

ROOT = Path(__file__).parents[1]
# Each with the parameters of a fit in a moment.
ESTIMATORS = {
    ClusterBoosting: {"n_stages": 2, "n_options": 4},
    VQDRAW: {
        "n_stages": 2,
        "n_options": 4,
        "refiner": MLPRefiner(hidden_size=4, basis_size=2),
        "max_steps": 2,
    },
}


def public_modules():
    """The package and its modules with an `__all__`; no part of their path is private."""
    names = [skvqdraw.__name__]
    names += [m.name for m in pkgutil.walk_packages(skvqdraw.__path__, "skvqdraw.")]
    modules = [import_module(name) for name in names if "._" not in name]
    return [module for module in modules if hasattr(module, "__all__")]


def members_of(cls):
    """Yield names of public methods and properties that are ours, inherited ones too."""
    for name, member in inspect.getmembers(cls):
        function = member.fget if isinstance(member, property) else member
        module = getattr(function, "__module__", None) or ""
        ours = inspect.isroutine(function) and module.startswith("skvqdraw")
        if ours and not name.startswith("_"):
            yield name


PUBLIC = {  # what can have a docstring: a list, such as the types for skops, has none
    f"{module.__name__}.{name}": getattr(module, name)
    for module in public_modules()
    for name in module.__all__
    if callable(getattr(module, name))
}
MEMBERS = {
    f"{path}.{name}": getattr(cls, name)
    for path, cls in PUBLIC.items()
    if inspect.isclass(cls)
    for name in members_of(cls)
}
EVERYTHING = {**PUBLIC, **MEMBERS}
CALLABLES = {
    path: thing
    for path, thing in EVERYTHING.items()
    # An exception takes what every exception takes.
    if callable(thing) and not (inspect.isclass(thing) and issubclass(thing, Exception))
}


def sections_of(thing):
    docscrape = pytest.importorskip("numpydoc.docscrape", reason="numpydoc is not installed")
    return docscrape.NumpyDocString(inspect.getdoc(thing) or "")


def documented(thing):
    """Return {name: type} of the parameters that the docstring describes."""
    return {
        name.strip(): parameter.type
        for parameter in sections_of(thing)["Parameters"]
        for name in parameter.name.split(",")
    }


def parameters_of(thing):
    parameters = inspect.signature(thing).parameters.values()
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return {stars.get(p.kind, "") + p.name: p for p in parameters if p.name != "self"}


def value_of(text):
    """Return what a literal stands for, and any other text as it is."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def checks():
    """Return the codes of the checks that setup.cfg asks for."""
    validation = pytest.importorskip("numpydoc.validate", reason="numpydoc is not installed")
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    named = set(config["tool:numpydoc_validation"]["checks"].split())
    # As numpydoc has it: with "all", those that are named are the ones left out.
    return validation.ERROR_MSGS.keys() - named if "all" in named else named


def test_something_is_checked():
    assert {"skvqdraw.VQDRAW", "skvqdraw.load", "skvqdraw.nn.Round"} <= PUBLIC.keys()
    assert {"skvqdraw.VQDRAW.encode", "skvqdraw.nn.DenseRound.n_rows"} <= MEMBERS.keys()
    assert {"PR01", "PR02", "RT01", "SS03"} <= checks()


@pytest.mark.parametrize("path", sorted(EVERYTHING))
def test_numpydoc(path):
    validation = pytest.importorskip("numpydoc.validate", reason="numpydoc is not installed")
    assert inspect.getdoc(EVERYTHING[path]), "no docstring, not even an inherited one"
    wanted = checks()
    assert [e for e in validation.validate(path)["errors"] if e[0] in wanted] == []


@pytest.mark.parametrize("path", sorted(path for path in CALLABLES if CALLABLES[path].__doc__))
def test_parameters_and_defaults(path):
    parameters, described = parameters_of(CALLABLES[path]), documented(CALLABLES[path])
    assert list(described) == list(parameters)
    for name, parameter in parameters.items():
        said = re.search(r"default=(.*)$", described[name])
        if parameter.default is inspect.Parameter.empty:
            assert said is None, f"{name} has no default"
        elif described[name] != "None":  # y=None, ignored
            assert said is not None, f"the default of {name} is not documented"
            assert value_of(said[1]) == parameter.default, name


@pytest.mark.parametrize("cls", ESTIMATORS, ids=lambda cls: cls.__name__)
def test_fitted_attributes(cls):
    pd = pytest.importorskip("pandas")
    X = load_digits_images().data[:50]
    estimator = cls(**ESTIMATORS[cls]).fit(pd.DataFrame(X).add_prefix("pixel_"))
    learned = {name for name in dir(estimator) if re.fullmatch(r"[^_].*[^_]_", name)}
    assert learned == {parameter.name for parameter in sections_of(cls)["Attributes"]}


def test_the_reference_lists_every_public_name_and_no_other():
    module, listed = "", {}
    for line in (ROOT / "docs" / "api.rst").read_text().splitlines():
        if found := re.fullmatch(r"\.\. currentmodule:: (.*)", line):
            module = found[1]
        elif re.fullmatch(r"   \w+", line):
            listed[f"{module}.{line.strip()}"] = getattr(import_module(module), line.strip())
    missing = [path for path, thing in PUBLIC.items() if thing not in listed.values()]
    assert not missing
    assert listed.keys() <= PUBLIC.keys()
