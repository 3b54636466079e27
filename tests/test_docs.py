"""The documentation names what exists, and all of it."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import torch

import surfing
from surfing.execution.targets import Targets
from surfing.portfolio.recover import solver_of

ROOT = Path(__file__).parent.parent
API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


def test_what_a_user_extends_runs_as_it_stands_in_few_lines() -> None:
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    first, *blocks = re.split(r"^\*\*(\w[\w ]*)\.\*\*", page, flags=re.MULTILINE)
    parts = dict(zip(blocks[::2], map(code_of, blocks[1::2]), strict=True))
    shown = [name for name, code in parts.items() if code]
    assert shown == ["Descent", "Operator", "Attempt", "Start", "Executor"]
    names: dict[str, Any] = {"__name__": "page"}
    exec(code_of(first), names)
    for name in shown:
        assert len([line for line in parts[name].splitlines() if line.strip()]) < 25, name
        names.pop("solution", None)
        exec(parts[name], names)
        # A hundred steps of momentum get somewhere, but not to the end.
        met = names["solution"].risk < 1 if name == "Descent" else names["solution"].success
        assert met.all(), (name, names["solution"].summary())
    # Learned starts may have met all before an attempt was asked for: ask for both alone.
    for attempt in (names["Mirrored"](), names["attempt"]):
        solver = solver_of(names["model"], budget=1e6, portfolio=[attempt])
        context = solver.context(Targets(names["y"]), range(4))
        found = attempt.run(context, torch.arange(4), number=0)
        assert found.z.shape == (4, 1, 10)
        assert (found.misfit < 1e-3).any()
        assert (context.meter.spent >= attempt.least(0.0)).all()


def code_of(text: str) -> str:
    return "".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))


def test_every_public_name_is_on_the_page_once() -> None:
    listed = re.findall(r"^\.\. auto\w+:: surfing\.(\w+)$", API, re.MULTILINE)
    assert sorted(listed) == sorted(set(surfing.__all__) - {"__version__"})


def test_every_name_on_the_page_exists() -> None:
    for module, name in re.findall(r"^\.\. auto\w+:: (surfing[\w.]*)\.(\w+)$", API, re.MULTILINE):
        assert hasattr(importlib.import_module(module), name)


def test_files_in_the_notation_exist() -> None:
    text = (ROOT / "docs" / "notation.md").read_text(encoding="utf-8")
    files = re.findall(r"`((?:\w+/)*\w+\.py)`", text)
    assert len(files) > 20
    assert [f for f in files if not _exists(f)] == []


def _exists(file: str) -> bool:
    root = ROOT if file.startswith("paper/") else ROOT / "src" / "surfing"
    return (root / file).is_file()
