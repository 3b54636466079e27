"""Affine layers with one checkpoint folded in: a value with the bias, a tangent without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from surfing.generator import State

__all__ = ["Affine", "Convolution", "Dense", "Scale", "TransposedConvolution"]

# A transposed convolution to few channels leaves the vendor kernels little to do at once; as a
# sub-pixel convolution it ran 3 times faster for 1 channel, and no faster from 16 channels on.
_SUBPIXEL_CHANNELS = 8


class Affine(Protocol):
    """x -> L x + b."""

    def value(self, x: Tensor) -> Tensor:
        """L x + b."""
        ...

    def tangent(self, t: Tensor) -> Tensor:
        """L t."""
        ...


@dataclass(frozen=True)
class Scale:
    """Batch norm in eval mode: x -> gain x + shift, channel by channel."""

    gain: Tensor
    shift: Tensor

    @classmethod
    def from_norm(
        cls, norm: Any, path: str, state: State, dtype: torch.dtype | None = None
    ) -> Scale:
        """Read gain and shift from the running statistics, in float64 on the way."""

        def read(name: str) -> Tensor:
            return state[f"{path}.{name}" if path else name].double()

        gain = (read("running_var") + norm.eps).rsqrt()
        shift = -read("running_mean") * gain
        if norm.affine:
            weight, bias = read("weight"), read("bias")
            gain, shift = gain * weight, shift * weight + bias
        dtype = dtype or state[f"{path}.running_var" if path else "running_var"].dtype
        return cls(gain.to(dtype), shift.to(dtype))

    def value(self, x: Tensor) -> Tensor:
        """Gain x + shift."""
        return self._along(self.gain, x) * x + self._along(self.shift, x)

    def tangent(self, t: Tensor) -> Tensor:
        """Gain t."""
        return self._along(self.gain, t) * t

    @staticmethod
    def _along(v: Tensor, x: Tensor) -> Tensor:
        return v.reshape(1, -1, *[1] * (x.ndim - 2))


def _weights(
    layer: Any,
    path: str,
    state: State,
    scale: Scale | None,
    axis: int,
    dtype: torch.dtype | None,
) -> tuple[Tensor, Tensor | None]:
    """The layer's weight and bias with a batch norm folded in along the output `axis`."""
    weight = state[f"{path}.weight" if path else "weight"]
    bias = None if layer.bias is None else state[f"{path}.bias" if path else "bias"]
    dtype = dtype or weight.dtype
    weight = weight.to(dtype)
    bias = None if bias is None else bias.to(dtype)
    if scale is None:
        return weight, bias
    shape = [1] * weight.ndim
    shape[axis] = -1
    bias = scale.shift if bias is None else scale.gain * bias + scale.shift
    return weight * scale.gain.reshape(shape), bias


@dataclass(frozen=True)
class Dense:
    """A fully connected layer."""

    weight: Tensor
    bias: Tensor | None

    @classmethod
    def from_layer(
        cls,
        layer: Any,
        path: str,
        state: State,
        scale: Scale | None,
        dtype: torch.dtype | None,
    ) -> Dense:
        """Fold one checkpoint."""
        return cls(*_weights(layer, path, state, scale, 0, dtype))

    def value(self, x: Tensor) -> Tensor:
        """W x + b."""
        return F.linear(x, self.weight, self.bias)

    def tangent(self, t: Tensor) -> Tensor:
        """W t."""
        return F.linear(t, self.weight)


@dataclass(frozen=True)
class Convolution:
    """A convolution."""

    weight: Tensor
    bias: Tensor | None
    layout: tuple[Any, ...]

    @classmethod
    def from_layer(
        cls,
        layer: Any,
        path: str,
        state: State,
        scale: Scale | None,
        dtype: torch.dtype | None,
    ) -> Convolution:
        """Fold one checkpoint."""
        weight, bias = _weights(layer, path, state, scale, 0, dtype)
        layout = (layer.stride, layer.padding, layer.dilation, layer.groups)
        return cls(weight, bias, layout)

    def value(self, x: Tensor) -> Tensor:
        """W * x + b."""
        return F.conv2d(_channels_last(x), self.weight, self.bias, *self.layout)

    def tangent(self, t: Tensor) -> Tensor:
        """W * t."""
        return F.conv2d(_channels_last(t), self.weight, None, *self.layout)


@dataclass(frozen=True)
class TransposedConvolution:
    """A transposed convolution, as itself in channels-last or as a sub-pixel convolution."""

    weight: Tensor
    bias: Tensor | None
    layout: tuple[Any, ...]  # stride, padding, output_padding, groups, dilation
    subpixel: Tensor | None = None  # (out * s * s, in, taps, taps)
    taps: tuple[int, int] = (0, 0)  # padding of the sub-pixel convolution, low and high

    @classmethod
    def from_layer(
        cls,
        layer: Any,
        path: str,
        state: State,
        scale: Scale | None,
        dtype: torch.dtype | None,
    ) -> TransposedConvolution:
        """Fold one checkpoint."""
        grouped = layer.groups != 1
        if grouped and scale is not None:
            # (in, out / groups, ...): the output channels of a group lie along axis 1.
            weight, bias = _weights(layer, path, state, None, 1, dtype)
            gain = scale.gain.reshape(layer.groups, 1, -1).expand(
                -1, weight.shape[0] // int(layer.groups), -1
            )
            weight = weight * gain.reshape(*weight.shape[:2], 1, 1)
            bias = scale.shift if bias is None else scale.gain * bias + scale.shift
        else:
            weight, bias = _weights(layer, path, state, scale, 1, dtype)
        layout = (layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation)
        same = {layer.stride[0], layer.stride[1]}, {layer.padding[0], layer.padding[1]}
        square = weight.shape[2] == weight.shape[3] and all(len(s) == 1 for s in same)
        plain = set(layer.dilation) == {1} and set(layer.output_padding) == {0} and not grouped
        few = weight.shape[1] <= _SUBPIXEL_CHANNELS and weight.device.type == "cpu"
        stride, padding = int(layer.stride[0]), int(layer.padding[0])
        if square and plain and few and stride > 1 and weight.shape[2] == stride + 2 * padding:
            kernel, taps = _subpixel(weight, stride, padding)
            return cls(weight, bias, layout, kernel, taps)
        return cls(weight, bias, layout)

    def value(self, x: Tensor) -> Tensor:
        """W^T * x + b."""
        return self._apply(x, self.bias)

    def tangent(self, t: Tensor) -> Tensor:
        """W^T * t."""
        return self._apply(t, None)

    def _apply(self, x: Tensor, bias: Tensor | None) -> Tensor:
        if self.subpixel is None:
            return F.conv_transpose2d(_channels_last(x), self.weight, bias, *self.layout)
        low, high = self.taps
        if low == high:
            out = F.conv2d(x, self.subpixel, padding=low)
        else:
            out = F.conv2d(F.pad(x, (low, high, low, high)), self.subpixel)
        out = F.pixel_shuffle(out, self.layout[0][0])
        return out if bias is None else out + bias.reshape(1, -1, 1, 1)


def _channels_last(x: Tensor) -> Tensor:
    # Twice as fast as the default layout on the CPU for the shapes of image generators.
    return x.contiguous(memory_format=torch.channels_last)


def _subpixel(weight: Tensor, stride: int, padding: int) -> tuple[Tensor, tuple[int, int]]:
    """The convolution whose pixel shuffle is the transposed convolution.

    Output pixel o = s q + a takes input pixel i = q - d through tap s d + a + p: for each phase a
    these are the d for which the tap exists. Needs taps = s + 2 p, so that sizes agree.
    """
    inputs, outputs, taps, _ = weight.shape
    lags = [
        (a, d, tap)
        for a in range(stride)
        for d in range(-taps, taps)
        if 0 <= (tap := stride * d + a + padding) < taps
    ]
    low, high = max(d for _, d, _ in lags), -min(d for _, d, _ in lags)
    kernel = weight.new_zeros(outputs, stride, stride, inputs, low + high + 1, low + high + 1)
    for a, d, tap in lags:
        for b, e, other in lags:
            kernel[:, a, b, :, low - d, low - e] = weight[:, :, tap, other].T
    return kernel.reshape(outputs * stride**2, inputs, low + high + 1, low + high + 1), (low, high)
