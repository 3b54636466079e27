"""Half precision on a CPU: what it saves, and what it costs in the answer.

``python -m benchmarks.half``: a deep generator of 3x64x64 with k = 100 and random weights. A
generator whose weights are kept in half precision is brought to single precision before anything is
computed. Told are the time that a forward and a gradient take computed in half precision, the bytes
of the weights, how far its signals are from those of single precision with the same weights, and
the residual to which `recover` comes: on signals computed in single precision, and in half.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from cyclopts import App
from torch import Tensor, nn

import surfing
from benchmarks import measure
from surfing.architectures import build_generator
from surfing.report import Column, Table

__all__ = ["main", "table"]

app = App(help=__doc__)

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@app.default
def main(
    *,
    out: Path = Path("docs/records/half.json"),
    targets: int = 8,
    image_size: int = 64,
    budget: float = 600,
    repeats: int = 5,
) -> dict[str, Any]:
    """Measure, write the record and print its table.

    Args:
        out: the record.
        targets: rows of a batch, and of `recover`.
        image_size: of the signals.
        budget: of `recover`.
        repeats: of each timing, of which the least counts.
    """
    torch.set_num_threads(1)
    record: dict[str, Any] = {"benchmark": "half precision"} | measure.environment()
    record |= {"targets": targets, "budget": budget, "lines": []}
    for name, dtype in DTYPES.items():
        line = {"dtype": name} | _measured(dtype, targets, image_size, budget, repeats)
        print(line, file=sys.stderr, flush=True)
        record["lines"].append(line)
    measure.write_record(out, record)
    measure.show(out, table(record))
    return record


def _measured(
    dtype: torch.dtype, targets: int, size: int, budget: float, repeats: int
) -> dict[str, Any]:
    torch.manual_seed(0)
    net = build_generator("deep", latent_dim=100, image_size=size).train()
    with torch.no_grad():
        for _ in range(20):  # batch norm sees samples
            net(torch.randn(32, 100))
    kept = net.eval().requires_grad_(False).to(dtype)
    z = torch.randn(targets, 100)
    wide = build_generator("deep", latent_dim=100, image_size=size).eval()
    wide.load_state_dict(
        {n: t.float() if t.is_floating_point() else t for n, t in kept.state_dict().items()}
    )
    with torch.no_grad():
        x, rounded = wide(z), kept(z.to(dtype)).float()
    path = surfing.Trajectory.from_state_dicts([(0, kept.state_dict())], latent=surfing.Normal(100))
    model = surfing.ForwardModel(path, generator=kept)

    def relative(y: Tensor) -> float:
        risk = surfing.recover(model, y, budget=budget).risk
        return float(((2 * risk).sqrt() / y.flatten(1).double().norm(dim=1)).median())

    return {
        "mib": sum(t.nbytes for t in kept.state_dict().values()) / 2**20,
        "forward_ms": _least(lambda: kept(z.to(dtype)), repeats) / targets,
        "gradient_ms": _least(lambda: _gradient(kept, z.to(dtype)), repeats) / targets,
        "rounding": float(
            ((rounded - x).flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1)).median()
        ),
        "relative": relative(x),
        "relative_rounded": relative(rounded),
    }


def _gradient(net: nn.Module, z: Tensor) -> None:
    leaf = z.clone().requires_grad_()
    net(leaf).float().square().sum().backward()


def _least(call: Callable[[], Any], repeats: int) -> float:
    times = []
    for _ in range(repeats + 1):
        clock = time.process_time()
        call()
        times.append(time.process_time() - clock)
    return 1e3 * min(times[1:])


def table(record: dict[str, Any]) -> Table:
    """A line for each precision."""

    def small(value: float) -> str:
        return f"{value:.1e}"

    def fine(value: float) -> str:
        return f"{value:.2f}"

    columns = [
        Column("dtype", "weights", str),
        Column("mib", "MiB", lambda v: f"{v:.1f}"),
        Column("forward_ms", "forward in it, ms a row", fine),
        Column("gradient_ms", "gradient in it, ms a row", fine),
        Column("rounding", "its rounding of a signal", small),
        Column("relative", "recover, signals of float32", small),
        Column("relative_rounded", "recover, signals of its own", small),
    ]
    note = (
        "recover computes in float32 whatever the weights are kept in; medians of relative norms."
    )
    return Table("Half precision", columns, tuple(record["lines"]), (note,))


if __name__ == "__main__":
    app(result_action="return_none")
