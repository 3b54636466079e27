"""A real browser, a fresh profile a test, and a page made from the packaged trajectory."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import surfing
from surfing.evaluation.selftest import own_samples

FLAGS = [
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="session")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from surfing.architectures import generator_from_manifest

    trajectory = surfing.zoo.packaged()
    module = generator_from_manifest(trajectory.architecture, trajectory[-1].state)
    truth = own_samples(trajectory, module, 12)
    ridden = surfing.surf(trajectory, truth.x)
    beside = surfing.direct(trajectory, truth.x)
    return ridden.view(
        tmp_path_factory.mktemp("view") / "page.html",
        trajectory=trajectory,
        y=truth.x,
        beside=beside,
        truth=truth.z,
        success={"direct": [(100, 3, 12), (400, 6, 12)], "surfed": [(100, 2, 12), (400, 11, 12)]},
        featured=2,
        size=21,
        title="<b>Wave</b></script>",
    )


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    if chromium is None:
        pytest.skip("no chromium here: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        yield running
        running.close()


class Watched:
    """A page, and whatever it complained of or asked for."""

    def __init__(self, page: Any, file: Path) -> None:
        self.page = page
        self.errors: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: self.errors.append(str(e)))
        page.on("request", lambda r: self.requests.append(r.url))
        page.goto(file.as_uri())
        page.wait_for_selector("html[data-ready]", state="attached")
        self.settle()

    def settle(self) -> None:
        """Until what was asked for is painted."""
        self.page.evaluate("() => new Promise(r => requestAnimationFrame(() => setTimeout(r, 30)))")

    def pixels(self) -> str:
        """A digest of the surface as painted, without what rides on it."""
        self.settle()
        digest: str = self.page.evaluate("document.getElementById('gl').toDataURL()")
        return digest

    def painted(self) -> list[str]:
        """Target, stage, height, scale."""
        self.settle()
        said: str = self.page.evaluate("document.documentElement.dataset.painted")
        return said.split("/")


@pytest.fixture
def opened(browser: Any, page_file: Path) -> Iterator[Watched]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield Watched(context.new_page(), page_file)
    context.close()
