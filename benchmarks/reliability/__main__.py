"""Every part of the reliability runs, the record that they leave, and the page made of it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from cyclopts import App

from benchmarks import measure

app = App(name="python -m benchmarks.reliability", help=__doc__)

LONG: Mapping[str, dict[str, Any]] = {
    "crash": {"kills": 200},
    "commands": {"kills": 200, "others": 50, "by_ray": 8},
    "corruption": {"damages": 1000},
    "fuzzing": {"inputs": 100_000},
    "hostile": {},
    "determinism": {"targets": 24},
    "load": {"targets": 100_000},
    "soak": {"minutes": 120.0},
}
SHORT: Mapping[str, dict[str, Any]] = {
    "crash": {"kills": 15},
    "commands": {"kills": 4, "others": 4, "by_ray": 0},
    "corruption": {"damages": 100},
    "fuzzing": {"inputs": 500},
    "hostile": {},
    "determinism": {"targets": 6, "priced": False},
    "load": {"targets": 400},
    "soak": {"minutes": 0.2},
}


@app.default
def main(
    *,
    only: tuple[str, ...] = (),
    out: Path = Path("docs/records/reliability.json"),
    page: Path = Path("docs/reliability.md"),
    minutes: float | None = None,
    inputs: int | None = None,
    seed: int = 0,
    quick: bool = False,
) -> None:
    """Run the parts, one after the other, and write record and page after each.

    Args:
        only: names of parts; the others keep what the record says of them.
        out: the record.
        page: made of the record.
        minutes: of the soak.
        inputs: of each parser in the fuzzing.
        seed: of every random number.
        quick: the bounded form, as the tests run it.
    """
    torch.set_num_threads(1)
    sizes = SHORT if quick else LONG
    known = bool(only)
    for name in only or sizes:
        arguments = dict(sizes[name])
        for asked in ({"minutes": minutes}, {"inputs": inputs}):
            arguments |= {k: v for k, v in asked.items() if k in arguments and v is not None}
        print(f"{name}: {arguments}", file=sys.stderr, flush=True)
        part: Callable[..., dict[str, Any]] = import_module(f"benchmarks.reliability.{name}").run
        began = time.perf_counter()
        found = part(**arguments, seed=seed)
        seconds = round(time.perf_counter() - began, 1)
        facts = {"quick": quick, "seed": seed, "arguments": arguments, "seconds": seconds}
        record = json.loads(out.read_text()) if known and out.exists() else {}
        record = {"benchmark": "reliability"} | record | {name: facts | found | about()}
        known = True
        measure.write_record(out, record)
        _write_page(page, record)
        print(f"{name}: {seconds} s", file=sys.stderr, flush=True)


def about() -> dict[str, Any]:
    """Versions and machine of a part's run."""
    facts = measure.environment()
    return {"date": facts["started"][:10]} | {k: facts[k] for k in ("versions", "machine")}


def _write_page(page: Path, record: Mapping[str, Any]) -> None:
    from benchmarks.reliability.page import render

    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(render(record), encoding="utf-8")


if __name__ == "__main__":
    app(result_action="return_none")
