"""What `sample` returns: draws with their weights, and what can be told from them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from surfing import check, files
from surfing.errors import InputError, OutputExistsError
from surfing.posterior.moments import covariance_of, mean_of, quantiles_of
from surfing.posterior.signals import SignalStatistics, signal_statistics

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from surfing.problem.inputs import Given
    from surfing.problem.model import ForwardModel

__all__ = ["Draws", "DrawsStatus", "ModeTable"]


class DrawsStatus(IntEnum):
    """How far a target's draws can be trusted; :attr:`message` says what to do."""

    WEIGHTED = 0
    FEW = 1
    MISFIT = 2
    UNWEIGHTED = 3
    LAPLACE = 4
    NONE = 5

    @property
    def label(self) -> str:
        """The name as words."""
        return self.name.lower()

    @property
    def message(self) -> str:
        """The sentence, with its remedy."""
        return _MESSAGES[self]


_MESSAGES = {
    DrawsStatus.WEIGHTED: "the weighted draws represent the posterior around the modes found.",
    DrawsStatus.FEW: (
        "few draws carry the weight: means are rough and tails rougher; ask for more draws."
    ),
    DrawsStatus.MISFIT: (
        "no latents were found that meet the measurements at this noise level: the noise is "
        "larger than said, the target lies outside the generator's range, or a mode was missed "
        "(raise starts or budget). Intervals then describe the misfit, not the target."
    ),
    DrawsStatus.UNWEIGHTED: (
        "the draws are those of randomised maximum likelihood around one mode, unweighted: exact "
        "where A G is linear, an approximation elsewhere."
    ),
    DrawsStatus.LAPLACE: (
        "no draw could be weighed, as the equations around the modes had no solution; the draws "
        "are those of Laplace's approximation. Raise starts, or ask for more draws."
    ),
    DrawsStatus.NONE: (
        "no draws: the posterior was not finite at any start; look at the generator, the operator "
        "and the measurements."
    ),
}


@dataclass(frozen=True)
class ModeTable:
    """The modes of each target, the heaviest first; NaN and 0 where a target has fewer."""

    z: Float[Tensor, "targets n k"]
    mass: Float[Tensor, "targets n"]
    """Share of the posterior that the draws give to it."""

    @property
    def count(self) -> Int[Tensor, " targets"]:
        """How many each target has."""
        return torch.isfinite(self.z).all(-1).sum(-1)


@dataclass(frozen=True)
class Draws:
    """Draws from the posterior of z, of every target."""

    z: Float[Tensor, "targets draws k"]
    weights: Float[Tensor, "targets draws"]
    """Sum to one for each target."""
    mode: Int[Tensor, "targets draws"]
    """Which of the modes a draw belongs to."""
    modes: ModeTable
    ess: Float[Tensor, " targets"]
    """Effective sample size: so many independent draws would tell a mean as well."""
    status: Int[Tensor, " targets"]
    """Integers; `DrawsStatus(int(s)).message` is the sentence."""
    misfit: Float[Tensor, " targets"]
    """||W (A G(z) - y)||^2 at the best mode, in units of the noise; about m where it fits."""
    noise: Float[Tensor, " targets"]
    """Level of the noise that was used; with one for each entry, the root of 1 / mean(1 / s^2)."""
    cost: Float[Tensor, " targets"]
    """Forward-equivalents of each target, the search for modes included."""
    cost_once: float = 0.0
    """Forward-equivalents spent once for all targets, such as on learned starts."""
    seconds: float = 0.0
    """Wall time of the whole call."""
    notes: tuple[str, ...] = ()
    info: dict[str, Any] = field(default_factory=dict)
    """JSON-able facts of the run."""
    model: ForwardModel | None = field(default=None, repr=False, compare=False)
    """What :meth:`signals` calls; it is not saved."""
    given: Given | None = field(default=None, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.z)

    def take(self, target: int) -> Draws:
        """Of one target."""
        row = slice(target, target + 1)
        tensors = {name: t[row] for name, t in self._tensors().items()}
        given = self.given
        if given is not None:
            given = {name: value[row] for name, value in given.items()}
        return replace(_unpack(tensors, self._facts()), model=self.model, given=given)

    @property
    def mean(self) -> Float[Tensor, "targets k"]:
        """Posterior mean of z, float64."""
        return mean_of(self.z, self.weights)

    @property
    def covariance(self) -> Float[Tensor, "targets k k"]:
        """Posterior covariance of z, float64."""
        return covariance_of(self.z, self.weights)

    @property
    def std(self) -> Float[Tensor, "targets k"]:
        """Posterior standard deviation of each coordinate of z."""
        return self.covariance.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt()

    def quantiles(self, *levels: float) -> Float[Tensor, "levels targets k"]:
        """Posterior quantiles of each coordinate of z.

        Raises:
            InputError: a level outside of (0, 1).
        """
        checked = [
            check.number("levels", level, low=0, high=1, open_low=True, open_high=True)
            for level in levels
        ]
        return quantiles_of(self.z.double(), self.weights, checked, size=self.ess)

    def interval(self, level: float = 0.95) -> Float[Tensor, "2 targets k"]:
        """Central intervals of each coordinate of z: lower and upper ends.

        Args:
            level: share of the posterior inside, in (0, 1).

        Raises:
            InputError: another level.
        """
        level = check.number("level", level, low=0, high=1, open_low=True, open_high=True)
        return self.quantiles((1 - level) / 2, (1 + level) / 2)

    def resampled(self, count: int, *, seed: int = 0) -> Float[Tensor, "targets count k"]:
        """Draws of equal weight: each is taken as often as its weight says (systematic resampling).

        Args:
            count: of each target.
            seed: of the offset and the order.
        """
        check.integer("count", count, low=1)
        stream = torch.Generator().manual_seed(seed)
        offset = torch.rand((), generator=stream, dtype=torch.float64)
        points = (torch.arange(count, dtype=torch.float64) + offset) / count
        points = points[torch.randperm(count, generator=stream)].to(self.weights.device)
        edges = self.weights.double().cumsum(1)
        edges = edges / edges[:, -1:]
        at = torch.searchsorted(edges, points.expand(len(self), -1).contiguous())
        at = at.clamp(max=self.z.shape[1] - 1)
        return self.z.gather(1, at.unsqueeze(-1).expand(-1, -1, self.z.shape[2]))

    def signals(
        self,
        *,
        levels: Sequence[float] = (0.025, 0.5, 0.975),
        model: ForwardModel | None = None,
        given: Given | None = None,
    ) -> SignalStatistics:
        """Mean, standard deviation and quantiles of the signal by pixel, in bounded memory.

        Args:
            levels: of the quantiles, in (0, 1).
            model: needed where the draws were opened from a file.
            given: inputs by target, likewise.

        Raises:
            InputError: no model, or a level outside of (0, 1).
        """
        model = self.model if model is None else model
        if model is None:
            raise InputError(
                "model: expected the ForwardModel that was sampled, as draws from a file don't "
                "hold it; pass signals(model=...).",
                argument="model",
            )
        for level in levels:
            check.number("levels", level, low=0, high=1, open_low=True, open_high=True)
        return signal_statistics(
            model,
            self.z,
            self.weights,
            self.ess,
            levels=tuple(levels),
            given=self.given if given is None else given,
        )

    def messages(self) -> list[str]:
        """One sentence for each target."""
        return [DrawsStatus(int(s)).message for s in self.status]

    def summary(self) -> str:
        """A few lines: how many draws, how sure, at what cost."""
        targets, draws, _ = self.z.shape
        lines = [f"sample: {targets} targets, {draws} draws each, {self.seconds:.1f} s"]
        if targets:
            each = float(self.cost.mean()) + self.cost_once / targets
            lines[0] += f", cost {each:.0f} forward-equivalents for each target, all in"
            lines.append(
                f"effective sample size: median {float(self.ess.median()):.0f}, least "
                f"{float(self.ess.min()):.0f}; modes: up to {int(self.modes.count.max())}; "
                f"standard deviation of z: median {float(self.std.median()):.2g}"
            )
        found = self.status.tolist()
        for status in sorted(set(found), key=lambda s: (-found.count(s), s)):
            end = DrawsStatus(status)
            lines.append(f"{found.count(status):6d} {end.label}: {end.message}")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(self.summary())}</pre>"

    def to(self, device: torch.device | str) -> Draws:
        """The same on another device."""
        moved = {name: t.to(device) for name, t in self._tensors().items()}
        return replace(_unpack(moved, self._facts()), model=self.model, given=self.given)

    @classmethod
    def joined(cls, parts: Sequence[Draws]) -> Draws:
        """The draws of parts of the targets as one, in order. Costs and seconds add up.

        Raises:
            InputError: there are none.
        """
        if not parts:
            raise InputError("parts: expected at least one, got none.")
        named = [_widened(part._tensors(), _most_modes(parts)) for part in parts]
        tensors = {name: torch.cat([part[name] for part in named]) for name in named[0]}
        facts = parts[0]._facts() | {
            "notes": list(dict.fromkeys(note for part in parts for note in part.notes)),
            "seconds": sum(part.seconds for part in parts),
            "cost_once": sum(part.cost_once for part in parts),
        }
        return _unpack(tensors, facts)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write one safetensors file, whole or not at all. The model is not part of it.

        Raises:
            OutputExistsError: the file is there and `overwrite` is false.
            InputError: the path is a folder.
        """
        target = Path(path)
        if not target.name or target.is_dir():
            raise InputError(f"path: expected a file's name, got {str(path)!r}, a folder.")
        if target.exists() and not overwrite:
            raise OutputExistsError(f"{target} exists; pass overwrite=True or another path.")
        target.parent.mkdir(parents=True, exist_ok=True)
        tensors = {
            name: t.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, t in self._tensors().items()
        }
        with files.replacing(target) as temporary:
            save_file(tensors, temporary, metadata={_KEY: json.dumps(self._facts())})
        return target

    @classmethod
    def open(cls, path: str | os.PathLike[str], model: ForwardModel | None = None) -> Draws:
        """Read what :meth:`save` wrote.

        Args:
            path: the file.
            model: for :meth:`signals`.

        Raises:
            InputError: no such file, or not saved draws.
        """
        if not Path(path).is_file():
            raise InputError(f"draws: expected a file that Draws.save wrote, got {path}.")
        try:
            with safe_open(path, framework="pt") as handle:
                facts = json.loads((handle.metadata() or {})[_KEY])
                tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
            return replace(_unpack(tensors, facts), model=model)
        except Exception as error:  # whatever a damaged file makes the readers say
            raise InputError(f"{path}: not saved draws, or damaged ones ({error}).") from error

    def _tensors(self) -> dict[str, Tensor]:
        named: dict[str, Tensor] = {name: getattr(self, name) for name in _FIELDS}
        return named | {"modes.z": self.modes.z, "modes.mass": self.modes.mass}

    def _facts(self) -> dict[str, Any]:
        return {
            "cost_once": self.cost_once,
            "seconds": self.seconds,
            "notes": list(self.notes),
            "info": self.info,
        }


_KEY = "surfing.draws"
_FIELDS = ("z", "weights", "mode", "ess", "status", "misfit", "noise", "cost")


def _most_modes(parts: Sequence[Draws]) -> int:
    return max(part.modes.mass.shape[1] for part in parts)


def _widened(tensors: dict[str, Tensor], width: int) -> dict[str, Tensor]:
    """With room for so many modes."""
    z, mass = tensors["modes.z"], tensors["modes.mass"]
    wide = z.new_full((len(z), width, z.shape[2]), torch.nan)
    wide[:, : z.shape[1]] = z
    masses = mass.new_zeros(len(mass), width)
    masses[:, : mass.shape[1]] = mass
    return tensors | {"modes.z": wide, "modes.mass": masses}


def _unpack(tensors: dict[str, Tensor], facts: dict[str, Any]) -> Draws:
    fields: dict[str, Any] = {name: tensors[name] for name in _FIELDS}
    return Draws(
        **fields,
        modes=ModeTable(tensors["modes.z"], tensors["modes.mass"]),
        cost_once=float(facts["cost_once"]),
        seconds=float(facts["seconds"]),
        notes=tuple(facts["notes"]),
        info=dict(facts["info"]),
    )
