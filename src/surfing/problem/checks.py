"""What is seen before work: generator and operator are tried on a few latents of the law.

Every check has one sentence and its remedy, in :data:`SELF_CHECKS`. All of them together cost some
ten forwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from surfing.errors import GeneratorError, MeasurementError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from surfing.problem.inputs import RowInputs

__all__ = [
    "SELF_CHECKS",
    "SelfCheck",
    "check_derivative",
    "check_precision",
    "check_scale",
    "check_unmeasured",
    "counting_entries",
    "try_generator",
    "try_operator",
]

_ROWS = (1, 2, 3)
_DRAWS = 32
_SCALE = 20.0
_HALF = {"bfloat16": 2.0**-9, "float16": 2.0**-11}
# Kernels round differently with the number of rows; what mixes rows differs by far more.
_ROUNDING = 1e-3


@dataclass(frozen=True)
class SelfCheck:
    """Something that would give a wrong answer without a word.

    Args:
        name: for people.
        found: the sentence, with places for what was found.
        remedy: what to do about it.
        refused: whether it ends the call; otherwise it is a note of the solution.
    """

    name: str
    found: str
    remedy: str
    refused: bool = True

    def said(self, **facts: object) -> str:
        """The sentence and the remedy."""
        return f"{self.found.format(**facts)} {self.remedy}".strip()


_NAMED = (
    "It is called with rows in any number and order and must treat each alone. What differs from "
    "target to target, such as a mask, is passed as given: operator=lambda x, mask: mask * x with "
    'given={"mask": masks}, one entry for each target.'
)
_STATISTICS = "Use a layer that keeps statistics (track_running_stats=True), in eval mode."

FAILING_GENERATOR = SelfCheck(
    "the generator takes latents",
    "generator: failed on latents of shape {shape} ({error}).",
    "Does its input have the length of the latent law, and does it take any number of rows, one "
    "too? A module with other inputs or outputs needs a wrapper, whose forward takes (rows, k).",
)
COMPLEX_GENERATOR = SelfCheck(
    "signals are real",
    "generator: expected real signals, got {dtype}.",
    "Wrap it in a module that returns torch.view_as_real(x).",
)
NO_SIGNALS = SelfCheck(
    "the generator returns signals",
    "generator: expected signals ({rows}, ...), got {came}.",
    "Wrap it in a module that returns one tensor with a row for each latent.",
)
RANDOM_GENERATOR = SelfCheck(
    "two passes of one latent agree",
    "generator: two passes of one latent differ: it draws random numbers at each forward.",
    "Fix the noise (a buffer), or pass it as an argument of forward, with given=.",
)
FEW_LATENTS = SelfCheck(
    "the generator takes any number of latents",
    "generator: takes {rows} latents, and failed on {few} ({error}): does it use the statistics of "
    "a batch?",
    _STATISTICS,
)
MIXING_GENERATOR = SelfCheck(
    "latents don't mix",
    "generator: a latent gives other signals among {few} than among {rows} rows: rows depend on "
    "each other, as in batch norm without running statistics.",
    _STATISTICS,
)
FAILING_OPERATOR = SelfCheck(
    "the operator takes signals",
    "operator: failed on {rows} signals of shape {shape} ({error}).",
    _NAMED,
)
NO_MEASUREMENTS = SelfCheck(
    "the operator returns measurements",
    "operator: expected measurements ({rows}, ...) of {rows} signals, got {came}.",
    "Return one tensor with a row for each signal, of at least one number.",
)
NO_GRADIENT = SelfCheck(
    "measurements can be differentiated",
    "operator: expected floating point numbers that depend on the signal in a way torch can "
    "differentiate, got {came}.",
    "Write it in torch operations, without detach, numpy or rounding.",
)
RANDOM_OPERATOR = SelfCheck(
    "two measurements of one signal agree",
    "operator: two measurements of one signal differ: it draws random numbers.",
    "Give the noise-free operator (A(x) of a deepinv physics), and the noise level as noise=.",
)
MIXING_OPERATOR = SelfCheck("signals don't mix", "operator: {what}.", _NAMED)
WRITING_OPERATOR = SelfCheck(
    "signals rest",
    "operator: writes into the signal that it is given.",
    "Return another tensor: x * mask instead of x.mul_(mask), and no inplace=True.",
)
NOT_FINITE = SelfCheck(
    "measurements are finite",
    "operator: expected finite measurements of finite signals, got NaN or infinity for each one "
    "that was tried.",
    "Look at its entries and at the signals that it is made for.",
)
NO_DERIVATIVE = SelfCheck(
    "derivatives are not zero everywhere",
    "operator: measurements differ between latents, but their derivative is zero for each one that "
    "was tried: does the operator or the generator round, threshold or compare?",
    "Use a smooth stand-in, such as a steep sigmoid.",
)
UNMEASURED = SelfCheck(
    "measurements that never change are set aside",
    "{span} of {m} entries of y count as measurements; the others don't depend on x.",
    "",
    refused=False,
)
NOTHING_MEASURED = SelfCheck(
    "something was measured of every target",
    "of {some} of {targets} targets nothing was measured: their latents are arbitrary.",
    "Look at the noise levels, at the operator and at given.",
    refused=False,
)
HALF_PRECISION = SelfCheck(
    "y is at least in single precision",
    "y came in {dtype}, whose rounding is about {rounding:.0e} of each entry, more than counts as "
    "met.",
    "Pass it as noise=, or measurements in single precision.",
    refused=False,
)
OTHER_SCALE = SelfCheck(
    "y and the generator's signals are of one scale",
    "{who} about {size:.2g} in size where measurements of the generator's signals are about "
    "{own:.2g}.",
    "Bring them into the generator's units (0..1, -1..1).",
    refused=False,
)

SELF_CHECKS = (
    FAILING_GENERATOR,
    COMPLEX_GENERATOR,
    NO_SIGNALS,
    RANDOM_GENERATOR,
    FEW_LATENTS,
    MIXING_GENERATOR,
    FAILING_OPERATOR,
    NO_MEASUREMENTS,
    WRITING_OPERATOR,
    NO_GRADIENT,
    RANDOM_OPERATOR,
    MIXING_OPERATOR,
    NOT_FINITE,
    NO_DERIVATIVE,
    UNMEASURED,
    NOTHING_MEASURED,
    HALF_PRECISION,
    OTHER_SCALE,
)
"""In the order in which they are made."""


def try_generator(
    signals: Callable[[Tensor, RowInputs | None], Tensor],
    z: Float[Tensor, "3 k"],
    inputs: RowInputs | None,
) -> Float[Tensor, "3 ..."]:
    """Signals of three latents, by a generator that maps every latent alone and always alike.

    Raises:
        GeneratorError: it fails, returns something else than real signals, draws random numbers,
            or lets rows depend on each other.
    """
    x = _tried(signals, z, inputs)
    if not bool(torch.isfinite(x).any()):
        return x
    if _apart(_tried(signals, z, inputs), x):
        raise GeneratorError(RANDOM_GENERATOR.said())
    for rows in _ROWS[:-1]:
        alone = None if inputs is None else inputs[:rows]
        try:
            few = _tried(signals, z[:rows], alone)
        except GeneratorError as error:
            said = FEW_LATENTS.said(rows=len(z), few=rows, error=error.__cause__)
            raise GeneratorError(said) from error
        if _apart(few, x[:rows]):
            raise GeneratorError(MIXING_GENERATOR.said(rows=len(z), few=rows))
    return x


def _tried(
    signals: Callable[[Tensor, RowInputs | None], Tensor], z: Tensor, inputs: RowInputs | None
) -> Tensor:
    try:
        x = signals(z, inputs)
    except Exception as error:
        said = FAILING_GENERATOR.said(shape=tuple(z.shape), error=error)
        raise GeneratorError(said) from error
    if isinstance(x, Tensor) and x.is_complex():
        raise GeneratorError(COMPLEX_GENERATOR.said(dtype=x.dtype))
    if not isinstance(x, Tensor) or x.ndim < 2 or len(x) != len(z):
        came = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise GeneratorError(NO_SIGNALS.said(rows=len(z), came=came))
    return x


def try_operator(
    operator: Callable[..., Tensor], x: Float[Tensor, "3 ..."], inputs: RowInputs | None
) -> Float[Tensor, "3 ..."]:
    """Measurements of three signals, by an operator that measures every signal alone.

    Raises:
        MeasurementError: it fails, returns no real numbers that torch can differentiate or none
            that are finite, draws random numbers, or lets rows depend on each other.
    """
    y = _measured(operator, x, inputs)
    if _apart(_measured(operator, x, inputs), y):
        raise MeasurementError(RANDOM_OPERATOR.said())
    for rows in _ROWS[:-1]:
        alone = None if inputs is None else inputs[:rows]
        parts = _measured(operator, x[:rows], alone)
        if parts.shape[1:] != y.shape[1:] or _apart(parts, y[:rows]):
            raise _mixes(f"a signal is measured otherwise among {rows} than among {len(x)} signals")
    for row in range(1, len(x)):
        alone = None if inputs is None else inputs[row : row + 1]
        if _apart(_measured(operator, x[row : row + 1], alone), y[row : row + 1]):
            raise _mixes(f"signal {row} is measured otherwise alone than among {len(x)}")
    whole, met = (torch.isfinite(t).flatten(1).all(-1) for t in (x, y))
    if bool(whole.any()) and not bool((whole & met).any()):  # one of them may leave A's domain
        raise MeasurementError(NOT_FINITE.said())
    return y


def _mixes(what: str) -> MeasurementError:
    return MeasurementError(MIXING_OPERATOR.said(what=what))


def _measured(
    operator: Callable[..., Tensor], x: Tensor, inputs: RowInputs | None
) -> Float[Tensor, "rows ..."]:
    beside = {} if inputs is None else inputs.operator
    try:
        with torch.no_grad():
            operator(kept := x.detach().clone(), **beside)
        if kept._version:  # counts the writes, those that changed nothing too
            raise MeasurementError(WRITING_OPERATOR.said())
        with torch.enable_grad():
            y = operator(x.detach().requires_grad_(), **beside)
    except MeasurementError:
        raise
    except Exception as error:
        said = FAILING_OPERATOR.said(rows=len(x), shape=tuple(x.shape[1:]), error=error)
        raise MeasurementError(said) from error
    if not isinstance(y, Tensor) or y.ndim < 2 or len(y) != len(x) or y.numel() == 0:
        came = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
        if isinstance(y, Tensor) and y.ndim >= 2 and y.numel() > 0:
            raise _mixes(f"expected measurements ({len(x)}, ...) of {len(x)} signals, got {came}")
        raise MeasurementError(NO_MEASUREMENTS.said(rows=len(x), came=came))
    if not y.is_floating_point() or not y.requires_grad:
        kind = f"{y.dtype}{'' if y.requires_grad else ' without a gradient'}"
        raise MeasurementError(NO_GRADIENT.said(came=kind))
    return y.detach()


def check_derivative(
    forward: Callable[[Tensor], Tensor], z: Float[Tensor, "3 k"], y: Float[Tensor, "3 ..."]
) -> None:
    """See that measurements which differ between latents have a derivative.

    Raises:
        MeasurementError: it is zero for each latent that was tried.
    """
    if not bool((y[0] != y[1]).any()):
        return  # blind: nothing about z can be found, which is told otherwise
    with torch.enable_grad():
        leaf = z.detach().requires_grad_()
        value = forward(leaf)
        if not value.requires_grad:
            return
        cotangent = torch.linspace(1, 2, value[0].numel(), device=z.device).to(value)
        try:
            (slope,) = torch.autograd.grad((value * cotangent).sum(), leaf, materialize_grads=True)
        except (RuntimeError, NotImplementedError):
            return
    if not bool((slope != 0).any()):
        raise MeasurementError(NO_DERIVATIVE.said())


def counting_entries(
    operator: Callable[..., Tensor],
    x: Float[Tensor, "3 ..."],
    m: int,
    inputs: RowInputs | None,
) -> Bool[Tensor, "targets_or_1 m"] | None:
    """Which measurements depend on the signal at all; None where all do.

    The operator measures the generator's signals, and random ones in their range until every entry
    has changed: one that is the same for all of them, bit for bit, is a constant of the operator.

    Args:
        operator: A.
        x: signals of the generator.
        m: measurements of a signal.
        inputs: of all targets; entries are told for each of them where the operator takes some.
    """
    low, high = (float(t) for t in torch.nan_to_num(x).aminmax())
    span = high - low or 1.0
    stream = torch.Generator().manual_seed(0)
    shape = (_DRAWS, *x.shape[1:])
    drawn = low + span * torch.rand(shape, generator=stream, dtype=torch.float32).to(x)
    drawn = torch.cat([torch.nan_to_num(x), drawn])
    by_target = inputs is not None and bool(inputs.operator)
    parts = []
    with torch.no_grad():
        for low_row in range(0, len(inputs) if inputs is not None and by_target else 1, 256):
            part = inputs[low_row : low_row + 256] if inputs is not None and by_target else None
            parts.append(_changing(operator, drawn, m, part))
    counts = torch.cat(parts)
    return None if bool(counts.all()) else counts


def _changing(
    operator: Callable[..., Tensor], drawn: Tensor, m: int, inputs: RowInputs | None
) -> Bool[Tensor, "rows m"]:
    rows = 1 if inputs is None else len(inputs)
    beside = {} if inputs is None else inputs.operator
    first: Tensor | None = None
    changes = torch.zeros(rows, m, dtype=torch.bool, device=drawn.device)
    try:
        for signal in drawn:
            if bool(changes.all()):
                break
            y = operator(signal.expand(rows, *signal.shape), **beside).flatten(1)
            first = y if first is None else first
            changes |= (y != first) | ~torch.isfinite(y)
    except Exception:  # outside of the operator's domain nothing can be told
        return torch.ones_like(changes)
    return changes if bool(changes.any()) else torch.ones_like(changes)


def check_unmeasured(count: Float[Tensor, " targets"], m: int) -> tuple[str, ...]:
    """A note where some entries of y are no measurements.

    Args:
        count: measurements of each target that count.
        m: entries of a target's y.
    """
    if len(count) == 0 or not bool((count < m).any()):
        return ()
    few, many = int(count.min()), int(count.max())
    said = UNMEASURED.said(span=f"{few}" if few == many else f"{few} to {many}", m=m)
    if few > 0:
        return (said,)
    none = int((count == 0).sum())
    return (said, NOTHING_MEASURED.said(some=none, targets=len(count)))


def check_precision(y: object, noise: object) -> tuple[str, ...]:
    """A note where measurements came in half precision, and no noise level says so."""
    dtype = str(getattr(y, "dtype", ""))
    rounding = next((r for name, r in _HALF.items() if dtype.endswith(name)), None)
    if rounding is None or noise is not None:
        return ()
    return (HALF_PRECISION.said(dtype=dtype, rounding=rounding),)


def check_scale(y: Float[Tensor, "targets m"], own: float) -> tuple[str, ...]:
    """A note where y and the generator's own measurements differ in scale beyond reason.

    Args:
        y: measurements.
        own: root mean square of measurements of the generator's signals.
    """
    if len(y) == 0 or own == 0:
        return ()
    each = y.double().square().mean(-1).sqrt()
    large, size = each > _SCALE * own, float(each.square().mean().sqrt())
    # A dark picture among others is a picture; where all are dark, units are the likelier reason.
    if not bool(large.any()) and (size == 0 or size > own / _SCALE):
        return ()
    some = bool(large.any()) and not bool(large.all())
    who = f"{int(large.sum())} of {len(y)} targets are" if some else "y is"
    size = float(each[large].square().mean().sqrt()) if bool(large.any()) else size
    return (OTHER_SCALE.said(who=who, size=size, own=own),)


def _apart(a: Tensor, b: Tensor) -> bool:
    """Whether two results differ by more than rounding; NaN and infinity count as equal."""
    if a.shape != b.shape:
        return True
    finite = torch.isfinite(a) & torch.isfinite(b)
    gap = torch.where(finite, a.double() - b.double(), 0.0).abs()
    scale = torch.where(finite, b.double(), 0.0).abs().amax() if b.numel() else 0.0
    return bool((gap > _ROUNDING * scale).any())
