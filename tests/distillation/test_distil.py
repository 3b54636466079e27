"""Laws of a path that is made for one checkpoint."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import surfing
from surfing.distillation.teacher import Teacher
from surfing.errors import GeneratorError, InputError, OutputExistsError, SurfingError
from surfing.generator import Generator
from surfing.trajectory.probe import rms_distance

LATENT = surfing.Normal(3)
QUICK = {"curriculum": surfing.Linearisation(4, samples=256), "steps": 12, "batch_size": 32}


def convolutional() -> nn.Module:
    """Batch norm with statistics of its own, dropout, a buffer."""
    torch.manual_seed(1)
    module = nn.Sequential(
        nn.Linear(3, 16),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Unflatten(1, (4, 2, 2)),
        nn.ConvTranspose2d(4, 3, 4, 2, 1),
        nn.BatchNorm2d(3),
        nn.Tanh(),
    )
    with torch.no_grad():
        for _ in range(20):
            module(2 * torch.randn(64, 3))
    return module.eval()


class Tied(nn.Module):
    """The first and the last layer are one matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 8, bias=False)
        self.last = nn.Linear(8, 3, bias=False)
        self.last.weight = nn.Parameter(self.first.weight.mT.clone())
        self.again = self.first

    def forward(self, z: Tensor) -> Tensor:
        return self.first(self.last(self.again(z).tanh()).sin())


def weight_normed() -> nn.Module:
    with pytest.warns(FutureWarning):
        first = nn.utils.weight_norm(nn.Linear(3, 8))
    module = nn.Sequential(first, nn.ReLU(), nn.utils.parametrizations.weight_norm(nn.Linear(8, 5)))
    module(torch.randn(2, 3))  # leaves a derived tensor behind, which has a history
    return module


def spectral_normed() -> nn.Module:
    return nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(3, 8)), nn.ReLU())


def made(module: nn.Module, out: Path, **changes: object) -> surfing.Trajectory:
    return surfing.distil(module, LATENT, out=out, **{**QUICK, **changes})


def states(trajectory: surfing.Trajectory) -> list[dict[str, Tensor]]:
    return [dict(checkpoint.state) for checkpoint in trajectory]


def same(a: list[dict[str, Tensor]], b: list[dict[str, Tensor]]) -> bool:
    return len(a) == len(b) and all(
        x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x)
        for x, y in zip(a, b)
    )


MODULES = {
    "conv": convolutional,
    "tied": Tied,
    "weight norm": weight_normed,
    "spectral norm": spectral_normed,
}


@pytest.mark.parametrize("name", MODULES)
def test_the_last_stage_is_the_generator_and_the_module_is_untouched(
    name: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    module = MODULES[name]()
    module.train()
    before = {key: t.clone() for key, t in module.state_dict().items()}
    trajectory = made(module, tmp_path / "path")
    assert same([dict(trajectory[-1].state)], [before])
    assert same([before], [dict(module.state_dict())])
    assert module.training
    assert all(p.grad is None and p.requires_grad for p in module.parameters())
    assert len(trajectory) == 5
    assert trajectory.latent == LATENT
    assert all(drift is not None and drift > 0 for drift in trajectory.recorded_drift)


def test_stages_come_nearer_to_the_generator(tmp_path: Path) -> None:
    module = convolutional()
    trajectory = made(module, tmp_path / "path", steps=60)
    probe = Teacher(module, LATENT).probe(seed=5)
    last = probe.signals(trajectory[-1].state)
    far = [rms_distance(probe.signals(c.state), last) for c in trajectory]
    assert far[0] > far[2] > far[4] == 0


def test_the_first_stage_is_more_affine_than_the_generator(tmp_path: Path) -> None:
    module = convolutional()
    trajectory = made(module, tmp_path / "path", steps=150, learning_rate=1e-2)
    z = LATENT.sample([7], 512, seed=3)[0]
    design = torch.cat([z, torch.ones(512, 1)], 1)

    def curved(state: dict[str, Tensor]) -> float:
        x = Generator(module).at(state)(z).flatten(1)
        fitted = design @ torch.linalg.lstsq(design, x).solution
        return float((x - fitted).norm() / (x - x.mean(0)).norm())

    with torch.no_grad():
        assert curved(trajectory[0].state) < 0.6 * curved(trajectory[-1].state)


def test_batch_norm_of_a_stage_computes_what_its_training_saw(tmp_path: Path) -> None:
    # The loss in the manifest is of the last batch, before the last step, whose rate is tiny.
    module = convolutional()
    trajectory = made(module, tmp_path / "path", steps=40, batch_size=512)
    teacher = Teacher(module, LATENT)
    curriculum = surfing.Linearisation(4, samples=256)
    target = curriculum.target(teacher, seed=0)
    z = teacher.draw(4 * 40 - 1, 512, seed=0)
    with torch.no_grad():
        x = Generator(module).at(trajectory[0].state)(z).flatten(1)
        loss = float((x - target(z, 1.0)).square().mean())
    said = trajectory.metadata["distillation"]["loss"][0]
    assert loss == pytest.approx(said, rel=1e-2)


def test_the_seed_determines_it(tmp_path: Path) -> None:
    module = convolutional()
    one = made(module, tmp_path / "1", seed=3)
    torch.manual_seed(99)  # nobody's business
    assert same(states(one), states(made(module, tmp_path / "2", seed=3)))
    assert not same(states(one), states(made(module, tmp_path / "3", seed=4)))


def test_it_leaves_the_random_numbers_alone(tmp_path: Path) -> None:
    module = convolutional()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    made(module, tmp_path / "path")
    assert torch.equal(torch.rand(3), expected)


class Stop(Exception):
    pass


@pytest.mark.parametrize("after", [0, 1, 3])
def test_an_interrupted_one_is_whole_and_goes_on_to_the_same_bits(
    after: int, tmp_path: Path
) -> None:
    module = convolutional()
    whole = made(module, tmp_path / "whole")

    def stop(done: int, total: int) -> None:
        assert total == 4
        if done == after:
            raise Stop

    with pytest.raises(Stop):
        made(module, tmp_path / "path", progress=stop)
    half = surfing.Trajectory.open(tmp_path / "path")
    assert len(half) == after + 1
    assert same(states(half), states(whole)[4 - after :])
    assert same(states(made(module, tmp_path / "path")), states(whole))
    again = surfing.Trajectory.open(tmp_path / "path").metadata["distillation"]
    # The affine fit, 512 latents, is made anew where it goes on.
    more = 0 if after == 0 else 512
    assert again["cost"] == whole.metadata["distillation"]["cost"] + more
    assert again["loss"] == whole.metadata["distillation"]["loss"]


def test_a_finished_one_is_opened_without_work(tmp_path: Path) -> None:
    module = convolutional()
    first = made(module, tmp_path / "path")
    told: list[tuple[int, int]] = []
    second = made(module, tmp_path / "path", progress=lambda *seen: told.append(seen))
    assert told == [(4, 4)]
    assert first.metadata == second.metadata


def test_the_cost_is_counted(tmp_path: Path) -> None:
    cost = made(convolutional(), tmp_path / "path").metadata["distillation"]["cost"]
    # Affine fit: one chunk of 512. A step: the generator 1, the copy forward 1 and reverse 2.
    assert cost == 512 + 4 * 12 * 32 * (1 + 3)


def test_other_settings_or_another_generator_is_refused_unless_told(tmp_path: Path) -> None:
    module = convolutional()
    made(module, tmp_path / "path")
    with pytest.raises(OutputExistsError, match="other settings"):
        made(module, tmp_path / "path", seed=1)
    other = copy.deepcopy(module)
    with torch.no_grad():
        next(other.parameters()).add_(1e-3)
    with pytest.raises(OutputExistsError, match="another generator"):
        made(other, tmp_path / "path")
    fresh = made(other, tmp_path / "path", overwrite=True)
    assert same([dict(fresh[-1].state)], [dict(other.state_dict())])


def test_a_recorded_training_is_not_deleted(tmp_path: Path) -> None:
    module = convolutional()
    with surfing.Recorder(tmp_path / "path", module, latent=LATENT) as recorder:
        recorder.step(1)
    with pytest.raises(OutputExistsError):
        made(module, tmp_path / "path")
    assert len(surfing.Trajectory.open(tmp_path / "path")) == 2


class Random(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def forward(self, z: Tensor) -> Tensor:
        return self.layer(z) + 0.1 * torch.randn(len(z), 4)


class Undefined(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def forward(self, z: Tensor) -> Tensor:
        return self.layer(z) / 0


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Random(), "random numbers"),
        (nn.Tanh(), "no parameters"),
        (Undefined(), "not finite"),
        (nn.Linear(4, 2), "fails on latents"),
    ],
)
def test_what_cannot_be_imitated_is_refused(module: nn.Module, said: str, tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match=said):
        made(module, tmp_path / "path")
    assert not (tmp_path / "path").exists()


class Shrinking:
    """The user's own: signals that shrink to nothing."""

    levels = (0.5, 1.0)

    def target(self, teacher: Teacher, *, seed: int) -> Callable[[Tensor, float], Tensor]:
        return lambda z, level: (1 - level) * teacher(z)

    def to_dict(self) -> dict[str, str]:
        return {"name": "shrinking"}


class Falling(Shrinking):
    levels = (1.0, 0.5)


def test_a_curriculum_of_the_users_own(tmp_path: Path) -> None:
    module = convolutional()
    made_path = made(module, tmp_path / "path", curriculum=Shrinking(), steps=200)
    z = LATENT.sample([3], 64, seed=1)[0]
    with torch.no_grad():
        sizes = [float(Generator(module).at(c.state)(z).norm()) for c in made_path]
    assert sizes[0] < 0.5 * sizes[1] < sizes[2]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 0}, "steps"),
        ({"batch_size": True}, "batch_size"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"seed": -1}, "seed"),
        ({"curriculum": surfing.Linearisation}, "curriculum"),
        ({"curriculum": "linear"}, "curriculum"),
        ({"curriculum": Falling()}, "rise"),
        ({"metadata": {"x": object()}}, "metadata"),
    ],
)
def test_bad_arguments_name_themselves(
    changes: dict[str, object], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        made(convolutional(), tmp_path / "path", **changes)
    assert not (tmp_path / "path").exists()


def test_stages_are_checked() -> None:
    with pytest.raises(InputError, match="stages"):
        surfing.Linearisation(0)


def test_a_diverging_one_says_so_and_keeps_what_is_there(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 4))
    with pytest.raises(SurfingError, match="learning_rate"):
        made(module, tmp_path / "path", learning_rate=1e30)
    assert len(surfing.Trajectory.open(tmp_path / "path")) == 1


def test_double_precision_stays(tmp_path: Path) -> None:
    module = convolutional().double()
    trajectory = made(module, tmp_path / "path")
    assert same([dict(trajectory[-1].state)], [dict(module.state_dict())])


def test_other_laws_will_do(tmp_path: Path) -> None:
    law = surfing.Uniform(3, 0, 1)
    trajectory = surfing.distil(convolutional(), law, out=tmp_path / "path", **QUICK)
    assert trajectory.latent == law


def test_it_can_be_ridden(tmp_path: Path) -> None:
    module = convolutional()
    trajectory = made(module, tmp_path / "path")
    x = module(LATENT.sample([1, 2], 1, seed=9)[:, 0]).detach()
    solution = surfing.surf(trajectory, x, generator=module)
    assert solution.stages[-1].stage == len(trajectory) - 1
