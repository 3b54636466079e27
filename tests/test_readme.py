"""README's code runs, and its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import surfing

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 11
    torch.manual_seed(0)
    generator = torch.nn.Sequential(
        torch.nn.Linear(20, 32), torch.nn.ReLU(), torch.nn.Linear(32, 64)
    )

    def train_one_step(module: torch.nn.Module, batch: int) -> None:
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))

    monkeypatch.chdir(tmp_path)
    names = {"generator": generator, "train_one_step": train_one_step, "loader": range(3)}
    exec(code, names)
    assert "8 targets" in capsys.readouterr().out


def test_the_named_files_are_there() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert all((ROOT / link).exists() for link in links)
    for script in re.findall(r"^(scripts/\w+|\.ci/\w+)", README, re.MULTILINE):
        assert (ROOT / script).stat().st_mode & 0o111


def test_the_named_parts_are_public() -> None:
    section = README.split("**Choose the parts**")[1].split("\n## ")[0]
    for name in re.findall(r"`(?:\w+=)?([A-Z]\w+)\(", section):
        assert name in surfing.__all__
