"""docs/reliability.md, from the record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["render"]

Part = Mapping[str, Any]

_HEAD = """\
# Reliability

A training run costs days, and checkpoints come from strangers. This page says what was done to
recordings, recoveries and readers, and what came of it. It is written by
`python -m benchmarks.reliability` from its record, `docs/records/reliability.json`; the tests in
`tests/reliability` and `tests/trajectory` do the same in smaller numbers on every change. Any
violation of the laws below ends the run and the tests.
"""

_MISSING = "This part has not been run.\n"


def render(record: Mapping[str, Any]) -> str:
    """The page's text."""
    parts = [_HEAD, _overview(record)]
    for name, (title, write) in _SECTIONS.items():
        body = write(record[name]) if name in record else _MISSING
        parts.append(f"## {title}\n\n{body}{_when(record.get(name))}")
    return "\n".join(parts)


def _when(part: Part | None) -> str:
    if part is None:
        return ""
    sizes = [f"{name.replace('_', ' ')} {size:,}" for name, size in part["arguments"].items()]
    form = "Run with " + ", ".join([*sizes, f"seed {part['seed']}"])
    versions, machine = part["versions"], part["machine"]
    return (
        f"\n*{form}; {part['seconds']:.0f} s on {part['date']}; torch "
        f"{versions['torch']}, Python {versions['python']}, {machine['processor']}.*\n"
    )


def _overview(record: Mapping[str, Any]) -> str:
    lines = []
    if "crash" in record:
        lines.append(("recordings killed, opened, verified and resumed", record["crash"]["kills"]))
    if "commands" in record:
        counts = [
            c for name in _ended(record["commands"]) for c in record["commands"][name].items()
        ]
        for kind, said in (("kills", "killed"), ("interrupts", "interrupted")):
            ended = sum(c["ended"] for k, c in counts if k == kind)
            lines.append((f"commands {said}, resumed to the same bits", ended))
    if "corruption" in record:
        part = record["corruption"]
        lines.append(("damages of a trajectory, all named", sum(part["damaged"].values())))
        lines.append(("damages of a saved solution, all named", part["shards"]))
        lines.append(("swaps of two files, all named", part["swaps"]))
    if "fuzzing" in record:
        lines.append(("inputs fuzzed, only errors of this package", record["fuzzing"]["inputs"]))
    if "hostile" in record:
        attacks = record["hostile"]["attacks"].values()
        lines.append(("files made to exhaust the machine, refused", len(attacks)))
        lines.append(("most memory one of them took, MiB", max(a["mib"] for a in attacks)))
    if "load" in record:
        lines.append(("peak memory of the largest recovery, MiB", _largest(record["load"])))
    return _table(("what", "how many"), [(what, _number(count)) for what, count in lines])


def _largest(part: Part) -> float:
    peak: float = max(line["peak_mib"] for line in part["recover"])
    return peak


_COMMANDS = ("recover", "train", "import", "recover --executor ray")


def _ended(part: Part) -> list[str]:
    return [name for name in _COMMANDS if name in part]


def _crash(part: Part) -> str:
    disks = [(kind, said or "not run: no disk could be mounted") for kind, said in _disks(part)]
    return (
        "A process that trains and records is killed with SIGKILL at random moments. Pauses are "
        "injected before, inside and after the calls that write, so that kills fall there. After "
        "each kill the directory opens and verifies, holds every checkpoint whose recording had "
        "returned and at most one more, and the training resumes, often from an earlier step.\n\n"
        + _table(
            ("kills", "after a recording", "inside a write", "while it resumed", "survived"),
            [
                (
                    part["kills"],
                    part["after_a_recording"],
                    part["inside_a_write"],
                    part["while_resuming"],
                    part["kills"],
                )
            ],
        )
        + "\nA second recorder on the same directory is locked out by a lock that ends with its "
        "process. Recording onto disks that are full or read-only, mounted for the purpose:\n\n"
        + _table(("disk", "what the recorder said"), disks)
    )


def _disks(part: Part) -> list[tuple[str, str | None]]:
    return list(part["disks"].items())


def _commands(part: Part) -> str:
    rows = [
        (f"`surfing {name}`", kind, c["ended"], c["done"], c["done_after_being_ended"])
        for name in _ended(part)
        for kind, c in part[name].items()
    ]
    head = ("command", "ended by", "times", "got done", "of them ended before")
    return (
        "Each command is ended at a random moment and started again until it is done; then its "
        "output is compared, bit by bit, with that of an uninterrupted run. Interrupts are "
        "Ctrl-C: exit code 130 and one sentence that says what is kept.\n\n" + _table(head, rows)
    )


def _corruption(part: Part) -> str:
    rows = [(kind, count, count) for kind, count in sorted(part["damaged"].items())]
    rows.append(("two files swapped", part["swaps"], part["swaps"]))
    rows.append(("manifest edited", part["edits"], part["edits"]))
    rows.append(("saved solution damaged", part["shards"], part["shards"]))
    repaired = part["repairs"]
    return (
        "Every damage is seen when the trajectory is opened or verified, and the message names "
        "the file.\n\n"
        + _table(("damage", "times", "seen and named"), rows)
        + f"\n`surfing inspect RUN --repair` was given {repaired['times']} directories with one to "
        f"four damaged files: it dropped {repaired['checkpoints_dropped']} checkpoints, the "
        "damaged ones and no others, and the rest verified.\n"
    )


def _fuzzing(part: Part) -> str:
    rows = [
        (name, c["built"], c["changed"], c.get("guided", 0), c["accepted"])
        for name, c in part["parsers"].items()
    ]
    return (
        "Inputs are built by hypothesis from each format's own parts, made of valid ones by "
        "changing a few bytes, and found by atheris, which watches the lines that they reach. A "
        "manifest is also given a right seal, so that what lies behind the seal is reached. "
        "Nothing but a SurfingError came out. (Accepted: valid after all, of the first two "
        "kinds.)\n\n" + _table(("parser", "built", "changed", "guided", "accepted"), rows)
    )


def _hostile(part: Part) -> str:
    limits = part["limits"]
    rows = [
        (name, f"{a['mib']:.0f}", f"{a['seconds']:.1f}", a["said"].partition(":")[0])
        for name, a in part["attacks"].items()
    ]
    return (
        f"Each file is read in a process that the system limits to {limits['mib']} MiB beyond its "
        f"imports and {limits['seconds']} s of processor time. No source of this package unpickles "
        "what it reads, and `.pt` files are loaded by torch's restricted loader only; a test reads "
        "the sources to see to it.\n\n" + _table(("file", "MiB", "seconds", "refused as"), rows)
    )


def _determinism(part: Part) -> str:
    rows = [
        (name, m["solved"], f"{m['same_bits']:.0%}", f"{m['apart']:.1e}", m["invariant"])
        for name, m in part["methods"].items()
    ]
    head = ("method", "solved", "same bits", "farthest apart", "batch_invariant: the same")
    targets, tolerance = part["arguments"]["targets"], part["tolerance"]
    return (
        f"On one machine the same call gives the same bits, and so do restarts and the shards of "
        f"one run (above). A target solved alone, in threes, in eights, or with {targets - 1} "
        "others, in any order, starts from the same numbers and is solved in all of them or none; "
        "its latents agree to rounding, since a matrix product of another size may add in another "
        "order. The documented tolerance is ||z - z'|| <= "
        f"{tolerance:.0e} for solved targets, across batch sizes, numbers of threads and machines; "
        "the bits are not promised there.\n\n"
        "With `batch_invariant=True` (`surfing recover --batch-invariant`) they are, across batch "
        "sizes, orders, shards and restarts on one machine with as many threads: the last column "
        "counts targets compared, of each z, x, risk, status, cost, candidates and singular "
        "values; one other bit would have ended the run.\n\n"
        + _table(head, rows)
        + _prices(part["prices"])
    )


def _prices(prices: list[dict[str, Any]]) -> str:
    if not prices:
        return ""
    rows = [(p["method"], p["targets"], f"{p['seconds']:.2f}", f"{p['ratio']:.2f}") for p in prices]
    return (
        "\nWhat it costs on the packaged generator with `gaussian:20`: the processor's time with "
        "it over that without, one thread. Rows are evaluated in blocks of 32, so a few "
        "targets pay for copies that fill up the block.\n\n"
        + _table(("method", "targets", "seconds without", "times with"), rows)
    )


def _load(part: Part) -> str:
    opening = part["opening"]
    rows = [
        (_number(r["targets"]), _number(r["met"]), r["peak_mib"], f"{r['seconds']:.0f}")
        for r in part["recover"]
    ]
    return (
        f"A trajectory of {opening['checkpoints']} checkpoints opens in "
        f"{opening['median'] * 1000:.0f} ms (median; {opening['largest'] * 1000:.0f} ms at most). "
        "`surfing recover` of a small network (3 latents, 16 pixels), in a process of its own:\n\n"
        + _table(("targets", "met", "peak MiB", "seconds"), rows)
        + f"\nGrowth between the two: {part['growth_mib']} MiB.\n"
    )


def _soak(part: Part) -> str:
    before, after = part["open_files"]
    return (
        "Record, open, verify, recover, surf, save, load, import, damage and repair, again and "
        f"again: {part['rounds']} rounds in {part['minutes']:.1f} minutes. Resident memory was "
        f"{part['early_mib']} MiB in the second quarter (median) and {part['late_mib']} MiB in the "
        f"last: {part['growth_mib']:+.1f} MiB. Open files: {before} after the first round, {after} "
        "after the last; no file was left over.\n"
    )


_SECTIONS: Mapping[str, tuple[str, Callable[[Part], str]]] = {
    "crash": ("Recordings that are killed", _crash),
    "commands": ("Commands that are killed or interrupted", _commands),
    "corruption": ("Damaged files", _corruption),
    "fuzzing": ("Fuzzed parsers", _fuzzing),
    "hostile": ("Files made to exhaust the machine", _hostile),
    "determinism": ("The same results again", _determinism),
    "load": ("Load", _load),
    "soak": ("Soak", _soak),
}


def _number(count: float) -> str:
    return f"{count:,}"


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
