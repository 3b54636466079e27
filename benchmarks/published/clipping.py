"""Stochastic clipping: what leaves the box is drawn anew, against projection onto the box.

``python -m benchmarks.published.clipping RUN --out docs/records/clipping.json``

RUN is a trajectory with a uniform law, as ``surfing train dcgan --law uniform`` leaves one. All
pixels are measured; Adam, one start; then LM from where Adam ended, since 2,000 steps leave many
short of it. Success: ||z - z*|| < .01.

Source: Lipton & Tripathi 2017, "Precise recovery of latent vectors from generative adversarial
networks" (arXiv 1702.04782): 100 per cent of 1,000 with stochastic clipping.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import surfing
from benchmarks.cells import open_generator
from benchmarks.measure import environment, wilson, write_record
from benchmarks.published.laloy import StochasticAdam

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("run", help="directory of a trajectory with a uniform law on [-1, 1]")
    parser.add_argument("--targets", type=int, default=100)
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=2017)
    parser.add_argument("--out", default="clipping.json")
    options = parser.parse_args(arguments)
    trajectory, before = surfing.Trajectory.open(options.run), environment()
    law = trajectory.latent
    if not isinstance(law, surfing.Uniform) or (law.low, law.high) != (-1, 1):
        raise SystemExit(f"RUN: expected a uniform law on [-1, 1], got {law!r}.")
    net = open_generator(trajectory)
    drawn = law.sample(range(options.targets), 2, seed=options.seed)
    truth, starts = drawn[:, 0], drawn[:, 1]
    y = net(truth).flatten(1)
    lines: list[dict[str, Any]] = []
    for clip in ("redraw", "project"):
        search = StochasticAdam(options.rate, options.iterations, clip)
        began = time.perf_counter()
        floor = 1e-10 * float(y.square().sum(1).mean())
        found = search(lambda z: net(z).flatten(1), y, starts, floor)
        solution = surfing.direct(
            trajectory, y.view(-1, *net(truth[:1]).shape[1:]), generator=net, z0=found.z[:, None]
        )
        for stage, z in (("Adam", found.z), ("Adam, then LM", solution.z)):
            count = int(((z - truth).norm(dim=1) < 0.01).sum())
            lines.append({"clip": clip, "stage": stage, "targets": len(z), "recovered": count,
                          "interval": wilson(count, len(z)), "cost": float(found.cost.mean()),
                          "seconds": time.perf_counter() - began})  # fmt: skip
            print(f"{clip}, {stage}: {count} of {len(z)}", flush=True)
    settings = {key: value for key, value in vars(options).items() if key not in ("run", "out")}
    about = {"architecture": trajectory.architecture, "steps": trajectory.steps[-1]}
    write_record(
        options.out,
        {"settings": settings, "trajectory": about, "environment": before, "lines": lines},
    )


if __name__ == "__main__":
    main()
