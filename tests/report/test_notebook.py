"""What notebooks show."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch
from tests.report.test_page import HOSTILE, solution
from torch import Tensor, nn

import surfing
from surfing.inline import InlinePage


class Elements(HTMLParser):
    """Tags, their attributes, and the words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_each_target_has_its_picture_its_status_and_its_residual() -> None:
    shown = Elements(solution()._repr_html_())
    assert len(shown.named("img")) == 5
    assert all(str(a["src"]).startswith("data:image/png;base64,") for a in shown.named("img"))
    for target, status in enumerate(["solved", "converged", "solved", "nonfinite", "noise level"]):
        assert re.search(rf"{target} [●○] {status}", shown.words)
    assert "residual 0.447" in shown.words  # sqrt(2 x .1)
    assert "residual –" in shown.words  # NaN
    assert shown.words.count("●") == 3


def test_what_a_run_says_is_no_markup() -> None:
    shown = Elements(solution(note=HOSTILE)._repr_html_())
    assert shown.named("script") == []
    assert all("onerror" not in attributes for _, attributes in shown.tags)
    assert HOSTILE in shown.words


def test_a_few_of_many_are_shown() -> None:
    few = solution()
    many = replace(
        few,
        **{
            name: getattr(few, name).repeat_interleave(20, 0)
            for name in ("z", "x", "risk", "status", "cost")
        },
        stages=(),
    )
    shown = Elements(many._repr_html_())
    assert len(shown.named("img")) == 12
    assert "and 88 more targets" in shown.words


@pytest.mark.parametrize(
    ("shape", "tag"), [((40,), "svg"), ((1, 40), "svg"), ((3, 6, 6), "img"), ((2, 6, 6), None)]
)
def test_signals_of_other_shapes(shape: tuple[int, ...], tag: str | None) -> None:
    shown = Elements(replace(solution(), x=torch.rand(5, *shape))._repr_html_())
    assert [len(shown.named(name)) for name in ("svg", "img")] == [
        5 if tag == "svg" else 0,
        5 if tag == "img" else 0,
    ]
    assert "converged" in shown.words


def test_a_trajectory_shows_what_its_generator_makes(path: surfing.Trajectory) -> None:
    shown = Elements(path._repr_html_())
    assert len(shown.named("img")) == 6 * 4
    assert "step 0" in shown.words
    assert "step 140" in shown.words
    assert repr(path) in shown.words


def test_a_trajectory_without_an_architecture_is_words(net: nn.Module) -> None:
    states = [(step, net.state_dict()) for step in range(3)]
    shown = Elements(surfing.Trajectory.from_state_dicts(states)._repr_html_())
    assert shown.named("img") == []
    assert "3 checkpoints" in shown.words


def test_the_page_comes_inline(path: surfing.Trajectory, net: nn.Module, y: Tensor) -> None:
    model = surfing.ForwardModel(path, generator=net)
    solved = surfing.direct(model, y)
    page = solved.show(model=model, y=y, height=500, size=11, featured=1)
    (frame,) = Elements(page._repr_html_()).named("iframe")
    assert frame["srcdoc"] == page.html
    assert page.html.startswith("<!doctype html>")
    assert '"surfaces":{' in page.html.replace(" ", "")
    assert "height: 500px" in str(frame["style"])
    assert repr(page) == "InlinePage(height=500)"
    assert isinstance(page, InlinePage)


def test_the_page_of_a_model_takes_no_parts_of_another(
    path: surfing.Trajectory, net: nn.Module, y: Tensor
) -> None:
    model = surfing.ForwardModel(path, generator=net)
    with pytest.raises(surfing.InputError, match="operator: the model has one"):
        surfing.direct(model, y).show(model=model, y=y, operator="gaussian:5")
