"""Batch invariance of one evaluation: values and all derivatives of a row, whoever is beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from surfing.errors import InputError
from surfing.latents import Normal
from surfing.problem.problem import Problem
from surfing.problem.risk import Risk

ROWS = 37


class Untraced(nn.Module):
    """Left to torch.func: control flow that depends on the input."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(k, 30), nn.SiLU(), nn.Linear(30, 18))

    def forward(self, z: Tensor) -> Tensor:
        x: Tensor = self.layers(z)
        return x if x.isfinite().all() else x.detach()


def _mlp(k: int) -> nn.Module:
    return nn.Sequential(nn.Linear(k, 27), nn.Softplus(), nn.Linear(27, 18), nn.Sigmoid())


def _conv(k: int) -> nn.Module:
    return nn.Sequential(
        *(nn.Linear(k, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Unflatten(1, (8, 2, 2))),
        *(nn.ConvTranspose2d(8, 6, 4, 2, 1), nn.BatchNorm2d(6), nn.LeakyReLU(0.1)),
        *(nn.ConvTranspose2d(6, 1, 4, 2, 1), nn.Sigmoid()),
    )


class FirstFour(torch.autograd.Function):
    """Has a backward, and no forward mode."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        return x.flatten(1)[:, :4] * 2

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        whole = grads[0].new_zeros(ctx.shape)
        whole.flatten(1)[:, :4] = grads[0] * 2
        return whole


OPERATORS: dict[str, Callable[[Tensor], Tensor] | None] = {
    "identity": None,
    "intensities": lambda x: (x.flatten(1)[:, :9] - 0.2).square(),
    "reverse mode only": lambda x: FirstFour.apply(x),  # type: ignore[no-untyped-call]
}


def _problem(net: nn.Module, operator: Callable[[Tensor], Tensor] | None, k: int) -> Problem:
    net.eval()
    measure = operator or (lambda x: x)
    with torch.no_grad():
        y = measure(net(Normal(k).sample(range(ROWS), 1, seed=9)[:, 0]))
    return Problem.build(
        net, net.state_dict(), y, latent=Normal(k), operator=operator, batch_invariant=True
    )


def _evaluations(risk: Risk, z: Tensor, rows: Tensor) -> list[Tensor]:
    model = risk.quadratic(z, rows)
    return [
        risk.value(z, rows),
        *risk.gradient(z, rows),
        *(model.value, model.gradient, model.hessian),
        risk.curvature_product(z, rows, z.double()),
    ]


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("k", [5, 10])
@pytest.mark.parametrize("make", [_mlp, _conv, Untraced])
def test_no_bit_of_a_row_depends_on_the_others(
    make: Callable[[int], nn.Module], k: int, operator: str
) -> None:
    torch.manual_seed(k)
    net = make(k)
    problem = _problem(net, OPERATORS[operator], k)
    everybody = torch.arange(ROWS)
    risk = problem.risk(net.state_dict(), everybody, reg=torch.full((ROWS,), 0.1).double())
    z = problem.latent.sample(range(ROWS), 1, seed=1)[:, 0]
    _evaluations(risk, z[:1], everybody[:1])  # notes whether there is a forward mode
    whole = _evaluations(risk, z, everybody)
    for rows in (everybody.flip(0), everybody[36:], everybody[4:7], everybody[5:13]):
        for found, expected in zip(_evaluations(risk, z[rows], rows), whole, strict=True):
            assert found.equal(expected[rows])
    assert problem.signals(net.state_dict(), z[3:5]).equal(
        problem.signals(net.state_dict(), z, block=11)[3:5]
    )


def test_where_blocks_are_not_enough_rows_are_taken_one_by_one_and_a_note_says_so() -> None:
    def by_place(x: Tensor) -> Tensor:
        return x.flatten(1) * (1 + 1e-3 * torch.arange(len(x)).unsqueeze(1))

    problem = _problem(_mlp(3), by_place, 3)
    assert problem.architecture.blocks == (1, 1)
    assert any("row by row" in note for note in problem.notes)


def test_a_generator_that_draws_random_numbers_is_refused() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 6)

        def forward(self, z: Tensor) -> Tensor:
            x: Tensor = self.layer(z)
            return x + torch.rand_like(x)

    with pytest.raises(InputError, match="random numbers"):
        _problem(Noisy(), None, 3)
