"""Experiments by name: what ``python -m paper`` can make."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, cast

from surfing.errors import UnknownNameError

__all__ = ["EXPERIMENTS", "Experiment", "Record", "Tick", "experiment"]

Record = dict[str, Any]
"""JSON values: all that figures and tables are made from."""

Tick = Callable[[int, int], None]
"""Called with (parts done, parts in all)."""

EXPERIMENTS = {
    "theory": "paper.theory",
    "zoo": "paper.zoo",
    "adam": "paper.adam",
    "table1": "paper.table1",
    "fig1": "paper.fig1",
    "fig2": "paper.fig2",
    "fig3": "paper.fig3",
    "fig4": "paper.fig4",
    "budget": "paper.budget",
    "ablations": "paper.ablations",
}
"""Name on the command line -> the module, loaded when it is asked for."""


class Experiment(Protocol):
    """What every module named in :data:`EXPERIMENTS` offers at its top level."""

    @property
    def FULL(self) -> Any:
        """The frozen configuration whose record is published; it has a field `seed`."""
        ...

    @property
    def QUICK(self) -> Any:
        """The same in minutes."""
        ...

    def run(
        self,
        config: Any,
        out: Path,
        *,
        device: str = "cpu",
        progress: Tick | None = None,
        workers: int = 1,
    ) -> Record:
        """Measure; interrupted, the same call goes on: :class:`paper.parts.Parts`.

        Args:
            config: FULL, QUICK, or one like them.
            out: where finished parts are kept, so that they need not be measured again.
            device: for the networks.
            progress: told how far it is.
            workers: processes.
        """
        ...

    def figures(self, record: Record, out: Path) -> list[Path]:
        """Draw the pictures, PNG files in `out`, from the record alone."""
        ...

    def markdown(self, record: Record) -> str:
        """The tables, from the record alone."""
        ...


def experiment(name: str) -> Experiment:
    """The module behind a name.

    Raises:
        UnknownNameError: nobody knows it.
    """
    if name not in EXPERIMENTS:
        raise UnknownNameError("experiment", name, list(EXPERIMENTS))
    return cast(Experiment, importlib.import_module(EXPERIMENTS[name]))
