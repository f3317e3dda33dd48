"""Text data sets, from what is installed or in a folder: nothing is downloaded."""

import ast
import re
import warnings
from collections import deque
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch, check_random_state

from ._common import check_arrays, check_count, data_path, read_arrays

# Installed with this library: what it needs, what that needs, and Python itself. Each has more than
# 500 windows of 128 characters.
_PACKAGES = (
    "numpy",
    "scipy",
    "sklearn",
    "torch",
    "joblib",
    "sympy",
    "networkx",
    "jinja2",
    "fsspec",
    "email",
)
# Characters of each package for one long text: about a million together.
_CHARACTERS = 100_000
# Windows read for each one wanted, so that they come from more files.
_READ_FOR_ONE = 2


def text_windows(text, sequence_length=128, *, step=None):
    """Cut a long text into windows of one length.

    Parameters
    ----------
    text : str
        At least `sequence_length` characters.
    sequence_length : int, default=128
        Characters of a window.
    step : int or None, default=None
        Characters from the start of a window to the start of the next. None is `sequence_length`:
        one begins where the last one ended. Smaller steps give more windows, which overlap.

    Returns
    -------
    windows : list of str
        In the order of the text. What is left at its end, less than a step, is dropped.

    Raises
    ------
    TypeError
        If `text` is not a str.
    ValueError
        If `text` is shorter than a window, or a number is not an integer of at least 1.

    See Also
    --------
    skvqdraw.preprocessing.CharacterTokenizer : Turns windows into rows of integers.

    Examples
    --------
    >>> from skvqdraw.datasets import text_windows
    >>> text_windows("abcdefgh", 3)
    ['abc', 'def']
    >>> text_windows("abcdefgh", 3, step=2)
    ['abc', 'cde', 'efg']
    """
    if not isinstance(text, str):
        raise TypeError(
            f"text must be one str; got {type(text).__name__}. Join parts with ''.join, decode "
            "bytes."
        )
    check_count("sequence_length", sequence_length, "128 is the default.")
    step = sequence_length if step is None else step
    check_count("step", step, "None takes windows side by side.")
    if len(text) < sequence_length:
        raise ValueError(
            f"text must have at least sequence_length={sequence_length} characters; got "
            f"{len(text)}. Pass a longer text, or set a smaller sequence_length."
        )
    last = len(text) - sequence_length
    return [text[start : start + sequence_length] for start in range(0, last + 1, step)]


def _source_files(package):
    """Return the Python files of a package that is installed, sorted; none of its tests."""
    try:
        spec = find_spec(package)  # of a name without dots it imports nothing
    except ValueError:  # a module that was made by hand
        spec = None
    if spec is None:
        raise ValueError(
            f"packages must be names of installed packages; found no {package!r}. Install it or "
            "leave it out."
        )
    if spec.submodule_search_locations is None:
        file = Path(spec.origin or "")
        return [file] if file.suffix == ".py" else []
    found = {
        (path.relative_to(folder).as_posix(), path)
        for folder in map(Path, spec.submodule_search_locations)
        for path in folder.rglob("*.py")
    }
    return [path for name, path in sorted(found) if not {"test", "tests"} & {*name.split("/")}]


def _docstrings_in(path):
    """Yield the docstrings of a file, each run of white space as one blank or one new line.

    Those with other characters than ASCII are left out: a few would make alphabets much larger.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that Python does not know
            tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return  # not all that is installed is meant for this version of Python
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in _statements(tree):
        text = ast.get_docstring(node) if isinstance(node, kinds) else None
        text = re.sub(r"\s+", lambda run: "\n" if "\n" in run[0] else " ", text or "").strip()
        if text.isascii() and text.replace("\n", "").isprintable():
            yield text


def _statements(tree):
    """Yield the statements of a tree, as `ast.walk` does, but not what they consist of."""
    kinds, todo = (ast.stmt, ast.excepthandler, ast.match_case), deque([tree])
    while todo:
        node = todo.popleft()
        yield node
        todo.extend(child for child in ast.iter_child_nodes(node) if isinstance(child, kinds))


def _docstrings(package, rng, enough, count):
    """Return different docstrings of a package until `count` of them adds up to `enough`."""
    found, total = {}, 0
    files = _source_files(package)
    for file in rng.permutation(len(files)):
        if total >= enough:
            break
        for text in _docstrings_in(files[file]):
            if text not in found and count(text):
                found[text] = None
                total += count(text)
    return list(found)


def load_docstrings(packages=None, *, sequence_length=128, max_windows=500, random_state=0):
    """Load windows of the docstrings of installed packages, to be told apart.

    Source files are parsed, not imported, in a random order and only until there are enough
    windows. Nothing is downloaded. The same versions of the packages give the same windows.

    Parameters
    ----------
    packages : sequence of str or None, default=None
        Names as import statements have them. None takes ten that are there with this library:
        numpy, scipy, sklearn, torch, joblib, sympy, networkx, jinja2, fsspec and email.
    sequence_length : int, default=128
        Characters of a window. Each is from within one docstring: the longer, the fewer.
    max_windows : int, default=500
        Windows of a package at most. All ten have that many of 128 characters; more take longer,
        and the smaller ones do not have them.
    random_state : int, RandomState instance or None, default=0
        Seed of the choice of windows and of their order.

    Returns
    -------
    docstrings : Bunch
        `data`, an array of strings of dtype object, in random order; `target`, the number of the
        package of each; `target_names`, the list of the packages. Indents and empty lines are
        gone, and docstrings with other characters than ASCII are left out, as are tests.

    Raises
    ------
    TypeError
        If `packages` is a single str or no sequence.
    ValueError
        If a package is not installed, is named twice or has no docstring that is long enough; if
        a number is not an integer of at least 1.

    See Also
    --------
    load_characters : One long text.

    Examples
    --------
    >>> from skvqdraw.datasets import load_docstrings
    >>> docstrings = load_docstrings(["email", "joblib"], max_windows=100)
    >>> docstrings.data.shape, docstrings.target_names
    ((200,), ['email', 'joblib'])
    >>> len(docstrings.data[0])
    128
    """
    packages = _check_packages(_PACKAGES if packages is None else packages)
    check_count("sequence_length", sequence_length, "128 is the default.")
    check_count("max_windows", max_windows, "500 is the default.")
    rng = check_random_state(random_state)
    # What comes of a package does not depend on which others are asked for.
    seed = rng.randint(2**31 - 1)
    windows, target = [], []
    for number, package in enumerate(packages):
        own = np.random.RandomState(seed)
        texts = _docstrings(
            package, own, _READ_FOR_ONE * max_windows, lambda text: len(text) // sequence_length
        )
        cut = (window for text in texts for window in text_windows(text, sequence_length))
        found = list(dict.fromkeys(cut))  # what many docstrings say counts once
        if not found:
            raise ValueError(
                f"packages must have docstrings of at least sequence_length={sequence_length} "
                f"ASCII characters; found none in source files of {package!r}. Leave it out, or "
                "set a smaller sequence_length."
            )
        chosen = own.permutation(len(found))[:max_windows]
        windows += [found[i] for i in chosen]
        target += [number] * len(chosen)
    order = rng.permutation(len(windows))
    return Bunch(
        data=np.array(windows, dtype=object)[order],
        target=np.array(target)[order],
        target_names=packages,
    )


def _check_packages(packages):
    if isinstance(packages, str) or not isinstance(packages, (list, tuple, np.ndarray)):
        raise TypeError(
            "packages must be a list of names or None; got "
            f"{packages!r}. A single package is [name]."
        )
    packages = list(packages)
    for name in packages:
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(
                "packages must be names of installed packages, without dots; got "
                f"{name!r}. Pass names as import statements have them, such as 'sklearn'."
            )
    if not packages or len(set(packages)) < len(packages):
        raise ValueError(
            f"packages must name at least one package, each once; got {packages!r}. Leave out "
            "what is there twice, or set None for the default."
        )
    return [str(name) for name in packages]


def load_characters():
    r"""Load one long text to learn from and another one to test on. Nothing is downloaded.

    The file ``text_chars.npz`` (array `tinyshakespeare`: character codes, uint8) in the folder that
    the environment variable ``SKVQDRAW_DATA`` names comes first: plays of Shakespeare, 1,115,394
    characters. Without it, the text is made of docstrings of the ten packages of
    `load_docstrings`, about a million characters.

    Returns
    -------
    characters : Bunch
        `data` and `data_test`, str: the first 90 % of the plays and the rest, or of docstrings nine
        in ten and the others, each of them once, with an empty line between them; `name`,
        ``"tinyshakespeare"`` or ``"docstrings"``.

    Raises
    ------
    ValueError
        If that file does not hold such an array.

    See Also
    --------
    text_windows : Cuts a text into strings of one length.

    Examples
    --------
    >>> from skvqdraw.datasets import load_characters, text_windows
    >>> characters = load_characters()
    >>> len(text_windows(characters.data, 128)) > 1000
    True
    """
    path = data_path("text_chars.npz")
    if path is not None and path.is_file():
        [codes] = read_arrays(path, "tinyshakespeare")
        check_arrays(
            path, codes.dtype == np.uint8, "hold codes of uint8", {"tinyshakespeare": codes}
        )
        text = codes.tobytes().decode("latin-1")
        n_train = len(text) * 9 // 10
        return Bunch(data=text[:n_train], data_test=text[n_train:], name="tinyshakespeare")
    found = {}
    for package in _PACKAGES:
        texts = _docstrings(package, np.random.RandomState(0), _CHARACTERS, len)
        found |= dict.fromkeys(texts)
    order = iter(np.random.RandomState(0).permutation(len(found)))
    texts, n_train = list(found), len(found) * 9 // 10
    data = "\n\n".join(texts[i] for i in islice(order, n_train))
    return Bunch(data=data, data_test="\n\n".join(texts[i] for i in order), name="docstrings")
