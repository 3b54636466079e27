"""Batch invariance of one evaluation: values and all derivatives of a row, whoever is beside it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from tests.problems import built
from torch import Tensor, nn

from surfing.continuation import direct
from surfing.descent import TorchOptim
from surfing.errors import InputError
from surfing.latents import Normal
from surfing.problem.forward import BLOCK
from surfing.problem.problem import Problem
from surfing.problem.risk import Risk
from surfing.trajectory import Trajectory

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
    return built(
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
        return x.flatten(1) * (1 + 1e-6 * torch.arange(len(x)).unsqueeze(1))

    problem = _problem(_mlp(3), by_place, 3)
    assert problem.architecture.blocks == (1, 1)
    assert any("row by row" in note for note in problem.notes)


class ScaledByTheBatch(nn.Module):
    """Divides by a largest number of all rows; row `widest` of the law's first latents has it."""

    def __init__(self, k: int, widest: int) -> None:
        super().__init__()
        self.layer = nn.Linear(k, 6)
        top = Normal(k).sample(range(BLOCK), 1, seed=0)[widest, 0]
        self.register_buffer("top", top)

    def forward(self, z: Tensor) -> Tensor:
        x: Tensor = self.layer(z)
        return torch.tanh(x) / torch.exp(-(z - self.top).square().sum(1)).amax()


@pytest.mark.parametrize("widest", [0, 6])
def test_rows_that_share_a_number_are_found_out_whichever_has_it(widest: int) -> None:
    problem = _problem(ScaledByTheBatch(3, widest), None, 3)
    assert problem.architecture.blocks == (1, 1)


def test_a_generator_that_needs_a_batch_is_refused() -> None:
    net = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6, track_running_stats=False))
    with pytest.raises(InputError, match="statistics of a batch"):
        _problem(net, None, 3)


class Attending(nn.Module):
    """Attention, whose fused kernel has no second derivative."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Linear(3, 8)
        self.mixing = nn.MultiheadAttention(4, 1, batch_first=True)

    def forward(self, z: Tensor) -> Tensor:
        tokens = self.into(z).reshape(len(z), 2, 4)
        x: Tensor = self.mixing(tokens, tokens, tokens)[0]
        return x.flatten(1)


def test_products_that_nobody_needs_don_t_stand_in_the_way() -> None:
    torch.manual_seed(0)
    net = Attending().eval()
    with torch.no_grad():
        y = net(Normal(3).sample(range(4), 1, seed=9)[:, 0])
    trajectory = Trajectory.from_state_dicts([(0, net.state_dict())], latent=Normal(3))
    told = direct(trajectory, y, generator=net, batch_invariant=True, max_steps=1)
    alone = direct(trajectory, y[2:3], generator=net, batch_invariant=True, max_steps=1, ids=[2])
    assert told.z[2:3].equal(alone.z)


def test_optimisers_whose_bits_depend_on_the_batch_are_refused() -> None:
    net = _mlp(5)
    trajectory = Trajectory.from_state_dicts([(0, net.state_dict())], latent=Normal(5))
    solve = partial(direct, trajectory, torch.zeros(2, 18), generator=net, batch_invariant=True)
    with pytest.raises(InputError, match="fused"):
        solve(descent=TorchOptim(partial(torch.optim.Adam, lr=0.05, fused=True)), max_steps=2)
    assert len(solve(descent=TorchOptim(partial(torch.optim.Adam, lr=0.05)), max_steps=2)) == 2


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
