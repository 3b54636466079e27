"""Affine layers with one checkpoint folded in: a value with the bias, a tangent without it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from surfing.generator import State

__all__ = [
    "Affine",
    "AlignedDense",
    "Convolution",
    "Dense",
    "Scale",
    "TransposedConvolution",
    "aligned",
    "transposed_of_upsampled",
]

# A transposed convolution to few channels leaves the vendor kernels little to do at once. As one
# matrix product a tap it ran 8 times faster for 1 channel (a sub-pixel convolution: 2.3 times),
# 1.7 times for 3 and 1.2 times for 4; for 8, where the products leave the cache, 3 times slower.
_FEW_CHANNELS = 4

_CONVOLUTIONS: dict[int, Any] = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}  # by axes of the weight
_TRANSPOSED: dict[int, Any] = {
    3: F.conv_transpose1d,
    4: F.conv_transpose2d,
    5: F.conv_transpose3d,
}

_GRAIN = 16  # numbers of 4 bytes in a cache line


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
class AlignedDense:
    """The same, zeros added to inputs and outputs until their numbers are multiples of 16.

    A product of other sizes may sum a row in another order where it lies elsewhere in the batch.
    """

    padded: Dense
    outputs: int

    @classmethod
    def of(cls, layer: Dense) -> AlignedDense:
        """Pad one layer."""
        outputs, inputs = layer.weight.shape
        weight = F.pad(layer.weight, (0, -inputs % _GRAIN, 0, -outputs % _GRAIN))
        bias = None if layer.bias is None else F.pad(layer.bias, (0, -outputs % _GRAIN))
        return cls(Dense(weight, bias), outputs)

    def value(self, x: Tensor) -> Tensor:
        """W x + b."""
        return self.padded.value(self._widened(x))[..., : self.outputs]

    def tangent(self, t: Tensor) -> Tensor:
        """W t."""
        return self.padded.tangent(self._widened(t))[..., : self.outputs]

    def _widened(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, self.padded.weight.shape[1] - x.shape[-1]))


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
        # Kernels would bring the weights into the layout of the images at every call.
        return cls(channels_last(weight), bias, layout)

    def value(self, x: Tensor) -> Tensor:
        """W * x + b."""
        return self._apply(x, self.bias)

    def tangent(self, t: Tensor) -> Tensor:
        """W * t."""
        return self._apply(t, None)

    def _apply(self, x: Tensor, bias: Tensor | None) -> Tensor:
        convolve = _CONVOLUTIONS[self.weight.ndim]
        image: Tensor = convolve(channels_last(x), self.weight, bias, *self.layout)
        return image


@dataclass(frozen=True)
class TransposedConvolution:
    """A transposed convolution, as itself in channels-last or as one product a tap."""

    weight: Tensor
    bias: Tensor | None
    layout: tuple[Any, ...]  # stride, padding, output_padding, groups, dilation
    planes: Tensor | None = None  # (taps * taps * out, in)

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
            weight = weight * gain.reshape(*weight.shape[:2], *[1] * (weight.ndim - 2))
            bias = scale.shift if bias is None else scale.gain * bias + scale.shift
        else:
            weight, bias = _weights(layer, path, state, scale, 1, dtype)
        return cls.of(
            weight,
            bias,
            (layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation),
        )

    @classmethod
    def of(
        cls, weight: Tensor, bias: Tensor | None, layout: tuple[Any, ...]
    ) -> TransposedConvolution:
        """As one product a tap where that is cheaper."""
        stride, padding, output_padding, groups, dilation = layout
        taps = weight.shape[2:]
        # Each phase of the output then has as many pixels as the input.
        even = len(taps) == 2 and taps[0] == stride[0] + 2 * padding[0] and stride[0] > 1
        square = all(len(set(sides)) == 1 for sides in (taps, stride, padding))
        plain = set(dilation) == {1} and set(output_padding) == {0} and groups == 1
        few = weight.shape[1] <= _FEW_CHANNELS and weight.device.type == "cpu"
        if even and square and plain and few:
            planes = weight.permute(2, 3, 1, 0).flatten(0, 2).contiguous()
            return cls(weight, bias, layout, planes)
        return cls(channels_last(weight), bias, layout)

    def value(self, x: Tensor) -> Tensor:
        """W^T * x + b."""
        return self._apply(x, self.bias)

    def tangent(self, t: Tensor) -> Tensor:
        """W^T * t."""
        return self._apply(t, None)

    def _apply(self, x: Tensor, bias: Tensor | None) -> Tensor:
        if self.planes is None:
            convolve = _TRANSPOSED[self.weight.ndim]
            image: Tensor = convolve(channels_last(x), self.weight, bias, *self.layout)
            return image
        stride, padding, taps = self.layout[0][0], self.layout[1][0], self.weight.shape[2]
        rows, channels, high, wide = x.shape
        flat = x.permute(0, 2, 3, 1).reshape(-1, channels)
        planes = (self.planes @ flat.T).view(taps, taps, -1, rows, high, wide)
        outputs = planes.shape[2]
        out = planes.new_empty(outputs, rows, high, stride, wide, stride)
        # Planes lie side by side in memory, so each sum runs over long stretches.
        for a, down in enumerate(_gather(planes, stride, padding, axis=-2)):
            for b, both in enumerate(_gather(down, stride, padding, axis=-1)):
                out[:, :, :, a, :, b] = both
        out = out.movedim(1, 0).reshape(rows, outputs, high * stride, wide * stride)
        return out if bias is None else out + bias.reshape(1, -1, 1, 1)


def transposed_of_upsampled(convolution: Convolution, factor: int) -> TransposedConvolution:
    """Nearest upsampling by a whole factor, then a convolution that keeps the size, in one.

    Pixel o of the convolution reads pixel (o + j - p) // s of the smaller image through tap j, so
    the taps that meet one pixel can be summed beforehand: a transposed convolution with
    n + s - 1 taps and stride s. For n = 3 and s = 2 that is 16 products where there were 36.

    Args:
        convolution: stride 1, n = 2 p + 1 taps with padding p, in one group.
        factor: s.
    """
    weight = convolution.weight.double().flip(2, 3).transpose(0, 1)
    shifts = range(factor)
    summed = sum(
        F.pad(weight, (b, factor - 1 - b, a, factor - 1 - a)) for a in shifts for b in shifts
    )
    padding = convolution.weight.shape[2] // 2
    layout = ((factor, factor), (padding, padding), (0, 0), 1, (1, 1))
    assert isinstance(summed, Tensor)  # of at least one shift
    return TransposedConvolution.of(summed.to(convolution.weight.dtype), convolution.bias, layout)


def aligned(layer: Affine) -> Affine:
    """The same layer, that sums a row in the same order wherever in the batch it lies.

    In float64 the products of a transposed convolution with all pixels of all rows don't.
    """
    if isinstance(layer, Dense):
        return AlignedDense.of(layer)
    if isinstance(layer, TransposedConvolution) and layer.weight.dtype == torch.float64:
        return replace(layer, planes=None)
    return layer


def _gather(planes: Tensor, stride: int, padding: int, *, axis: int) -> list[Tensor]:
    """What all taps along one axis send to the output pixels of each phase; overwrites `planes`.

    Output pixel o = s q + a takes input pixel i = q - d through tap s d + a + p.

    Args:
        planes: (taps, ...), the product of every tap with every input pixel.
        stride: s, the number of phases.
        padding: p.
        axis: of the image.
    """
    taps, size, phases = planes.shape[0], planes.shape[axis], []
    for a in range(stride):
        total = planes[a + padding]  # d = 0
        for tap in range((a + padding) % stride, taps, stride):
            d = (tap - a - padding) // stride
            if 0 < abs(d) < size:
                reach = size - abs(d)
                total.narrow(axis, max(d, 0), reach).add_(
                    planes[tap].narrow(axis, max(-d, 0), reach)
                )
        phases.append(total)
    return phases


def channels_last(x: Tensor) -> Tensor:
    """A batch of images in the layout that convolutions like; others as they are."""
    if x.ndim != 4:
        return x
    # Twice as fast as the default layout on the CPU for the shapes of image generators.
    return x.contiguous(memory_format=torch.channels_last)
