"""Experiments: resumable, drawn from the record alone, and the same when they are run again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from paper.cells import ENVIRONMENT, PACKAGED, available, open_cell
from paper.registry import EXPERIMENTS, experiment
from paper.rides import BINS, histogram
from paper.step_sizes import ADAM_METHODS, AdamRuns
from paper.variants import VARIANTS, Shaken
from tests.problems import built

from paper import adam, budget, fig1, fig3, table1, theory
from surfing.continuation import EveryCheckpoint, direct, surf
from surfing.continuation.predictor import History
from surfing.errors import InputError
from surfing.evaluation.methods import METHODS, still
from surfing.evaluation.samples import own_samples
from surfing.evaluation.solvers import Ride, Task
from surfing.latents import Uniform
from surfing.trajectory import Trajectory


def made_of(name: str, module, config, out: Path) -> dict:
    """Run, and draw from what a JSON file would hold."""
    record = json.loads(json.dumps(module.run(config, out)))
    pictures = module.figures(record, out)
    assert pictures, name
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in pictures)
    assert module.markdown(record).count("\n|") >= 2
    return record


TINY_THEORY = {"nets": 1, "widths": (40,), "depths": (2,), "tracked": ((2, 6, 20),), "stages": 4}
SMALL = {
    "adam": (
        adam,
        dataclasses.replace(adam.QUICK, targets=2, runs=AdamRuns(4, 2, 2, 4, step_sizes=(0.05,))),
    ),
    "theory": (theory, dataclasses.replace(theory.QUICK, **TINY_THEORY)),
    "fig1": (fig1, dataclasses.replace(fig1.QUICK, size=5, stages=3)),
    "fig3": (fig3, dataclasses.replace(fig3.QUICK, measurements=(30,), targets=3, budget=300)),
    "budget": (budget, dataclasses.replace(budget.QUICK, targets=3, budgets=(150, 300))),
}


@pytest.mark.parametrize("name", SMALL)
def test_finished_parts_are_not_measured_again(name: str, tmp_path: Path) -> None:
    module, config = SMALL[name]
    first = made_of(name, module, config, tmp_path)
    again = module.run(config, tmp_path)
    # The seconds of a part that is measured anew would differ.
    assert json.loads(json.dumps(again["results"])) == first["results"]


def test_another_configuration_measures_anew(tmp_path: Path) -> None:
    config = SMALL["budget"][1]
    budget.run(dataclasses.replace(config, methods=("lm-restarts",)), tmp_path)
    budget.run(dataclasses.replace(config, methods=("lm-restarts",), seed=1), tmp_path)
    assert len(list((tmp_path / ".parts").iterdir())) == 2


def test_a_part_measured_again_gives_its_number(tmp_path: Path) -> None:
    config = dataclasses.replace(table1.QUICK, targets=4)
    one, two = (table1._measure(config, PACKAGED, "lm-surfing") for _ in range(2))
    del one["seconds"], two["seconds"]
    assert one == two


def test_rides_of_the_last_checkpoint_alone_are_direct_descent() -> None:
    bed = open_cell(PACKAGED)
    own = own_samples(bed.trajectory, bed.generator, 3)
    ridden = VARIANTS["last checkpoint only"].solver.solve(Task(bed.model(), own.x, 0))
    alone = direct(bed.trajectory, own.x, generator=bed.generator)
    assert torch.equal(ridden.z, alone.z)


def path_of(name: str, recorded: Trajectory) -> Trajectory:
    """What a ride of the ablations rides."""
    ride = VARIANTS[name].solver
    assert isinstance(ride, Ride)
    return recorded if ride.path is None else ride.path(recorded)


@pytest.mark.parametrize("name", [n for n, v in VARIANTS.items() if v.group == "path"])
def test_every_changed_path_ends_at_the_trained_network(name: str) -> None:
    recorded = open_cell(PACKAGED).trajectory
    end = path_of(name, recorded)[-1].state
    for key, tensor in recorded[-1].state.items():
        # Of a straight line (1 - w) a + w b at w = 1; all others are copies.
        torch.testing.assert_close(end[key], tensor, rtol=1e-6, atol=1e-7)


def test_reversed_and_shuffled_paths_hold_the_same_checkpoints() -> None:
    recorded = open_cell(PACKAGED).trajectory
    key = next(iter(recorded[0].state))

    def held(name: str) -> list[float]:
        path = path_of(name, recorded)
        return [float(checkpoint.state[key].double().sum()) for checkpoint in path]

    order = held("ten checkpoints, in order")
    assert held("the same, reversed")[:-1] == order[:-1][::-1]
    assert sorted(held("the same, shuffled")) == sorted(order)
    assert held("the same, shuffled") != order


def test_annealed_noise_falls_to_nothing_and_moves_every_row() -> None:
    bed = open_cell(PACKAGED)
    own = own_samples(bed.trajectory, bed.generator, 40)
    problem = built(bed.generator, bed.trajectory[-1].state, own.x, latent=bed.trajectory.latent)
    rows = torch.arange(40)
    risk, shaken = problem.risk(bed.trajectory[-1].state, rows), Shaken(0.5, stages=10)
    wake = History(torch.zeros(40), own.z, None)
    moved = [
        float((shaken.predict(wake, stage, risk, rows) - own.z).square().mean().sqrt())
        for stage in (0.0, 5.0, 9.0, 10.0)
    ]
    assert moved == pytest.approx([0.5, 0.25, 0.05, 0.0], rel=0.15)


def test_a_still_path_is_annealed_by_the_penalty_alone() -> None:
    bed = open_cell(PACKAGED)
    own = own_samples(bed.trajectory, bed.generator, 2)
    path = still(bed.trajectory, 3)
    solution = surf(
        path, own.x, generator=bed.generator, schedule=EveryCheckpoint(), anneal=1.0, max_steps=1
    )
    assert len(solution.stages) == 3
    assert path.latent == bed.trajectory.latent


def test_the_ablations_take_from_the_registry_what_it_has() -> None:
    assert VARIANTS["ten stages at equal drift"].solver == METHODS["lm-surfing"].solver
    assert VARIANTS["prior annealed, no path"].solver == METHODS["direct-lm-annealed"].solver


def test_adam_as_it_is_published_is_the_registrys() -> None:
    told = AdamRuns().labels()
    assert told == {name: METHODS[name].label for name in ADAM_METHODS}
    for name in ADAM_METHODS:
        ours, theirs = AdamRuns().solver(name, 0.2), METHODS[name].solver
        assert repr(ours) == repr(theirs)


def test_a_histogram_counts_everybody_once() -> None:
    errors = torch.tensor([0.0, 1e-12, 1e-3, 0.5, 5.0, 1e9, float("nan")])
    counts = histogram(errors)
    assert len(counts) == BINS[2] - 1
    assert sum(counts) == len(errors)
    assert counts[0] == 2
    assert counts[-1] == 2


def test_needed_measurements_hold_from_there_on() -> None:
    def part(m: int, found: int) -> dict:
        return {"cell": "c", "name": "lm", "m": m, "found": [found, 10]}

    record = {"results": {str(m): part(m, f) for m, f in [(10, 6), (20, 4), (30, 5), (40, 9)]}}
    assert fig3.needed(record, "c", "lm", 0.5) == 30
    assert fig3.needed(record, "c", "lm", 0.9) == 40
    assert fig3.needed(record, "c", "lm", 1.0) is None


@pytest.mark.parametrize("name", ADAM_METHODS)
def test_adams_step_size_is_the_one_that_ends_nearest(name: str) -> None:
    bed = open_cell(PACKAGED)
    runs = AdamRuns(20, 3, 4, 12, step_sizes=(1e-6, 0.1, 50.0), tuning_targets=4)
    tuned = runs.tune(name, bed, seed=1)
    own = own_samples(bed.trajectory, bed.generator, 4, seed=1)
    distance = {
        size: float(
            (runs.solver(name, size).solve(Task(bed.model(), own.x, 1)).z - own.z)
            .norm(dim=1)
            .median()
        )
        for size in runs.step_sizes
    }
    assert set(tuned.found.values()) == {0}  # so few steps find nobody: the distance decides
    assert tuned.step_size == min(distance, key=distance.__getitem__) == 0.1


def test_the_box_is_the_papers_law() -> None:
    bed = open_cell(PACKAGED)
    own = own_samples(bed.boxed().trajectory, bed.generator, 50)
    assert bed.boxed().trajectory.latent == Uniform(10, -1, 1)
    assert float(own.z.abs().max()) <= 1


def test_no_trained_model_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    with pytest.raises(InputError, match="python -m paper zoo"):
        available(("vae-k5",))
    assert available(("vae-k5", PACKAGED)) == [PACKAGED]


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_quick_forms(name: str, tmp_path: Path) -> None:
    module = experiment(name)
    record = module.run(module.QUICK, tmp_path)
    assert record["results"]
    module.figures(record, tmp_path)
    assert "|" in module.markdown(record)
