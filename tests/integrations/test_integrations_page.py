"""The page on integrations says what runs."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "integrations.md"


def test_its_snippets_run_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in ("deepinv", "lightning", "transformers"):
        pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    snippets = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert len(snippets) == 7
    known: dict[str, Any] = {"__name__": "page"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries' own
        for snippet in snippets:
            exec(compile(snippet, str(PAGE), "exec"), known)
    assert bool(known["solution"].success.all())
    assert float(known["score"]["PSNR"]) > 60
