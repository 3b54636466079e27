"""An example as a page of its own: its code, what it printed and what it drew.

`python docs/recorded.py` runs examples/first_minutes.py cell by cell and writes
docs/first-minutes.md and docs/assets/first-minutes; a test compares the code of the two.
"""

from __future__ import annotations

import contextlib
import io
import os
import platform
import re
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
EXAMPLE = HERE.parent / "examples" / "first_minutes.py"
PAGE = HERE / "first-minutes.md"
PICTURES = HERE / "assets" / "first-minutes"


def cells(source: str) -> list[tuple[str, str]]:
    """(words, code) of each cell of a sphinx-gallery example."""
    head, rest = source.removeprefix('"""\n').split("\n===", 1)
    text, code = rest.lstrip("=\n").split('"""\n', 1)
    parts = re.split(r"^# %%\n", code, flags=re.M)
    found = [(text.strip(), parts[0].strip())]
    for part in parts[1:]:
        lines = part.splitlines()
        first = next(i for i, line in enumerate(lines) if not line.startswith("#"))
        said = "\n".join(line.removeprefix("#").strip() for line in lines[:first])
        found.append((said, "\n".join(lines[first:]).strip()))
    return [(f"# {head}\n\n{found[0][0]}", found[0][1]), *found[1:]]


def main() -> None:
    """Run the cells, and write the page."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    import torch

    torch.set_num_threads(1)
    PICTURES.mkdir(parents=True, exist_ok=True)
    source = EXAMPLE.read_text(encoding="utf-8")
    known: dict[str, Any] = {"__name__": "page"}
    written: list[str] = []
    home, began, number = Path.cwd(), time.process_time(), 0
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for words, code in cells(source):
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(code, str(EXAMPLE), "exec"), known)
            written += [words, "", f"```python\n{code}\n```", ""]
            if printed.getvalue().strip():
                written += [f"```text\n{printed.getvalue().rstrip()}\n```", ""]
            for figure in map(plt.figure, plt.get_fignums()):
                number += 1
                figure.savefig(PICTURES / f"{number}.png", dpi=80)
                written += [f"![{_alt(number)}](assets/first-minutes/{number}.png)", ""]
            plt.close("all")
        os.chdir(home)
    spent = time.process_time() - began
    written.append(
        f"Recorded by `python docs/recorded.py`: {spent:.0f} s of one core, {platform.machine()}, "
        f"torch {torch.__version__.split('+')[0]}. The code is "
        "[`examples/first_minutes.py`](../examples/first_minutes.py)."
    )
    PAGE.write_text("\n".join(written) + "\n", encoding="utf-8")


def _alt(number: int) -> str:
    return ("Targets, reconstructions and their errors", "The surface at four moments")[number - 1]


if __name__ == "__main__":
    main()
