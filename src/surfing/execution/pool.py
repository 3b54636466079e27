"""Workers of a Ray cluster, and the shards that each of them has."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from surfing.errors import InputError, WorkerLostError
from surfing.execution.packing import Packed, unpack
from surfing.execution.targets import followed

if TYPE_CHECKING:
    from surfing.solution import Solution

__all__ = ["Pool"]

_log = logging.getLogger(__name__)

_AHEAD = 2
"""Shards that a worker holds: the one it works on, and the next, so that it never waits."""

_SOON = 10.0
"""Seconds after which it is said that nobody works yet."""


class _Worker:
    """Lives in a process of the cluster; keeps what all shards need."""

    def __init__(self, packed: Packed, threads: int) -> None:
        torch.set_num_threads(threads)
        self._solve = unpack(packed)

    def ready(self) -> None:
        """Answers when the worker has begun."""

    def solve(self, y: Tensor, ids: Sequence[int]) -> Solution:
        solution: Solution = self._solve(y, ids=ids)
        return solution


class Pool:
    """Workers, each with a few shards; one that is lost is replaced.

    Args:
        ray: the module, connected to a cluster.
        packed: what the workers do with a shard.
        size: how many workers.
        threads: of each.
        gpus: of each.
        attempts: how often a shard may lose its worker.
        patience: seconds that are waited for a worker to begin while none works.
    """

    def __init__(
        self,
        ray: Any,
        packed: Packed,
        *,
        size: int,
        threads: int,
        gpus: float,
        attempts: int,
        patience: float,
    ) -> None:
        self._ray, self._packed = ray, ray.put(packed)
        self._threads, self._gpus = threads, gpus
        self._attempts, self._patience = attempts, patience
        self._make = ray.remote(_Worker).options(num_cpus=threads, num_gpus=gpus)
        self._workers = [self._hire() for _ in range(size)]
        self._starting = [worker.ready.remote() for worker in self._workers]
        """What each says when it has begun; None from then on. Others may hold the cluster."""
        self._held: list[dict[Any, range]] = [{} for _ in range(size)]
        """What each worker has, in the order in which it works on them."""

    def run(
        self, shards: Sequence[range], measured: Callable[[range], Any], ids: Sequence[int]
    ) -> Iterator[tuple[range, Solution]]:
        """Shards as they are solved; see :class:`surfing.execution.Executor`."""
        waiting, lost = deque(shards), Counter[range | None]()
        while waiting or any(self._held):
            self._hand_out(waiting, measured, ids)
            worker = self._next_ready()
            # The first, whichever is ready: all shards of a worker that died are ready at once,
            # and the first that has no result is the one that it died of.
            begun = (self._starting[worker], None)
            result, part = next(iter(self._held[worker].items()), begun)
            try:
                solution = self._ray.get(result)
            except self._ray.exceptions.RayTaskError as error:
                raise error.cause from error
            except self._losses() as error:
                lost[part] += 1
                self._check_loss(error, part, lost[part])
                self._replace(worker, waiting)
                continue
            if part is None:
                self._starting[worker] = None
                continue
            del self._held[worker][result]
            yield part, solution

    def _next_ready(self) -> int:
        """A worker that has begun, or has solved something.

        Raises:
            WorkerLostError: none begins.
        """
        awaited = {ref: number for number, ref in enumerate(self._starting) if ref is not None}
        awaited |= {ref: number for number, held in enumerate(self._held) for ref in held}
        patience = self._patience
        soon = min(_SOON, patience)
        for timeout in [None] if any(self._held) else [soon, patience - soon]:
            ready, _ = self._ray.wait(list(awaited), num_returns=1, timeout=timeout)
            if ready:
                return awaited[ready[0]]
            _log.warning("no worker has begun yet: %s", self._state())
        raise WorkerLostError(
            f"executor: no worker began within {patience:g} s: {self._state()}. Wait until others "
            "are done, ask for smaller workers, or give it more patience. What was finished is "
            "kept."
        )

    def _state(self) -> str:
        there, free = self._ray.cluster_resources(), self._ray.available_resources()
        kinds = ["CPU", "GPU"] if self._gpus else ["CPU"]
        said = [f"{free.get(kind, 0):g} of {there.get(kind, 0):g} {kind}s" for kind in kinds]
        return f"{' and '.join(said)} of the cluster are free"

    def _losses(self) -> tuple[type[Exception], ...]:
        """A worker's death, or that of the node that had its results."""
        errors = self._ray.exceptions
        return errors.RayActorError, errors.ObjectLostError, errors.OutOfMemoryError

    def _check_loss(self, error: Exception, part: range | None, times: int) -> None:
        what = "workers" if part is None else f"targets {part.start} to {part.stop - 1}"
        how = "died while they began" if part is None else "lost their worker"
        if getattr(error, "actor_init_failed", False):
            raise InputError(
                "executor: a worker could not read the generator, operator or trajectory "
                f"({str(error).strip().splitlines()[-1]}); what they import must be installed on "
                "every node."
            ) from error
        if times >= self._attempts:
            raise WorkerLostError(
                f"{what} {how} {times} times; most often of too little memory. Use smaller "
                "shards or fewer workers. What was finished is kept."
            ) from error
        _log.warning("%s %s; again", what, how)

    def close(self) -> None:
        """End the workers, whatever they are at."""
        for worker in self._workers:
            self._ray.kill(worker)

    def _hire(self) -> Any:
        return self._make.remote(self._packed, self._threads)

    def _hand_out(
        self, waiting: deque[range], measured: Callable[[range], Any], ids: Sequence[int]
    ) -> None:
        """To the least busy first, so that the last shards are spread as well."""
        for depth in range(_AHEAD):
            for number, (worker, held) in enumerate(zip(self._workers, self._held)):
                if waiting and len(held) == depth and self._starting[number] is None:
                    part = waiting.popleft()
                    mine = ids[part.start : part.stop]
                    behind = len(waiting) // len(self._workers) * len(part)
                    held[worker.solve.remote(followed(measured(part), behind), mine)] = part

    def _replace(self, worker: int, waiting: deque[range]) -> None:
        """Another worker; the shard that was worked on, and the one behind it, go first."""
        waiting.extendleft(reversed(self._held[worker].values()))
        self._held[worker] = {}
        self._ray.kill(self._workers[worker])
        self._workers[worker] = self._hire()
        self._starting[worker] = self._workers[worker].ready.remote()
