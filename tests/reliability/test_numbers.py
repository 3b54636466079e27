"""Numbers that break things: each target gets a status, or the call one clear error."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import surfing
from surfing import (
    Armijo,
    GradientDescent,
    LevenbergMarquardt,
    Normal,
    Solution,
    Status,
    TorchOptim,
    Trajectory,
)
from surfing.errors import InputError, MeasurementError, RecoveryError, SurfingError

TARGETS = 4


class Scaled(nn.Module):
    """c W z + c b: a generator of any scale, or constant along some latents."""

    def __init__(self, k: int, n: int, *, scale: float = 1.0, alive: int | None = None) -> None:
        super().__init__()
        self.layer = nn.Linear(k, n)
        with torch.no_grad():
            self.layer.weight[:, k if alive is None else alive :] = 0
            self.layer.weight *= scale
            self.layer.bias *= scale

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.layer(z)
        return out


class Root(nn.Module):
    """sqrt(W z): NaN wherever a coordinate of W z is negative."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(3))

    def forward(self, z: Tensor) -> Tensor:
        return (z @ self.weight).sqrt()


class Constant(nn.Module):
    """The same signal for every z."""

    def __init__(self) -> None:
        super().__init__()
        self.signal = nn.Parameter(torch.linspace(0, 1, 5))

    def forward(self, z: Tensor) -> Tensor:
        return self.signal.expand(len(z), 5)


def mlp(k: int = 3, n: int = 12) -> nn.Sequential:
    return nn.Sequential(nn.Linear(k, 16), nn.LeakyReLU(0.2), nn.Linear(16, n))


def made(kind: Callable[..., nn.Module], *arguments: Any, **options: Any) -> nn.Module:
    torch.manual_seed(1)
    return kind(*arguments, **options).eval().requires_grad_(False)


def grown(net: nn.Module, k: int) -> Trajectory:
    """Three stages on a straight line from a third of the weights."""
    final = net.state_dict()
    scaled = ({n: t * (i / 3) for n, t in final.items()} for i in (1, 2, 3))
    return Trajectory.from_state_dicts(enumerate(scaled), latent=Normal(k))


def own_signals(net: nn.Module, k: int, targets: int = TARGETS) -> Tensor:
    with torch.no_grad():
        x: Tensor = net(Normal(k).sample(range(targets), 1, seed=9)[:, 0])
    return x


Method = Callable[..., Solution]
METHODS: dict[str, Method] = {
    "surf": partial(surfing.surf, starts=2),
    "direct": partial(surfing.direct, starts=2, descent=LevenbergMarquardt()),
    "adam": partial(
        surfing.direct,
        starts=2,
        max_steps=20,
        descent=TorchOptim(partial(torch.optim.Adam, lr=0.05)),
    ),
    "recover": partial(surfing.recover, budget=200),
}
each_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
takes_starts = pytest.mark.parametrize(
    "method",
    [m for n, m in METHODS.items() if n != "recover"],
    ids=[n for n in METHODS if n != "recover"],
)
"""recover draws its own."""
needs_no_adam = pytest.mark.parametrize(
    "method", [METHODS[n] for n in ("surf", "direct", "recover")], ids=["surf", "direct", "recover"]
)


@pytest.fixture(autouse=True)
def torch_warns_of_its_own() -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit\.script.*")
        yield


@dataclass(frozen=True)
class Case:
    net: nn.Module
    k: int
    y: Tensor
    operator: Any = None

    def solve(self, method: Method, **options: Any) -> Solution:
        arguments = {"generator": self.net, "operator": self.operator} | options
        return method(grown(self.net, self.k), arguments.pop("y", self.y), **arguments)


NET = made(mlp)
RANK_ONE = torch.outer(torch.ones(6), torch.eye(12)[0])
HALF = made(lambda: mlp().half())
BRAIN = made(lambda: mlp().bfloat16())
POISONED = made(mlp)
POISONED[0].weight[0, 0] = torch.nan  # type: ignore[index]

CASES = {
    "plain": Case(NET, 3, own_signals(NET, 3)),
    "zeros": Case(NET, 3, torch.zeros(TARGETS, 12)),
    "huge-y": Case(NET, 3, own_signals(NET, 3) * 1e30),
    "tiny-y": Case(NET, 3, own_signals(NET, 3) * 1e-30),
    "largest-y": Case(NET, 3, torch.full((TARGETS, 12), 3e38)),
    "constant": Case(made(Constant), 3, torch.randn(TARGETS, 5)),
    "dead": Case(made(Scaled, 3, 8, alive=2), 3, own_signals(made(Scaled, 3, 8, alive=2), 3)),
    "one-latent": Case(made(mlp, 1, 4), 1, own_signals(made(mlp, 1, 4), 1)),
    "few-measurements": Case(made(mlp, 5, 2), 5, own_signals(made(mlp, 5, 2), 5)),
    "rank-one": Case(NET, 3, own_signals(NET, 3) @ RANK_ONE.T, lambda x: x @ RANK_ONE.T),
    "zero-operator": Case(NET, 3, torch.ones(TARGETS, 6), lambda x: 0 * x[:, :6]),
    "zero-by-zero": Case(NET, 3, torch.zeros(TARGETS, 6), lambda x: 0 * x[:, :6]),
    "huge-operator": Case(NET, 3, own_signals(NET, 3) * 1e30, lambda x: x * 1e30),
    "huge": Case(made(Scaled, 3, 8, scale=1e30), 3, own_signals(made(Scaled, 3, 8, scale=1e30), 3)),
    "tiny": Case(
        made(Scaled, 3, 8, scale=1e-30), 3, own_signals(made(Scaled, 3, 8, scale=1e-30), 3)
    ),
    "root": Case(made(Root), 3, torch.rand(TARGETS, 3) + 0.5),
    "nan-weights": Case(POISONED, 3, torch.ones(TARGETS, 12)),
    "half": Case(HALF, 3, own_signals(made(lambda: mlp().half()).float(), 3)),
    "brain": Case(BRAIN, 3, own_signals(made(lambda: mlp().bfloat16()).float(), 3)),
    "double": Case(made(lambda: mlp().double()), 3, own_signals(NET, 3).double()),
    "duplicated": Case(NET, 3, own_signals(NET, 3, 1).repeat(TARGETS, 1)),
    "one-target": Case(NET, 3, own_signals(NET, 3, 1)),
    "no-target": Case(NET, 3, torch.zeros(0, 12)),
}
SOLVABLE = ("plain", "half", "brain", "double", "duplicated", "one-target", "huge", "tiny")


@each_method
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_target_has_a_status_that_its_numbers_bear_out(case: Case, method: Method) -> None:
    solution = case.solve(method)
    assert len(solution) == len(case.y)
    assert solution.z.shape == (len(case.y), case.k)
    assert bool(torch.isfinite(solution.z).all())
    lost = solution.status == int(Status.NONFINITE)
    if bool(torch.isfinite(case.y).all()) and case.operator is None:
        assert bool(torch.isfinite(solution.risk[~lost]).all())
    # Met means: within the documented tolerance of the measurements.
    y = case.y.flatten(1).double()
    bound = 0.5 * 1e-3**2 * y.square().sum(-1)
    assert bool((solution.risk[solution.success].double() <= bound[solution.success]).all())
    assert len(solution.messages()) == len(case.y)
    assert solution.summary() in solution._repr_html_().replace("&#x27;", "'")


@needs_no_adam
@pytest.mark.parametrize("name", SOLVABLE)
def test_what_has_a_solution_is_solved_at_any_scale_and_precision(
    name: str, method: Method
) -> None:
    solution = CASES[name].solve(method)
    if name == "brain":  # its last digits are the format's: 8 bits
        assert bool((solution.risk < 1e-4).all())
    else:
        assert bool(solution.success.all()), solution.summary()


@needs_no_adam
@pytest.mark.parametrize("name", ["few-measurements", "rank-one", "dead"])
def test_latents_that_nothing_determines_are_not_called_recovered(
    name: str, method: Method
) -> None:
    status = CASES[name].solve(method).status
    assert int(Status.SOLVED) not in status.tolist()
    assert int(Status.UNIDENTIFIED) in status.tolist()


@needs_no_adam
def test_an_operator_of_zeros_determines_nothing(method: Method) -> None:
    """Whatever z is meets y = 0: none of the k directions is known."""
    solution = CASES["zero-by-zero"].solve(method)
    assert set(solution.status.tolist()) == {int(Status.UNIDENTIFIED)}
    assert solution.undetermined.tolist() == [3] * TARGETS


GRADIENTS: dict[str, Method] = {
    "lbfgs": partial(surfing.surf, starts=2, descent=surfing.LBFGS()),
    "armijo": partial(surfing.surf, starts=2, descent=GradientDescent(0.1, search=Armijo())),
    "adam": METHODS["adam"],
}
by_gradients = pytest.mark.parametrize("method", GRADIENTS.values(), ids=GRADIENTS)


@by_gradients
def test_a_descent_by_gradients_knows_an_operator_that_tells_nothing(method: Method) -> None:
    solution = CASES["zero-by-zero"].solve(method)
    assert set(solution.status.tolist()) == {int(Status.UNIDENTIFIED)}
    unmet = CASES["zero-operator"].solve(method)
    assert not bool(unmet.success.any())
    for told in (solution, unmet):
        assert any("two random latents give the same" in note for note in told.notes)
    assert not CASES["plain"].solve(method).notes


@by_gradients
def test_a_descent_by_gradients_counts_measurements(method: Method) -> None:
    """Two numbers can't determine five; three are not called open where twelve numbers were met."""
    status = CASES["few-measurements"].solve(method).status.tolist()
    assert int(Status.SOLVED) not in status
    assert int(Status.UNIDENTIFIED) not in CASES["plain"].solve(method).status.tolist()


@each_method
@pytest.mark.parametrize("lost", [torch.nan, torch.inf])
def test_an_operator_that_makes_nothing_finite_is_refused(lost: float, method: Method) -> None:
    with pytest.raises(MeasurementError, match="operator: expected finite"):
        CASES["plain"].solve(method, y=torch.ones(TARGETS, 6), operator=lambda x: x[:, :6] + lost)


@each_method
def test_where_nothing_is_finite_that_is_said(method: Method) -> None:
    solution = CASES["nan-weights"].solve(method)
    assert set(solution.status.tolist()) == {int(Status.NONFINITE)}
    with pytest.raises(RecoveryError, match="4 of 4"):
        solution.raise_failures()


def worst_rows(net: nn.Module) -> Tensor:
    good = own_signals(net, 3)
    return torch.stack([torch.zeros(12), torch.full((12,), 3e38), -good[0] * 1e30, good[1] * 1e-30])


@each_method
def test_bad_rows_harm_no_others(method: Method) -> None:
    """The good rows end as they do where the bad rows are ordinary ones: same shapes, same bits."""
    good = own_signals(NET, 3)
    mixed = torch.cat([good[:2], worst_rows(NET), good[2:]])
    ordinary = torch.cat([good[:2], own_signals(NET, 3, 8)[4:], good[2:]])
    kept = torch.tensor([0, 1, 6, 7])
    case = CASES["plain"]
    one, other = (case.solve(method, y=y) for y in (mixed, ordinary))
    assert one.status[kept].tolist() == other.status[kept].tolist()
    torch.testing.assert_close(one.z[kept], other.z[kept], rtol=0, atol=1e-4)


@takes_starts
def test_rows_that_leave_the_domain_harm_no_others(method: Method) -> None:
    case = CASES["root"]
    z0 = torch.tensor([[1.0, 1, 1], [-1, 1, 1], [1, 2, 1], [1, 1, -3]])
    solution = case.solve(method, starts=1, z0=z0)
    assert (solution.status == int(Status.NONFINITE)).tolist() == [False, True, False, True]
    assert torch.isfinite(solution.risk).tolist() == [True, False, True, False]


@needs_no_adam
@pytest.mark.parametrize("name", ["plain", "huge", "tiny", "half", "one-latent", "duplicated"])
def test_batched_equals_one_at_a_time(name: str, method: Method) -> None:
    """To the rounding of single precision, carried through the descent."""
    case = CASES[name]
    batch = case.solve(method)
    for i in range(len(case.y)):
        single = case.solve(method, y=case.y[i : i + 1], ids=[i])
        assert int(single.status[0]) == int(batch.status[i])
        torch.testing.assert_close(single.z[0], batch.z[i], rtol=0, atol=1e-3)


BAD = {
    "nan": (torch.full((2, 12), torch.nan), "2 of 2 targets"),
    "infinity": (torch.tensor([[0.0] * 12, [torch.inf] * 12]), "1 of 2 targets"),
    "whole numbers": (torch.ones(2, 12, dtype=torch.int64), "floating point"),
    "no measurement": (torch.zeros(2, 0), "expected"),
    "a number": (torch.tensor(1.0), "single number"),
    "one line": (torch.ones(12), r"y\[None\]"),
    "complex": (torch.ones(2, 12, dtype=torch.cfloat), "expected"),
    "overflow": (torch.full((2, 12), 1e300, dtype=torch.float64), "infinity"),
}


@each_method
@pytest.mark.parametrize(("y", "said"), BAD.values(), ids=BAD)
def test_bad_measurements_are_one_clear_error(method: Method, y: Tensor, said: str) -> None:
    with pytest.raises(MeasurementError, match=said):
        CASES["plain"].solve(method, y=y)


@each_method
def test_a_generator_or_an_operator_that_fails_is_named(method: Method) -> None:
    def breaks(x: Tensor) -> Tensor:
        raise RuntimeError("no")

    with pytest.raises(SurfingError, match="operator"):
        CASES["plain"].solve(method, operator=breaks)
    with pytest.raises(InputError, match="generator"):
        CASES["plain"].solve(method, generator=made(mlp, 4, 12))
