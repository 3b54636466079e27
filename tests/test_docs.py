"""The documentation names what exists, and all of it."""

from __future__ import annotations

import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import surfing
from surfing.execution.targets import Targets
from surfing.portfolio.solver import solver_of

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


def test_what_a_user_extends_runs_as_it_stands_in_few_lines() -> None:
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    first, *blocks = re.split(r"^\*\*(\w[\w ]*)\.\*\*", page, flags=re.MULTILINE)
    parts = dict(zip(blocks[::2], map(code_of, blocks[1::2]), strict=True))
    shown = [name for name, code in parts.items() if code]
    assert shown == ["Descent", "Operator", "Attempt", "Start", "Executor"]
    names: dict[str, Any] = {"__name__": "page"}
    exec(code_of(first), names)
    for name in shown:
        assert len([line for line in parts[name].splitlines() if line.strip()]) < 25, name
        names.pop("solution", None)
        exec(parts[name], names)
        # A hundred steps of momentum get somewhere, but not to the end.
        met = names["solution"].risk < 1 if name == "Descent" else names["solution"].success
        assert met.all(), (name, names["solution"].summary())
    # Learned starts may have met all before an attempt was asked for: ask for both alone.
    for attempt in (names["Mirrored"](), names["attempt"]):
        solver = solver_of(names["model"], budget=1e6, portfolio=[attempt])
        context = solver.context(Targets(names["y"]), range(4))
        found = attempt.run(context, torch.arange(4), number=0)
        assert found.z.shape == (4, 1, 10)
        assert (found.misfit < 1e-3).any()
        assert (context.meter.spent >= attempt.least(0.0)).all()


def code_of(text: str) -> str:
    return "".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))


def test_every_public_name_is_on_the_page_once() -> None:
    listed = re.findall(r"^\.\. auto\w+:: surfing\.(\w+)$", API, re.MULTILINE)
    assert sorted(listed) == sorted(set(surfing.__all__) - {"__version__"})


def test_every_name_on_the_page_exists() -> None:
    for module, name in re.findall(r"^\.\. auto\w+:: (surfing[\w.]*)\.(\w+)$", API, re.MULTILINE):
        assert hasattr(importlib.import_module(module), name)


def test_files_in_the_notation_exist() -> None:
    text = (ROOT / "docs" / "notation.md").read_text(encoding="utf-8")
    files = re.findall(r"`((?:\w+/)*\w+\.py)`", text)
    assert len(files) > 20
    assert [f for f in files if not _exists(f)] == []


def _exists(file: str) -> bool:
    root = ROOT if file.startswith("paper/") else ROOT / "src" / "surfing"
    return (root / file).is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere_in_a_clone(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    links = re.findall(r"\]\((?!\w+:)([^)#\s]+)(#[\w-]+)?\)", text)
    for file, heading in links:
        target = page.parent / file
        assert target.exists(), file
        if heading and target.suffix == ".md":
            assert heading[1:] in _headings(target), f"{file}{heading}"


def test_nothing_is_included_that_only_the_built_site_has() -> None:
    for page in PAGES:
        assert "(_build/" not in page.read_text(encoding="utf-8"), page.name
        assert "{include}" not in page.read_text(encoding="utf-8"), page.name


def test_generated_parts_are_what_the_code_and_the_records_say() -> None:
    command = [sys.executable, str(ROOT / "docs" / "generated.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_recording_has_the_code_of_the_example() -> None:
    """Its outputs are of the day on which `python docs/recorded.py` wrote them."""
    spec = importlib.util.spec_from_file_location("recorded", ROOT / "docs" / "recorded.py")
    assert spec is not None
    assert spec.loader is not None
    recorded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recorded)
    page = recorded.PAGE.read_text(encoding="utf-8")
    shown = [code.strip() for code in re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)]
    cells = recorded.cells(recorded.EXAMPLE.read_text(encoding="utf-8"))
    assert shown == [code for _, code in cells]
    assert all(words in page for words, _ in cells)


@pytest.mark.parametrize("name", ["quickstart", "generator", "recording", "knowledge", "methods"])
def test_its_code_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    torch.manual_seed(0)
    generator = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU())

    def train_one_step(module: torch.nn.Module, batch: int) -> None:
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))

    packaged = surfing.zoo.packaged()
    known: dict[str, Any] = {
        **{"__name__": "page", "surfing": surfing, "loader": range(3)},
        **{"generator": generator, "train_one_step": train_one_step},
        **{"trajectory": packaged, "y": surfing.zoo.draw_samples(packaged, 2)},
        "net": surfing.zoo.generator_from_manifest(packaged.architecture),
    }
    snippets = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert snippets
    for snippet in snippets:
        exec(compile(snippet, name, "exec"), known)
    if "solution" in known:
        assert bool(known["solution"].success.all())
    for run in (tmp_path / "runs").glob("*"):
        assert surfing.Trajectory.open(run).steps[-1] in (1, 3)


def _headings(page: Path) -> set[str]:
    """As GitHub and MyST call them."""
    lines = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in lines}


def test_the_page_of_large_generators_runs_and_more_freedom_fits_no_worse() -> None:
    names: dict[str, Any] = {"__name__": "page"}
    exec(code_of((ROOT / "docs" / "size.md").read_text(encoding="utf-8")), names)
    y = names["y"]
    for name in ("in_z", "in_w", "in_w_plus"):
        solution = names[name]
        assert (solution.risk < y.flatten(1).square().sum(1) / 20).all(), solution.summary()
    assert names["in_w_plus"].z.shape[1] == names["net"].styles * names["in_w"].z.shape[1]
