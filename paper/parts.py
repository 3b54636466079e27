"""Parts of an experiment, each measured once: what is finished survives an interrupt."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from paper.registry import Tick
from surfing import files
from surfing._version import __version__

__all__ = ["Parts", "write_text"]


class Parts:
    """JSON documents by name, in a folder that belongs to one configuration.

    Another configuration, or another version of the package, gets a folder of its own.

    Args:
        out: the experiment's output folder.
        name: of the experiment.
        config: a frozen dataclass of JSON values.
    """

    def __init__(self, out: Path, name: str, config: Any) -> None:
        described = json.dumps(dataclasses.asdict(config), sort_keys=True, default=str)
        digest = hashlib.sha256(f"{__version__} {described}".encode()).hexdigest()[:12]
        self.folder = out / ".parts" / f"{name}-{digest}"

    def measure(
        self,
        function: Callable[..., Any],
        tasks: Mapping[str, Sequence[Any]],
        *,
        progress: Tick | None = None,
        workers: int = 1,
    ) -> dict[str, Any]:
        """function(*arguments) for every task that is not finished yet.

        Args:
            function: of module level, so that other processes can import it; returns JSON values.
            tasks: name of the part -> the function's arguments.
            progress: told how many tasks are done.
            workers: processes; with 1 everything happens here.

        Returns:
            Name -> what the function returned, in the order of the tasks.
        """
        done = {name: found for name in tasks if (found := self._read(name)) is not None}
        open_ = {name: arguments for name, arguments in tasks.items() if name not in done}

        def keep(name: str, value: Any) -> None:
            write_text(self._path(name), json.dumps(value))
            done[name] = value
            if progress is not None:
                progress(len(done), len(tasks))

        if workers <= 1:
            for name, arguments in open_.items():
                keep(name, function(*arguments))
        else:
            # spawn: a fork would copy torch's threads in whatever state they are.
            with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
                futures = {pool.submit(function, *a): name for name, a in open_.items()}
                for future in as_completed(futures):
                    keep(futures[future], future.result())
        return {name: done[name] for name in tasks}

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _read(self, name: str) -> Any | None:
        try:
            return json.loads(self._path(name).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, text)
