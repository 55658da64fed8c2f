"""Sphinx settings: `sphinx-build -W -b html docs build/docs` builds the site and fails on any warning."""

from __future__ import annotations

from typing import Any

import mp2flame

project = "mp2flame"
author = "The mp2flame authors"
copyright = author  # noqa: A001 - the name that Sphinx reads
version = release = mp2flame.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["pictures"]
root_doc = "index"
default_role = "code"

html_theme = "furo"
html_title = f"mp2flame {release}"
html_copy_source = False
html_show_sphinx = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autoclass_content = "class"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100


def _keep_colons(*event: Any) -> None:
    """Keep napoleon from taking the words before a colon for the type of an attribute: ours state types in the code."""
    _, what, _, _, _, lines = event
    if what in ("attribute", "data", "property"):
        # An empty comment: napoleon examines the first line only.
        lines[:0] = ["..", ""]


def setup(app: Any) -> None:
    """Connect before napoleon, which has the default priority."""
    app.connect("autodoc-process-docstring", _keep_colons, priority=400)
