"""Levenberg-Marquardt without J'J: the same laws, by products alone."""

from __future__ import annotations

import pytest
import torch
from tests.problems import built
from tests.reverse_only import twice
from torch import Tensor, nn

from surfing.architectures import mlp_generator
from surfing.descent import LevenbergMarquardt, Stopping, minimise
from surfing.descent.conjugate_gradients import conjugate_gradients
from surfing.errors import InputError
from surfing.latents import Normal
from surfing.problem.problem import Problem
from surfing.solution import Status

K, ROWS = 6, 4
FREE = LevenbergMarquardt(dense_up_to=0)

# torch's own forward mode says so of torch itself.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:FutureWarning")


OPERATORS = {
    "identity": None,
    "nonlinear": lambda x: x.flatten(1).square(),
    "reverse mode alone": lambda x: twice(x.flatten(1)),
}


def _problem(operator: object = None, k: int = K, **sizes: int) -> tuple[Problem, nn.Module]:
    torch.manual_seed(0)
    net = mlp_generator(latent_dim=k, **{"hidden": 32, "image_size": 6} | sizes).double()
    state = {n: 2 * t if n.endswith("weight") else t for n, t in net.state_dict().items()}
    net.load_state_dict(state)
    with torch.no_grad():
        x = net(Normal(k).sample(range(ROWS), 1, seed=1)[:, 0].double())
        y = x if operator is None else operator(x)  # type: ignore[operator]
    return built(net, net.state_dict(), y, latent=Normal(k), operator=operator), net  # type: ignore[arg-type]


def _start(k: int = K) -> Tensor:
    return Normal(k).sample(range(ROWS), 1, seed=2)[:, 0].double()


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("reg", [None, 0.3])
def test_a_product_is_jjv(name: str, reg: float | None) -> None:
    problem, net = _problem(OPERATORS[name])
    weight = None if reg is None else torch.full((ROWS,), reg, dtype=torch.float64)
    owner = torch.arange(ROWS)
    risk = problem.risk(net.state_dict(), owner, reg=weight)
    z, v = _start(), torch.randn(ROWS, K, dtype=torch.float64)
    dense = (risk.quadratic(z, owner).hessian @ v.unsqueeze(-1)).squeeze(-1)
    before = risk.meter.spent.clone()
    torch.testing.assert_close(risk.curvature_product(z, owner, v), dense, rtol=1e-10, atol=1e-12)
    reverse = name == "reverse mode alone"
    assert (risk.meter.spent - before).tolist() == [7.0 if reverse else 4.0] * ROWS
    assert bool(problem.architecture.notes) is reverse


def test_the_fall_back_is_noted_by_the_product_itself() -> None:
    problem, net = _problem(OPERATORS["reverse mode alone"])
    risk = problem.risk(net.state_dict(), torch.arange(ROWS))
    risk.curvature_product(_start(), torch.arange(ROWS), _start())
    assert len(problem.architecture.notes) == 1
    assert "7 passes" in problem.architecture.notes[0]


def test_conjugate_gradients_solve_each_row_and_spare_those_that_are_done() -> None:
    rng = torch.Generator().manual_seed(0)
    root = torch.randn(3, K, K, dtype=torch.float64, generator=rng)
    matrix, right = root @ root.mT, torch.randn(3, K, dtype=torch.float64, generator=rng)
    right[1] = 0  # solved before it begins
    right[2] = torch.nan
    asked: list[int] = []

    def product(at: Tensor, v: Tensor) -> Tensor:
        asked.extend(at.tolist())
        return (matrix[at] @ v.unsqueeze(-1)).squeeze(-1)

    shift = torch.tensor([0.5, 0.5, 0.5], dtype=torch.float64)
    d, residual = conjugate_gradients(product, right, shift, tolerance=1e-10, max_steps=50)
    eye = torch.eye(K, dtype=torch.float64)
    expected = torch.linalg.solve(matrix[0] + 0.5 * eye, right[0])
    torch.testing.assert_close(d[0], expected, rtol=1e-8, atol=1e-8)
    assert residual[0].norm() <= 1e-10 * right[0].norm()
    assert d[1].abs().max() == 0
    assert set(asked) == {0}


def test_it_comes_to_what_the_dense_form_comes_to() -> None:
    problem, net = _problem()
    # Truncated steps converge linearly, so a short one is not yet an end.
    stopping = Stopping(rtol=1e-9, xtol=0.0, ftol=0.0)
    ends = []
    for descent in (LevenbergMarquardt(), FREE):
        risk = problem.risk(net.state_dict(), torch.arange(ROWS))
        ends.append(minimise(risk, _start(), descent, max_steps=100, stopping=stopping))
    assert [end.status.tolist() for end in ends] == [[int(Status.SOLVED)] * ROWS] * 2
    torch.testing.assert_close(ends[0].z, ends[1].z, rtol=0, atol=1e-7)


def test_risk_never_rises_and_rows_are_independent() -> None:
    problem, net = _problem()
    rows = torch.arange(ROWS)
    risk = problem.risk(net.state_dict(), rows)
    state = FREE.init(risk, _start(), rows)
    alone_risk = problem.risk(net.state_dict(), rows)
    alone = FREE.init(alone_risk, _start()[2:3], rows[2:3])
    for _ in range(8):
        before = state.value
        state, alone = FREE.step(risk, state), FREE.step(alone_risk, alone)
        assert bool((state.value <= before).all())
        torch.testing.assert_close(state.z[2:3], alone.z, rtol=1e-8, atol=1e-8)
    assert risk.meter.spent[2] == alone_risk.meter.spent[2]


def test_the_meter_counts_gradient_products_and_trial() -> None:
    problem, net = _problem()
    rows = torch.arange(ROWS)
    risk = problem.risk(net.state_dict(), rows)
    exact = LevenbergMarquardt(dense_up_to=0, inner_steps=2, inner_tolerance=1e-12)
    state = exact.init(risk, _start(), rows)
    assert risk.meter.spent.tolist() == [3.0 + 4.0] * ROWS  # a gradient, the first damping
    state = exact.step(risk, state)
    assert risk.meter.spent.tolist() == [7.0 + 2 * 4 + 1] * ROWS
    spent, stale = risk.meter.spent.clone(), state.stale
    exact.step(risk, state)
    assert (risk.meter.spent - spent).tolist() == (2 * 4 + 1 + 3.0 * stale).tolist()
    assert bool((risk.meter.spent - spent <= exact.max_step_cost(risk)).all())


def test_many_latents_take_no_matrix() -> None:
    problem, net = _problem(k=512, hidden=512, image_size=24)
    risk = problem.risk(net.state_dict(), torch.arange(ROWS))
    lm = LevenbergMarquardt()
    state = lm.init(risk, _start(512), torch.arange(ROWS))
    assert state.hessian is None
    assert lm.curvature(state) is None
    end = minimise(risk, _start(512), lm, max_steps=5)
    assert bool((end.value < state.value / 2).all())
    assert end.curvature is None


@pytest.mark.parametrize(
    "wrong", [{"dense_up_to": -1}, {"inner_steps": 0}, {"inner_tolerance": 1.0}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="inner_tolerance"):
        LevenbergMarquardt(**wrong)  # type: ignore[arg-type]
