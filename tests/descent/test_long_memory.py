"""L-BFGS with a hundred pairs: the same directions by other products, and an end of its own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import surfing
from surfing.descent import lbfgs, minimise
from surfing.solution import Status


def state_of(held: list[list[bool]], k: int, *, seed: int = 0) -> lbfgs._State:
    """Pairs of a convex quadratic, of which each row holds some."""
    rng = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    root, (r, h) = drawn(k, k), (len(held), len(held[0]))
    s, nothing = drawn(r, h, k), torch.zeros(r)
    y = s @ (root @ root.T / k + torch.eye(k, dtype=torch.float64))
    products = (s @ y.mT).triu()
    return lbfgs._State(
        rows=torch.arange(r),
        z=drawn(r, k),
        value=nothing,
        step_norm=nothing,
        predicted_decrease=nothing,
        failed=nothing > 0,
        gradient=drawn(r, k),
        s=s,
        y=y,
        held=torch.tensor(held),
        products=products,
        before=None,
    )


def test_products_of_matrices_are_the_two_loop_recursion() -> None:
    """For rows that hold all pairs, some of the latest, one, and none."""
    state = state_of(
        [[True] * 20, [False] * 8 + [True] * 12, [False] * 19 + [True], [False] * 20], 30
    )
    assert state.products is not None
    expected = lbfgs._two_loop(state)
    torch.testing.assert_close(lbfgs._compact(state, state.products), expected)
    torch.testing.assert_close(expected[3], state.gradient[3])


def quadratic(k: int, rows: int) -> tuple[surfing.problem.Risk, Tensor]:
    """A narrow valley: singular values from 1 to a hundredth."""
    torch.manual_seed(0)
    net = torch.nn.Linear(k, k, bias=False)
    with torch.no_grad():
        left = torch.linalg.qr(torch.randn(k, k)).Q
        net.weight.copy_(left * torch.logspace(0, -2, k))
    path = surfing.Trajectory.from_state_dicts([(0, net.state_dict())], latent=surfing.Normal(k))
    model = surfing.ForwardModel(path, generator=net)
    with torch.no_grad():
        y = net(torch.randn(rows, k))
    return model.problem(y).risk(model.last, torch.arange(rows)), torch.zeros(rows, k)


def test_a_longer_memory_takes_fewer_steps() -> None:
    risk, z = quadratic(60, 3)
    enough = surfing.Stopping(rtol=1e-3)
    few, many = (
        minimise(risk, z, surfing.LBFGS(history=h), max_steps=2000, stopping=enough)
        for h in (5, 100)
    )
    assert bool((many.status == int(Status.SOLVED)).all())
    assert int(many.steps.sum()) < 0.7 * int(few.steps.sum())


def test_rows_do_not_meet() -> None:
    """Each ends where it ends alone, as far as rounding lets it."""
    risk, z = quadratic(60, 3)
    together = minimise(risk, z, surfing.LBFGS(history=100), max_steps=40)
    for row in range(3):
        alone = minimise(
            risk,
            z[row : row + 1],
            surfing.LBFGS(history=100),
            max_steps=40,
            rows=torch.tensor([row]),
        )
        torch.testing.assert_close(alone.value[0], together.value[row], rtol=1e-2, atol=1e-9)


@pytest.mark.parametrize("history", [20, 100])
def test_steps_that_bring_nothing_are_the_end(history: int) -> None:
    """y can't be met: f falls to its floor and stays there; a short memory goes on and on."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 30), torch.nn.Tanh(), torch.nn.Linear(30, 40))
    path = surfing.Trajectory.from_state_dicts([(0, net.state_dict())], latent=surfing.Normal(4))
    model = surfing.ForwardModel(path, generator=net)
    risk = model.problem(torch.randn(3, 40)).risk(model.last, torch.arange(3))
    stopping = surfing.Stopping(xtol=0, ftol=1e-2)
    end = minimise(
        risk, torch.zeros(3, 4), surfing.LBFGS(history=history), max_steps=3000, stopping=stopping
    )
    assert int(end.steps.max()) < 1000
    finished = (end.status == int(Status.CONVERGED)) | (end.status == int(Status.STALLED))
    assert bool(finished.all())
