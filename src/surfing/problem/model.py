"""The forward model: trajectory, generator, operator and law as one object, checked once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypedDict

import torch
from torch import Tensor

from surfing import check
from surfing.architectures import generator_from_manifest
from surfing.errors import InputError, MeasurementError
from surfing.generator import BoundGenerator, Generator
from surfing.latents import TRUTHS
from surfing.latents import Latent as LatentLaw
from surfing.precision import plain_precision
from surfing.problem.checks import (
    check_derivative,
    check_precision,
    check_scale,
    check_unmeasured,
    counting_entries,
    try_generator,
    try_operator,
)
from surfing.problem.forward import Architecture
from surfing.problem.inputs import RowInputs, asked_names, required_names
from surfing.problem.invariance import settle_blocks
from surfing.problem.loss import AbstractLoss
from surfing.problem.measurements import Measurements, as_measurements
from surfing.problem.operators import HasA, Operator, as_operator
from surfing.problem.problem import Problem
from surfing.trajectory import Trajectory

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool, Float
    from torch import nn

    from surfing.generator import State
    from surfing.latents import Latent
    from surfing.problem.inputs import Given
    from surfing.problem.measurements import Noise
    from surfing.problem.operators import OperatorLike

__all__ = ["ForwardModel", "ModelArguments", "as_model", "check_trajectory"]

_PROBES = 3
_SKETCH = 64
_WEAK_PRIOR = 1e-9


class ForwardModel:
    """z -> A G_theta(z) for every theta of a trajectory, and the law of z.

    Everything that can be checked without measurements is checked here, once: that the generator
    fits the checkpoints and maps every latent alone and always alike, that the operator measures
    every signal alone, and which of its measurements depend on the signal. The module and the
    trajectory are never changed. A model can be pickled where its parts can.

    Args:
        trajectory: checkpoints of training.
        generator: the module that was trained; may be left out where the manifest names an
            architecture. Its forward may take further arguments by name (see `given` of
            :func:`surfing.recover`).
        operator: None for the identity, a callable, an object with `.A(x)`, or a name. It may take
            further arguments by name too.
        latent: the law of z; the manifest's where left out.
        operator_seed: of a named operator's random numbers.
        batch_invariant: give a target the same bits whatever targets are beside it, on one machine
            with as many threads; takes longer.

    Raises:
        SurfingError: something does not fit; the sentence says what, and the remedy.

    >>> import surfing
    >>> model = surfing.ForwardModel(surfing.zoo.packaged())
    >>> z = model.latent.sample([0, 1], 1, seed=0)[:, 0]
    >>> model.measure(model.signals(z)).shape
    torch.Size([2, 1, 28, 28])
    """

    @plain_precision
    def __init__(
        self,
        trajectory: Trajectory,
        *,
        generator: nn.Module | None = None,
        operator: OperatorLike = None,
        latent: Latent | None = None,
        operator_seed: int = 0,
        batch_invariant: bool = False,
    ) -> None:
        check_trajectory(trajectory)
        operator_seed = check.integer("operator_seed", operator_seed)
        self._arguments: dict[str, Any] = {
            "generator": generator,
            "operator": operator,
            "latent": latent,
            "operator_seed": operator_seed,
            "batch_invariant": batch_invariant,
        }
        self.trajectory = trajectory
        self.latent: Latent = _law(trajectory, latent)
        last = trajectory[-1].state
        self.device: torch.device = next((t.device for t in last.values()), torch.device("cpu"))
        if generator is None:
            if trajectory.architecture is None:
                raise InputError(
                    "generator: the trajectory does not name an architecture of the zoo; pass the "
                    "module that was trained as generator=...",
                    argument="generator",
                )
            generator = generator_from_manifest(trajectory.architecture, last)
        made = Generator(generator)
        self._bound: BoundGenerator = made.at(last)
        floating = (t.dtype for t in self._bound.state.values() if t.is_floating_point())
        self.dtype: torch.dtype = next(floating, torch.float32)
        self._operator, self._operator_seed = operator, operator_seed
        forward = made.module.forward
        call = operator.A if isinstance(operator, HasA) else operator
        call = call if callable(call) and not isinstance(call, str | Operator) else None
        self._asked = {"generator": asked_names(forward), "operator": asked_names(call)}
        self.required: frozenset[str] = required_names(forward) | required_names(call)
        """Names without a default, which `given` has to hold."""
        self._generator = made
        self._batch_invariant = batch_invariant
        self._ready: dict[str, Any] = {}
        if not self.required:
            self._settle(None)

    def __getstate__(self) -> dict[str, Any]:
        return {"trajectory": self.trajectory, "arguments": self._arguments}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["trajectory"], **state["arguments"])  # type: ignore[misc]

    def _settle(self, inputs: RowInputs | None) -> None:
        """Try generator and operator on three latents; with inputs where they ask for some."""
        z = self.latent.sample(range(_PROBES), 1, seed=0)[:, 0].to(self.device, self.dtype)
        if inputs is not None:
            inputs = inputs[torch.arange(_PROBES, device=self.device) % len(inputs)]
        with torch.no_grad():
            x = try_generator(lambda at, beside: _signals(self._bound, at, beside), z, inputs)
            shape = tuple(x.shape[1:])
            operator = as_operator(
                self._operator, shape, seed=self._operator_seed, device=self.device
            )
            y = try_operator(operator, x, inputs)
        architecture = Architecture(
            self._generator,
            operator,
            shape,
            batch_invariant=self._batch_invariant,
            inputs=() if inputs is None else inputs.generator,
        )
        architecture.check(self.trajectory[-1].state, z, x, inputs)
        check_derivative(
            lambda at: operator(
                _signals(self._bound, at, inputs), **({} if inputs is None else inputs.operator)
            ),
            z,
            y,
        )
        counts = None
        if self._operator is not None and (inputs is None or not inputs.operator):
            counts = counting_entries(operator, x, y[0].numel(), None)
        self._ready = {
            "architecture": architecture,
            "measurement_shape": tuple(y.shape[1:]),
            "blind": bool((y[0] == y[1]).all()) and inputs is None,
            "counts": counts,
            "probe": x,
            "size": float(torch.nan_to_num(y).double().square().mean().sqrt()),
        }
        if self._batch_invariant and inputs is None:
            settle_blocks(self.architecture, self.latent, self.last, x.dtype)

    def _known(self, name: str) -> Any:
        if name not in self._ready:
            raise InputError(
                f"given: generator and operator ask for {', '.join(sorted(self.required))}; pass "
                "given={name: one entry for each target}.",
                argument="given",
            )
        return self._ready[name]

    @property
    def generator(self) -> nn.Module:
        """The module; its own parameters are not used."""
        return self._generator.module

    def along(self, trajectory: Trajectory) -> ForwardModel:
        """The same generator, operator and law along other checkpoints."""
        return ForwardModel(trajectory, **self._arguments | {"latent": self.latent})

    @property
    def architecture(self) -> Architecture:
        """Generator and operator without theta."""
        made: Architecture = self._known("architecture")
        return made

    @property
    def signal_shape(self) -> tuple[int, ...]:
        """Of one signal."""
        return self.architecture.signal_shape

    @property
    def measurement_shape(self) -> tuple[int, ...]:
        """Of one signal's measurements."""
        shape: tuple[int, ...] = self._known("measurement_shape")
        return shape

    @property
    def operator(self) -> Operator:
        """A."""
        return self.architecture.operator

    @property
    def batch_invariant(self) -> bool:
        """Whether the bits of a target must not depend on the others."""
        return self._batch_invariant

    @property
    def last(self) -> State:
        """The last checkpoint: theta of the trained network."""
        return self.trajectory[-1].state

    @plain_precision
    def measure(
        self, x: Float[Tensor, "rows ..."] | np.ndarray, *, given: Given | None = None
    ) -> Float[Tensor, "rows ..."]:
        """Noise-free measurements A(x) of signals.

        Args:
            x: (rows, *signal_shape), floating point.
            given: one entry for each row, where the operator asks for some.

        Raises:
            MeasurementError: signals of another shape.
        """
        read = as_measurements(x, self.device).to(self.dtype)
        inputs = self._inputs(given, len(read))
        if tuple(read.shape[1:]) != self.signal_shape:
            raise MeasurementError(
                f"x: expected signals (rows, {_listed(self.signal_shape)}), got "
                f"{tuple(read.shape)}.{_fitting(read, self.signal_shape, 'x')}"
            )
        if not bool(torch.isfinite(read).all()):
            raise MeasurementError("x: expected finite signals, got NaN or infinity.")
        with torch.no_grad():
            return self.operator(read, **({} if inputs is None else inputs.operator))

    @plain_precision
    def signals(
        self, z: Float[Tensor, "rows k"], *, stage: float = -1, given: Given | None = None
    ) -> Float[Tensor, "rows ..."]:
        """Signals G_theta(z) of latents.

        Args:
            z: latents.
            stage: where on the trajectory; the last checkpoint where left out.
            given: one entry for each row, where the generator asks for some.

        Raises:
            InputError: latents of another length.
        """
        k = self.latent.dim
        if not isinstance(z, Tensor) or z.ndim != 2 or z.shape[1] != k:
            came = tuple(z.shape) if isinstance(z, Tensor) else type(z).__name__
            raise InputError(f"z: expected latents (rows, {k}), got {came}.", argument="z")
        inputs = self._inputs(given, len(z))
        where = len(self.trajectory) - 1 if stage == -1 else stage
        state = self.trajectory.at(where)
        at = z.detach().to(self.device, self.dtype)
        return self.architecture.signals(state, at, inputs)

    def draw(
        self, count: int, *, seed: int = 0, given: Given | None = None
    ) -> tuple[Float[Tensor, "count k"], Float[Tensor, "count ..."]]:
        """Latents z of the law, and the trained generator's signals G(z): targets to try with.

        Args:
            count: how many.
            seed: of the latents; no start of a run is drawn from the same stream.
            given: one entry for each, where the generator asks for some.

        Raises:
            InputError: `count` is not positive.
        """
        count = check.integer("count", count, low=1)
        seed = check.integer("seed", seed)
        drawn = self.latent.sample(range(TRUTHS, TRUTHS + count), 1, seed=seed)[:, 0]
        z = drawn.to(self.device, self.dtype)
        return z, self.signals(z, given=given)

    @plain_precision
    def problem(
        self,
        y: Float[Tensor, "targets ..."] | np.ndarray,
        *,
        noise: Noise = None,
        prior: float | str | None = None,
        given: Given | None = None,
        loss: AbstractLoss | None = None,
        whole: int | None = None,
    ) -> Problem:
        """These measurements, checked: the one place where y meets the model.

        Args:
            y: (targets, ...) as the operator returns them.
            noise: standard deviations: a number, one for each target, or the shape of y, where inf
                means not measured.
            prior: weight of 1/2 ||(z - mean) / std||^2 kept in the answer, in units of the risk;
                "law" for that of the MAP estimate, which needs a noise level.
            given: inputs by target.
            loss: how residuals are weighed; squares where left out.
            whole: how many targets there are, where these are the first of them: for messages.

        Raises:
            MeasurementError: y is not finite where it counts, not real, or not what the operator
                returns.
            InputError: `noise`, `prior`, `given` or `loss` does not fit.
        """
        read = as_measurements(y, self.device)
        inputs = self._inputs(given, len(read))
        expected = self.measurement_shape
        if "complex" in str(getattr(y, "dtype", "")) and expected[-1] != 2:
            raise MeasurementError(
                f"y: expected real measurements (targets, {_listed(expected)}), got complex ones; "
                "pass y.real, or an operator that returns complex numbers."
            )
        if tuple(read.shape[1:]) != expected:
            raise MeasurementError(
                f"y: expected (targets, {_listed(expected)}), which is what operator "
                f"{self.operator.name} makes of a signal of shape {self.signal_shape}; got "
                f"{(len(read) if whole is None else whole, *read.shape[1:])}."
                f"{_fitting(read, expected, 'y')}"
            )
        read = read.to(self.dtype)
        counts = self._counts(inputs)
        data = Measurements.of(read, noise=noise, counts=counts, inputs=inputs)
        _check_finite(data)
        notes = (
            *check_unmeasured(data.count, read[:1].numel()),
            *check_precision(y, noise),
            *check_scale(data.y, self._known("size")),
        )
        if not isinstance(loss, AbstractLoss | None):
            raise InputError(
                f"loss: expected None, surfing.Huber() or surfing.StudentT(), got {loss!r:.60}.",
                argument="loss",
            )
        kept, remark = _prior(prior, data, self.latent)
        problem = Problem(
            self.architecture,
            data,
            self.latent,
            self.device,
            self._known("blind"),
            (*notes, *remark),
            prior=kept,
            weak=prior is None,
            loss=loss,
            loss_scale=None if loss is None else _loss_scale(data),
        )
        if self._batch_invariant and inputs is not None:
            problem.settle_blocks(self.last, dtype=self.dtype)
        return problem

    def _inputs(self, given: Given | None, rows: int) -> RowInputs | None:
        inputs = RowInputs.of(
            given,
            targets=rows,
            **self._asked,
            device=self.device,
            dtype=self.dtype,
        )
        told = set() if inputs is None else {*inputs.generator, *inputs.operator}
        if self.required - told:
            raise InputError(
                f"given: generator and operator ask for {', '.join(sorted(self.required))}; "
                f"missing: {', '.join(sorted(self.required - told))}. Pass given={{name: one entry "
                "for each target}.",
                argument="given",
            )
        if inputs is not None and len(inputs) and ("architecture" not in self._ready):
            self._settle(inputs)
        return inputs

    def _counts(self, inputs: RowInputs | None) -> Bool[Tensor, "targets_or_1 m"] | None:
        if inputs is None or not inputs.operator:
            counts: Tensor | None = self._known("counts")
            return counts
        m = int(torch.tensor(self.measurement_shape).prod())
        return counting_entries(self.operator, self._known("probe"), m, inputs)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what measurements depend on: weights, operator, law and precision."""
        facts = (self.latent.to_dict(), str(self.dtype), self.operator.name, self.signal_shape)
        digest = hashlib.sha256(repr((facts, self.measurement_shape)).encode())
        for name, t in sorted(self.last.items()):
            digest.update(f"{name} {t.dtype} {tuple(t.shape)}".encode())
            digest.update(
                t.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
            )
        # What an operator does, as well as its name: a few digits, which no kernel's rounding moves
        # but where they lie at the edge of one.
        if not self.required:
            with torch.no_grad():
                y = self.operator(self._known("probe")).flatten()[:_SKETCH].double()
            digest.update(repr([f"{float(v):.2e}" for v in y]).encode())
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """What the model is, as JSON values: sizes, operator, law, engine, notes."""
        ready = bool(self._ready)
        told: dict[str, Any] = {
            "generator": type(self._generator.module).__name__,
            "checkpoints": len(self.trajectory),
            "latent": self.latent.to_dict(),
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": str(self.device),
            "given": sorted(self.required),
        }
        if ready:
            counts = self._known("counts")
            m = int(torch.tensor(self.measurement_shape).prod())
            told |= {
                "operator": self.operator.name,
                "signal_shape": list(self.signal_shape),
                "measurement_shape": list(self.measurement_shape),
                "measurements_that_count": m if counts is None else int(counts.sum()),
                "structured": self.architecture.structured,
                "notes": list(self.architecture.notes),
            }
        return told

    def __repr__(self) -> str:
        told = self.describe()
        shape = "x".join(map(str, told.get("signal_shape", ["?"])))
        name = told.get("operator", f"asks for {', '.join(told['given'])}")
        return (
            f"ForwardModel({told['generator']}, k={self.latent.dim}, signal {shape}, operator "
            f"{name}, {told['checkpoints']} checkpoints)"
        )


class ModelArguments(TypedDict, total=False):
    """What makes a :class:`ForwardModel` of a trajectory, beside the trajectory."""

    generator: nn.Module | None
    operator: OperatorLike
    latent: Latent | None
    operator_seed: int
    batch_invariant: bool


def as_model(given: Trajectory | ForwardModel, made: ModelArguments) -> ForwardModel:
    """A model as it is, or the one that a trajectory and its parts make.

    Raises:
        InputError: a model, and parts of another beside it.
        TypeError: an argument that there is not.
        SurfingError: see :class:`ForwardModel`.
    """
    for name in made:
        if name not in ModelArguments.__annotations__:
            raise TypeError(
                f"unexpected keyword argument {name!r}; beside those of the signature there are "
                f"{', '.join(ModelArguments.__annotations__)}, which make a ForwardModel."
            )
    if not isinstance(given, ForwardModel):
        return ForwardModel(given, **made)
    # None, False and 0 are what they are where they are left out.
    beside = [n for n, v in made.items() if v is not None and not (isinstance(v, int) and v == 0)]
    if beside:
        raise InputError(
            f"{beside[0]}: the model has one already; make another ForwardModel, or pass the "
            "trajectory and its parts.",
            argument=beside[0],
        )
    return given


def check_trajectory(trajectory: object) -> None:
    """See that a trajectory is one.

    Raises:
        InputError: it is something else, such as a folder's name.
    """
    if not isinstance(trajectory, Trajectory):
        raise InputError(
            f"trajectory: expected a surfing.Trajectory or a surfing.ForwardModel, got "
            f"{type(trajectory).__name__}; open a folder by Trajectory.open, the packaged one by "
            "surfing.zoo.packaged().",
            argument="trajectory",
        )


def _law(trajectory: Trajectory, latent: Latent | None) -> Latent:
    latent = trajectory.latent if latent is None else latent
    if latent is None:
        raise InputError(
            "latent: the trajectory does not say what law its latents have; pass "
            "latent=surfing.Normal(k) or surfing.Uniform(k, low, high).",
            argument="latent",
        )
    if isinstance(latent, type) or not isinstance(latent, LatentLaw):
        raise InputError(
            f"latent: expected a law such as surfing.Normal(k), got {latent!r:.60}.",
            argument="latent",
        )
    return latent


def _signals(bound: Callable[..., Tensor], z: Tensor, inputs: RowInputs | None) -> Tensor:
    return bound(z, **({} if inputs is None else inputs.generator))


def _listed(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))


def _fitting(read: Tensor, expected: tuple[int, ...], name: str) -> str:
    """What would make the shapes fit, where something simple would."""
    came = tuple(read.shape)
    if came == expected:
        return f" For a single target, pass {name}[None]."
    if len(came) == 2 and came[:1] == expected:
        return f" The axes would fit in another order: {name}.T."
    if len(came) == len(expected) + 1 and sorted(came[1:]) == sorted(expected):
        axes = _permutation(came[1:], expected)
        return f" The axes would fit in another order: {name}.permute(0, {_listed(axes)})."
    if (*came[:1], 1, *came[1:]) == (*came[:1], *expected):
        return f" The channel is missing: pass {name}[:, None]."
    if came == expected[1:] and expected[0] == 1:
        return f" Batch and channel are missing: pass {name}[None, None]."
    if read.ndim > 1 and read[0].numel() == int(torch.tensor(expected).prod()):
        return f" The numbers would fit: reshape {name}."
    return ""


def _permutation(came: tuple[int, ...], expected: tuple[int, ...]) -> tuple[int, ...]:
    free = list(range(len(came)))
    axes = []
    for size in expected:
        axis = next(a for a in free if came[a] == size)
        free.remove(axis)
        axes.append(axis + 1)
    return tuple(axes)


def _check_finite(data: Measurements) -> None:
    bad = (~torch.isfinite(data.y)).any(-1)
    if bool(bad.any()):
        raise MeasurementError(
            f"y: {int(bad.sum())} of {len(bad)} targets hold NaN or infinity, the first is target "
            f"{int(bad.nonzero()[0])}; drop or mask them."
        )


def _prior(
    prior: float | str | None, data: Measurements, law: Latent
) -> tuple[Tensor | None, tuple[str, ...]]:
    """The penalty's weight by target, and a note where it was not asked for."""
    if prior is None:
        open_ = data.count < law.dim
        if not bool(open_.any()) or not bool((data.level.norm2 > 0).any()):
            return None, ()
        # Small enough to leave the measurements met at any tolerance in use; large enough to
        # choose, among latents that meet them, one near the law's mean.
        weak = torch.where(open_, _WEAK_PRIOR * data.level.norm2 / law.dim, 0.0)
        return weak, (
            f"{int(open_.sum())} targets have fewer measurements than latents: a weak prior of "
            f"{_WEAK_PRIOR:g} ||y||^2 / k chooses among the latents that meet them.",
        )
    if prior == "law":
        if data.noise is None:
            raise InputError(
                "prior: 'law' is the MAP estimate, which needs a noise level; pass noise=..., or a "
                "weight as prior=1e-3.",
                argument="prior",
            )
        return data.noise.square(), ()
    if isinstance(prior, str):
        raise InputError(
            f"prior: expected None, a number >= 0 or 'law', got {prior!r}.", argument="prior"
        )
    weight = check.number("prior", prior, low=0)
    return (torch.full_like(data.count, weight) if weight else None), ()


def _loss_scale(data: Measurements) -> Tensor:
    """The standard deviation of a residual; a twentieth of y's size where none was given.

    A smaller one makes Student's t find local minima: at a hundredth its error on noisy
    measurements was four times as large.
    """
    if data.noise is not None:
        return data.noise
    size = data.level.norm2 / data.count.clamp(min=1)
    return 0.05 * size.sqrt().clamp(min=1e-12)
