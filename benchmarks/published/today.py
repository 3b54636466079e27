"""Batched Levenberg-Marquardt of other libraries on our generators: torchimize and optimistix.

Both are optional (``pip install torchimize``, which is under the GPL; ``pip install optimistix``,
which brings jax) and used here only, as a user would: one start a target, all targets in a batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import jacfwd, vmap

__all__ = ["Torchimize", "Vmapped", "in_jax"]


@dataclass(frozen=True)
class Torchimize:
    """``torchimize.functions.lsq_lma_parallel`` with forward-mode Jacobians.

    Args:
        max_iterations: its max_iter.
    """

    max_iterations: int = 100

    def __call__(
        self, net: nn.Module, matrix: Tensor | None, y: Tensor, starts: Tensor
    ) -> tuple[Tensor, float]:
        """Latents, and the seconds of compilation: none."""
        from torchimize.functions import lsq_lma_parallel

        def residual(z: Tensor, goal: Tensor) -> Tensor:
            x = net(z[None]).flatten()
            return (x if matrix is None else matrix @ x) - goal

        def cost(z: Tensor) -> Tensor:
            return vmap(residual)(z, y)[:, None]

        def slope(z: Tensor) -> Tensor:
            return vmap(jacfwd(residual))(z, y)[:, None]

        with torch.no_grad():
            path = lsq_lma_parallel(starts.clone(), cost, slope, max_iter=self.max_iterations)
        return path[-1], 0.0


@dataclass(frozen=True)
class Vmapped:
    """``optimistix.least_squares`` with its LevenbergMarquardt under ``jax.jit(jax.vmap(...))``.

    Args:
        tolerance: its rtol and atol.
        max_steps: of a target.
    """

    tolerance: float = 1e-6
    max_steps: int = 100

    def __call__(
        self, net: nn.Module, matrix: Tensor | None, y: Tensor, starts: Tensor
    ) -> tuple[Tensor, float]:
        """Latents, and the seconds that the first call took beyond the second."""
        import jax
        import optimistix

        forward = in_jax(net)
        weights = None if matrix is None else jax.numpy.asarray(matrix.numpy())
        solver = optimistix.LevenbergMarquardt(rtol=self.tolerance, atol=self.tolerance)

        def residual(z: Any, goal: Any) -> Any:
            x = forward(z).ravel()
            return (x if weights is None else weights @ x) - goal

        def solve(z: Any, goal: Any) -> Any:
            found = optimistix.least_squares(
                residual, solver, z, args=goal, max_steps=self.max_steps, throw=False
            )
            return found.value

        batched = jax.jit(jax.vmap(solve))
        given = (jax.numpy.asarray(starts.numpy()), jax.numpy.asarray(y.numpy()))
        seconds = []
        for _ in range(2):
            began = time.perf_counter()
            z = np.array(batched(*given).block_until_ready())
            seconds.append(time.perf_counter() - began)
        # The caller times both calls: what it should count is the second.
        return torch.from_numpy(z), seconds[0]


def in_jax(net: nn.Module) -> Callable[[Any], Any]:
    """A Sequential of dense, transposed-convolution, norm and activation layers, for one latent.

    Raises:
        SystemExit: another layer.
    """
    import jax

    steps = [_step(layer) for layer in net.children()]

    def forward(z: Any) -> Any:
        x = z
        for step in steps:
            x = step(x, jax)
        return x

    return forward


def _step(layer: nn.Module) -> Callable[[Any, Any], Any]:
    parts = {name: tensor.numpy() for name, tensor in layer.state_dict().items()}
    if isinstance(layer, nn.Linear):
        return lambda x, jax: parts["weight"] @ x + parts.get("bias", 0.0)
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
        scale = parts["weight"] / np.sqrt(parts["running_var"] + layer.eps)
        shift = parts["bias"] - parts["running_mean"] * scale
        shape = (-1,) if isinstance(layer, nn.BatchNorm1d) else (-1, 1, 1)
        return lambda x, jax: x * scale.reshape(shape) + shift.reshape(shape)
    if isinstance(layer, nn.Unflatten):
        return lambda x, jax: x.reshape(layer.unflattened_size)
    if isinstance(layer, nn.ConvTranspose2d):
        return _transposed(layer, parts)
    names = {nn.ReLU: "relu", nn.Sigmoid: "sigmoid", nn.Tanh: "tanh"}
    for kind, name in names.items():
        if isinstance(layer, kind):
            return lambda x, jax: getattr(jax.nn, name)(x)
    raise SystemExit(f"optimistix: no jax form of {type(layer).__name__} is written here.")


def _transposed(layer: nn.ConvTranspose2d, parts: dict[str, Any]) -> Callable[[Any, Any], Any]:
    kernel = np.ascontiguousarray(np.flip(parts["weight"], (2, 3)).swapaxes(0, 1))
    border = [(k - 1 - int(p),) * 2 for k, p in zip(layer.kernel_size, layer.padding)]

    def step(x: Any, jax: Any) -> Any:
        made = jax.lax.conv_general_dilated(
            x[None], kernel, (1, 1), border, lhs_dilation=tuple(layer.stride)
        )[0]
        return made + parts["bias"][:, None, None] if "bias" in parts else made

    return step


def installed(names: Sequence[str]) -> bool:
    """Whether packages can be imported."""
    from importlib.util import find_spec

    return all(find_spec(name) is not None for name in names)
