"""What a run returns: latents, signals, and per target what happened."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from surfing import files
from surfing.errors import InputError, OutputExistsError, RecoveryError
from surfing.inline import InlinePage
from surfing.status import Status, Statuses, summarise_status

if TYPE_CHECKING:
    from jaxtyping import Float, Int

__all__ = ["Solution", "StageRecord", "Status", "open_directions", "remarks", "summarise_status"]


@dataclass(frozen=True)
class StageRecord:
    """One stage of the ride, for the start that was selected, target by target."""

    stage: float
    """Position on the trajectory, a real number in [0, len - 1]."""
    step: float
    """Training step of that position."""
    z: Float[Tensor, "targets k"]
    risk: Float[Tensor, " targets"]
    """1/2 ||A G(z) - y||^2 at the stage's own theta, penalty left out."""
    steps: Int[Tensor, " targets"]
    cost: Float[Tensor, " targets"]
    """Forward-equivalents that this stage took."""
    status: Int[Tensor, " targets"]
    damping: Float[Tensor, " targets"] | None = None
    """The descent's damping at the end of the stage, in the unit of J'J; None where it keeps none,
    NaN for a target of which it is not known."""

    def __repr__(self) -> str:
        residual = (2 * self.risk).sqrt().nanmedian() if len(self.risk) else torch.tensor(torch.nan)
        return (
            f"StageRecord(stage {self.stage:g}, step {self.step:g}, {len(self.z)} targets, "
            f"median residual {float(residual):.2e})"
        )


class Viewer(Protocol):
    """Writes a page about a solution, and says where it is."""

    def __call__(
        self, solution: Solution, path: str | os.PathLike[str] | None, **options: Any
    ) -> Path: ...


@dataclass(frozen=True)
class Solution:
    """The recovered latents, and what happened to each target.

    Of each target's starts the one with the lowest measurement risk is reported; the others are in
    `candidates_z` and `candidates_risk`.
    """

    z: Float[Tensor, "targets k"]
    x: Float[Tensor, "targets ..."]
    risk: Float[Tensor, " targets"]
    """1/2 ||A G(z) - y||^2 at the last stage."""
    status: Int[Tensor, " targets"]
    """Integers, printed as words; `Status(int(s)).message` is the sentence."""
    cost: Float[Tensor, " targets"]
    """Forward-equivalents over all starts and stages: forward 1, reverse pass 2, tangent pass 1."""
    stages: tuple[StageRecord, ...] = ()
    candidates_z: Float[Tensor, "targets starts k"] | None = None
    candidates_risk: Float[Tensor, "targets starts"] | None = None
    singular_values: Float[Tensor, "targets k"] | None = None
    """Of the Jacobian of A G at z, largest first, where the descent knows them."""
    covariance: Float[Tensor, "targets k k"] | None = None
    """Laplace covariance of z, where a noise level is given."""
    distance: Float[Tensor, " targets"] | None = None
    """||z - mean||, in units of what is usual for the law."""
    y_norm: Float[Tensor, " targets"] | None = None
    """||y|| of the entries that count, weighted as the residual is."""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    """Wall time of the whole call."""
    cost_once: float = 0.0
    """Forward-equivalents spent once for all targets, such as on learned starts."""
    depth: int = 0
    """Sequential depth: generator passes that had to wait for one another."""
    method: str = ""
    info: dict[str, Any] = field(default_factory=dict)
    """JSON-able facts about the run: budget, seed, which strategy won for whom."""
    viewer: ClassVar[Viewer]
    """What :meth:`view` calls. The package sets it: pages are made far above this module."""
    pictured: ClassVar[Callable[[Solution], str]]
    """What a notebook shows; likewise."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "status", self.status.as_subclass(Statuses))

    @property
    def path(self) -> Float[Tensor, "targets stages k"]:
        """The selected start's latents, stage by stage."""
        if not self.stages:
            return self.z[:, None]
        return torch.stack([record.z for record in self.stages], 1)

    @property
    def relative_residual(self) -> Float[Tensor, " targets"]:
        """||A G(z) - y|| / ||y||, by target; NaN where ||y|| is not known or 0."""
        norm = (2 * self.risk).sqrt()
        known = torch.full_like(norm, torch.nan) if self.y_norm is None else self.y_norm
        return norm / torch.where(known > 0, known, torch.nan).to(norm)

    @property
    def success(self) -> Tensor:
        """Whether each target's measurements are met: (targets,) of bool."""
        met = [int(s) for s in Status if s.success]
        return torch.isin(self.status, torch.tensor(met, device=self.status.device))

    @property
    def undetermined(self) -> Int[Tensor, " targets"]:
        """How many latent directions the measurements leave undetermined, by target.

        By the singular values of the Jacobian; 0 where the descent knows none.
        """
        if self.singular_values is None:
            return torch.zeros_like(self.status)
        return open_directions(self.singular_values)

    def __len__(self) -> int:
        return len(self.z)

    def messages(self) -> list[str]:
        """One sentence for each target; it says where the latents lie far outside of their law."""
        said = [Status(int(s)).message for s in self.status]
        if self.distance is None:
            return said
        k = self.z.shape[1]
        far = self.distance.tolist()
        return [
            sentence
            if not ratio > 1 + _OUT / k**0.5
            else f"{sentence} Its latents lie {ratio:.1f} times as far out as the law's (norm "
            f"{ratio * k**0.5:.1f} standard deviations, usually {k**0.5:.1f})."
            for sentence, ratio in zip(said, far)
        ]

    def summary(self) -> str:
        """A few lines: how many targets ended how, at what residual and cost."""
        lines = [f"{self.method or 'run'}: {len(self)} targets, {self.seconds:.1f} s"]
        if len(self):
            each = float(self.cost.mean()) + self.cost_once / len(self)
            lines[0] += f", cost {each:.0f} forward-equivalents for each target, all in"
            if self.cost_once:
                lines[0] += f" ({self.cost_once:.0f} of them spent once)"
            norm = (2 * self.risk).sqrt()
            lines.append(
                f"residual norm: median {float(norm.median()):.2e}, largest {float(norm.max()):.2e}"
            )
            if self.y_norm is not None:
                lines[-1] += (
                    f"; median relative to y {float(self.relative_residual.nanmedian()):.2g}"
                )
        lines += [f"{count:6d} {line}" for line, count in summarise_status(self.status)]
        lines += remarks(self.distance, self.undetermined, self.z.shape[1])
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        return type(self).pictured(self)

    def show(self, *, height: int = 900, **options: Any) -> InlinePage:
        """The page of :meth:`view` within a notebook; nothing is left on the disk.

        Args:
            height: of the frame, in pixels.
            options: see :func:`surfing.report.page.view`.
        """
        with TemporaryDirectory() as folder:
            page = self.view(Path(folder) / "page.html", **options)
            return InlinePage(page.read_text(encoding="utf-8"), height)

    def view(self, path: str | os.PathLike[str] | None = None, **options: Any) -> Path:
        """Write one self-contained HTML page, and say where it is.

        The surfaces and what the surfer saw need `y=` and `model=`, or `trajectory=` with
        `generator=` and `operator=` as the run got them; `beside=` takes a solution by
        :func:`surfing.direct`. What is not given is left out.

        Args:
            path: of the page; surfing-view.html, surfing-view-2.html, ... where left out.
            options: see :func:`surfing.report.page.view`.
        """
        return type(self).viewer(self, path, **options)

    def raise_failures(self) -> Solution:
        """Return self where every target is met.

        Raises:
            RecoveryError: otherwise, with the count and the first sentence.
        """
        failed = (~self.success).nonzero().flatten().tolist()
        if failed:
            first = Status(int(self.status[failed[0]]))
            raise RecoveryError(
                f"{len(failed)} of {len(self)} targets failed; target {failed[0]}: "
                f"{first.label}: {first.message}"
            )
        return self

    def to(self, device: torch.device | str) -> Solution:
        """The same solution on another device."""
        moved = {name: t.to(device) for name, t in self._tensors().items()}
        return _unpack(moved, self._facts())

    @classmethod
    def joined(cls, parts: Sequence[Solution]) -> Solution:
        """The solutions of parts of the targets as one, in order.

        Costs, seconds and depths add up; of other facts, counts by name add up and the rest is
        that of the first part.

        Raises:
            InputError: there are none, or they come from different methods.
        """
        if not parts:
            raise InputError("parts: expected at least one solution, got none.")
        stages = [tuple((r.stage, r.step) for r in part.stages) for part in parts]
        if len(set(stages)) > 1 or len({part.method for part in parts}) > 1:
            raise InputError("parts: expected solutions of one method with the same stages.")
        named = [part._tensors() for part in parts]
        names = dict.fromkeys(name for tensors in named for name in tensors)
        tensors = {name: _concatenated(name, named) for name in names}
        facts = parts[0]._facts() | {
            "notes": list(dict.fromkeys(note for part in parts for note in part.notes)),
            "seconds": sum(part.seconds for part in parts),
            "cost_once": sum(part.cost_once for part in parts),
            "depth": sum(part.depth for part in parts),
            "info": _joined_info([part.info for part in parts]),
        }
        return _unpack(tensors, facts)

    def _tensors(self) -> dict[str, Tensor]:
        named = {
            name: value for name in _FIELDS if isinstance(value := getattr(self, name), Tensor)
        }
        for i, record in enumerate(self.stages):
            named |= {
                f"stages.{i}.{name}": value
                for name in _STAGE_FIELDS
                if isinstance(value := getattr(record, name), Tensor)
            }
        return named

    def _facts(self) -> dict[str, Any]:
        return {
            "stages": [[record.stage, record.step] for record in self.stages],
            "notes": list(self.notes),
            "seconds": self.seconds,
            "cost_once": self.cost_once,
            "depth": self.depth,
            "method": self.method,
            "info": self.info,
        }

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write one safetensors file, whole or not at all.

        Raises:
            OutputExistsError: the file is there and `overwrite` is false.
            InputError: the path can't be a file's: a folder, or below a file.
        """
        target = Path(path)
        if not target.name or target.is_dir():
            raise InputError(f"path: expected a file's name, got {str(path)!r}, a folder.")
        if target.exists() and not overwrite:
            raise OutputExistsError(f"{target} exists; pass overwrite=True or another path.")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise InputError(f"path: expected a file, {target} is below one.") from error
        # Copies: what shares memory, as the latents of a lone start do, can't be written.
        tensors = {
            name: t.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, t in self._tensors().items()
        }
        facts = json.loads(json.dumps(self._facts()))  # as it will read back
        facts["sha256"] = _seal(tensors, facts)
        with files.replacing(target) as temporary:
            save_file(tensors, temporary, metadata={"surfing.solution": json.dumps(facts)})
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Solution:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: no such file, or not a saved solution.
        """
        if not Path(path).is_file():
            raise InputError(f"solution: expected a file that Solution.save wrote, got {path}.")
        try:
            with safe_open(path, framework="pt") as handle:
                metadata = handle.metadata() or {}
                tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
            facts = json.loads(metadata["surfing.solution"])
            _ = [tensors[name] for name in _FIELDS[:5]]  # a KeyError names what is missing
            if facts.pop("sha256") != _seal(tensors, facts):
                raise ValueError("its contents don't match its hash")
            return _unpack(tensors, facts)
        except Exception as error:  # whatever a damaged file makes the readers say
            raise InputError(
                f"{path}: not a saved solution, or a damaged one ({error})."
            ) from error


_FIELDS = (
    *("z", "x", "risk", "status", "cost", "candidates_z", "candidates_risk"),
    *("singular_values", "covariance", "distance", "y_norm"),
)
_OUT = 4.0
"""Standard deviations of the law's norm beyond which latents are called far out."""
_STAGE_FIELDS = ("z", "risk", "steps", "cost", "status", "damping")
_OPTIONAL_STAGE_FIELDS = ("damping",)


def remarks(
    distance: Float[Tensor, " targets"] | None, undetermined: Int[Tensor, " targets"], k: int
) -> list[str]:
    """Sentences about latents that lie far out, and about directions that nothing determines.

    Args:
        distance: see :class:`Solution`; None where it is not known.
        undetermined: directions by target.
        k: latents.
    """
    said = []
    if distance is not None and bool((out := distance > 1 + _OUT / k**0.5).any()):
        said.append(
            f"{int(out.sum())} of {len(out)} targets have latents far outside of their law, up to "
            f"{float(distance.nan_to_num(0).max()):.1f} times as far out as usual; a prior keeps "
            "latents near the law."
        )
    if bool((undetermined > 0).any()):
        said.append(
            f"up to {int(undetermined.max())} latent directions are not determined by these "
            f"measurements, for {int((undetermined > 0).sum())} targets: success is that their "
            "measurements are met, whatever the latents."
        )
    return said


def open_directions(singular_values: Float[Tensor, "r k"]) -> Int[Tensor, " r"]:
    """How many of a Jacobian's singular values are next to nothing beside the largest."""
    largest = singular_values[:, :1].clamp(min=torch.finfo(torch.float32).tiny)
    return (singular_values < 1e-6 * largest).sum(-1)


def _concatenated(name: str, parts: Sequence[Mapping[str, Tensor]]) -> Tensor:
    """One field of all parts; what a part does not know is NaN."""
    known = next(part[name] for part in parts if name in part)
    return torch.cat(
        [
            part[name]
            if name in part
            else known.new_full((len(part["z"]), *known.shape[1:]), torch.nan)
            for part in parts
        ]
    )


def _joined_info(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    counts: dict[str, int] = {}
    for part in parts:
        for name, number in part.get("solved_by", {}).items():
            counts[name] = counts.get(name, 0) + number
    return dict(parts[0]) | ({"solved_by": counts} if "solved_by" in parts[0] else {})


def _seal(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> str:
    """SHA-256 of all that a file says: names, types, shapes, numbers and facts."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _unpack(tensors: dict[str, Tensor], facts: dict[str, Any]) -> Solution:
    stages = tuple(
        StageRecord(stage, step, **_stage_fields(tensors, f"stages.{i}."))
        for i, (stage, step) in enumerate(facts["stages"])
    )
    fields: dict[str, Any] = {name: tensors.get(name) for name in _FIELDS}
    return Solution(
        **fields,
        stages=stages,
        notes=tuple(facts["notes"]),
        seconds=float(facts["seconds"]),
        cost_once=float(facts.get("cost_once", 0.0)),
        depth=int(facts["depth"]),
        method=str(facts["method"]),
        info=dict(facts["info"]),
    )


def _stage_fields(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Any]:
    """A stage's tensors by name; only those that a descent may not know may be missing."""
    return {
        name: tensors.get(prefix + name)
        if name in _OPTIONAL_STAGE_FIELDS
        else tensors[prefix + name]
        for name in _STAGE_FIELDS
    }
