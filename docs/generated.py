"""The parts of pages that come from code and records, for readers of a clone.

A part stands between two comments,

    <!-- generated: statuses -->
    ...
    <!-- /generated -->

`python docs/generated.py` writes all of them, `--check` says which ones are old.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent

_PART = re.compile(r"(<!-- generated: ([\w/.-]+) -->\n).*?(<!-- /generated -->)", re.S)
_COMMANDS = "cli.md"


def statuses() -> str:
    """Every way in which a target can end, from the code."""
    from surfing import Status

    lines = ["| status | met | what it says |", "| --- | --- | --- |"]
    for status in Status:
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
    each = re.sub(r"^\S+ (?:-m \S+ )?(?=\w+ .*\[?ARGS|\w+ \[OPTIONS)", "surfing ", each, flags=re.M)
    return re.sub(r"^### surfing ", "## ", each, flags=re.M).strip()


PARTS: Mapping[str, Callable[[], str]] = {
    "attempts": attempts,
    "checks": checks,
    "commands": commands,
    "statuses": statuses,
}


def part(name: str) -> str:
    """What belongs between the comments: of a command, or a file beside the pages."""
    if name in PARTS:
        return PARTS[name]()
    return (HERE / name).read_text(encoding="utf-8").strip()


def renewed(text: str) -> str:
    """A page with its parts written anew."""
    return _PART.sub(lambda found: f"{found[1]}{part(found[2])}\n{found[3]}", text)


def main(arguments: list[str]) -> int:
    """Write what is old, or say so."""
    old = []
    for page in sorted(HERE.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        new = renewed(text)
        if new != text:
            old.append(page)
            if "--check" not in arguments:
                page.write_text(new, encoding="utf-8")
    said = "is old: python docs/generated.py" if "--check" in arguments else "written"
    for page in old:
        print(f"{page.relative_to(HERE.parent)} {said}")
    return 1 if old and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
