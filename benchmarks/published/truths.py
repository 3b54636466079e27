"""The two published true models, which our generator has not made.

``python -m benchmarks.published.truths RUN DATA --out docs/records/published-truths.json``

DATA holds ``gpr-truth-1.npz`` and ``gpr-truth-2.npz`` of the companion code of Laloy et al. 2019.
The published travel times are used as they are, in the published order of cells. Writes a picture
beside the record as well.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.measure import environment, write_record
from benchmarks.published.tomography import Scouted, outcome, survey_of

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("run", help="directory of the trajectory")
    parser.add_argument("data", help="folder of gpr-truth-1.npz and gpr-truth-2.npz")
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--starts", type=int, default=12)
    parser.add_argument("--seed", type=int, default=2019)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", default="published-truths.json")
    parser.add_argument("--picture", default="truths.png")
    options = parser.parse_args(arguments)
    began, before = time.perf_counter(), environment()
    truth, times = _published(Path(options.data))
    survey, _ = survey_of(
        options.run, 2, binary=False, seed=options.seed, as_published=True, device=options.device
    )
    survey = replace(survey, y=times.to(survey.y))
    search = Scouted(options.draws, options.starts)
    answer = search(survey, survey.rays())
    line: dict[str, Any] = outcome(survey, answer, truth.to(survey.y))
    with torch.no_grad():
        x = survey.generator(answer.z)
        misfit = (survey.rays_once(x) - survey.y).square().mean(-1).sqrt()
        own = (survey.rays_once(truth.to(x)) - survey.y).square().mean(-1).sqrt()
    wrong = ((x >= 0.5) != (truth.to(x) >= 0.5)).float().mean((1, 2, 3))
    _picture(truth, x.cpu(), misfit, wrong, Path(options.picture))
    record = {
        "settings": {"draws": options.draws, "starts": options.starts, "seed": options.seed},
        "environment": before,
        "seconds": time.perf_counter() - began,
        "misfit_ns": misfit,
        "misfit_of_truth_ns": own,
        "wrong_cells": wrong,
        "cost": line["cost"],
    }
    write_record(options.out, record)
    print(f"misfit {misfit.tolist()}, of the truths {own.tolist()}, wrong cells {wrong.tolist()}")


def _published(folder: Path) -> tuple[Tensor, Tensor]:
    fields, times = [], []
    for number in (1, 2):
        with np.load(folder / f"gpr-truth-{number}.npz") as kept:
            fields.append(kept["m_true_cont"])
            times.append(kept["d_cont"])
    return torch.from_numpy(np.stack(fields))[:, None].float(), torch.from_numpy(np.stack(times))


def _picture(truth: Tensor, found: Tensor, misfit: Tensor, wrong: Tensor, path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(6, 3.4))
    for number in (0, 1):
        titles = (f"truth {number + 1}", f"{float(misfit[number]):.2f} ns, "
                  f"{100 * float(wrong[number]):.0f}% wrong")  # fmt: skip
        for axis, field, title in zip(axes[2 * number :], (truth, found), titles):
            axis.imshow(field[number, 0].numpy(), cmap="gray", vmin=0, vmax=1)
            axis.set_title(title, fontsize=8)
            axis.axis("off")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    plt.close(figure)


if __name__ == "__main__":
    main()
