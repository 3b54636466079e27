"""Start children and send them signals at chosen moments."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.reliability.laws import expect

__all__ = ["Victims", "victims"]


@dataclass(frozen=True)
class Victims:
    """The program that forks a child for every order."""

    process: subprocess.Popen[str]

    def run(
        self,
        order: dict[str, Any],
        *,
        after: float | None = None,
        number: int = signal.SIGKILL,
        moment: Path | None = None,
    ) -> int:
        """Start a child; let it end, or send it a signal.

        Args:
            order: see :mod:`benchmarks.reliability.victim`.
            after: seconds until the signal; None sends none.
            number: of the signal.
            moment: waited for before the seconds are counted: a path that has to appear.

        Returns:
            The wait status.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        child = int(self.process.stdout.readline())
        if after is not None:
            victim = os.pidfd_open(child)  # a number may be another process's by then
            limit = time.monotonic() + 30
            while moment is not None and not moment.exists() and time.monotonic() < limit:
                time.sleep(0.002)
            time.sleep(after)
            with contextlib.suppress(ProcessLookupError):  # it ended before
                signal.pidfd_send_signal(victim, number)
            os.close(victim)
        return int(self.process.stdout.readline())


@contextlib.contextmanager
def victims(*modules: str) -> Iterator[Victims]:
    """The program, ready, with these modules imported; it ends with the block."""
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.reliability.victim", *modules],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        first = process.stdout.readline()
        expect(first == "ready\n", "the victims' program starts", first)
        try:
            yield Victims(process)
        finally:
            process.stdin.close()
