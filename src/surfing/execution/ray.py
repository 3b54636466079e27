"""Shards on the workers of a Ray cluster."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from surfing import check
from surfing.errors import InputError, require
from surfing.execution.executor import Executor, Progress, Solve
from surfing.execution.packing import pack
from surfing.execution.pool import Pool
from surfing.solution import Solution

__all__ = ["Ray"]

_ANSWER = 10.0
"""Seconds in which a cluster's address must answer; Ray itself would try for minutes."""


@dataclass(frozen=True)
class Ray(Executor):
    """Workers of a Ray cluster; where none runs, one is started on this machine.

    The trajectory, generator and operator are sent once to each node. The shard of a worker that
    is killed, or whose node is lost, is done again by another.

    Args:
        workers: how many; one for each CPU of the cluster where left out, or, with `gpus`, as
            many as its GPUs serve.
        threads: of each worker. Results are the same bit for bit as those of one process that
            uses as many.
        gpus: of each worker; may be a fraction.
        address: of a running cluster; where left out, the one that is connected to or that the
            environment names, else a new one.
        attempts: how often a shard may lose its worker.
        patience: seconds that are waited for a worker to begin while none works; others may hold
            the cluster's CPUs.
    """

    workers: int | None = None
    threads: int = 1
    gpus: float = 0.0
    address: str | None = None
    attempts: int = 3
    patience: float = 300.0

    def __post_init__(self) -> None:
        if self.workers is not None:
            check.integer("workers", self.workers, low=1)
        for name in ("threads", "attempts"):
            check.integer(name, getattr(self, name), low=1)
        check.number("gpus", self.gpus, low=0)
        check.number("patience", self.patience, low=0, high=1e9, open_low=True)

    @contextmanager
    def ready(self) -> Iterator[None]:
        """While it lasts this process is connected to a cluster that can host the workers.

        Raises:
            MissingExtraError: Ray is not installed.
            InputError: the cluster can't be reached, or can't host the workers.
        """
        ray = require("ray", "ray")
        with _connected(ray, self.address):
            self._size(ray)
            yield

    def run(
        self,
        solve: Solve,
        shards: Sequence[range],
        measured: Callable[[range], Any],
        *,
        ids: Sequence[int],
        progress: Progress | None = None,
    ) -> Iterator[tuple[range, Solution]]:
        """See :class:`surfing.execution.Executor`.

        Raises:
            MissingExtraError: Ray is not installed.
            InputError: the cluster can't host the workers, or they can't be sent what they need.
            WorkerLostError: a shard lost its worker `attempts` times, or no worker begins.
        """
        ray = require("ray", "ray")
        packed = pack(solve)
        if not shards:
            return
        total, done = sum(map(len, shards)), 0
        with _connected(ray, self.address):
            pool = Pool(
                ray,
                packed,
                size=min(len(shards), self._size(ray)),
                threads=self.threads,
                gpus=self.gpus,
                attempts=self.attempts,
                patience=self.patience,
            )
            try:
                for part, solution in pool.run(shards, measured, ids):
                    done += len(part)
                    yield part, solution
                    if progress is not None:
                        progress(done, total)
            finally:
                pool.close()

    def _size(self, ray: Any) -> int:
        """How many workers: more than the cluster can host would be waited for without end."""
        room = _room(ray, self.threads, self.gpus)
        if (self.workers or 1) > room:
            name = "workers" if room else "threads" if not self.gpus else "gpus"
            raise InputError(
                f"{name}: the cluster hosts {room} workers of {self.threads} CPUs and "
                f"{self.gpus:g} GPUs each, and {self.workers or 'at least 1'} are asked for; ask "
                "for fewer or smaller ones, or start it with more nodes.",
                argument=name,
            )
        return self.workers or room


def _room(ray: Any, cpus: int, gpus: float) -> int:
    """Workers that fit, node by node; a worker is never spread over two."""
    there = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    wanted = {"CPU": float(cpus), "GPU": gpus}
    return sum(
        min(int(node.get(kind, 0) / share) for kind, share in wanted.items() if share)
        for node in there
    )


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    if ray.is_initialized():
        _check_same(ray, address)
        yield
        return
    _check_answers(address)
    ray.init(
        address=address,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.WARNING,
    )
    try:
        yield
    finally:
        ray.shutdown()


def _check_answers(address: str | None) -> None:
    """See that something listens where the cluster is said to be.

    Raises:
        InputError: nothing does.
    """
    name = "RAY_ADDRESS" if address is None else "address"
    place = _place(address or os.environ.get("RAY_ADDRESS", ""))
    if place is None:
        return
    try:
        socket.create_connection(place, timeout=_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"{name}: expected a Ray cluster at {place[0]}:{place[1]}, where nothing answers "
            f"({error}); see that it runs, or leave {name} out to start one here."
        ) from error


def _check_same(ray: Any, address: str | None) -> None:
    """See that this process is not connected to another cluster than the one asked for.

    Raises:
        InputError: it is.
    """
    here = ray.get_runtime_context().gcs_address
    asked, there = _place(address or ""), _place(here)
    if asked is None or there is None or str(address).startswith("ray:"):
        return
    if asked[1] != there[1]:  # hosts have many names
        raise InputError(
            f"address: this process is connected to the cluster at {here} and not to {address}; "
            "call ray.shutdown() before, or leave address out."
        )


def _place(address: str) -> tuple[str, int] | None:
    """Host and port, where an address names them; "auto" and "local" do not."""
    host, _, port = address.removeprefix("ray://").partition("/")[0].rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isdecimal() else None
