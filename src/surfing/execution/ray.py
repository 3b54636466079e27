"""Shards on the workers of a Ray cluster."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from surfing.errors import InputError, WorkerLostError, require
from surfing.execution.packing import Packed, pack, unpack

if TYPE_CHECKING:
    from surfing.execution.solve import Progress, Solve
    from surfing.solution import Solution

__all__ = ["Ray"]

_log = logging.getLogger(__name__)

_AHEAD = 2
"""Shards that a worker holds: the one it works on, and the next, so that it never waits."""


@dataclass(frozen=True)
class Ray:
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
    """

    workers: int | None = None
    threads: int = 1
    gpus: float = 0.0
    address: str | None = None
    attempts: int = 3

    def __post_init__(self) -> None:
        for name in ("workers", "threads", "attempts"):
            value = getattr(self, name)
            if name == "workers" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name}: expected a positive integer, got {value!r}.")
        share: object = self.gpus
        if (
            isinstance(share, bool)
            or not isinstance(share, int | float)
            or not 0 <= share < float("inf")
        ):
            raise InputError(f"gpus: expected a number >= 0, got {self.gpus!r}.")

    @contextmanager
    def ready(self) -> Iterator[None]:
        """While it lasts this process is connected to a cluster that can host the workers.

        Raises:
            MissingExtraError: Ray is not installed.
            InputError: the cluster can't host the workers.
        """
        ray = require("ray", "ray")
        with _connected(ray, self.address):
            self._size(ray)
            yield

    def run(
        self,
        solve: Solve,
        shards: Sequence[range],
        measured: Callable[[range], Tensor],
        *,
        ids: Sequence[int],
        progress: Progress | None = None,
    ) -> Iterator[tuple[range, Solution]]:
        """See :class:`surfing.execution.Executor`.

        Raises:
            MissingExtraError: Ray is not installed.
            InputError: the cluster can't host the workers, or they can't be sent what they need.
            WorkerLostError: a shard lost its worker `attempts` times.
        """
        ray = require("ray", "ray")
        packed = pack(solve)
        if not shards:
            return
        total, done = sum(map(len, shards)), 0
        with _connected(ray, self.address):
            pool = _Pool(ray, self, packed, size=min(len(shards), self._size(ray)))
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
                "for fewer or smaller ones, or start it with more nodes."
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
        yield
        return
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


class _Worker:
    """Lives in a process of the cluster; keeps what all shards need."""

    def __init__(self, packed: Packed, threads: int) -> None:
        torch.set_num_threads(threads)
        self._solve = unpack(packed)

    def solve(self, y: Tensor, ids: Sequence[int]) -> Solution:
        solution: Solution = self._solve(y, ids=ids)
        return solution


class _Pool:
    """Workers, each with a few shards; one that is lost is replaced."""

    def __init__(self, ray: Any, settings: Ray, packed: Packed, *, size: int) -> None:
        self._ray, self._settings = ray, settings
        self._packed = ray.put(packed)
        options = {"num_cpus": settings.threads, "num_gpus": settings.gpus}
        self._make = ray.remote(_Worker).options(**options)
        self._workers = [self._hire() for _ in range(size)]
        self._held: list[dict[Any, range]] = [{} for _ in range(size)]
        """What each worker has, in the order in which it works on them."""

    def run(
        self, shards: Sequence[range], measured: Callable[[range], Tensor], ids: Sequence[int]
    ) -> Iterator[tuple[range, Solution]]:
        waiting, lost = deque(shards), Counter[range]()
        while waiting or any(self._held):
            self._hand_out(waiting, measured, ids)
            worker = self._next_ready()
            # The first, whichever is ready: all shards of a worker that died are ready at once,
            # and the first that has no result is the one that it died of.
            result, part = next(iter(self._held[worker].items()))
            try:
                solution = self._ray.get(result)
            except self._ray.exceptions.RayTaskError as error:
                raise error.cause from error
            except self._losses() as error:
                lost[part] += 1
                self._check_loss(error, part, lost[part])
                self._replace(worker, waiting)
                continue
            del self._held[worker][result]
            yield part, solution

    def _next_ready(self) -> int:
        (ready,), _ = self._ray.wait([ref for held in self._held for ref in held], num_returns=1)
        return next(number for number, held in enumerate(self._held) if ready in held)

    def _losses(self) -> tuple[type[Exception], ...]:
        """A worker's death, or that of the node that had its results."""
        errors = self._ray.exceptions
        return errors.RayActorError, errors.ObjectLostError, errors.OutOfMemoryError

    def _check_loss(self, error: Exception, part: range, times: int) -> None:
        if getattr(error, "actor_init_failed", False):
            raise InputError(
                "executor: a worker could not read the generator, operator or trajectory "
                f"({str(error).strip().splitlines()[-1]}); what they import must be installed on "
                "every node."
            ) from error
        if times >= self._settings.attempts:
            raise WorkerLostError(
                f"targets {part.start} to {part.stop - 1} lost their worker {times} times; most "
                "often it ran out of memory. Use smaller shards or fewer workers. What was "
                "finished is kept."
            ) from error
        _log.warning("targets %d to %d lost their worker; again", part.start, part.stop - 1)

    def close(self) -> None:
        for worker in self._workers:
            self._ray.kill(worker)

    def _hire(self) -> Any:
        return self._make.remote(self._packed, self._settings.threads)

    def _hand_out(
        self, waiting: deque[range], measured: Callable[[range], Tensor], ids: Sequence[int]
    ) -> None:
        """To the least busy first, so that the last shards are spread as well."""
        for depth in range(_AHEAD):
            for worker, held in zip(self._workers, self._held):
                if waiting and len(held) == depth:
                    part = waiting.popleft()
                    mine = ids[part.start : part.stop]
                    held[worker.solve.remote(measured(part), mine)] = part

    def _replace(self, worker: int, waiting: deque[range]) -> None:
        """Another worker; the shard that was worked on, and the one behind it, go first."""
        waiting.extendleft(reversed(self._held[worker].values()))
        self._held[worker] = {}
        self._ray.kill(self._workers[worker])
        self._workers[worker] = self._hire()
