"""Networks that wait on the host are the networks, one at a time."""

import torch
from paper.ground.weights import Host, Weights, kept_on_host

from surfing.trajectory import Trajectory
from surfing.zoo import packaged


def _counted(trajectory: Trajectory) -> tuple[Weights, list[int]]:
    asked: list[int] = []

    def read(place: int) -> dict[str, torch.Tensor]:
        asked.append(place)
        return trajectory[place].state

    return Weights(read, range(len(trajectory))), asked


def test_nothing_is_read_before_it_is_asked_for() -> None:
    weights, asked = _counted(packaged())
    part = weights.at([5, 3, 1])[1:]
    assert (len(weights), len(part), asked) == (len(packaged()), 2, [])
    assert [list(part), asked][1] == [3, 1]


def test_they_are_the_trajectorys() -> None:
    trajectory = packaged()
    for mine, checkpoint in zip(Weights.of(trajectory), trajectory, strict=True):
        assert all(torch.equal(mine[n], t) for n, t in checkpoint.state.items())


def test_what_is_kept_does_not_change_with_the_network() -> None:
    weight = torch.ones(3)
    kept = kept_on_host(40, {"weight": weight}, torch.device("cpu"))
    weight.zero_()
    assert (kept.step, kept.state["weight"].sum()) == (40, 3)
    there = Host({"weight": torch.ones(2)}, torch.device("meta")).load()
    assert there["weight"].device.type == "meta"
