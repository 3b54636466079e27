"""Tables and figure of ``docs/uncertainty.md``: ``python -m benchmarks.calibration_page``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.calibration import LEVELS, summary
from surfing import files
from surfing.report import Column, Table
from surfing.report.palette import INK, LINES
from surfing.report.tables import count, number

__all__ = ["cell_table", "figure", "main", "mode_table", "rival_table"]

_ROOT = Path(__file__).parents[1]
_RECORD = _ROOT / "docs" / "records" / "calibration.json"
_FIGURE = _ROOT / "docs" / "assets" / "calibration.png"


def share(value: float | None) -> str:
    """Three digits without the nought."""
    return "–" if value is None else f"{value:.3f}".lstrip("0")


def cell_table(record: dict[str, Any]) -> Table:
    """A line a cell."""
    columns = [
        Column("cell", "generator, measured, noise", right=False),
        Column("p", "p of the ranks", number),
        *(Column(f"{level:g}", f"{100 * level:g}% hold", share) for level in LEVELS),
        Column("one", "95% hold, one mode", right=True),
        Column("ess", "effective draws", count),
        Column("cost", "cost", count),
        Column("ratio", "in solves", number),
    ]
    rows = []
    for name, cell in record["cells"].items():
        one = cell["one_mode"]
        held, error = one["0.95"]
        told = "–" if held is None or one["targets"] < 10 else f"{share(held)} ± {share(error)}"
        rows.append(
            {
                "cell": name,
                "p": cell["p"],
                **{f"{level:g}": cell["coverage"][f"{level:g}"][0] for level in LEVELS},
                "one": f"{told} ({one['targets']})",
                "ess": cell["ess"][1],
                "cost": cell["cost"],
                "ratio": cell["cost_ratio"],
            }
        )
    settings = record["settings"]
    note = (
        f"{settings['targets']} targets in each line, {settings['draws']} draws of each. p: the "
        "least chi-squared probability of the ranks of all coordinates and of the norm, times "
        "their number. One mode: targets of which one mode holds .95 of the mass, with the "
        "standard error by targets, and how many there are. Cost in forward-equivalents for each "
        "target, all in; in solves: divided by that of one `recover` with the same noise and "
        "prior. "
        f"{summary(record).capitalize()}."
    )
    return Table("Calibration", columns, tuple(rows), (note,))


def mode_table(record: dict[str, Any]) -> Table:
    """Two latents: masses against the grid."""
    columns = [
        Column("m", "measured", count),
        Column("draws", "draws", count),
        Column("cases", "targets with two modes or more", count),
        Column("found", "all found", right=True),
        Column("within", "masses within .1", right=True),
        Column("gap", "median gap", number),
    ]

    def rate(found: list[float]) -> str:
        return f"{found[0]:.0f} [{found[1]:.2f}, {found[2]:.2f}]"

    rows = [
        {**cell, "found": rate(cell["found"]), "within": rate(cell["within"])}
        for cell in record.get("two_modes", [])
    ]
    note = (
        "The packaged generator with two latents, noise of a tenth of the measurements' spread; a "
        "mode has at least .1 of the exact mass. Found: at least .02 of the draws' weight lies in "
        "its basin. Wilson intervals at 95%."
    )
    return Table("Two modes", columns, tuple(rows), (note,))


def rival_table(record: dict[str, Any]) -> Table:
    """Draws of ours beside Hamiltonian Monte Carlo."""
    columns = [
        Column("k", "k", count),
        Column("m", "measured", count),
        Column("targets", "targets", count),
        Column("ess", "our effective draws", count),
        Column("seconds", "our seconds", number),
        Column("hmc_ess", "HMC's effective draws", number),
        Column("hmc_seconds", "HMC's seconds", number),
        Column("mixed", "chains agree", count),
        Column("ratio", "HMC's time over ours, at equal size", number),
        Column("cost_ratio", "HMC's cost over ours", number),
        Column("shift", "means apart, in std", number),
        Column("std", "our std over HMC's", number),
    ]
    rows = [
        {
            **{name: line[name] for name in ("k", "m", "targets")},
            "ess": line["ours"]["ess"],
            "seconds": line["ours"]["seconds"],
            "hmc_ess": line["hmc"]["ess"],
            "hmc_seconds": line["hmc"]["seconds"],
            "mixed": line["hmc"]["mixed"],
            "ratio": line["seconds_ratio_at_equal_ess"],
            "cost_ratio": line["cost_ratio_at_equal_ess"],
            "shift": line["shift_where_mixed"],
            "std": line["std_ratio_where_mixed"],
        }
        for line in record.get("rival", [])
    ]
    note = (
        "HMC: four chains of each target, all from the best latents of `recover`, which are not "
        "counted, in one batch of the same engine: "
        "200 iterations of warm-up and 200 kept, eight leapfrog steps on average; effective size "
        "and split R-hat over all chains, of the worst coordinate, median over targets. Chains "
        "agree: "
        "targets with R-hat below 1.05; means and standard deviations are compared on these. At "
        "equal size: the warm-up, and of the kept iterations as many as give our effective size. "
        "The machine did other work too; both sides ran in the same minutes."
    )
    return Table("Beside HMC", columns, tuple(rows), (note,))


def figure(record: dict[str, Any]) -> Figure:
    """Ranks of all cells, and what intervals hold."""
    made = Figure(figsize=(8.4, 3.1), layout="constrained")
    left, right = made.subplots(1, 2)
    names = sorted({name.rsplit(" ", 1)[1] for name in record["cells"]}, key=float)
    for noise, (colour, dashes, marker) in zip(names, LINES):
        cells = {n: c for n, c in record["cells"].items() if n.rsplit(" ", 1)[1] == noise}
        counts = [sum(column) for column in zip(*(c["ranks"][0] for c in cells.values()))]
        total = sum(counts)
        heights = [n * len(counts) / max(1, total) for n in counts]
        edges = [i / len(counts) for i in range(len(counts) + 1)]
        label = f"noise {float(noise):g}"
        left.stairs(heights, edges, color=colour, linestyle=dashes, label=label, linewidth=1.6)
        for cell in cells.values():
            at = list(LEVELS)
            gap = [cell["coverage"][f"{level:g}"][0] - level for level in LEVELS]
            right.plot(at, gap, marker, color=colour, alpha=0.75, label=label, markersize=5)
            label = "_"
    left.axhline(1, color=INK, linewidth=0.8)
    left.set(xlabel="rank of the truth", ylabel="density", ylim=(0, None), xlim=(0, 1))
    left.set_title("Ranks of the truth, all cells of a noise level", fontsize=10)
    right.axhline(0, color=INK, linewidth=0.8)
    right.set(xlabel="interval", ylabel="coverage minus level", xticks=LEVELS)
    right.set_xticklabels([f"{100 * level:g}%" for level in LEVELS], fontsize=8)
    right.set(ylim=(-0.12, 0.12))
    right.set_title("Coverage of intervals, one mark per cell", fontsize=10)
    for ax in (left, right):
        ax.legend(fontsize=8, frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
    return made


def main() -> None:
    """Write the tables and the figure."""
    record = json.loads(_RECORD.read_text(encoding="utf-8"))
    tables = [cell_table(record), mode_table(record), rival_table(record)]
    text = "\n\n".join(table.markdown() for table in tables if table.rows)
    files.write(_RECORD.with_suffix(".md"), text + "\n")
    figure(record).savefig(_FIGURE, dpi=150)


if __name__ == "__main__":
    main()
