"""How the documentation is built: `make docs`. Nothing here, and no page, needs the network."""

import inspect
import os
import tempfile

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

import skvqdraw

# Examples take real data where they find some: let pages be the same on every machine.
NO_DATA = tempfile.TemporaryDirectory()
os.environ["SCIKIT_LEARN_DATA"] = NO_DATA.name
os.environ.pop("SKVQDRAW_DATA", None)

project = "skvqdraw"
author = "The skvqdraw developers"
copyright = author
version = release = skvqdraw.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "auto_examples/*.ipynb"]
templates_path = ["_templates"]
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"sklearn\..*")]  # their pages are not at hand
default_role = "literal"  # a word in single backticks is code, as in scikit-learn

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

numpydoc_show_class_members = False  # the template lists them
copybutton_exclude = ".linenos, .gp, .go"  # neither prompts nor output

html_theme = "pydata_sphinx_theme"
html_title = f"skvqdraw {version}"
html_theme_options = {"secondary_sidebar_items": ["page-toc"], "show_toc_level": 2}
html_sidebars = {"index": [], "method": [], "benchmarks": []}
html_show_sourcelink = False
html_math_renderer = "mathml"

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"demo\.py",
    "backreferences_dir": "reference/examples",
    "doc_module": ("skvqdraw",),
    "show_memory": False,
    "write_computation_times": False,
}


def skip_member(app, what, name, member, skip, options):
    """Leave out of class pages what is described elsewhere.

    What scikit-learn gives every estimator is described there, and a method that only fills in
    what a base class asks for is described with the base class: it has no docstring of its own.
    """
    if not inspect.isroutine(member):
        return None
    ours = (getattr(member, "__module__", None) or "").startswith("skvqdraw")
    return None if ours and member.__doc__ else True


def visit_math(translator, node):
    """Write a formula as MathML, which browsers draw without a script from another host."""
    is_block = isinstance(node, nodes.math_block)
    translator.body.append(tex2mathml(node.astext(), as_block=is_block))
    raise nodes.SkipNode


def setup(app):
    app.connect("autodoc-skip-member", skip_member)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math, None))
