"""THE stage: one network, some rows, some steps. Rides and attempts are sequences of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from surfing.descent.minimise import Minimum, minimise

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from surfing.descent.base import AbstractDescent
    from surfing.descent.stopping import Stopping
    from surfing.problem.risk import Risk

__all__ = ["StageResult", "run_stage"]


@dataclass(frozen=True)
class StageResult:
    """One stage behind us, row by row."""

    stage: float
    minimum: Minimum
    misfit: Float[Tensor, " rows"]
    """The risk without its penalty, 1/2 ||A G(z) - y||^2."""
    cost: Float[Tensor, " rows"]

    def lean(self) -> StageResult:
        """The same in less memory."""
        return replace(self, minimum=replace(self.minimum, curvature=None, state=None))


def run_stage(
    risk: Risk,
    z: Float[Tensor, "rows k"],
    descent: AbstractDescent[Any],
    *,
    stage: float,
    max_steps: int,
    stopping: Stopping,
    rows: Int[Tensor, " rows"],
    spent: Float[Tensor, " rows"] | None = None,
    allowance: Float[Tensor, " rows"] | None = None,
    until: float | None = None,
    before: Any = None,
    keep: bool = False,
) -> StageResult:
    """Minimise the risk of one network, and take the penalty off what is told.

    Args:
        risk: of the stage, its penalty included.
        z: where the rows enter.
        descent: the corrector.
        stage: where on the trajectory the network lies.
        max_steps: of the descent.
        stopping: tolerances.
        rows: which rows of the risk these are.
        spent: what the rows had spent before the stage, predictions not included; now where left
            out.
        allowance: forward-equivalents that each row may spend.
        until: clock (`time.perf_counter`) after which no further step is begun.
        before: what the descent left behind at the stage before, to be resumed.
        keep: what it leaves behind here.
    """
    entered = risk.meter.spent[rows] if spent is None else spent
    minimum = minimise(
        risk,
        z,
        descent,
        max_steps=max_steps,
        stopping=stopping,
        rows=rows,
        allowance=allowance,
        until=until,
        before=before,
        keep=keep,
    )
    misfit = minimum.value
    if risk.reg is not None:
        misfit = misfit - risk.reg[rows].double() * risk.latent.penalty(minimum.z.double())
    return StageResult(stage, minimum, misfit, risk.meter.spent[rows] - entered)
