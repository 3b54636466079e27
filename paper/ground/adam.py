"""Adam on thousands of rows at once: every row its own target, operator and step size.

The same numbers as ``surf`` and ``direct`` with ``TorchOptim(Adam)`` to rounding (a test holds
them side by side), without a word to Python between two checks: on a GPU the step is a recorded
graph, and settings of all kinds share a batch.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from paper.ground.measurements import Operators
from paper.ground.network import Folded

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

__all__ = ["Adam", "Ends", "OutOfTimeError", "Rows", "Until"]


class OutOfTimeError(Exception):
    """The time that the whole run may take is over."""


@dataclass(frozen=True)
class Until:
    """When a row of the last network has converged.

    Args:
        tolerance: least relative decrease of the lowest risk...
        patience: ...over so many steps, a multiple of `every`.
        floor: ||A G(z) - y|| / ||y|| at which a row is solved.
        cap: steps that a row may take.
        every: steps between two looks.
    """

    tolerance: float = 0.02
    patience: int = 200
    floor: float = 1e-5
    cap: int = 20_000
    every: int = 50


@dataclass(frozen=True)
class Rows:
    """What is to be descended, a line a row."""

    z: Float[Tensor, "rows k"]
    x: Float[Tensor, "rows n"]
    """The signals that were measured."""
    which: Int[Tensor, " rows"]
    """Place of the operator that measured them."""
    rate: Float[Tensor, " rows"]

    def take(self, index: Tensor | slice) -> Rows:
        """Some of them."""
        return Rows(self.z[index], self.x[index], self.which[index], self.rate[index])

    @staticmethod
    def join(parts: Sequence[Rows]) -> Rows:
        """One batch of several."""
        columns = zip(*((p.z, p.x, p.which, p.rate) for p in parts), strict=True)
        return Rows(*(torch.cat(column) for column in columns))

    def __len__(self) -> int:
        return len(self.z)


@dataclass(frozen=True)
class Ends:
    """Where the rows ended: their lowest risk, and what it took."""

    z: Float[Tensor, "rows k"]
    residual: Float[Tensor, " rows"]
    """||A G(z) - y|| / ||y||."""
    steps: Int[Tensor, " rows"]
    """At the last network."""
    cost: Float[Tensor, " rows"]
    """Forward-equivalents, all networks."""
    capped: Bool[Tensor, " rows"]
    """Ended by the cap alone."""

    def take(self, index: Tensor | slice) -> Ends:
        """Some of them."""
        return Ends(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Adam:
    """One network after the other, the last one until every row has converged.

    Args:
        network: whose weights are replaced from stage to stage.
        operators: that measure.
        until: when a row has converged.
        betas: decay rates.
        block: rows at a time at most.
        deadline: `time.time()` at which everything ends.
    """

    network: Folded
    operators: Operators
    until: Until = field(default_factory=Until)
    betas: tuple[float, float] = (0.9, 0.999)
    block: int = 2048
    deadline: float = math.inf

    def run(
        self,
        rows: Rows,
        states: Sequence[Mapping[str, Tensor]],
        *,
        stage_steps: int = 10,
        seen: Callable[[int, Tensor], None] | None = None,
    ) -> Ends:
        """Ride the networks; with one, direct descent.

        Args:
            rows: what to descend.
            states: theta of each stage, the last one last.
            stage_steps: steps at each network but the last.
            seen: called with each stage and where the rows end it.

        Raises:
            OutOfTimeError: the deadline has passed.
        """
        size = math.ceil(len(rows) / math.ceil(len(rows) / self.block))
        parts = [
            self._part(rows.take(slice(low, low + size)), states, stage_steps, seen)
            for low in range(0, len(rows), size)
        ]
        columns = (torch.cat([getattr(p, n) for p in parts]) for n in Ends.__dataclass_fields__)
        return Ends(*columns)

    def _part(
        self,
        rows: Rows,
        states: Sequence[Mapping[str, Tensor]],
        stage_steps: int,
        seen: Callable[[int, Tensor], None] | None,
    ) -> Ends:
        batch = _Batch(self, rows)
        for number, state in enumerate(states[:-1]):
            self.network.load(state)
            batch.restart()
            batch.steps(stage_steps + 1)  # the last only evaluates where the step before led
            batch.z.copy_(batch.best_z)
            if seen is not None:
                seen(number, batch.best_z.clone())
            self._check_time()
        self.network.load(states[-1])
        spent = 3.0 * (stage_steps + 1) * (len(states) - 1)
        ends = self._converge(batch, rows)
        if seen is not None:
            seen(len(states) - 1, ends.z.clone())
        return replace(ends, cost=ends.cost + spent)

    def _converge(self, batch: _Batch, rows: Rows) -> Ends:
        until, count, device = self.until, len(rows), rows.z.device
        place = torch.arange(count, device=device)
        z, best = rows.z.clone(), torch.full((count,), torch.inf, device=device)
        taken = torch.zeros(count, dtype=torch.int64, device=device)
        capped = torch.zeros(count, dtype=torch.bool, device=device)
        norm = batch.y.square().sum(1)
        floor, norms = until.floor**2 * norm / 2, norm.clone()
        history: list[Tensor] = []
        going = torch.ones(count, dtype=torch.bool, device=device)
        batch.restart()
        done, back = 0, until.patience // until.every
        while len(place):
            batch.steps(until.every)
            done += until.every
            self._check_time()
            z[place], best[place] = batch.best_z, batch.best
            taken[place[going]] = done
            history.append(batch.best.clone())
            going = going & (batch.best > floor[place]) & torch.isfinite(batch.best)
            if len(history) > back:
                going &= batch.best < (1 - until.tolerance) * history[-1 - back]
                history = history[-back:]
            if done >= until.cap:
                capped[place[going]] = True
                break
            batch.hold(~going)
            # Recording a graph anew takes longer than rows that stand still: wait for a quarter.
            alive = going.nonzero().flatten()
            kept = len(place) - 1 if batch.eager else 0.75 * len(place)
            if len(alive) <= kept:
                place, history = place[alive], [h[alive] for h in history]
                going = going[alive]
                if len(alive):
                    batch = batch.take(alive)
        residual = (2 * best / norms).sqrt()
        return Ends(z, residual, taken, 3.0 * taken.double(), capped)

    def _check_time(self) -> None:
        if time.time() > self.deadline:
            raise OutOfTimeError


class _Batch:
    """What evolves: tensors that stay where they are, so that a graph can be replayed."""

    def __init__(self, adam: Adam, rows: Rows) -> None:
        self.adam = adam
        self.z = rows.z.detach().clone().contiguous()
        self.rate = rows.rate.view(-1, 1).to(self.z).clone()
        lines = torch.cat([
            torch.full((adam.operators.matrix[adam.operators.lines(i)].shape[0],), i)
            for i in range(len(adam.operators.counts))
        ]).to(self.z.device)  # fmt: skip
        self.mask = (rows.which.view(-1, 1) == lines).to(self.z.dtype)
        self.y = (rows.x @ adam.operators.matrix.T) * self.mask
        self._fresh()

    def _fresh(self) -> None:
        self.first = torch.zeros_like(self.z)
        self.second = torch.zeros_like(self.z)
        self.count = torch.zeros((), dtype=torch.float32, device=self.z.device)
        self.best = torch.full_like(self.z[:, 0], torch.inf)
        self.best_z = self.z.clone()
        self.graph: torch.cuda.CUDAGraph | None = None
        self.eager = self.z.device.type != "cuda"

    def hold(self, ended: Tensor) -> None:
        """Rows that have ended: they stay in the batch but move no more."""
        self.rate.masked_fill_(ended[:, None], 0.0)

    def restart(self) -> None:
        """Empty moments, nothing seen: another network."""
        for tensor in (self.first, self.second, self.count):
            tensor.zero_()
        self.best.fill_(torch.inf)

    def take(self, index: Tensor) -> _Batch:
        """Some rows, with all that they carry."""
        taken = object.__new__(_Batch)
        taken.adam = self.adam
        for name in ("z", "rate", "mask", "y"):
            setattr(taken, name, getattr(self, name)[index].contiguous())
        taken._fresh()
        for name in ("first", "second", "best", "best_z"):
            getattr(taken, name).copy_(getattr(self, name)[index])
        taken.count.copy_(self.count)
        return taken

    def steps(self, number: int) -> None:
        """So many steps of Adam."""
        if not self.eager and self.graph is None and number >= 5:
            self._record()
        for _ in range(number):
            if self.graph is not None:
                self.graph.replay()
            else:
                self._step()

    def _record(self) -> None:
        """One step as a CUDA graph; where that can't be had, steps are taken one by one."""
        names = ("z", "first", "second", "count", "best", "best_z")
        kept = {name: getattr(self, name).clone() for name in names}
        try:
            side = torch.cuda.Stream()  # type: ignore[no-untyped-call, unused-ignore]
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(2):
                    self._step()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._step()
            self.graph = graph
        except RuntimeError:
            self.eager = True
            with contextlib.suppress(RuntimeError):
                torch.cuda.synchronize()
        for name, value in kept.items():
            getattr(self, name).copy_(value)

    def _step(self) -> None:
        low, high = self.adam.betas
        leaf = self.z.detach().requires_grad_()
        with torch.enable_grad():
            x = self.adam.network(leaf)
            gap = (x @ self.adam.operators.matrix.T - self.y) * self.mask
            value = gap.square().sum(1) / 2
            (slope,) = torch.autograd.grad(value.sum(), leaf)
        with torch.no_grad():
            value = value.detach()
            better = value < self.best
            self.best.copy_(torch.where(better, value, self.best))
            self.best_z.copy_(torch.where(better[:, None], self.z, self.best_z))
            self.count.add_(1)
            self.first.mul_(low).add_(slope, alpha=1 - low)
            self.second.mul_(high).addcmul_(slope, slope, value=1 - high)
            mean = self.first / (1 - torch.pow(torch.full_like(self.count, low), self.count))
            spread = self.second / (1 - torch.pow(torch.full_like(self.count, high), self.count))
            self.z.sub_(self.rate * mean / (spread.sqrt() + 1e-8))
