"""Whatever is public says what it is, in one short line."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import surfing

SIMPLE: dict[str, Callable[[], Any]] = {
    "Armijo": surfing.Armijo,
    "Attempt": lambda: surfing.Attempt(
        "mine", surfing.Scouting(20), (surfing.Rung(3, 10, 1e-2), surfing.Rung(1, 50))
    ),
    "Broyden": surfing.Broyden,
    "ByDrift": lambda: surfing.ByDrift(0.1),
    "Constant": surfing.Constant,
    "EqualDrift": lambda: surfing.EqualDrift(10),
    "Every": lambda: surfing.Every(100),
    "EveryCheckpoint": surfing.EveryCheckpoint,
    "EveryNth": lambda: surfing.EveryNth(2),
    "Final": surfing.Final,
    "GradientDescent": surfing.GradientDescent,
    "Huber": surfing.Huber,
    "LBFGS": surfing.LBFGS,
    "LevenbergMarquardt": surfing.LevenbergMarquardt,
    "Linearisation": surfing.Linearisation,
    "LogSpaced": surfing.LogSpaced,
    "NegationCheck": lambda: surfing.NegationCheck(surfing.GradientDescent(0.5)),
    "Normal": lambda: surfing.Normal(20),
    "Poisson": lambda: surfing.Poisson(2.0),
    "Population": surfing.Population,
    "QuadraticSpaced": lambda: surfing.QuadraticSpaced(12_000),
    "RegionDescent": lambda: surfing.RegionDescent(tau=0.1),
    "Rung": lambda: surfing.Rung(3, 10),
    "Scouting": lambda: surfing.Scouting(20),
    "Secant": surfing.Secant,
    "Stages": lambda: surfing.Stages([0, 1.5, 3]),
    "Status": lambda: surfing.Status.SOLVED,
    "StepControl": surfing.StepControl,
    "Stopping": surfing.Stopping,
    "StudentT": surfing.StudentT,
    "Tangent": surfing.Tangent,
    "TorchOptim": lambda: surfing.TorchOptim(partial(torch.optim.Adam, lr=0.05)),
    "Uniform": lambda: surfing.Uniform(20, -1, 1),
}
OF_A_RUN = (
    *("Checkpoint", "Draws", "DrawsStatus", "ForwardModel", "LearnedStarts"),
    *("Recorder", "Solution", "StageRecord", "Trajectory"),
)
LONGEST = 240


def public() -> list[str]:
    """Classes that people make or get."""
    named = {name: getattr(surfing, name) for name in surfing.__all__}
    return sorted(
        name
        for name, value in named.items()
        if isinstance(value, type)
        and not issubclass(value, Exception)
        and not inspect.isabstract(value)
        and not getattr(value, "_is_protocol", False)
        and not name.startswith("Abstract")
    )


def test_there_is_an_example_of_everything() -> None:
    assert set(public()) <= {*SIMPLE, *OF_A_RUN}


@pytest.mark.parametrize("name", sorted(SIMPLE))
def test_parts_say_their_settings(name: str) -> None:
    told = repr(SIMPLE[name]())
    assert name in told
    plain(told)


def test_what_a_run_gives_says_what_it_is(
    path: surfing.Trajectory, net: nn.Module, y: Tensor, tmp_path: Path
) -> None:
    model = surfing.ForwardModel(path, generator=net)
    solution = surfing.recover(model, y, budget=300)
    said = {
        "Checkpoint": repr(path[-1]),
        "ForwardModel": repr(model),
        "LearnedStarts": repr(surfing.learn(model, 100)),
        "StageRecord": repr(solution.stages[-1]),
        "Trajectory": repr(path),
    }
    with surfing.Recorder(tmp_path, net, latent=surfing.Normal(3), every=2) as recorder:
        said["Recorder"] = repr(recorder)
    for name, told in said.items():
        assert told.startswith(f"{name}("), told
        plain(told)
    assert "12 targets" in said["StageRecord"]
    assert repr(solution).startswith("recover: 12 targets")
    assert len(repr(solution).splitlines()) <= 12


def plain(told: str) -> None:
    """One line without an address or a tensor's numbers."""
    assert len(told.splitlines()) == 1
    assert len(told) <= LONGEST, told
    assert " at 0x" not in told
    assert "tensor(" not in told
