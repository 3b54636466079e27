"""`run` of an experiment: its parts measured, each once, and a record of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from paper.document import document
from paper.parts import Parts
from paper.registry import Record, Tick

__all__ = ["Run"]

C = TypeVar("C")


@dataclass(frozen=True)
class Run(Generic[C]):
    """Measures what a configuration asks for; called as :class:`Experiment`'s `run`.

    Args:
        name: of the experiment.
        tasks: of a configuration: name of a part -> what `measure` is given after it.
        measure: one part, of module level, so that other processes can import it.
        facts: told in the record beside the results.
    """

    name: str
    tasks: Callable[[C], Mapping[str, Sequence[Any]]]
    measure: Callable[..., dict[str, Any]]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __call__(
        self,
        config: C,
        out: Path,
        *,
        device: str = "cpu",
        progress: Tick | None = None,
        workers: int = 1,
    ) -> Record:
        """Measure what is not measured yet."""
        tasks = {name: (config, *arguments) for name, arguments in self.tasks(config).items()}
        parts = Parts(out, self.name, config)
        results = parts.measure(self.measure, tasks, progress=progress, workers=workers)
        return document(config, results, **self.facts)
