"""An accelerator: first that it agrees with the CPU, then how many targets a second it recovers.

``python -m benchmarks.gpu [--minutes 8]``: generators of random weights with 10, 100 and 512
latents; LM, L-BFGS and Adam, all targets in one call of ``surfing.direct``, for 100
to 100,000 targets. Each line runs in blocks that fit the memory, and for its share of the time: the
record says of how many targets, and the time of all is theirs in proportion. Without an accelerator
it ends; ``--device cpu --quick`` shows that it runs.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from cyclopts import App
from torch import Tensor, nn

import surfing
from benchmarks import measure
from surfing.architectures import build_generator
from surfing.descent import AbstractDescent, LevenbergMarquardt, TorchOptim
from surfing.descent.lbfgs import LBFGS
from surfing.report import Column, Table

__all__ = ["CASES", "DESCENTS", "agreement", "main", "model_on", "table"]

app = App(help=__doc__)

CASES: dict[str, dict[str, Any]] = {
    "conv, k=10, 28x28": {"name": "conv", "latent_dim": 10, "width": 16, "hidden": 128},
    "deep, k=100, 3x64x64": {"name": "deep", "latent_dim": 100, "width": 24},
    "style-based, k=512, 3x64x64": {"name": "style", "latent_dim": 512, "width": 16},
}
DESCENTS: dict[str, tuple[AbstractDescent[Any], int]] = {
    "LM": (LevenbergMarquardt(dense_up_to=512), 10),
    "L-BFGS": (LBFGS(), 60),
    "Adam": (TorchOptim(partial(torch.optim.Adam, lr=0.05)), 100),
}
_BLOCK = {"LM": {10: 4096, 100: 256, 512: 16}}
_SMALLER = {10: 20_000, 100: 2_000, 512: 500}
_TOLERANCE = 1e-3


@app.default
def main(
    *,
    out: Path = Path("docs/records/gpu.json"),
    device: str = "cuda",
    minutes: float = 8,
    targets: tuple[int, ...] = (100, 1_000, 10_000, 100_000),
    seed: int = 103,
    quick: bool = False,
) -> dict[str, Any] | None:
    """Check, measure, write the record and print its table.

    Args:
        out: the record.
        device: where.
        minutes: after which no line is begun; a line has an equal share of them.
        targets: numbers of them.
        seed: of targets and starts.
        quick: 4 targets of two steps: shows that it runs.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        print("No accelerator here: benchmarks.gpu measures nothing.")
        return None
    until = time.perf_counter() + 60 * minutes
    share = 60 * minutes / (len(targets) * len(CASES) * len(DESCENTS))
    record: dict[str, Any] = {"benchmark": "gpu", "quick": quick} | measure.environment()
    named = torch.cuda.get_device_name() if device.startswith("cuda") else device
    record |= {"device": named, "seed": seed, "agreement": [], "lines": []}
    for name, arguments in CASES.items():
        there = _computed(arguments, "cpu", seed=seed)
        for rounding in ("float32", "TF32 convolutions"):
            torch.backends.cudnn.allow_tf32 = rounding != "float32"
            differences = _differences(there, _computed(arguments, device, seed=seed))
            record["agreement"].append({"case": name, "rounding": rounding} | differences)
        torch.backends.cudnn.allow_tf32 = False
        measure.write_record(out, record)
    for count in (4,) if quick else targets:
        for name, arguments in CASES.items():
            for method in DESCENTS:
                if time.perf_counter() > until:
                    record["lines"].append(_left_out(name, method, count))
                    continue
                line = _timed(
                    name, arguments, method, count, device, seed=seed, quick=quick, share=share
                )
                print(line, file=sys.stderr, flush=True)
                record["lines"].append(line)
                measure.write_record(out, record)
    measure.write_record(out, record)
    measure.show(out, table(record))
    return record


def model_on(arguments: dict[str, Any], device: str) -> surfing.ForwardModel:
    """A generator of random weights, the same on every device."""
    given = dict(arguments)
    torch.manual_seed(0)
    net: nn.Module = build_generator(given.pop("name"), **given).train()
    with torch.no_grad():
        for _ in range(10):  # batch norm sees samples
            net(torch.randn(64, given["latent_dim"]))
    net.eval().requires_grad_(False).to(device)
    latent = surfing.Normal(given["latent_dim"])
    path = surfing.Trajectory.from_state_dicts([(0, net.state_dict())], latent=latent)
    return surfing.ForwardModel(path, generator=net)


def agreement(arguments: dict[str, Any], device: str, *, seed: int) -> dict[str, float]:
    """By how much signals, Jacobians and three L-BFGS steps differ from the CPU's, relatively."""
    return _differences(*(_computed(arguments, place, seed=seed) for place in ("cpu", device)))


def _computed(arguments: dict[str, Any], place: str, *, seed: int) -> dict[str, Tensor]:
    drawn = surfing.Normal(arguments["latent_dim"]).sample(range(2), 2, seed=seed).to(place)
    model = model_on(arguments, place)
    with torch.no_grad():
        y = model.signals(drawn[:, 0])
        _, jacobian = model.architecture.at(model.last).linearise(drawn[:1, 0])
    end = surfing.direct(model, y, z0=drawn[:, 1], descent=LBFGS(), max_steps=3)
    found = {"signals": y, "jacobian": jacobian, "risk": end.risk}
    return {name: value.cpu() for name, value in found.items()}


def _differences(here: dict[str, Tensor], there: dict[str, Tensor]) -> dict[str, float]:
    return {
        name: float((a - there[name]).abs().max() / a.abs().max().clamp(min=1e-30))
        for name, a in here.items()
    }


def _timed(
    name: str,
    arguments: dict[str, Any],
    method: str,
    count: int,
    device: str,
    *,
    seed: int,
    quick: bool,
    share: float,
) -> dict[str, Any]:
    model, k = model_on(arguments, device), arguments["latent_dim"]
    descent, steps = DESCENTS[method]
    steps = 2 if quick else steps
    block = min(count, _BLOCK.get(method, _SMALLER)[k])
    done, spent, met = 0, 0.0, 0
    relative: list[Tensor] = []
    _run(model, descent, min(block, 64), 2, device, seed=seed)  # kernels are chosen once
    while done < count and spent < share:
        clock = time.perf_counter()
        solution, y = _run(model, descent, block, steps, device, seed=seed + 1 + done)
        spent += time.perf_counter() - clock
        done += block
        met += int(solution.success.sum())
        relative.append((2 * solution.risk).sqrt().cpu() / y.flatten(1).double().norm(dim=1).cpu())
    return {
        "case": name,
        "method": method,
        "targets": count,
        "run": done,
        "steps": steps,
        "seconds": spent * count / done,
        "a_second": done / spent,
        "met": met,
        "relative": float(torch.cat(relative).median()),
        "peak_mib": torch.cuda.max_memory_allocated() / 2**20 if device != "cpu" else None,
    }


def _run(
    model: surfing.ForwardModel,
    descent: AbstractDescent[Any],
    count: int,
    steps: int,
    device: str,
    *,
    seed: int,
) -> tuple[surfing.Solution, Tensor]:
    drawn = model.latent.sample(range(count), 2, seed=seed).to(device)
    y = model.signals(drawn[:, 0])
    solution = surfing.direct(model, y, z0=drawn[:, 1], descent=descent, max_steps=steps)
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return solution, y


def _left_out(name: str, method: str, count: int) -> dict[str, Any]:
    return {"case": name, "method": method, "targets": count, "run": 0}


def table(record: dict[str, Any]) -> Table:
    """A line for each generator, method and number of targets; dashes where time was up."""
    columns = [
        Column("case", "generator", str),
        Column("method", "method", str),
        Column("targets", "targets", lambda v: f"{v:,}"),
        Column("run", "of them run", lambda v: f"{v:,}"),
        Column("seconds", "s for all", measure.or_dash(".3g")),
        Column("a_second", "targets a second", measure.or_dash(".3g")),
        Column("relative", "relative residual", measure.or_dash(".3g")),
        Column("peak_mib", "peak so far, MiB", measure.or_dash(".3g")),
    ]
    worst = {
        rounding: max(
            max(a[n] for n in ("signals", "jacobian"))
            for a in record["agreement"]
            if a["rounding"] == rounding
        )
        for rounding in ("float32", "TF32 convolutions")
    }
    agrees = "agrees with" if worst["float32"] < _TOLERANCE else "DIFFERS FROM"
    note = (
        f"{record['device']}: {agrees} the CPU, largest relative difference {worst['float32']:.1e}"
        f"; {worst['TF32 convolutions']:.1e} where PyTorch may round convolutions to TF32, which "
        "is its default and was switched off here."
    )
    keys = [c.key for c in columns]
    lines = [dict.fromkeys(keys) | line for line in record["lines"]]
    return Table("On an accelerator", columns, tuple(lines), (note,))


if __name__ == "__main__":
    app(result_action="return_none")
