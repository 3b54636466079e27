"""How the documentation is built: `scripts/docs`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import surfing

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # for the tables of paper/, beside the package
GENERATED = HERE / "_build" / "generated"
EXECUTED = ("quickstart", "own_generator", "own_operator", "noise_level", "sensing_curve")
"""Examples that are quick enough to be run for the gallery; others are shown as they are."""
EVIDENCE = ("results", "theory", "speed", "reliability", "scale", "integrations")
"""Pages that are written by commands: listed where they are there."""

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


def statuses() -> str:
    """Every way in which a target can end, from the code."""
    lines = ["| status | met | what it says |", "| --- | --- | --- |"]
    for status in surfing.Status:
        met = "yes" if status.success else "no"
        lines.append(f"| `{status.name}` | {met} | {status.message} |")
    return "\n".join(lines)


def checks() -> str:
    """What is looked at before work, from the code."""
    from surfing.problem.checks import SELF_CHECKS

    lines = ["| what is looked at | otherwise | what it says |", "| --- | --- | --- |"]
    for each in SELF_CHECKS:
        kind = "refused" if each.refused else "noted"
        found = re.sub(r"\{(\w+)(?::[^}]*)?\}", r"*\1*", each.found)
        lines.append(f"| {each.name} | {kind} | {found} {each.remedy} |")
    return "\n".join(lines)


def attempts() -> str:
    """The attempts there are, from the code."""
    from surfing.portfolio.attempt import ATTEMPTS, DEFAULT

    lines = [
        "| attempt | looks at | rungs: starts × steps (penalty, window) | by default |",
        "| --- | --- | --- | --- |",
    ]
    for name, attempt in ATTEMPTS.items():
        rungs = "; ".join(
            f"{rung.rows} × {rung.steps} ({rung.penalty:g}, {rung.window})"
            for rung in attempt.rungs
        )
        used = "yes" if attempt in DEFAULT else ""
        lines.append(f"| {name} | {attempt.start.cost} latents | {rungs} | {used} |")
    return "\n".join(lines)


def commands() -> str:
    """What `surfing --help` says, command by command."""
    from surfing.cli.app import _app

    text = _app().generate_docs(output_format="markdown", recursive=True, heading_level=2)
    # The page has a title and a table of its own, and says once what every command takes.
    each = re.sub(r"\A.*?(?=^### )", "", text, count=1, flags=re.S | re.M)
    each = re.sub(r"^\*\*Every command\*\*:\n\n(?:\*.*\n)+", "", each, flags=re.M)
    # cyclopts takes what this process was called with into the usage lines.
    each = re.sub(r"^(surfing \w+) -m \S+", r"\1", each, flags=re.M)
    return re.sub(r"^### surfing ", "## ", each, flags=re.M)


def record(name: str) -> str:
    """The tables of a committed record; a sentence where it has not been made."""
    from paper.registry import experiment

    path = HERE / "records" / f"{name}.json"
    if not path.is_file():
        return f"The record has not been made yet: `python -m paper {name}`."
    return experiment(name).markdown(json.loads(path.read_text(encoding="utf-8")))


def evidence() -> str:
    """The table of contents of the pages with numbers."""
    there = [name for name in EVIDENCE if (HERE / f"{name}.md").is_file()]
    return "\n".join(["```{toctree}", *there, "```"])


def write_generated() -> None:
    """What pages include."""
    GENERATED.mkdir(parents=True, exist_ok=True)
    parts = {
        "statuses": statuses(),
        "checks": checks(),
        "attempts": attempts(),
        "commands": commands(),
        "budget": record("budget"),
        "evidence": evidence(),
    }
    for name, text in parts.items():
        (GENERATED / f"{name}.md").write_text(text + "\n", encoding="utf-8")


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


write_generated()


def setup(app: Any) -> None:
    """Before napoleon, which listens at priority 500 and writes stars of its own."""
    app.connect("autodoc-process-docstring", escape_formulas, priority=400)
