"""batch_invariant: the whole solution of a target, bit for bit, whoever is beside it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

import surfing
from surfing import Normal, Population, Solution, StepControl, Trajectory
from surfing.errors import InputError
from surfing.execution import Local

K, TARGETS = 5, 19

STAGES = surfing.EqualDrift(3)

METHODS: dict[str, Callable[..., Solution]] = {
    "surf": partial(
        surfing.surf,
        starts=2,
        anneal=0.2,
        max_steps=5,
        stopping=surfing.Stopping(polish=True),
        schedule=STAGES,
    ),
    "step control": partial(
        surfing.surf,
        starts=3,
        control=StepControl(population=Population(mirror=True)),
        schedule=STAGES,
        max_steps=5,
    ),
    "conjugate gradients": partial(
        surfing.surf,
        descent=surfing.LevenbergMarquardt(dense_up_to=0),
        predictor=surfing.Secant(),
        schedule=STAGES,
        max_steps=5,
    ),
    "Euler steps": partial(surfing.surf, predictor=surfing.Tangent(), max_steps=5, schedule=STAGES),
    "L-BFGS": partial(surfing.direct, descent=surfing.LBFGS(), max_steps=8),
    "Adam": partial(
        surfing.direct,
        descent=surfing.TorchOptim(partial(torch.optim.Adam, lr=0.05)),
        max_steps=8,
    ),
    "Armijo": partial(
        surfing.direct, descent=surfing.GradientDescent(search=surfing.Armijo()), max_steps=8
    ),
    # So little that targets run out of it at different attempts.
    "recover": partial(surfing.recover, budget=330, noise=0.003),
}


def _net() -> nn.Module:
    return nn.Sequential(
        *(nn.Linear(K, 30), nn.ReLU(), nn.Linear(30, 32), nn.ReLU(), nn.Unflatten(1, (8, 2, 2))),
        *(nn.ConvTranspose2d(8, 4, 4, 2, 1), nn.Softplus(), nn.ConvTranspose2d(4, 1, 4, 2, 1)),
        nn.Sigmoid(),
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trajectory, nn.Module, Tensor]:
    """Six networks between a random one and one of steeper weights, and some noisy signals."""
    torch.manual_seed(3)
    net, folder = _net(), tmp_path_factory.mktemp("run")
    with surfing.Recorder(folder / "run", net, latent=Normal(K), every=1) as recorder:
        for _ in range(5):
            with torch.no_grad():
                for p in net.parameters():
                    p.mul_(1.15)
            recorder.step()
    with torch.no_grad():
        x: Tensor = net.eval()(Normal(K).sample(range(TARGETS), 1, seed=4)[:, 0])
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    return Trajectory.open(folder / "run"), net, x + 0.003 * noise


def _told(solution: Solution) -> dict[str, Tensor]:
    fields = ("z", "x", "risk", "status", "cost", "candidates_z", "candidates_risk")
    told = {name: getattr(solution, name) for name in fields}
    for name in ("singular_values", "covariance"):
        if getattr(solution, name) is not None:
            told[name] = getattr(solution, name)
    return told


def _expect_same(part: Solution, whole: Solution, ids: Tensor) -> None:
    known, expected = _told(part), _told(whole)
    for name in known.keys() | expected.keys():
        alike = expected[name][ids]
        if name not in known:  # of targets that all know nothing
            assert bool(alike.isnan().all()), name
        else:
            assert torch.equal(known[name].nan_to_num(-7.0), alike.nan_to_num(-7.0)), name


def _intensities(x: Tensor) -> Tensor:
    return (x.flatten(1)[:, ::7] - 0.4).square()


_SHORT = ("recover", "L-BFGS")
CASES = [
    *((name, None) for name in METHODS),
    *((name, _intensities) for name in _SHORT),
    *(pytest.param(n, _intensities, marks=pytest.mark.slow) for n in METHODS if n not in _SHORT),
]


@pytest.mark.parametrize(("name", "operator"), CASES)
def test_solutions_do_not_depend_on_the_batch(
    name: str,
    operator: Callable[[Tensor], Tensor] | None,
    trained: tuple[Trajectory, nn.Module, Tensor],
) -> None:
    path, net, x = trained
    y = x if operator is None else operator(x)
    solve = partial(METHODS[name], path, generator=net, operator=operator, batch_invariant=True)
    whole, everybody = solve(y), torch.arange(TARGETS)
    for ids in (everybody.flip(0), everybody[18:], everybody[3:11]):
        _expect_same(solve(y[ids], ids=ids.tolist()), whole, ids)


def test_shards_of_any_size_give_the_same_bits(
    trained: tuple[Trajectory, nn.Module, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, net, x = trained
    solve = partial(METHODS["recover"], path, generator=net, batch_invariant=True)
    whole = solve(x)
    module = sys.modules["surfing.portfolio.solver"]
    monkeypatch.setattr(module, "block_size", lambda model, gradients: 7)
    _expect_same(solve(x), whole, torch.arange(TARGETS))
    _expect_same(solve(x, executor=Local()), whole, torch.arange(TARGETS))


def test_a_limit_in_seconds_is_refused(trained: tuple[Trajectory, nn.Module, Tensor]) -> None:
    path, net, x = trained
    with pytest.raises(InputError, match="seconds: expected None with batch_invariant"):
        surfing.recover(path, x, generator=net, seconds=1.0, batch_invariant=True)
