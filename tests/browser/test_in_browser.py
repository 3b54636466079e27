import re
from pathlib import Path
from typing import Any

import pytest
from benchmarks.page import thousand
from tests.browser.conftest import Watched

import surfing

pytestmark = pytest.mark.browser


def test_it_loads_without_errors_and_asks_for_nothing(opened: Watched, page_file: Path) -> None:
    assert opened.errors == []
    outside = [url for url in opened.requests if not url.startswith("data:")]
    assert outside == [page_file.as_uri()]
    assert opened.page.locator("h1").inner_text() == "<b>Wave</b></script>"


def test_the_slider_changes_the_surface_and_back(opened: Watched) -> None:
    last = opened.pixels()
    opened.page.locator("#when").fill("0")
    first = opened.pixels()
    opened.page.locator("#when").fill("5")
    assert len({last, first, opened.pixels()}) == 3
    opened.page.locator("#when").fill("9")
    assert opened.pixels() == last
    assert opened.errors == []


def test_play_goes_from_the_first_stage_to_the_last(opened: Watched) -> None:
    page = opened.page
    page.locator("#play").click()
    assert page.locator("#play").get_attribute("aria-pressed") == "true"
    early = opened.pixels()
    while float(opened.painted()[1]) < 3:
        page.wait_for_timeout(100)
    assert opened.pixels() != early
    page.wait_for_selector("#play[aria-pressed=false]", timeout=30_000)
    assert opened.painted()[1] == "9.00"


def test_a_target_is_selected_by_its_tile(opened: Watched) -> None:
    page = opened.page
    before = opened.pixels()
    page.locator("#only").select_option("surface")
    page.locator(".tile canvas").first.scroll_into_view_if_needed()
    opened.settle()
    opaque = "c => c.getContext('2d').getImageData(c.width - 1, 0, 1, 1).data[3]"
    assert page.locator(".tile canvas").first.evaluate(opaque) == 255
    other = page.locator(".tile[aria-pressed=false]").first
    number = other.get_attribute("data-target")
    other.click()
    assert page.locator("#card h2").inner_text() == f"Target {number}"
    assert opened.painted()[0] == number
    assert opened.pixels() != before
    assert page.locator("#strip button").count() == 10


def test_every_curve_is_there_and_follows_the_target(opened: Watched) -> None:
    page = opened.page
    assert page.locator("#curves h2").all_inner_texts() == [
        "Residual along the ride",
        "Damping along the ride",
        "Cost of each stage",
        "Success against cost",
        "Drift of the training, and the stages chosen",
    ]
    assert page.locator(".methods li span").all_inner_texts() == ["surfed", "direct"]
    way = "document.querySelectorAll('#curves .chart')[1].querySelector('.line.surf')"
    assert page.evaluate(f"{way}.getTotalLength()") > 100
    before = page.evaluate(f"{way}.getAttribute('d')")
    page.locator(".tile[aria-pressed=false]").first.click()
    assert page.evaluate(f"{way}.getAttribute('d')") != before
    words = page.locator("#words").inner_text()
    assert "What happened, and what to try" in words
    assert "The measurements are met to the requested precision." in words


def test_a_thousand_targets_are_there(browser: Any, tmp_path: Path) -> None:
    file = thousand(tmp_path / "many.html")
    assert file.stat().st_size < 15e6
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    watched = Watched(context.new_page(), file)
    assert watched.page.locator("#shown").inner_text() == "1000 of 1000"
    assert 48 <= watched.page.locator(".tile").count() < 1000
    watched.page.evaluate("""async () => {
        const home = document.getElementById("tiles");
        while (home.querySelector(".end")) {
            home.scrollTop = home.scrollHeight;
            await new Promise(r => setTimeout(r, 20));
        }
    }""")
    assert watched.page.locator(".tile").count() == 1000
    assert watched.errors == []
    context.close()


def test_targets_sort_and_filter(opened: Watched) -> None:
    page = opened.page
    page.locator("#sort").select_option("number")
    tiles = page.locator(".tile")
    numbers = [int(tiles.nth(i).get_attribute("data-target")) for i in range(tiles.count())]
    assert numbers == list(range(12))
    page.locator("#sort").select_option("status")
    statuses = page.evaluate(
        "() => { const d = JSON.parse(document.getElementById('data').textContent).surfed.status;"
        " return [...document.querySelectorAll('.tile')].map(t => d[t.dataset.target]); }"
    )
    assert statuses == sorted(statuses)


def test_all_of_it_by_keyboard(opened: Watched) -> None:
    page = opened.page
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        named = page.evaluate("document.activeElement.id || document.activeElement.className")
        reached.add(named)
        if named == "tile":
            break
    assert {"start", "theme", "stage", "play", "when", "height", "scale", "pick", "sort"} <= reached
    number = page.evaluate("document.activeElement.dataset.target")
    page.keyboard.press("Enter")
    assert page.locator("#card h2").inner_text() == f"Target {number}"

    page.locator("#when").focus()
    page.keyboard.press("Home")
    assert opened.painted()[1] == "0.00"
    page.keyboard.press("ArrowRight")
    assert float(opened.painted()[1]) > 0
    page.locator("#stage").focus()
    before = opened.pixels()
    page.keyboard.press("ArrowLeft")
    assert opened.pixels() != before
    page.keyboard.press("Space")
    assert page.locator("#play").get_attribute("aria-pressed") == "true"
    page.keyboard.press("Space")
    assert page.locator("#play").get_attribute("aria-pressed") == "false"
    page.locator("#theme").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert opened.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_it_fits(
    browser: Any, page_file: Path, tmp_path: Path, *, scheme: str, width: int, height: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    watched = Watched(context.new_page(), page_file)
    page = watched.page
    assert page.evaluate("document.documentElement.scrollWidth") == width
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(8, 19, 25)") is dark is (scheme == "dark")
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert watched.errors == []
    context.close()


def test_one_status_is_shown_alone(opened: Watched) -> None:
    page = opened.page
    told = page.evaluate(
        "() => { const d = JSON.parse(document.getElementById('data').textContent);"
        " return [d.surfed.status, d.direct.status, d.statuses]; }"
    )
    surfed, direct, statuses = told
    met = {number for number, (_, _, success) in statuses.items() if success}
    wanted = {
        "all": list(range(12)),
        "met": [i for i, s in enumerate(surfed) if str(s) in met],
        "unmet": [i for i, s in enumerate(surfed) if str(s) not in met],
        "won": [
            i for i, (s, d) in enumerate(zip(surfed, direct)) if str(s) in met and str(d) not in met
        ],
        str(surfed[0]): [i for i, s in enumerate(surfed) if s == surfed[0]],
    }
    page.locator("#sort").select_option("number")
    for choice, targets in wanted.items():
        page.locator("#only").select_option(choice)
        tiles = page.locator(".tile")
        shown = [int(tiles.nth(i).get_attribute("data-target")) for i in range(tiles.count())]
        assert shown == targets, choice
        assert page.locator("#shown").inner_text() == f"{len(targets)} of 12"
    assert opened.errors == []


def test_the_tour_says_a_sentence_of_each_part_and_ends(opened: Watched) -> None:
    page = opened.page
    stops = page.locator("[data-tour]").evaluate_all("parts => parts.map(p => p.dataset.tour)")
    assert all(stop.endswith(".") for stop in stops)
    assert not page.locator("#tour").is_visible()
    page.locator("#start").click()
    said = []
    while page.locator("#tour").is_visible():
        said.append(page.locator("#said").inner_text())
        page.locator("#next").click()
    assert said == stops
    page.locator("#start").click()
    page.keyboard.press("Escape")
    assert not page.locator("#tour").is_visible()
    assert opened.errors == []


@pytest.mark.parametrize(
    ("operator", "name"),
    [
        ("inpainting:0.4", "grey-blue: not measured"),
        ("downsampling:4", "7 × 7 pixels"),
        ("mri:4", "k-space, magnitude"),
        ("gaussian:50", "50 numbers"),
        ("gaussian:300", "the first 96 of 300 numbers"),
    ],
)
def test_what_was_measured_is_seen(
    browser: Any, tmp_path: Path, *, operator: str, name: str
) -> None:
    pytest.importorskip("deepinv")
    model = surfing.ForwardModel(surfing.zoo.packaged(), operator=operator)
    z = model.latent.sample(range(2), 1, seed=0)[:, 0]
    y = model.measure(model.signals(z))
    file = surfing.direct(model, y, max_steps=2).view(
        tmp_path / "page.html", model=model, y=y, truth=z, featured=1, size=11
    )
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    watched = Watched(context.new_page(), file)
    card = watched.page.locator("#card")
    assert name in card.inner_text()
    if "numbers" in name:
        bars = card.locator("svg.bars rect")
        assert bars.count() == min(96, y[0].numel())
    else:
        picture = card.locator("figure", has_text="Measured").locator("canvas")
        colours = picture.evaluate(
            "c => new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width,"
            " c.height).data.buffer)).size"
        )
        assert colours > 10
    facts = watched.page.locator("#facts").inner_text()
    if operator.startswith(("inpainting", "mri")):
        assert re.search(r"m = \d+ of \d+ entries", facts)
    assert watched.errors == []
    context.close()
