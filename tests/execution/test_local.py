"""Shards in this process, and what is made of their solutions."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.execution.conftest import same
from torch import Tensor, nn

import surfing
from surfing.errors import InputError
from surfing.execution import Local, Ray, as_executor, solve_all
from surfing.portfolio.solver import solver_of
from surfing.solution import Solution, Status

pytestmark = pytest.mark.usefixtures("one_thread")


def in_blocks_of(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("surfing.portfolio.solver")
    monkeypatch.setattr(module, "block_size", lambda model, gradients: size)


def scaled(y: Tensor, *, ids: Sequence[int], progress: object = None) -> Solution:
    """A solve whose answer shows which targets, by which names, it was asked for."""
    names = torch.tensor(list(ids), dtype=torch.float32)
    if callable(progress):
        progress(len(y), len(y))
    return Solution(
        z=torch.stack([y[:, 0], names], 1),
        x=y,
        risk=names,
        status=torch.full((len(y),), int(Status.SOLVED)),
        cost=torch.ones(len(y)),
        seconds=1.0,
        depth=2,
        method="scaled",
        info={"solved_by": {"it": len(y)}},
    )


@pytest.mark.parametrize("shard", [1, 3, 7, 100])
@pytest.mark.parametrize("kind", [torch.tensor, np.array], ids=["tensor", "array"])
def test_every_target_is_solved_once_under_its_own_id(shard: int, kind: object) -> None:
    y = kind([[float(value)] for value in range(7)])  # type: ignore[operator]
    ticks: list[tuple[int, int]] = []
    ids = range(50, 57)
    solution = solve_all(
        scaled, y, Local(), shard=shard, ids=ids, progress=lambda *tick: ticks.append(tick)
    )
    assert solution.z.tolist() == [[float(i), 50.0 + i] for i in range(7)]
    assert ticks == sorted(ticks)
    assert ticks[-1] == (7, 7)


def test_recover_in_shards_is_recover(path: surfing.Trajectory, net: nn.Module, y: Tensor) -> None:
    many = y.repeat(26, 1, 1, 1)  # 312 targets: more than one block
    options = {"generator": net, "budget": 60}
    plain = surfing.recover(path, many, **options)
    local = surfing.recover(path, many, executor="local", **options)
    assert same(plain, local)


class Backwards:
    """Somebody's own executor, of no class of ours: the last shard first."""

    def run(self, solve, shards, measured, *, ids, progress=None):  # type: ignore[no-untyped-def]
        for part in reversed(shards):
            yield part, solve(measured(part), ids=ids[part.start : part.stop])


def test_an_executor_of_ones_own_is_as_good_as_ours(
    path: surfing.Trajectory, net: nn.Module, y: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_blocks_of(5, monkeypatch)
    model = surfing.ForwardModel(path, generator=net)
    plain = surfing.recover(model, y, budget=60)
    assert same(surfing.recover(model, y, budget=60, executor=Backwards()), plain)


def test_an_executor_is_ready_while_it_works_and_not_after(
    path: surfing.Trajectory, net: nn.Module, y: Tensor
) -> None:
    told: list[str] = []

    class Connecting(Backwards):
        @contextmanager
        def ready(self) -> Iterator[None]:
            told.append("there")
            yield
            told.append("gone")

        def run(self, *given, **named):  # type: ignore[no-untyped-def]
            told.append("works")
            return super().run(*given, **named)

    surfing.recover(path, y[:2], generator=net, budget=60, executor=Connecting())
    assert told == ["there", "works", "gone"]


def test_the_forward_model_is_built_once_whatever_the_number_of_shards(
    path: surfing.Trajectory, net: nn.Module, y: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[object] = []
    build = surfing.ForwardModel.__init__

    def counted(self: object, *given: object, **named: object) -> None:
        built.append(self)
        build(self, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(surfing.ForwardModel, "__init__", counted)
    in_blocks_of(2, monkeypatch)
    for executor in (None, "local", Backwards()):
        surfing.recover(path, y, generator=net, budget=60, executor=executor)
    assert len(built) == 3


def test_shards_of_several_blocks_give_the_bits_of_the_blocks(
    path: surfing.Trajectory, net: nn.Module, y: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_blocks_of(2, monkeypatch)
    job = solver_of(surfing.ForwardModel(path, generator=net), budget=60)
    one, two = (solve_all(job, y, Local(), shard=size, ids=range(len(y))) for size in (2, 6))
    assert same(one, two)


def test_joined_takes_apart_and_puts_together(
    path: surfing.Trajectory, net: nn.Module, y: Tensor
) -> None:
    whole = surfing.direct(path, y, generator=net, starts=2, max_steps=5)
    assert same(Solution.joined([whole]), whole)
    parts = [
        surfing.direct(
            path, y[part.start : part.stop], generator=net, starts=2, max_steps=5, ids=part
        )
        for part in (range(5), range(5, 12))
    ]
    left = Solution.joined([Solution.joined(parts[:1]), parts[1]])
    joined = Solution.joined(parts)
    assert same(left, joined)
    assert len(joined) == sum(map(len, parts))
    assert joined.seconds == pytest.approx(sum(part.seconds for part in parts))
    assert joined.depth == sum(part.depth for part in parts)
    torch.testing.assert_close(joined.z, whole.z, rtol=1e-4, atol=1e-4)


def test_joined_adds_counts_and_keeps_notes_once() -> None:
    one = replace(scaled(torch.ones(2, 1), ids=range(2)), notes=("a", "b"))
    two = replace(scaled(torch.ones(3, 1), ids=range(2, 5)), notes=("b", "c"))
    joined = Solution.joined([one, two])
    assert joined.info["solved_by"] == {"it": 5}
    assert joined.notes == ("a", "b", "c")


def test_what_a_part_does_not_know_is_nan() -> None:
    one = scaled(torch.ones(2, 1), ids=range(2))
    two = replace(one, singular_values=torch.ones(2, 2))
    joined = Solution.joined([one, two]).singular_values
    assert joined is not None
    assert joined.isnan().tolist() == [[True, True]] * 2 + [[False, False]] * 2


def test_joined_refuses_what_does_not_belong_together() -> None:
    one = scaled(torch.ones(2, 1), ids=range(2))
    with pytest.raises(InputError, match="at least one"):
        Solution.joined([])
    with pytest.raises(InputError, match="one method"):
        Solution.joined([one, replace(one, method="another")])


def test_executors_by_name() -> None:
    assert as_executor(None) == as_executor("local") == Local()
    assert as_executor("ray") == Ray()
    assert as_executor(Ray(workers=3)) == Ray(workers=3)
    with pytest.raises(InputError, match=r"executor: expected .* got 'spark'"):
        as_executor("spark")
    with pytest.raises(InputError, match=r"executor: expected .* got <class"):
        as_executor(Ray)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        *({"workers": 0}, {"workers": 1.5}, {"workers": True}, {"threads": 0}, {"attempts": 0}),
        *({"gpus": -1.0}, {"gpus": float("inf")}, {"gpus": float("nan")}),
        *({"gpus": "x"}, {"patience": 0}, {"patience": "x"}),
    ],
    ids=str,
)
def test_bad_settings_of_a_cluster(options: dict[str, float]) -> None:
    (name,) = options
    with pytest.raises(InputError, match=f"^{name}: expected"):
        Ray(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        *({"budget": 10**400}, {"seconds": 10**400}, {"noise": 10**400}, {"noise": "a"}),
        *({"ids": 3}, {"ids": iter(range(12))}, {"ids": [1]}, {"executor": Local}),
    ],
    ids=lambda wrong: f"{next(iter(wrong))}",
)
def test_bad_arguments_are_named(
    wrong: dict[str, object], path: surfing.Trajectory, y: Tensor
) -> None:
    (name,) = wrong
    with pytest.raises(InputError, match=f"^{name}: expected"):
        surfing.recover(path, y, **wrong)  # type: ignore[arg-type]
