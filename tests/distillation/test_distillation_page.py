"""The page for those who have one checkpoint says what runs."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import surfing
from surfing.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "no-checkpoints.md"


def blocks(kind: str) -> list[str]:
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("steps", ["20", pytest.param("60", marks=pytest.mark.slow)])
def test_from_a_file_of_weights_to_the_latent(
    steps: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it stands, and with the third of the steps that the page says is nearly as good."""
    pytest.importorskip("deepinv")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    file, (command,), use = *blocks("python")[:1], blocks("bash"), blocks("python")[1]
    known: dict[str, Any] = {"__name__": "page"}
    exec(compile(file, str(PAGE), "exec"), known)
    made = [word.replace("runs/made", "runs/quick") for word in shlex.split(command)[1:]]
    assert main([*made, "--steps", "1", "--stages", "1", "--quiet"]) == 0
    said = 'out="runs/made"'
    assert said in use
    exec(compile(use.replace(said, f"{said}, steps={steps}"), str(PAGE), "exec"), known)
    assert float((known["solution"].z - known["truth"]).norm()) < 0.01
    kept = surfing.zoo.packaged()[-1].state
    assert all(torch.equal(known["trajectory"][-1].state[name], kept[name]) for name in kept)
    sys.modules.pop("mine", None)
