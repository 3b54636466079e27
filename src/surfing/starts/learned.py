"""Learned starts: a bank of measured samples, and local inverses fitted to a target's neighbours.

The generator makes its own training data: N latents are drawn and measured once, for all targets.
Of a target's nearest members z is regressed on y, which inverts the forward map near the target;
where the neighbours part in clusters each cluster has a regression of its own.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from surfing import check
from surfing.errors import InputError, OutputExistsError
from surfing.files import replacing
from surfing.precision import plain_precision
from surfing.problem.measurements import as_measurements
from surfing.starts.regression import LinearInverse

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Int

    from surfing.problem.measurements import Measurements
    from surfing.problem.model import ForwardModel

__all__ = ["LearnedStarts", "learn", "least_samples"]

_BANK = 1 << 43
"""The identity whose stream the bank's latents come from; far from any target's own."""
_COMPONENTS = 3
"""Principal components kept for each latent, where there are more measurements."""
_NEIGHBOURS, _MOST_NEIGHBOURS = 60, 2400
"""For each latent, and in all, beyond four for each latent."""
_MANY_LATENTS = 100
"""Latents from which one regression over the whole bank goes before those over neighbours."""
_LOCAL_UP_TO, _FEW_NEIGHBOURS = 256, 200
_MORE_COMPONENTS = 200
"""Beyond one for each latent, where there are many."""
_CHUNK = 2048
_PIECE = 128
"""Samples between two looks at the clock, where there is a limit."""
_BLOCK_BYTES = 128 * 2**20
_RIDGE = 1e-4
_APART = 0.7
_OVERSAMPLING, _POWERS = 4, 2


class _Features(NamedTuple):
    """Measurements as few numbers: y -> basis'(y - mean)."""

    mean: Float[Tensor, " m"]
    basis: Float[Tensor, "m d"] | None
    """Orthonormal; None where all measurements are kept."""

    def of(self, y: Float[Tensor, "r m"]) -> Float[Tensor, "r d"]:
        centred = y - self.mean
        return centred if self.basis is None else centred @ self.basis

    def weighted(self, y: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Features of measurements of unequal weight, and the weights of the features.

        With a basis the features are those of the weighted least squares fit.
        """
        if self.basis is None:
            return y - self.mean, weights.expand(len(y), -1)
        square = weights.square().to(y.dtype).expand(len(y), -1)
        normal = torch.einsum("md,rm,me->rde", self.basis, square, self.basis)
        ridge = 1e-6 * normal.diagonal(dim1=-2, dim2=-1).mean(-1).clamp(min=1e-30)
        eye = torch.eye(normal.shape[-1], dtype=y.dtype, device=y.device)
        right = (square * (y - self.mean)) @ self.basis
        fitted = torch.linalg.solve(normal + ridge[:, None, None] * eye, right.unsqueeze(-1))
        return fitted.squeeze(-1), y.new_ones(len(y), self.basis.shape[1])


@dataclass(frozen=True)
class LearnedStarts:
    """A measured bank of latents; made by :func:`learn`.

    Args:
        z: latents drawn from the law.
        features: of their measurements.
        mean: of the measurements.
        basis: principal components of the measurements; None where all entries are kept.
        fingerprint: of the model that measured them.
        cost: forward-equivalents that making it took; time that was no forward is counted by the
            measured time of one.
        seconds: wall time likewise.
        forward_seconds: of one forward, in the batch.
        stage: of the network that measured them; -1 for the last.
    """

    z: Float[Tensor, "samples k"]
    features: Float[Tensor, "samples d"]
    mean: Float[Tensor, " m"]
    basis: Float[Tensor, "m d"] | None
    fingerprint: str
    cost: float
    seconds: float
    forward_seconds: float
    stage: float = -1.0

    def __len__(self) -> int:
        return len(self.z)

    def __repr__(self) -> str:
        return (
            f"LearnedStarts({len(self)} samples, k={self.z.shape[1]}, {self.features.shape[1]} "
            f"features of {len(self.mean)} measurements)"
        )

    @property
    def leading(self) -> int:
        """How many of the candidates go before the others whatever they leave unexplained."""
        return int(self.z.shape[1] >= _MANY_LATENTS)

    @property
    def _local(self) -> bool:
        """Whether regressions over neighbours are made; each takes of the order of k^3."""
        return self.z.shape[1] <= _LOCAL_UP_TO

    @cached_property
    def linear_inverse(self) -> LinearInverse:
        """The regression over the whole bank; made when it is first asked for."""
        return LinearInverse.fit(self.z, self.features)

    def starts(
        self, model: ForwardModel, y: Float[Tensor, "targets ..."] | np.ndarray, count: int = 4
    ) -> Float[Tensor, "targets count k"]:
        """Starts for targets, such as the `z0` of a ride.

        Args:
            model: the one that it was learned for.
            y: measurements.
            count: for each target; local inverses first, then the nearest samples.

        Raises:
            InputError: another model.
        """
        self.check(model)
        check.integer("count", count, low=1)
        return self.candidates(model.problem(as_measurements(y, model.device)).data, count)

    def check(self, model: ForwardModel) -> None:
        """See that this was learned for the model.

        Raises:
            InputError: it was not.
        """
        if self.fingerprint != model.fingerprint:
            raise InputError(
                "learned: these starts were learned for another model: weights, operator, law or "
                "precision differ. Learn them anew with surfing.learn(model).",
                argument="learned",
            )

    def candidates(
        self, data: Measurements, count: int, *, alone: bool = False, local: bool = True
    ) -> Float[Tensor, "targets count k"]:
        """Candidates for each target: local inverses of several neighbourhoods, then neighbours.

        With a hundred latents and more a regression over the whole bank comes first.

        Args:
            data: measurements of the model.
            count: for each target.
            alone: work on one target at a time, so that bits don't depend on the others.
            local: regress over neighbourhoods too, where there are not too many latents for it.
        """
        local = local and self._local
        k = self.z.shape[1]
        wanted = max(200, 4 * k, min(_NEIGHBOURS * k, _MOST_NEIGHBOURS))
        neighbours = min(len(self), wanted if local else _FEW_NEIGHBOURS)
        width = self.features.shape[1] + self.z.shape[1]
        size = max(1, _BLOCK_BYTES // (4 * (neighbours * width * 2 + 2 * len(self))))
        size = 1 if alone else size
        rows = torch.arange(len(data), device=self.z.device)
        parts = [
            self._candidates(data.take(part), count, neighbours, local=local)
            for part in torch.split(rows, size)
            if len(part)
        ]
        if not parts:
            return self.z.new_empty(0, count, self.z.shape[1])
        return torch.cat(parts)

    def _candidates(
        self, data: Measurements, count: int, neighbours: int, *, local: bool
    ) -> Tensor:
        view, dtype = _Features(self.mean, self.basis), self.features.dtype
        y = data.y.to(dtype)
        if data.weights is None:
            target, weights = view.of(y), None
        else:
            target, weights = view.weighted(y, data.weights.to(dtype))
        distance = _squared_distances(target, self.features, weights)
        near = distance.topk(neighbours, dim=1, largest=False)
        noise = 0.0 if data.noise is None else data.noise.to(dtype).square()[:, None, None]
        z, gap = self.z[near.indices], near.values.clamp(min=0)
        # Where neighbours part in clusters, one regression over both lies between them.
        spread = _APART * (2 * z.shape[-1]) ** 0.5 * self.z.std()
        leads = bool(self.leading and (weights is None or self.basis is not None))
        seeds = _spread_out(z, max(1, count - (2 if local else leads)), apart=float(spread))
        found = []
        if leads:
            variance = noise if isinstance(noise, float) else noise.squeeze(-1)
            found.append(self.linear_inverse(target, variance))
        if local:
            members = self.features[near.indices]  # (t, K, d)
            if weights is not None:
                members, target = members * weights[:, None], target * weights
            found += _local_inverses(z, members, gap, seeds, target, noise, count)
        at = seeds.unsqueeze(-1).expand(-1, -1, z.shape[-1])
        whole = torch.cat([*(f[:, None] for f in found), z.gather(1, at)], 1)
        if whole.shape[1] < count:
            whole = torch.cat([whole, z[:, : count - whole.shape[1]]], 1)
        return whole[:, :count]

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write one safetensors file, whole or not at all.

        Raises:
            OutputExistsError: the file is there and `overwrite` is false.
        """
        target = Path(path)
        if target.exists() and not overwrite:
            raise OutputExistsError(f"{target} exists; pass overwrite=True or another path.")
        tensors = {"z": self.z, "features": self.features, "mean": self.mean}
        if self.basis is not None:
            tensors["basis"] = self.basis
        facts = {name: getattr(self, name) for name in _FACTS}
        held = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
        with replacing(target) as temporary:
            save_file(held, temporary, metadata={"surfing.learned": json.dumps(facts)})
        return target

    @classmethod
    def open(cls, path: str | os.PathLike[str], model: ForwardModel | None = None) -> Self:
        """Read what :meth:`save` wrote.

        Args:
            path: the file.
            model: for which it is to be used; checked where given.

        Raises:
            InputError: no such file, not learned starts, or learned for another model.
        """
        if not Path(path).is_file():
            raise InputError(
                f"learned: expected a file that LearnedStarts.save wrote, got {path}.",
                argument="learned",
            )
        try:
            with safe_open(path, framework="pt") as handle:
                facts: dict[str, Any] = json.loads((handle.metadata() or {})["surfing.learned"])
                tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
            made = cls(
                tensors["z"],
                tensors["features"],
                tensors["mean"],
                tensors.get("basis"),
                str(facts["fingerprint"]),
                *(float(facts[name]) for name in _FACTS[1:]),
            )
        except Exception as error:  # whatever a damaged file makes the readers say
            raise InputError(
                f"learned: {path} is not a file of learned starts, or a damaged one ({error}).",
                argument="learned",
            ) from error
        if model is not None:
            made.check(model)
            made = made.to(model.device)
        return made

    def to(self, device: torch.device | str) -> Self:
        """The same on another device."""
        basis = None if self.basis is None else self.basis.to(device)
        facts = (self.fingerprint, *(getattr(self, name) for name in _FACTS[1:]))
        return type(self)(
            self.z.to(device), self.features.to(device), self.mean.to(device), basis, *facts
        )


_FACTS = ("fingerprint", "cost", "seconds", "forward_seconds", "stage")


def least_samples(k: int) -> int:
    """How many samples starts can be learned from.

    >>> least_samples(10), least_samples(512)
    (36, 516)
    """
    return min(2 * k, 500) + 16


@plain_precision
def learn(
    model: ForwardModel,
    samples: int = 20_000,
    *,
    stage: float = -1,
    seed: int = 0,
    until: float | None = None,
) -> LearnedStarts:
    """Draw latents from the law and measure them, once for all targets.

    Costs `samples` forwards. What depends on the data's size is kept small: with many measurements
    3 k principal components are kept of each sample, and memory does not grow with m.

    Args:
        model: trajectory, generator, operator and law; one that takes inputs by target has no
            samples in common to learn from.
        samples: how many; at least 2 k + 16, or 516 where that is less.
        stage: of the network that measures them: the last where left out. Starts for a ride from an
            earlier stage are better learned there.
        seed: of the draws.
        until: clock (`time.perf_counter`) after which no further samples are measured.

    Raises:
        InputError: too few samples, a stage beyond the trajectory, or a model with inputs by
            target.

    >>> import surfing
    >>> model = surfing.ForwardModel(surfing.zoo.packaged())
    >>> surfing.learn(model, 300)
    LearnedStarts(300 samples, k=10, 34 features of 784 measurements)
    """
    began = time.perf_counter()
    k = model.latent.dim
    check.integer("samples", samples, low=least_samples(k))
    seed = check.integer("seed", seed)
    if model.required:
        raise InputError(
            f"model: generator or operator ask for {', '.join(sorted(model.required))} of each "
            "target, so that there are no samples to learn from for all; recover(given=...) starts "
            "without.",
            argument="model",
        )
    spent = 0.0
    last = len(model.trajectory) - 1
    if stage != -1:
        check.number("stage", stage, low=0, high=last)
    forward = model.architecture.at(model.trajectory.at(last if stage == -1 else stage))
    view: _Features | None = None
    latents: list[Tensor] = []
    features: list[Tensor] = []
    for low in range(0, samples, _CHUNK):
        if latents and until is not None and time.perf_counter() > until:
            break
        count = min(_CHUNK, samples - low)
        z = model.latent.sample([_BANK + low // _CHUNK], count, seed=seed)[0]
        z = z.to(model.device, model.dtype)
        clock = time.perf_counter()
        m = int(torch.tensor(model.measurement_shape).prod())
        y = z.new_empty(count, m)
        size = count if until is None else _PIECE
        for start in range(0, count, size):
            if start and until is not None and time.perf_counter() > until:
                z, y = z[:start], y[:start]
                break
            part = slice(start, start + size)
            with torch.no_grad():
                forward.fill((y[part],), lambda at: (forward(at),), z[part], passes=1)
        spent += time.perf_counter() - clock
        y = torch.nan_to_num(y, nan=0.0, posinf=0.0, neginf=0.0)
        view = _features(y, k) if view is None else view
        latents.append(z)
        features.append(view.of(y))
    if view is None:  # samples is at least one
        raise AssertionError
    z = torch.cat(latents)
    each = spent / len(z)
    seconds = time.perf_counter() - began
    return LearnedStarts(
        z,
        torch.cat(features),
        view.mean,
        view.basis,
        model.fingerprint,
        cost=len(z) + max(0.0, seconds - spent) / max(each, 1e-9),
        seconds=seconds,
        forward_seconds=each,
        stage=float(stage),
    )


def _features(y: Float[Tensor, "n m"], k: int) -> _Features:
    """Principal components of the first chunk, where there are more measurements than that."""
    mean, width = y.mean(0), _COMPONENTS * k
    if k >= _MANY_LATENTS:
        width = min(width, k + _MORE_COMPONENTS)
    if y.shape[1] <= width + _OVERSAMPLING or len(y) <= width + _OVERSAMPLING:
        return _Features(mean, None)
    centred = y - mean
    centred = centred / centred.abs().amax().clamp(min=1e-30)  # squares stay finite
    if not bool(torch.isfinite(centred).all()):
        return _Features(mean, None)
    # Randomised subspace iteration (Halko, Martinsson and Tropp, 2011): an eigendecomposition of
    # 784 pixels took the time of 2,500 forwards.
    stream = torch.Generator().manual_seed(0)
    # In single precision whatever the caller's default is: the same starts for all.
    shape = (y.shape[1], width + _OVERSAMPLING)
    basis = torch.randn(shape, generator=stream, dtype=torch.float32).to(y)
    powers = _POWERS
    if k >= _MANY_LATENTS:  # the samples that tell the components are paid for twice
        centred, powers = centred[: 2 * width], 1
    for _ in range(powers):
        basis = torch.linalg.qr(centred.T @ (centred @ basis)).Q
    # Contiguous, as it comes back from a file or another process: kernels go by the layout.
    return _Features(mean, basis.to(y.dtype).contiguous())


def _squared_distances(
    target: Float[Tensor, "t d"], bank: Float[Tensor, "n d"], weights: Tensor | None
) -> Float[Tensor, "t n"]:
    """Up to a constant of the target, by one matrix product."""
    if weights is None:
        own = target.square().sum(-1, keepdim=True)
        return own + bank.square().sum(-1) - 2 * (target @ bank.T)
    square = weights.square()
    own = (square * target.square()).sum(-1, keepdim=True)
    return own + square @ bank.square().T - 2 * ((square * target) @ bank.T)


def _local_inverse(
    z: Float[Tensor, "t n k"],
    y: Float[Tensor, "t n d"],
    gap: Float[Tensor, "t n"],
    target: Float[Tensor, "t d"],
    noise: Tensor | float,
) -> Float[Tensor, "t k"]:
    """Weighted ridge regression of z on y over the neighbours, at the target.

    Neighbours count by Cleveland's tricube of their distance. The ridge is that of the noise,
    and a ten-thousandth of the typical eigenvalue where there is none.
    """
    reach = gap.amax(1, keepdim=True).clamp(min=1e-30).sqrt() * 1.0001
    weight = (1 - (gap.sqrt() / reach) ** 3).clamp(min=0) ** 3 + 1e-3
    weight = (weight / weight.sum(1, keepdim=True)).unsqueeze(-1)
    z_mean, y_mean = (weight * z).sum(1, keepdim=True), (weight * y).sum(1, keepdim=True)
    root = weight.sqrt()
    left = ((y - y_mean) * root).double()
    right = ((z - z_mean) * root).double()
    at = (target - y_mean.squeeze(1)).double().unsqueeze(1)
    count, width = left.shape[1:]
    gram = left @ left.mT if width > count else left.mT @ left
    ridge = _RIDGE * gram.diagonal(dim1=-2, dim2=-1).sum(-1) / min(count, width)
    ridge = ridge.clamp(min=1e-30)[:, None, None] + noise
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    if width > count:
        moved = (at @ left.mT) @ torch.linalg.solve(gram + ridge * eye, right)
    else:
        moved = at @ torch.linalg.solve(gram + ridge * eye, left.mT @ right)
    found = z_mean.squeeze(1) + moved.squeeze(1).to(z.dtype)
    return torch.where(torch.isfinite(found), found, z[:, 0])


def _local_inverses(
    z: Float[Tensor, "t n k"],
    members: Float[Tensor, "t n d"],
    gap: Float[Tensor, "t n"],
    seeds: Int[Tensor, "t c"],
    target: Float[Tensor, "t d"],
    noise: Tensor | float,
    count: int,
) -> list[Float[Tensor, "t k"]]:
    """Over all neighbours, over the nearest, and over those about each of some seeds."""
    neighbours, k = z.shape[1:]
    found = []
    for share in (1.0, 0.3):
        few = max(min(neighbours, k + 8), round(share * neighbours))
        found.append(_local_inverse(z[:, :few], members[:, :few], gap[:, :few], target, noise))
    for number in range(max(1, (count - 2) // 2)):
        centre = z.gather(1, seeds[:, number, None, None].expand(-1, 1, k))
        few = max(min(neighbours, k + 8), neighbours // 4)
        close = (z - centre).square().sum(-1).topk(few, dim=1, largest=False).indices
        picked = _picked(z, close), _picked(members, close), gap.gather(1, close)
        found.append(_local_inverse(*picked, target, noise))
    return found


def _picked(t: Float[Tensor, "t n d"], rows: Int[Tensor, "t r"]) -> Float[Tensor, "t r d"]:
    return t.gather(1, rows.unsqueeze(-1).expand(-1, -1, t.shape[-1]))


def _spread_out(z: Float[Tensor, "t n k"], count: int, *, apart: float) -> Int[Tensor, "t c"]:
    """The nearest, then the nearest of those that lie apart from all chosen before."""
    free = torch.ones(z.shape[:2], dtype=torch.bool, device=z.device)
    order = torch.arange(z.shape[1], device=z.device)
    chosen: list[Tensor] = []
    for _ in range(count):
        # Where none lies apart any more, the nearest that was not chosen.
        rank = torch.where(free, order, order + z.shape[1])
        for before in chosen:
            rank = rank.scatter(1, before.unsqueeze(1), 3 * z.shape[1])
        pick = rank.argmin(1)
        chosen.append(pick)
        centre = z.gather(1, pick[:, None, None].expand(-1, 1, z.shape[-1]))
        free &= (z - centre).square().sum(-1) > apart**2
    return torch.stack(chosen, 1)
