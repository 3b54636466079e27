"""`recover` where descents take gradients: what it learns, its races, colour, half precision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import surfing
from surfing.architectures import build_generator
from surfing.descent.lbfgs import LBFGS
from surfing.execution.targets import Targets
from surfing.portfolio.known import race
from surfing.portfolio.limits import RACERS, block_size
from surfing.portfolio.solver import solver_of

K = 100


def model_of(net: nn.Module, k: int = K) -> surfing.ForwardModel:
    path = surfing.Trajectory.from_state_dicts([(0, net.state_dict())], latent=surfing.Normal(k))
    return surfing.ForwardModel(path, generator=net)


def colour(image_size: int = 32, k: int = K, width: int = 4) -> nn.Module:
    """Its Jacobian is too large for Broyden's updates."""
    torch.manual_seed(0)
    net = build_generator("deep", latent_dim=k, width=width, image_size=image_size)
    with torch.no_grad():
        for _ in range(10):
            net.train()(torch.randn(32, k))
    return net.eval().requires_grad_(False)


def own(net: nn.Module, targets: int, k: int = K) -> Tensor:
    with torch.no_grad():
        return net(torch.randn(targets, k, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize(("targets", "learns"), [(1, False), (40, True)])
def test_few_targets_do_not_pay_for_a_bank(targets: int, learns: bool) -> None:
    net = colour(image_size=64)
    model = model_of(net)
    assert isinstance(solver_of(model).descent, LBFGS)
    found = surfing.recover(model, own(net, targets))
    assert ("learned" in found.info) == learns
    assert (found.cost_once > 0) == learns
    assert float(found.success.double().mean()) >= 0.9


def test_the_best_racer_goes_on() -> None:
    """No start alone, after its leg, is below what the race returns."""
    net = colour()
    model = model_of(net)
    y = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))  # out of range
    solver = solver_of(model, budget=3000)
    context = solver.context(Targets(y), [0, 1])
    targets = torch.arange(2)
    z = model.latent.sample([0, 1], RACERS, seed=0)
    found = race(context, z, targets, wall=False)
    fresh = solver.context(Targets(y), [0, 1])
    alone = fresh.descend(z, targets, steps=14)  # about seventy gradients
    assert bool((found.misfit[:, 0] <= alone.misfit.amin(1) * 1.001).all())
    assert float(context.meter.spent.max()) <= 3000


def test_a_race_is_not_run_on_a_small_budget() -> None:
    net = colour()
    y = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    found = surfing.recover(model_of(net), y, budget=400)
    assert float(found.cost.max()) <= 400


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_in_half_precision_give_the_answer_of_their_values(dtype: torch.dtype) -> None:
    """Computed in single precision; what the halved weights say is met to single precision."""
    net = colour().to(dtype)
    wide = colour()
    held = net.state_dict()
    wide.load_state_dict({n: t.float() if t.is_floating_point() else t for n, t in held.items()})
    y = own(wide, 2)
    found = surfing.recover(model_of(net), y)
    assert found.z.dtype == torch.float32
    assert bool(found.success.all())
    assert all(torch.equal(t, held[n]) for n, t in net.state_dict().items())


def test_128x128_in_colour_end_to_end(tmp_path: Path) -> None:
    net = colour(image_size=128, k=8, width=2)
    model = model_of(net, 8)
    y = own(net, 1, 8)
    found = surfing.recover(model, y, budget=300)
    assert found.x.shape == (1, 3, 128, 128)
    assert bool(found.success.all())
    page = found.view(tmp_path / "page.html", model=model, y=y, size=3)
    assert page.stat().st_size > 10_000


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("budget", [200.0, float("inf")])
def test_few_latents_and_a_boundless_budget_with_gradients(k, budget):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(k, 8), torch.nn.Tanh(), torch.nn.Linear(8, 5))
    path = surfing.Trajectory.from_state_dicts([(0, net.state_dict())], latent=surfing.Normal(k))
    model = surfing.ForwardModel(path, generator=net)
    unreachable = torch.full((1, 5), 3.0)
    solution = surfing.recover(model, unreachable, descent=LBFGS(), budget=budget)
    assert bool(torch.isfinite(solution.risk).all())


def test_an_operator_that_measures_nothing_is_refused():
    net = torch.nn.Linear(3, 5)
    path = surfing.Trajectory.from_state_dicts([(0, net.state_dict())], latent=surfing.Normal(3))
    with pytest.raises(surfing.InputError, match="at least one number"):
        surfing.recover(path, torch.zeros(1, 0), generator=net, operator=lambda x: x[:, :0])


class _Placed:
    """What `block_size` reads of a model, on a device that this machine need not have."""

    required = ()

    def __init__(self, device: str, k: int, m: int) -> None:
        self.device, self.latent, self.measurement_shape = (
            torch.device(device),
            surfing.Normal(k),
            (m,),
        )


@pytest.mark.parametrize("k", [100, 512])
@pytest.mark.parametrize("m", [50, 3 * 64 * 64])
def test_memories_of_all_racers_fit_an_accelerators_room(k: int, m: int) -> None:
    hundred_pairs, doubles, while_pushed = 2 * 100 * k, 8, 2
    rows = block_size(_Placed("cuda", k, m), gradients=True)
    assert rows >= 256
    assert rows * RACERS * hundred_pairs * doubles * while_pushed <= 2**32
