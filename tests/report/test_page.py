import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

import surfing
from surfing.errors import InputError, OutputExistsError
from surfing.report.intervals import wilson
from surfing.report.page.pictures import Atlas
from surfing.report.page.render import render
from surfing.report.page.scene import Scene
from surfing.report.page.surfaces import Plane

HOSTILE = "</script><img src=x onerror=alert(1)><!--&\u2028"


class Elements(HTMLParser):
    """Every element, and the text of the one that holds the data."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.data = ""
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._inside = dict(attrs).get("id") == "data"

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        self.data += data if self._inside else ""


def solution(k: int = 3, *, stages: int = 4, note: str = "n", side: int = 6) -> surfing.Solution:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(5, stages, k, generator=generator)
    records = tuple(
        surfing.StageRecord(
            float(i), 10.0 * i, z[:, i], torch.full((5,), 1.0 / (1 + i)), *_counts()
        )
        for i in range(stages)
    )
    return surfing.Solution(
        z=z[:, -1],
        x=torch.rand(5, 1, side, side, generator=generator),
        risk=torch.tensor([0.0, 0.1, 0.2, torch.nan, 0.3]),
        status=torch.tensor([0, 3, 0, 9, 1]),
        cost=torch.arange(5.0),
        stages=records,
        notes=(note,),
        method=note,
    )


def _counts() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.full((5,), 2), torch.full((5,), 8.0), torch.full((5,), 3)


def read(path: Path) -> tuple[list[tuple[str, dict[str, str | None]]], dict[str, Any]]:
    parser = Elements()
    parser.feed(path.read_text(encoding="utf-8"))
    return parser.found, json.loads(parser.data)


def test_the_page_shows_what_the_solution_alone_knows(tmp_path: Path) -> None:
    page = solution().view(tmp_path / "p.html", x=torch.rand(5, 1, 6, 6))
    _, data = read(page)
    assert data["surfed"]["status"] == [0, 3, 0, 9, 1]
    assert data["surfed"]["norm"][3] is None
    assert data["surfaces"] is None
    assert len(data["pictures"]["target"]) == 5
    said = dict(data["words"]["surfed"])
    assert {line.partition(":")[0]: count for line, count in said.items()}["solved"] == 2


def test_dampings_are_shown_where_every_stage_kept_them(tmp_path: Path) -> None:
    _, data = read(solution().view(tmp_path / "without.html"))
    assert data["ride"]["damping"] is None
    damped = torch.tensor([1.0, torch.inf, 3e-7, 2.0, 5.0])
    stages = tuple(replace(stage, damping=damped) for stage in solution().stages)
    page = replace(solution(), stages=stages).view(tmp_path / "with.html")
    assert read(page)[1]["ride"]["damping"] == [[1.0, None, 3e-7, 2.0, 5.0]] * 4
    part = replace(solution(), stages=(*stages[:-1], replace(stages[-1], damping=None)))
    assert read(part.view(tmp_path / "part.html"))[1]["ride"]["damping"] is None


def test_a_comparison_is_shown_with_its_intervals(tmp_path: Path) -> None:
    curves = {"direct": [(400, 3, 10), (100, 1, 10), (50, 0, 0)], HOSTILE: [(100, 0, 4)]}
    _, data = read(solution().view(tmp_path / "p.html", success=curves))
    direct, hostile = data["success"]
    assert [point[:2] for point in direct["points"]] == [[100, 0.1], [400, 0.3]]
    for cost, share, low, high in direct["points"]:
        found = {c: met for c, met, _ in curves["direct"]}[cost]
        assert (low, high) == pytest.approx(wilson(found, 10), abs=1e-6)
        assert low < share < high
    assert (hostile["name"], hostile["trials"]) == (HOSTILE, 4)
    assert read(solution().view(tmp_path / "q.html"))[1]["success"] is None


@pytest.mark.parametrize("points", [[], [(0, 1, 2)], [(9, 3, 2)], [(9, -1, 2)], [(9, 0, 0)]])
def test_a_comparison_that_is_none_is_refused(
    tmp_path: Path, points: list[tuple[float, int, int]]
) -> None:
    with pytest.raises(InputError, match=r"success\['lm'\]: expected points"):
        solution().view(tmp_path / "p.html", success={"lm": points})
    assert not (tmp_path / "p.html").exists()


def test_hostile_strings_stay_strings(tmp_path: Path) -> None:
    plain = solution().view(tmp_path / "plain.html")
    page = solution(note=HOSTILE).view(tmp_path / "p.html", title=HOSTILE)
    elements, data = read(page)
    assert [tag for tag, _ in elements] == [tag for tag, _ in read(plain)[0]]
    assert data["title"] == data["notes"][0] == dict(data["facts"])["method"] == HOSTILE


def test_only_the_template_can_run_and_nothing_is_asked_from_outside(tmp_path: Path) -> None:
    page = solution(note=HOSTILE).view(tmp_path / "p.html").read_text(encoding="utf-8")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "unsafe-eval" not in policy[1]
    assert "script-src 'sha256-" in policy[1]
    assert set(re.findall(r"https?://[^\s\"'`<]+", page)) == {"http://www.w3.org/2000/svg"}


def test_slots_in_the_data_are_not_filled() -> None:
    page = render({"title": "@@script@@", "notes": ["@@style@@"]})
    assert "<title>@@script@@</title>" in page
    assert '"@@style@@"' in page


def ridden() -> tuple[surfing.Trajectory, torch.nn.Module, torch.Tensor]:
    """A linear generator that turns, a quarter at a time: f is known in closed form."""
    module = torch.nn.Linear(2, 2, bias=False, dtype=torch.float64)
    states = []
    for i in range(3):
        angle = torch.tensor(i * 0.4, dtype=torch.float64)
        turn = torch.stack([torch.stack([angle.cos(), -angle.sin()])] * 2)
        turn[1] = torch.stack([angle.sin(), angle.cos()])
        states.append((i, {"weight": turn}))
    trajectory = surfing.Trajectory.from_state_dicts(states, latent=surfing.Normal(2))
    return trajectory, module, torch.tensor([[1.0, 2.0], [-1.0, 0.5]], dtype=torch.float64)


def test_the_surface_is_the_residual_norm(tmp_path: Path) -> None:
    trajectory, module, y = ridden()
    every = surfing.EveryCheckpoint()
    solved = surfing.surf(trajectory, y, generator=module, schedule=every)
    options = {"trajectory": trajectory, "y": y, "generator": module, "size": 9}
    page = solved.view(tmp_path / "p.html", **options)
    surfaces = read(page)[1]["surfaces"]
    assert surfaces["frames"] == [0, 0.5, 1, 1.5, 2]
    import base64

    for item in surfaces["items"]:
        packed = base64.b64decode(item["norms"])
        norms = torch.frombuffer(bytearray(packed), dtype=torch.uint16).double()
        norms = norms.reshape(5, 9, 9) / 65535 * item["top"]
        assert "latent space itself" in item["spanned"]
        # G_T is a rotation: ||G z - y|| = ||z - z*||, and the ride ends at z*.
        marks = torch.linspace(0, item["width"], 9, dtype=torch.float64)
        end = torch.tensor(item["path"][-1][:2]) * item["width"]
        expected = (marks[None] - end[0]).square() + (marks[:, None] - end[1]).square()
        # Quantised to 16 bits, coordinates rounded to six digits.
        tolerance = item["top"] / 65535 + 1e-5 * item["width"]
        assert torch.allclose(norms[-1], expected.sqrt(), atol=tolerance, rtol=0)


def test_the_plane_holds_the_ends_it_names() -> None:
    path = torch.randn(6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    direct, truth = path[0] + 1, path[3] - 2
    plane = Plane.through(path, direct, truth)
    for point in (path[-1], direct, truth):
        flat = plane.project(point[None])
        assert torch.allclose(plane.origin + flat @ plane.basis, point[None], atol=1e-12)
    assert "the direct end and the true latent" in plane.spanned


@pytest.mark.parametrize("k", [3, 10])
def test_a_ride_that_found_the_truth_is_seen_from_its_start(k: int) -> None:
    path = torch.randn(4, k, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    plane = Plane.through(path, path[1] + 1, path[-1])
    assert plane.spanned.endswith("the start")
    lone = Plane.through(path)
    assert "principal" in lone.spanned
    gram = lone.basis @ lone.basis.T
    assert torch.allclose(gram, torch.eye(2, dtype=torch.float64), atol=1e-12)


def test_a_path_of_one_point_is_seen_with_the_laws_mean() -> None:
    end, mean = torch.tensor([[1.0, 2.0, -1.0, 0.5]]), torch.full((4,), 0.25)
    plane = Plane.through(end, mean=mean)
    assert "the law's mean" in plane.spanned
    assert torch.allclose(plane.basis @ plane.basis.T, torch.eye(2), atol=1e-6)
    assert torch.allclose(plane.project(mean[None]) @ plane.basis, mean - end, atol=1e-5)


@pytest.mark.parametrize(
    ("method", "did"),
    [("surf LevenbergMarquardt", "surfed"), ("recover", "recovered"), ("direct LBFGS", "found")],
)
def test_the_page_names_what_was_run(tmp_path: Path, method: str, did: str) -> None:
    page = replace(solution(), method=method).view(tmp_path / "page.html")
    _, data = read(page)
    assert data["named"]["did"] == did


def test_pictures_come_back_as_they_went_in() -> None:
    import base64
    import io

    from PIL import Image

    images = torch.arange(256.0).reshape(4, 1, 8, 8)
    atlas = Atlas(images)
    places = atlas.add(images)
    document = atlas.document()
    raw = base64.b64decode(document["png"].partition(",")[2])
    with Image.open(io.BytesIO(raw)) as picture:
        sheet = torch.tensor(list(picture.tobytes())).reshape(picture.height, picture.width)
    for number, image in zip(places, images):
        top, left = number // document["columns"] * 8, number % document["columns"] * 8
        assert torch.equal(sheet[top : top + 8, left : left + 8].float(), image[0])


def test_a_thousand_targets_stay_under_fifteen_megabytes(tmp_path: Path) -> None:
    trajectory = surfing.zoo.packaged()
    z = trajectory.latent.sample(range(1000), 1, seed=0)[:, 0]
    stages = tuple(
        surfing.StageRecord(
            float(i), float(i), z, *[torch.ones(1000)] * 3, torch.zeros(1000, dtype=torch.int)
        )
        for i in range(10)
    )
    x = torch.rand(1000, 1, 28, 28)
    many = surfing.Solution(z, x, *[torch.ones(1000)] * 3, stages=stages)
    page = many.view(tmp_path / "p.html", trajectory=trajectory, y=x, featured=1, size=9)
    assert page.stat().st_size < 15e6
    data = read(page)[1]
    assert len(data["pictures"]["surfed"]) == 1000


def test_bad_input_is_refused_before_any_work(tmp_path: Path) -> None:
    page = tmp_path / "p.html"
    with pytest.raises(InputError, match=r"truth: expected latents \(5, 3\)"):
        solution().view(page, truth=torch.zeros(5, 2))
    with pytest.raises(InputError, match="beside"):
        solution().view(page, beside=solution(4))
    with pytest.raises(InputError, match="trajectory"):
        solution().view(page, y=torch.zeros(5, 2))
    with pytest.raises(InputError, match="beyond the last"):
        solution().view(page, trajectory=ridden()[0])
    page.write_text("mine")
    with pytest.raises(OutputExistsError):
        solution().view(page)
    assert page.read_text() == "mine"


def test_targets_where_direct_descent_is_stuck_come_first() -> None:
    ridden = replace(solution(), status=torch.tensor([0, 0, 0, 3, 0]))
    beside = replace(solution(), status=torch.tensor([4, 0, 3, 3, 5]))
    assert Scene(ridden, "t", beside=beside).featured(5) == [2, 0, 4, 3, 1]
    assert Scene(ridden, "t", beside=beside).featured(2) == [2, 3]
