"""Forward operators: what turns a signal x = G(z) into noise-free measurements y = A(x)."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from surfing.errors import InputError, UnknownNameError, require

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["OPERATORS", "HasA", "Operator", "OperatorLike", "as_operator"]


@runtime_checkable
class HasA(Protocol):
    """An object with a noise-free forward operator, such as any deepinv ``Physics``."""

    def A(self, x: Tensor) -> Tensor:
        """Measure a batch of signals."""
        ...


OperatorLike = Callable[[Tensor], Tensor] | HasA | str | None


@dataclass(frozen=True)
class Operator:
    """A forward operator on batches of signals.

    Args:
        forward: (rows, *signal) -> (rows, *measurement); rows don't mix.
        linear: whether tangents may simply be sent through it.
        name: for people.
        widen: makes the same in double precision; None where `forward` takes any precision, or
            nobody knows how.
    """

    forward: Callable[..., Tensor]
    linear: bool
    name: str
    widen: Callable[[], Callable[[Tensor], Tensor]] | None = None

    def __call__(self, x: Float[Tensor, "rows ..."], **beside: Tensor) -> Float[Tensor, "rows ..."]:
        """Measure; complex measurements come back as real and imaginary parts.

        Args:
            x: signals.
            beside: inputs by row, where the operator takes some.
        """
        y = self.forward(x, **beside)
        return torch.view_as_real(y) if isinstance(y, Tensor) and y.is_complex() else y

    def double(self) -> Operator:
        """The same operator for signals in double precision; what it holds is copied."""
        return self if self.widen is None else replace(self, forward=self.widen(), widen=None)


def as_operator(
    operator: OperatorLike,
    signal_shape: tuple[int, ...],
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Operator:
    """Make one of what the caller gave.

    Args:
        operator: None (the identity), a callable, an object with `.A(x)`, or a name such as
            ``gaussian:20``, ``inpainting:0.5``, ``downsampling:4``, ``blur:2.0``, ``mri:4`` or
            ``phase-retrieval:400``, which are deepinv's physics of that name.
        signal_shape: of one signal, without the batch: (channels, height, width) for images.
        seed: of the operator's own random numbers, for names.
        device: for names.

    Raises:
        UnknownNameError: an unknown name.
        InputError: neither of the four, or a name whose number is missing or out of range.
        MissingExtraError: another name than gaussian, and deepinv is not installed.
    """
    if operator is None:
        return Operator(_identity, linear=True, name="identity")
    if isinstance(operator, Operator):
        return operator
    if isinstance(operator, str):
        return _named(operator, signal_shape, seed, device)
    if isinstance(operator, type):
        raise InputError(
            f"operator: expected an object or a function, got the class {operator.__name__}; make "
            f"one of it, as in {operator.__name__}(...).",
            argument="operator",
        )
    if isinstance(operator, HasA):
        linear, name = _is_a(operator, "LinearPhysics"), type(operator).__name__
        if _is_a(operator, "PhaseRetrieval"):  # takes complex signals only, which these aren't
            return _of(operator, _measure_complex, linear, name)
        return _of(operator, _measure, linear, name)
    if callable(operator):
        return Operator(operator, linear=False, name=getattr(operator, "__name__", "callable"))
    raise InputError(
        "operator: expected None, a callable, an object with .A(x), or a name; "
        f"got {type(operator).__name__}."
    )


def _identity(x: Tensor) -> Tensor:
    return x


def _measure(physics: Any, x: Tensor, **beside: Tensor) -> Tensor:
    measured: Tensor = physics.A(x, **beside)
    return measured


def _measure_complex(physics: Any, x: Tensor, **beside: Tensor) -> Tensor:
    return _measure(physics, x.to(_complex_type(physics)), **beside)


def _of(physics: Any, call: Callable[..., Tensor], linear: bool, name: str) -> Operator:
    """What `call` does with a physics, and with a copy of it in double precision."""
    known = isinstance(physics, nn.Module)

    def widen() -> Callable[[Tensor], Tensor]:
        return partial(call, _doubled(physics))

    return Operator(partial(call, physics), linear, name, widen=widen if known else None)


def _doubled(physics: nn.Module) -> nn.Module:
    # Module.double() leaves complex tensors as they are.
    copied = copy.deepcopy(physics)
    for t in (*copied.parameters(), *copied.buffers()):
        if t.is_floating_point() or t.is_complex():
            t.data = t.data.to(torch.promote_types(t.dtype, torch.float64))
    return copied


def _complex_type(physics: Any) -> torch.dtype:
    held = physics.buffers() if isinstance(physics, nn.Module) else ()
    return next((t.dtype for t in held if t.is_complex()), torch.cfloat)


def _is_a(physics: object, kind: str) -> bool:
    # By name, so that deepinv need not be imported to look.
    return any(base.__name__ == kind for base in type(physics).__mro__)


def _named(name: str, shape: tuple[int, ...], seed: int, device: torch.device | str) -> Operator:
    kind, _, number = name.partition(":")
    if kind not in OPERATORS:
        raise UnknownNameError("operator", name, [f"{k}:{e.default}" for k, e in OPERATORS.items()])
    entry = OPERATORS[kind]
    value = _number(kind, number, entry)
    if len(shape) != 3 and kind != "gaussian":
        raise InputError(
            f"operator {name}: expected image signals (channels, height, width), got {shape}."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deepinv's own, on construction
        rng = torch.Generator(device).manual_seed(seed)
        physics = require("deepinv", "deepinv").physics if entry.foreign else None
        built = entry.build(physics, value, shape, rng)
    return replace(built, name=name)


def _number(kind: str, text: str, entry: _Entry) -> float:
    example = f"{kind}:{entry.default}"
    try:
        value = float(text)
    except ValueError:
        raise InputError(f"operator {kind}: expected a number, as in {example}.") from None
    if not (math.isfinite(value) and entry.low <= value <= entry.high):
        raise InputError(
            f"operator {kind}: expected a number in [{entry.low:g}, {entry.high:g}], as in "
            f"{example}; got {text}."
        )
    if entry.whole and value != int(value):
        raise InputError(f"operator {kind}: expected a whole number, as in {example}; got {text}.")
    return value


@dataclass(frozen=True)
class _Entry:
    """A named operator: how to build it, and the range of its number."""

    build: Callable[[Any, float, tuple[int, ...], torch.Generator], Operator]
    default: str
    low: float
    high: float
    whole: bool
    foreign: bool = True
    """Whether it is one of deepinv's."""


_MAX_ENTRIES = 1 << 28


def _check_matrix(name: str, m: float, shape: tuple[int, ...]) -> None:
    entries = int(m) * math.prod(shape)
    if entries > _MAX_ENTRIES:
        raise InputError(
            f"operator {name}: a matrix of {int(m)} x {math.prod(shape)} entries is more than the "
            f"{_MAX_ENTRIES} that are kept in memory; ask for fewer measurements."
        )


class Projections(nn.Module):
    """m random projections, entries N(0, 1/m): deepinv's CompressedSensing, bit for bit.

    Without its pseudo-inverse, which takes longer than all else, and without its import.

    Args:
        m: how many.
        n: entries of a signal.
        rng: of the entries.
    """

    def __init__(self, m: int, n: int, rng: torch.Generator) -> None:
        super().__init__()
        drawn = torch.randn((m, n), device=rng.device, generator=rng) / math.sqrt(m)
        self.register_buffer("matrix", drawn)

    def A(self, x: Float[Tensor, "rows ..."]) -> Float[Tensor, "rows m"]:
        """Project signals."""
        return torch.einsum("in, mn->im", x.flatten(1), self.matrix)


def _gaussian(physics: Any, m: float, shape: tuple[int, ...], rng: torch.Generator) -> Operator:
    _check_matrix("gaussian", m, shape)
    return _of(Projections(int(m), math.prod(shape), rng), _measure, True, "gaussian")


def _inpainting(
    physics: Any, keep: float, shape: tuple[int, ...], rng: torch.Generator
) -> Operator:
    masked = physics.Inpainting(img_size=shape, mask=keep, device=rng.device, rng=rng)
    return as_operator(masked, shape)


def _downsampling(
    physics: Any, factor: float, shape: tuple[int, ...], rng: torch.Generator
) -> Operator:
    if min(shape[-2:]) < factor:
        raise InputError(f"operator downsampling: the factor {factor:g} exceeds the image {shape}.")
    coarse = physics.Downsampling(
        img_size=shape, filter="bilinear", factor=int(factor), device=rng.device
    )
    return as_operator(coarse, shape)


def _blur(physics: Any, sigma: float, shape: tuple[int, ...], rng: torch.Generator) -> Operator:
    kernel = physics.blur.gaussian_blur(sigma=sigma)
    if max(kernel.shape[-2:]) > min(shape[-2:]):
        raise InputError(
            f"operator blur: sigma {sigma:g} needs a {kernel.shape[-1]} pixel kernel, larger than "
            f"the image {shape}."
        )
    blurred = physics.Blur(filter=kernel, padding="circular", device=rng.device)
    return as_operator(blurred, shape)


def _mri(physics: Any, speed: float, shape: tuple[int, ...], rng: torch.Generator) -> Operator:
    channels, height, width = shape
    if channels != 1:
        raise InputError(f"operator mri: expected one channel, got {channels}.")
    lines = max(1, round(width / speed))
    centre = max(1, lines // 2)
    mask = torch.zeros(width, device=rng.device)
    start = (width - centre) // 2
    mask[start : start + centre] = 1
    rest = (mask == 0).nonzero().flatten()
    drawn = torch.randperm(len(rest), generator=rng, device=rng.device)
    mask[rest[drawn[: lines - centre]]] = 1
    image = (2, height, width)
    mri = physics.MRI(mask=mask.expand(height, width), img_size=image, device=rng.device)
    return _of(mri, lambda p, x: p.A(torch.cat([x, torch.zeros_like(x)], 1)), True, "mri")


def _phase_retrieval(
    physics: Any, m: float, shape: tuple[int, ...], rng: torch.Generator
) -> Operator:
    _check_matrix("phase-retrieval", m, shape)
    intensity = physics.RandomPhaseRetrieval(m=int(m), img_size=shape, device=rng.device, rng=rng)
    return as_operator(intensity, shape)


OPERATORS: dict[str, _Entry] = {
    "gaussian": _Entry(_gaussian, "20", 1, 1e7, whole=True, foreign=False),
    "inpainting": _Entry(_inpainting, "0.5", 1e-6, 1, whole=False),
    "downsampling": _Entry(_downsampling, "4", 1, 1024, whole=True),
    "blur": _Entry(_blur, "2.0", 0.1, 100, whole=False),
    "mri": _Entry(_mri, "4", 1, 1024, whole=False),
    "phase-retrieval": _Entry(_phase_retrieval, "400", 1, 1e7, whole=True),
}
