"""The page of many targets: how large it is, and how soon a browser shows it.

The page is that of `surfing view packaged --targets 1000`, surfed and direct. It is opened a few
times in Chromium, a fresh profile each. Times are from the start of navigation until all of it is
drawn, as the page itself tells, and the processor time that its process took up to then: what
else the machine does matters to the first, hardly to the second.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

import surfing
from benchmarks import measure
from surfing.architectures import generator_from_manifest
from surfing.errors import InputError
from surfing.evaluation.selftest import own_samples

__all__ = ["main", "opened", "thousand"]

app = App(help=__doc__)

FLAGS = ("--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
"""The surface is drawn without a graphics card."""


@app.default
def main(
    *,
    out: Path = Path("docs/records/page.json"),
    targets: int = 1000,
    rounds: int = 7,
    short: Annotated[bool, Parameter(name="--quick")] = False,
) -> dict[str, Any]:
    """Measure and write the record.

    Args:
        out: the record.
        targets: on the page.
        rounds: how often it is opened.
        short: 8 targets, opened once: shows that it runs.
    """
    began = time.perf_counter()
    targets, rounds = (8, 1) if short else (targets, rounds)
    record: dict[str, Any] = {"benchmark": "page", "quick": short} | measure.environment()
    with tempfile.TemporaryDirectory() as folder:
        page = thousand(Path(folder) / "page.html", targets=targets)
        record |= {"targets": targets, "rounds": rounds, "bytes": page.stat().st_size}
        runs = opened(page, rounds)
    for name in ("ready_ms", "processor_ms"):
        times = [run[name] for run in runs]
        record |= {name: times, f"{name}_median": statistics.median(times)}
    record["seconds"] = time.perf_counter() - began
    measure.write_record(out, record)
    return record


def thousand(path: Path, *, targets: int = 1000) -> Path:
    """The page of `surfing view packaged --targets 1000`."""
    trajectory = surfing.zoo.packaged()
    module = generator_from_manifest(trajectory.architecture, trajectory[-1].state)
    own = own_samples(trajectory, module, targets)
    beside = surfing.direct(trajectory, own.x)
    return surfing.surf(trajectory, own.x).view(
        path, trajectory=trajectory, y=own.x, beside=beside, truth=own.z
    )


def opened(page: Path, rounds: int) -> list[dict[str, int]]:
    """Milliseconds until all is drawn, and of processor time, each time."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        raise InputError("chromium: expected the browser; on Debian: apt-get install chromium.")
    runs = []
    with sync_playwright() as driver:
        for _ in range(rounds):
            browser = driver.chromium.launch(executable_path=chromium, args=list(FLAGS))
            tab = browser.new_page(viewport={"width": 1280, "height": 900})
            session = tab.context.new_cdp_session(tab)
            session.send("Performance.enable")
            tab.goto(page.resolve().as_uri())
            tab.wait_for_selector("html[data-ready]", state="attached")
            metrics = session.send("Performance.getMetrics")["metrics"]
            (spent,) = [m["value"] for m in metrics if m["name"] == "ProcessTime"]
            ready = int(tab.evaluate("document.documentElement.dataset.ready"))
            runs.append({"ready_ms": ready, "processor_ms": round(1000 * spent)})
            browser.close()
    return runs


if __name__ == "__main__":
    app()
