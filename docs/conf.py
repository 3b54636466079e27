"""How the documentation is built: `scripts/docs`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import surfing

HERE = Path(__file__).parent
EXECUTED = ("quickstart", "own_generator", "own_operator", "noise_level", "sensing_curve")
"""Examples that are quick enough to be run for the gallery; others are shown as they are."""

project = "Surfing"
author = "the Surfing authors"
project_copyright = author
version = release = surfing.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "records", "assets", "gallery/*.ipynb"]

html_theme = "pydata_sphinx_theme"
html_title = "Surfing"
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "footer_start": [],
    "footer_end": [],
}
html_sidebars = {"**": ["sidebar-nav-bs"], "index": []}
html_show_sourcelink = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "undoc-members": False}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Other args", "params_style"), "Source"]
default_role = "code"

sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["gallery"],
    "filename_pattern": rf"[\\/]({'|'.join(EXECUTED)})\.py$",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "write_computation_times": False,
    "show_signature": False,
    "min_reported_time": 60,
    "abort_on_example_error": False,
    "only_warn_on_example_error": False,
}


def escape_formulas(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Norms and stars in docstrings are meant as they stand, not as reStructuredText."""
    for i, line in enumerate(lines):
        if line.lstrip().startswith((">>>", "...", "..")):
            continue
        parts = re.split(r"(``.*?``|`.*?`)", line)
        parts[::2] = [re.sub(r"(?<!\\)([*|])", r"\\\1", part) for part in parts[::2]]
        lines[i] = "".join(parts)


def setup(app: Any) -> None:
    """Before napoleon, which listens at priority 500 and writes stars of its own."""
    app.connect("autodoc-process-docstring", escape_formulas, priority=400)
