"""Element-wise functions: a value and a derivative, entry by entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ACTIVATIONS", "FUNCTIONS", "Pointwise", "learned_leaky"]


@dataclass(frozen=True)
class Pointwise:
    """x -> f(x), entry by entry.

    Args:
        value: f.
        slope: (x, f(x)) -> f'(x).
        kink: the slope below zero, where f is a ReLU, leaky or not.
        monotone: whether f rises everywhere and is smooth.
    """

    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor, Tensor], Tensor]
    kink: float | None = None
    monotone: bool = False


def _relu() -> Pointwise:
    return Pointwise(F.relu, lambda x, _: (x > 0).to(x.dtype), kink=0.0)


def _tanh() -> Pointwise:
    return Pointwise(torch.tanh, lambda _, value: 1 - value.square(), monotone=True)


def _sigmoid() -> Pointwise:
    return Pointwise(torch.sigmoid, lambda _, value: value * (1 - value), monotone=True)


def _leaky(negative_slope: float = 0.01) -> Pointwise:

    def slope(x: Tensor, _: Tensor) -> Tensor:
        return torch.where(x > 0, x.new_ones(()), x.new_tensor(negative_slope))

    return Pointwise(partial(F.leaky_relu, negative_slope=negative_slope), slope, negative_slope)


def learned_leaky(below: Tensor) -> Pointwise:
    """PReLU: a slope below zero for each channel, or one for all."""

    def slope(x: Tensor, _: Tensor) -> Tensor:
        shaped = below.reshape(1, -1, *[1] * (x.ndim - 2))
        return torch.where(x > 0, x.new_ones(()), shaped)

    return Pointwise(lambda x: F.prelu(x, below), slope)


def _softplus(beta: float = 1.0, threshold: float = 20.0) -> Pointwise:
    def slope(x: Tensor, _: Tensor) -> Tensor:
        scaled = beta * x
        return torch.where(scaled > threshold, 1.0, torch.sigmoid(scaled))

    value = partial(F.softplus, beta=beta, threshold=threshold)
    return Pointwise(value, slope, monotone=True)


def _silu() -> Pointwise:
    def slope(x: Tensor, value: Tensor) -> Tensor:
        gate = torch.sigmoid(x)
        return gate + value * (1 - gate)

    return Pointwise(F.silu, slope)


def _elu(alpha: float = 1.0) -> Pointwise:
    def slope(x: Tensor, value: Tensor) -> Tensor:
        return torch.where(x > 0, 1.0, value + alpha)

    return Pointwise(partial(F.elu, alpha=alpha), slope)


def _by_autograd(function: Callable[..., Tensor], **fixed: Any) -> Pointwise:
    """Any other element-wise function: the gradient of a sum is the derivative of each entry."""
    value = partial(function, **fixed) if fixed else function

    def slope(x: Tensor, _: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            (derivative,) = torch.autograd.grad(value(leaf).sum(), leaf)
        return derivative

    return Pointwise(value, slope)


def _power(exponent: float) -> Pointwise:
    return Pointwise(
        lambda x: torch.pow(x, exponent), lambda x, _: exponent * torch.pow(x, exponent - 1)
    )


def _clamp(min: float | None = None, max: float | None = None) -> Pointwise:
    return _by_autograd(torch.clamp, min=min, max=max)


def _gelu(approximate: str = "none") -> Pointwise:
    return _by_autograd(F.gelu, approximate=approximate)


def _hardtanh(min_val: float = -1.0, max_val: float = 1.0) -> Pointwise:
    return _by_autograd(F.hardtanh, min_val=min_val, max_val=max_val)


ACTIVATIONS: dict[type[nn.Module], Callable[[Any], Pointwise]] = {
    nn.ReLU: lambda _: _relu(),
    nn.LeakyReLU: lambda layer: _leaky(layer.negative_slope),
    nn.Tanh: lambda _: _tanh(),
    nn.Sigmoid: lambda _: _sigmoid(),
    nn.Softplus: lambda layer: _softplus(layer.beta, layer.threshold),
    nn.SiLU: lambda _: _silu(),
    nn.GELU: lambda layer: _gelu(layer.approximate),
    nn.ELU: lambda layer: _elu(layer.alpha),
    nn.Hardtanh: lambda layer: _hardtanh(layer.min_val, layer.max_val),
    nn.SELU: lambda _: _by_autograd(F.selu),
    nn.Mish: lambda _: _by_autograd(F.mish),
    nn.Hardswish: lambda _: _by_autograd(F.hardswish),
    nn.Softsign: lambda _: _by_autograd(F.softsign),
}
"""By the exact type of the layer: a subclass may compute something else."""


def _of(function: Callable[..., Tensor]) -> Callable[[], Pointwise]:
    return lambda: _by_autograd(function)


FUNCTIONS: dict[Any, Callable[..., Pointwise]] = {
    **dict.fromkeys((torch.relu, F.relu, "relu"), _relu),
    **dict.fromkeys((torch.tanh, F.tanh, "tanh"), _tanh),
    **dict.fromkeys((torch.sigmoid, F.sigmoid, "sigmoid"), _sigmoid),
    **dict.fromkeys((torch.clamp, "clamp"), _clamp),
    **dict.fromkeys((torch.pow, "pow"), _power),
    F.leaky_relu: _leaky,
    F.softplus: _softplus,
    F.silu: _silu,
    F.gelu: _gelu,
    F.elu: _elu,
    F.hardtanh: _hardtanh,
    **{f: _of(f) for f in (F.selu, F.mish, F.hardswish, F.softsign)},
    **{
        key: _of(getattr(torch, name))
        for name in ("square", "sqrt", "rsqrt", "exp", "log", "sin", "cos", "abs")
        for key in (getattr(torch, name), name)
    },
}
"""By the function, or by the name of the method; called with what stands behind x."""
