"""What the laws are crossed with: problems, descents and schedules, listed once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

import surfing
from surfing.generator import Generator
from surfing.problem.problem import Problem
from tests.problems import bind

__all__ = ["DESCENTS", "MONOTONE", "PROBLEMS", "SCHEDULES", "Case", "make_problem"]

Operator = Callable[[Tensor], Tensor] | None


def _rows_of(matrix: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: x.flatten(1) @ matrix.to(x.dtype).T


@dataclass(frozen=True)
class Case:
    """One problem: a generator and what measures it."""

    name: str
    generator: Callable[[], nn.Module]
    operator: Callable[[int], Operator]
    k: int


def _tanh() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 20), nn.Tanh(), nn.Linear(20, 16))


def _relu() -> nn.Module:
    return nn.Sequential(
        nn.Linear(3, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 16)
    )


def _conv() -> nn.Module:
    net = nn.Sequential(
        nn.Linear(4, 32),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.Unflatten(1, (8, 2, 2)),
        nn.ConvTranspose2d(8, 4, 4, 2, 1),
        nn.BatchNorm2d(4),
        nn.LeakyReLU(0.1),
        nn.ConvTranspose2d(4, 1, 4, 2, 1),
        nn.Sigmoid(),
    )
    for layer in net:
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.5, 2)
    return net


def _identity(n: int) -> Operator:
    return None


def _sketch(n: int) -> Operator:
    generator = torch.Generator().manual_seed(3)
    return _rows_of(torch.randn(10, n, generator=generator) / 10**0.5)


def _squares(n: int) -> Operator:
    return lambda x: x.flatten(1).square()


PROBLEMS = (
    Case("tanh, all", _tanh, _identity, 3),
    Case("relu, 10 rows", _relu, _sketch, 3),
    Case("conv, all", _conv, _identity, 4),
    Case("conv, squares", _conv, _squares, 4),
)

DESCENTS: dict[str, surfing.AbstractDescent] = {
    "fixed": surfing.GradientDescent(0.01),
    "armijo": surfing.GradientDescent(0.5, search=surfing.Armijo()),
    "negation": surfing.NegationCheck(surfing.GradientDescent(0.5, search=surfing.Armijo())),
    "adam": surfing.TorchOptim(partial(torch.optim.Adam, lr=0.05)),
    "sgd": surfing.TorchOptim(partial(torch.optim.SGD, lr=0.01, momentum=0.5)),
    "lbfgs": surfing.LBFGS(history=5),
    "long lbfgs": surfing.LBFGS(history=30),
    "lm": surfing.LevenbergMarquardt(),
    "broyden": surfing.Broyden(),
    "matrix-free lm": surfing.LevenbergMarquardt(dense_up_to=0),
}

MONOTONE = ("armijo", "negation", "lbfgs", "long lbfgs", "lm", "broyden", "matrix-free lm")

SCHEDULES: dict[str, surfing.AbstractSchedule] = {
    "every": surfing.EveryCheckpoint(),
    "third": surfing.EveryNth(3),
    "drift": surfing.EqualDrift(4),
    "final": surfing.Final(),
    "hand": surfing.Stages((0.5, 2.25)),
}


def make_problem(
    case: Case, targets: int = 5, *, seed: int = 0
) -> tuple[Problem, Tensor, nn.Module]:
    """The problem, its true latents, and the module."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = case.generator()
    truth = surfing.Normal(case.k).sample(range(100, 100 + targets), 1, seed=9)[:, 0]
    trajectory = surfing.Trajectory.from_state_dicts(
        [(0, net.state_dict())], latent=surfing.Normal(case.k)
    )
    with torch.no_grad():
        x = Generator(net).at(net.state_dict())(truth)
    operator = case.operator(x[0].numel())
    y = x if operator is None else operator(x)
    problem = bind(trajectory, y, generator=net, operator=operator, latent=None, operator_seed=0)
    return problem, truth, net
