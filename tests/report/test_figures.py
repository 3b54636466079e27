from itertools import pairwise
from pathlib import Path

import matplotlib
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from surfing.errors import InputError
from surfing.report import (
    drift_profile,
    landscape_path,
    recovery_grid,
    slice_through,
    success_against_cost,
)


def bowl(z: torch.Tensor) -> torch.Tensor:
    return z.square().sum(-1) / 2


def test_grid_has_a_row_for_the_targets_and_two_for_each_method(tmp_path: Path) -> None:
    targets = torch.rand(5, 1, 4, 4)
    figure = recovery_grid(targets, {"direct": targets, "surfed": targets + 0.1}, title="t")
    assert len(figure.axes) == 5 * 5
    assert isinstance(figure, Figure)
    figure.savefig(tmp_path / "grid.png")


def test_grid_shows_no_error_as_white() -> None:
    targets = torch.rand(2, 3, 4, 4)
    figure = recovery_grid(targets, {"exact": targets})
    image = figure.axes[4].images[0].get_array()
    assert image is not None
    assert float(image.min()) == 1.0


def test_grid_refuses_other_shapes() -> None:
    with pytest.raises(InputError, match="exact"):
        recovery_grid(torch.rand(2, 1, 4, 4), {"exact": torch.rand(3, 1, 4, 4)})


def test_axes_are_taken_and_returned_and_no_global_style_changes() -> None:
    before = dict(matplotlib.rcParams)
    axes = Figure().subplots(3)
    path = torch.tensor([[2.0, 1.0, 0.5], [1.0, 0.2, 0.1], [0.0, 0.0, 0.0]])
    assert drift_profile([0, 10, 30], [0.2, None], ax=axes[0]) is axes[0]
    assert success_against_cost({"a": [(100, 3, 10), (10, 1, 10)]}, ax=axes[1]) is axes[1]
    surface = slice_through(bowl, path, size=9)
    assert landscape_path(surface, ax=axes[2], truth=path[-1]) is axes[2]
    assert dict(matplotlib.rcParams) == before


def test_drift_must_fit_the_steps() -> None:
    with pytest.raises(InputError, match="one less"):
        drift_profile([0, 1], [0.1, 0.2])


def test_the_slice_holds_a_plane_path_and_evaluates_the_risk_on_it() -> None:
    path = torch.tensor([[3.0, 0.0, 0.0], [1.0, 2.0, 0.0], [0.5, 0.5, 0.0]], dtype=torch.float64)
    surface = slice_through(bowl, path, size=21)
    lifted = surface.origin + surface.path @ surface.basis
    assert torch.allclose(lifted, path, atol=1e-5)
    i, j = 3, 17
    z = surface.origin + torch.stack([surface.across[j], surface.up[i]]) @ surface.basis
    assert float(surface.risk[i, j]) == pytest.approx(float(bowl(z[None])[0]))


def test_a_path_that_stands_still_has_a_slice() -> None:
    surface = slice_through(bowl, torch.ones(3, 4), size=5)
    assert bool(surface.risk.isfinite().all())


def test_a_path_that_is_not_finite_is_refused() -> None:
    with pytest.raises(InputError, match="finite"):
        slice_through(bowl, torch.full((2, 3), torch.nan))


def test_at_most_six_methods_are_drawn_each_with_its_name_at_its_end() -> None:
    curves = {f"method {i}": [(100, i, 10), (200, i, 10)] for i in range(9)}
    ax = success_against_cost(curves)
    assert len(ax.lines) == 6
    assert [text.get_text() for text in ax.texts] == [f"method {i}" for i in range(8, 2, -1)]
    assert (
        len({(line.get_color(), line.get_linestyle(), line.get_marker()) for line in ax.lines}) == 6
    )
    assert "6 best of 9" in ax.get_title(loc="left")
    assert len(success_against_cost(curves, most=9).lines) == 9


def test_names_at_one_height_do_not_overlap() -> None:
    ax = success_against_cost({f"method {i}": [(100, 9, 10)] for i in range(6)})
    assert isinstance(ax.figure, Figure)
    FigureCanvasAgg(ax.figure).draw()
    # The text alone: the annotation's own extent takes in the line to its curve.
    boxes = sorted((Text.get_window_extent(text) for text in ax.texts), key=lambda box: box.y0)
    assert all(low.y1 <= high.y0 + 1 for low, high in pairwise(boxes))


def test_of_curves_that_end_alike_the_better_is_named_first() -> None:
    ax = success_against_cost({"late": [(1, 0, 9), (2, 9, 9)], "early": [(1, 9, 9), (2, 9, 9)]})
    assert [text.get_text() for text in ax.texts] == ["early", "late"]


def test_a_budget_that_was_not_tried_is_not_drawn() -> None:
    ax = success_against_cost({"lm": [(100, 0, 0), (200, 1, 2)], "never": [(100, 0, 0)]})
    assert [list(line.get_xdata()) for line in ax.lines] == [[200]]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_larger_value_is_lighter_whatever_the_picture(channels: int) -> None:
    targets = torch.linspace(0, 1, 4).reshape(1, 1, 2, 2).expand(1, channels, 2, 2)
    drawn = recovery_grid(targets, {}).axes[0].images[0].get_array()
    assert drawn is not None
    assert drawn[..., 0].flatten().tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
