"""Any ``nn.Module`` at one theta: x = G_theta(z). The user's module is never touched."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim.swa_utils import AveragedModel

from surfing.errors import GeneratorError

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["BoundGenerator", "Generator", "State", "cast", "unwrap"]

State = Mapping[str, Tensor]
"""One checkpoint: parameters and buffers by name."""


def unwrap(module: nn.Module) -> nn.Module:
    """The module inside ``torch.compile``, DDP, DataParallel or ``AveragedModel``."""
    wrappers = (nn.parallel.DistributedDataParallel, nn.DataParallel, AveragedModel)
    while True:
        if isinstance(module, wrappers):
            inner = module.module
        else:
            inner = getattr(module, "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            return module
        module = inner


_HALF = (torch.float16, torch.bfloat16)


def cast(state: State, dtype: torch.dtype) -> dict[str, Tensor]:
    """Floating tensors as `dtype`, the others as they are; one object stays one object (ties)."""
    made = {id(t): t.to(dtype) if t.is_floating_point() else t for t in state.values()}
    return {name: made[id(t)] for name, t in state.items()}


def _came(given: object) -> str:
    """What is no module, and what to do about it."""
    if isinstance(given, type):
        return f"the class {given.__name__}. Pass an object of it, as in {given.__name__}(...)."
    name = type(given).__name__
    return f"{name}. Wrap a function in a module whose forward calls it."


class Generator:
    """An architecture without its weights.

    A private copy in eval mode is kept, so that neither the module's parameters, nor its buffers,
    nor its training flag can change, whatever happens during a run.

    Args:
        module: maps latents (rows, k) to signals (rows, ...).

    Raises:
        GeneratorError: not a module, or one that can't be copied.
    """

    def __init__(self, module: nn.Module) -> None:
        if not isinstance(module, nn.Module):
            raise GeneratorError(f"generator: expected a torch.nn.Module, got {_came(module)}")
        try:
            inner = unwrap(module)
            copied: nn.Module = copy.deepcopy(inner, _derived(inner))
            self.module: nn.Module = copied.eval().requires_grad_(False)
        except Exception as error:
            raise GeneratorError(
                f"generator: {type(module).__name__} can't be copied ({error}); "
                "give a module whose state is parameters and buffers only."
            ) from error
        if any(t.dtype in _HALF for t in (*self.module.parameters(), *self.module.buffers())):
            self.module.float()
        tensors = self.module.state_dict(keep_vars=True)
        self._shapes = {name: tuple(t.shape) for name, t in tensors.items()}
        alike: dict[int, list[str]] = {}
        for name, t in tensors.items():
            alike.setdefault(id(t), []).append(name)
        self._tied = {name: names for names in alike.values() for name in names if len(names) > 1}

    def fitted(self, state: State) -> State:
        """A checkpoint under the names of the module.

        Wrappers and DataParallel put a prefix before the names: where exactly one prefix makes
        them fit, it is added or taken off. Of tensors that are tied in the module one is enough.

        Raises:
            GeneratorError: more than one prefix would do.
        """
        state = self._untied(state)
        if all(name in state for name in self._shapes):
            return state
        found = [self._untied(renamed) for renamed in self._candidates(state).values()]
        fits = [
            renamed
            for renamed in found
            if all(
                name in renamed and tuple(renamed[name].shape) == shape
                for name, shape in self._shapes.items()
            )
        ]
        if len(fits) > 1:
            prefixes = ", ".join(repr(p) for p in self._candidates(state))
            raise GeneratorError(
                f"generator: the checkpoint's names fit {type(self.module).__name__} under more "
                f"than one prefix ({prefixes}); rename them, or import one prefix alone."
            )
        return fits[0] if fits else state

    def _candidates(self, state: State) -> dict[str, State]:
        """The checkpoint renamed, by the prefix that was taken off or put before."""
        if not self._shapes or not state:
            return {}
        first, there = next(iter(self._shapes)), next(iter(state))
        cut = [name.removesuffix(first) for name in state if name.endswith("." + first)]
        put = [name.removesuffix(there) for name in self._shapes if name.endswith("." + there)]
        renamed: dict[str, State] = {
            p: {n.removeprefix(p): t for n, t in state.items() if n.startswith(p)} for p in cut
        }
        return renamed | {p: {p + n: t for n, t in state.items()} for p in put}

    def _untied(self, state: State) -> State:
        missing = [n for n in self._tied if n not in state]
        filled = {
            name: state[other]
            for name in missing
            for other in self._tied[name][:]
            if other in state
        }
        return {**state, **filled} if filled else state

    def check(self, state: State) -> None:
        """See that a checkpoint fits.

        Raises:
            GeneratorError: a parameter or buffer is missing, unknown or of another shape.
        """
        state = self.fitted(state)
        missing = [n for n in self._shapes if n not in state]
        extra = [n for n in state if n not in self._shapes]
        if missing or extra:
            said = [f"lacks {_few(extra)}, which the checkpoint has"] if extra else []
            said += [f"has {_few(missing)}, which the checkpoint lacks"] if missing else []
            raise GeneratorError(
                f"generator: {type(self.module).__name__} {' and '.join(said)}. Build the "
                "generator with the architecture (and width) that was recorded."
            )
        for name, shape in self._shapes.items():
            if tuple(state[name].shape) != shape:
                raise GeneratorError(
                    f"generator: {name} has shape {shape}, the checkpoint's has "
                    f"{tuple(state[name].shape)}. Build the generator with the architecture (and "
                    "width) that was recorded."
                )

    def at(self, state: State) -> BoundGenerator:
        """G_theta for the given theta.

        Half precision is widened to single precision: derivatives need it.

        Raises:
            GeneratorError: see :meth:`check`.
        """
        state = self.fitted(state)
        self.check(state)
        if any(t.is_inference() for t in state.values()):  # autograd refuses those
            state = {name: t.clone() if t.is_inference() else t for name, t in state.items()}
        if any(t.dtype in _HALF for t in state.values()):
            state = cast(state, torch.float32)
        return BoundGenerator(self.module, state)


class BoundGenerator:
    """G_theta: a function of z alone.

    Args:
        module: in eval mode; its own tensors are not used.
        state: theta, parameters and buffers.
    """

    def __init__(self, module: nn.Module, state: State) -> None:
        self.module = module
        self.state = state
        self._buffers = [name for name, _ in module.named_buffers() if name in state]

    def __call__(self, z: Float[Tensor, "rows k"], **beside: Tensor) -> Float[Tensor, "rows ..."]:
        """Signals of latents; `beside` are further arguments of the module's forward."""
        # Every name is given, so that tied weights need not be one tensor in the checkpoint. A
        # forward may write into its buffers (power iteration does): each call gets fresh ones.
        state = dict(self.state)
        for name in self._buffers:
            state[name] = state[name].clone()
        out: Tensor = functional_call(self.module, state, (z,), beside, tie_weights=False)
        return out


def _derived(module: nn.Module) -> dict[int, Tensor]:
    """Tensors that a hook derives from parameters (weight_norm), which torch refuses to copy.

    The hooks of the copy will derive them anew.
    """
    return {
        id(value): value.detach().clone()
        for part in module.modules()
        for value in vars(part).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }


def _few(names: list[str]) -> str:
    shown = ", ".join(repr(n) for n in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
