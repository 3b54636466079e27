"""``python -m paper.ground.reading``: the record and the samples, from the zips of its runs."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from paper.ground.tasks import DIRECT, LATER, RIDE, tasks_of
from paper.ground.ways import LM
from surfing import files

__all__ = ["main", "read"]

Document = dict[str, Any]

_ROWS = ("error", "pixel_error", "residual", "cost")
_PLACES = re.compile(r"--(out|data|keep|trajectories|tuned) (\S+) ?")
_LISTS = ("trainings", "tuning", "cells", "tracks", "surfaces", "missing")
_METHODS = {"table1": (DIRECT, RIDE), f"table1{LATER}": tuple(LM)}
"""Of tasks whose methods are told one by one where they are missing."""


def main(argv: list[str] | None = None) -> int:
    """Parse, read, write."""
    parser = argparse.ArgumentParser(prog="python -m paper.ground.reading", description=__doc__)
    parser.add_argument("zips", nargs="+", type=Path, help="of python -m paper.ground, in order; "
                        "RECORD.json takes over the runs of an earlier record")  # fmt: skip
    parser.add_argument("--leave", nargs="+", type=int, default=[], metavar="RUN",
                        help="runs of that record, counted from 0, to leave out")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("docs/records/ground.json"))
    parser.add_argument("--samples", type=Path, help="picture of samples of every model")
    options = parser.parse_args(argv)
    files.write(options.out, lines_of(read(options.zips, leave=options.leave)))
    if options.samples is not None:
        from paper.ground.pictures import contact_sheet

        contact_sheet(_samples(options.zips), options.samples)
    return 0


def read(zips: Sequence[Path], *, leave: Sequence[int] = ()) -> Document:
    """One record of several runs.

    Args:
        zips: what `python -m paper.ground` gathered, or records of this function.
        leave: numbers of runs of a record that are not taken over.

    Returns:
        The first run's facts and the time of all; `runs`, `trainings`, `tuning`, `cells` (the ways
        down, row by row), `tracks` (of the truth), `surfaces` and `missing`, each with the number
        of its run.
    """
    runs: list[Document] = []
    joined: dict[str, list[Document]] = {key: [] for key in _LISTS}
    for path in zips:
        added, lists = _again(path, leave) if path.suffix == ".json" else _first(path)
        for key in _LISTS:
            joined[key] += [line | {"run": len(runs) + line["run"]} for line in lists[key]]
        runs += added
    facts = {key: runs[0][key] for key in ("seed", "versions", "machine", "date")}
    return {**facts, "seconds": round(sum(r["seconds"] for r in runs), 1), "runs": runs, **joined}


def _first(path: Path) -> tuple[list[Document], dict[str, list[Document]]]:
    documents = dict(_documents(path))
    facts = json.loads(documents.pop("facts.json"))
    return [_run(path, facts, documents)], _part(documents, facts["command"])


def _again(path: Path, leave: Sequence[int]) -> tuple[list[Document], dict[str, list[Document]]]:
    """The runs of a record, numbered anew."""
    record = json.loads(path.read_text(encoding="utf-8"))
    places = [i for i in range(len(record["runs"])) if i not in leave]
    number = {run: place for place, run in enumerate(places)}
    lists = {
        key: [
            line | {"run": number[line["run"]]}
            for line in record.get(key, ())
            if line["run"] in number
        ]
        for key in _LISTS
    }
    return [record["runs"][i] for i in places], lists


def lines_of(record: Document) -> str:
    """JSON, an entry of a list to a line."""
    parts = []
    for key, value in record.items():
        if isinstance(value, list):
            inner = ",\n".join(json.dumps(line, separators=(",", ":")) for line in value)
            parts.append(f"{json.dumps(key)}: [\n{inner}\n]")
        else:
            parts.append(f"{json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _documents(path: Path) -> Iterator[tuple[str, str]]:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            yield name, archive.read(name).decode("utf-8")


def _run(path: Path, facts: Document, documents: Mapping[str, str]) -> Document:
    plans = (json.loads(text).get("plan") for text in documents.values())
    return {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        **facts,
        "command": _PLACES.sub(_placed, f"{facts['command']} ").strip(),
        "plan": next((plan for plan in plans if plan), None),
    }


def _placed(found: re.Match[str]) -> str:
    """Where things lay on that machine tells nobody anything; that they were there does."""
    option, place = found.groups()
    told = {"keep": "KEPT", "trajectories": "KEPT", "tuned": Path(place).name}.get(option)
    return f"--{option} {told} " if told else ""


def _wanted(command: str) -> list[str] | None:
    """Tasks that a run was limited to."""
    found = re.search(r"--tasks((?: +[a-z][\w-]*)+)", command)
    return None if found is None else found[1].split()


def _part(documents: Mapping[str, str], command: str) -> dict[str, list[Document]]:
    """What one run holds."""
    found: dict[str, list[Document]] = {key: [] for key in _LISTS}
    for model in sorted({name.split("/")[0] for name in documents}):
        own = {
            name.split("/")[1].split(".")[0]: json.loads(text)
            for name, text in documents.items()
            if name.startswith(f"{model}/") and not name.endswith(".txt")
        }
        where = {"run": 0, "model": model}
        wanted = _wanted(command) or tasks_of(model)
        if "training" in own and "--trajectories" not in command:
            found["trainings"].append({**where, **_training(own)})
        for task, document in own.items():
            records = document.get("records", [])
            if task == "tune" and records:
                found["tuning"].append({**where, **records[0]})
            elif task not in ("training", "sheet"):
                told = [{**where, "task": task.removesuffix(LATER), **record} for record in records]
                found["cells"] += [record for record in told if _rows(record)]
                found["surfaces"] += [record for record in told if "panels" in record]
                found["tracks"] += [record for record in told if "median_drift" in record]
        found["missing"] += [
            {**where, **line, "task": line["task"].removesuffix(LATER)}
            for line in _missing(own, wanted)
        ]
    return found


def _rows(record: Document) -> bool:
    return any(name in record for name in _ROWS)


def _training(own: Mapping[str, Document]) -> Document:
    sheet = (own.get("sheet", {}).get("records") or [{}])[0]
    told = {key: sheet[key] for key in ("frechet", "networks", "last_step") if key in sheet}
    return {**own["training"], **told}


def _missing(own: Mapping[str, Document], wanted: Sequence[str]) -> Iterator[Document]:
    """What was meant to be measured and was not, and why."""
    for task in wanted:
        document = own.get(task)
        if document is None:
            yield {"task": task, "why": "time: none of it was finished"}
            continue
        records = document["records"]
        for record in records:
            if "failed" in record:
                yield {"task": task, "method": record["method"], "why": _cause(record["failed"])}
        trouble = document.get("trouble")
        ended = _cause(trouble) if trouble else "time"
        if not records and task not in _METHODS:
            yield {"task": task, "why": ended}
            continue
        broken = trouble or not document.get("whole")
        there = {record.get("method") for record in records}
        for method in _METHODS.get(task, ("what comes after",) if broken else ()):
            if method not in there:
                why = ended if broken else "not asked for"
                yield {"task": task, "method": method, "why": why}


def _cause(text: str) -> str:
    """Why something failed, in few words; what is not known is told by its type."""
    low = text.lower()
    # cuSOLVER says "internal error" where it finds no memory for its handle.
    if "out of memory" in low or "cusolverdncreate" in low:
        return "memory of the GPU"
    named = re.findall(r"^(\w+(?:\.\w+)*(?:Error|Exception))\b", text, re.MULTILINE)
    return str(named[-1]) if named else "unknown"


def _samples(zips: Sequence[Path]) -> dict[str, list[list[list[int]]]]:
    """Of each model, from the first run that kept them."""
    found: dict[str, list[list[list[int]]]] = {}
    for path in zips:
        for name, text in () if path.suffix == ".json" else _documents(path):
            model, _, file = name.partition("/")
            if file == "sheet.json":
                found.setdefault(model, json.loads(text)["records"][0]["samples"])
    return found


if __name__ == "__main__":
    sys.exit(main())
