"""A ReLU network as what it is: affine maps between kinks.

Between two activations everything is affine in z, so a piece of the network is known once its
values at k + 1 points are: at 0 and at the unit vectors. These k + 1 images travel through the
layers as a batch, and an activation multiplies each neuron by the slope that the piece's pattern
says, not by the slope that the images' own signs would give.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn

from surfing.errors import GeneratorError
from surfing.generator import State, unwrap
from surfing.problem.layers import Kind, Meaning, read
from surfing.problem.pointwise import Pointwise

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

__all__ = ["Images", "PiecewiseAffine"]

_AFFINE = (Kind.AFFINE, Kind.SCALE, Kind.LINEAR, Kind.SUM, Kind.JOIN, Kind.FACT)


@dataclass(frozen=True)
class Images:
    """How far the k + 1 images have travelled: the next node to evaluate, and what is known."""

    node: int
    values: dict[fx.Node, Any]
    kink: Float[Tensor, "points neurons"] | None
    """Pre-activations of the kink reached, flattened; None at the output."""


class PiecewiseAffine:
    """A feed-forward ReLU or leaky-ReLU network at one theta, in double precision on the CPU.

    Linear and (transposed) convolution layers, batch norm in eval mode, reshapes, sums of
    branches, ReLU and leaky ReLU are understood. A monotone layer at the very end (Sigmoid, Tanh)
    is set aside as :attr:`output`: it doesn't move the regions, and everything here then speaks
    of the signal before it.

    Args:
        module: maps latents (rows, k) to signals (rows, ...); it is copied, never touched.
        state: theta; the module's own tensors if left out.

    Raises:
        GeneratorError: a layer that isn't piecewise affine, with its name.
    """

    def __init__(self, module: nn.Module, state: State | None = None) -> None:
        inner = copy.deepcopy(unwrap(module)).eval().requires_grad_(False).cpu().double()
        if state is not None:
            inner.load_state_dict({name: t.detach().cpu() for name, t in state.items()})
        try:
            # In a container, so that a module which is one layer is read as that layer.
            traced = fx.symbolic_trace(nn.Sequential(inner))
        except Exception as error:
            raise GeneratorError(
                f"generator: the layers of {type(module).__name__} can't be read off ({error}); "
                "linear regions need a forward without data-dependent control flow."
            ) from error
        self._module = traced
        self._nodes = list(traced.graph.nodes)
        self._kinks: dict[fx.Node, float] = {}
        self.output: str | None = None
        """Name of the monotone layer set aside, if there is one."""
        self._skipped: set[fx.Node] = set()
        self._facts: set[fx.Node] = set()
        self._layers = dict(traced.named_modules())
        for node in self._nodes:
            self._classify(node)

    def _classify(self, node: fx.Node) -> None:
        # Layers are called as they are, so that a subclass does no harm.
        meaning = read(node, self._layers, facts=frozenset(self._facts), strict=False)
        rule = meaning.target if meaning is not None else None
        if meaning is not None and meaning.kind is Kind.FACT:
            self._facts.add(node)
        if isinstance(rule, Pointwise) and rule.kink is not None:
            if not 0 <= rule.kink < 1:
                raise GeneratorError(
                    f"generator: {node} has negative slope {rule.kink}; linear regions need it in "
                    "[0, 1)."
                )
            self._kinks[node] = rule.kink
        elif isinstance(rule, Pointwise) and rule.monotone:
            if not all(user.op == "output" for user in node.users):
                raise GeneratorError(
                    f"generator: {self._describe(node)} stands inside the network, so its pieces "
                    "are not affine; only ReLU and leaky ReLU may stand there."
                )
            self.output = self._describe(node)
            self._skipped.add(node)
        elif not self._is_affine(node, meaning):
            raise GeneratorError(
                f"generator: {self._describe(node)} is not piecewise affine, or not known to be; "
                "linear regions understand Linear, Conv, ConvTranspose, BatchNorm in eval mode, "
                "reshapes, sums, ReLU and LeakyReLU."
            )

    def _layer(self, node: fx.Node) -> nn.Module | None:
        if node.op != "call_module":
            return None
        return self._module.get_submodule(str(node.target))

    def _describe(self, node: fx.Node) -> str:
        layer = self._layer(node)
        if layer is not None:
            return f"layer {node.target!r} ({type(layer).__name__})"
        return f"operation {getattr(node.target, '__name__', node.target)!r}"

    def _is_affine(self, node: fx.Node, meaning: Meaning | None) -> bool:
        if node.op in ("placeholder", "output", "get_attr"):
            return True
        return meaning is not None and meaning.kind in _AFFINE

    def start(self, points: Float[Tensor, "points k"]) -> Images:
        """Send points up to the first kink."""
        placeholder = next(node for node in self._nodes if node.op == "placeholder")
        return self._advance(1, {placeholder: points.double().cpu()})

    def cross(self, images: Images, active: Bool[Tensor, " neurons"]) -> Images:
        """Apply the kink with the given side for every neuron, then go on to the next one."""
        node = self._nodes[images.node]
        before = images.values[node.all_input_nodes[0]]
        # Numbers would meet in single precision, which .1 does not survive.
        slopes = torch.where(active, before.new_tensor(1.0), before.new_tensor(self._kinks[node]))
        after = before * slopes.reshape(1, *before.shape[1:])
        return self._advance(images.node + 1, {**images.values, node: after})

    def _advance(self, index: int, values: dict[fx.Node, Any]) -> Images:
        values = dict(values)
        while True:
            node = self._nodes[index]
            if node in self._kinks:
                kink = values[node.all_input_nodes[0]]
                return Images(index, values, kink.flatten(1))
            if node.op == "output":
                return Images(index, values, None)
            values[node] = self._evaluate(node, values)
            index += 1

    def _evaluate(self, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
        args = fx.map_arg(node.args, values.__getitem__)
        kwargs = fx.map_arg(node.kwargs, values.__getitem__)
        if node in self._skipped:
            return args[0]
        if node.op == "get_attr":
            return operator.attrgetter(str(node.target))(self._module)
        if node.op == "call_module":
            return self._module.get_submodule(str(node.target))(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        function: Any = node.target
        return function(*args, **kwargs)

    def signal(self, images: Images) -> Float[Tensor, "points ..."]:
        """The images at the output, before any layer that was set aside."""
        node = self._nodes[images.node]
        out: Tensor = images.values[node.all_input_nodes[0]]
        return out

    def preactivations(self, z: Float[Tensor, "rows k"]) -> list[Float[Tensor, "rows neurons"]]:
        """What every kink is given, kink by kink; ``pattern`` is their signs."""
        found, images = [], self.start(z)
        while images.kink is not None:
            found.append(images.kink)
            node = self._nodes[images.node]
            before = images.values[node.all_input_nodes[0]]
            after = torch.where(before > 0, before, before * self._kinks[node])
            images = self._advance(images.node + 1, {**images.values, node: after})
        return found

    def pattern(self, z: Float[Tensor, "rows k"]) -> Bool[Tensor, "rows neurons"]:
        """Which side of its kink every neuron is on, all kinks side by side; zero counts as off."""
        signs = [kink > 0 for kink in self.preactivations(z)]
        return torch.cat(signs, 1) if signs else torch.zeros(len(z), 0, dtype=torch.bool)

    def affine(
        self, pattern: Sequence[Bool[Tensor, " neurons"]], dim: int
    ) -> Float[Tensor, "points ..."]:
        """Images of 0, e_1..e_k under the piece with these sides: G(z) = out[0] + J z.

        Args:
            pattern: one tensor of sides a kink.
            dim: k.
        """
        images = self.start(unit_points(dim))
        for active in pattern:
            images = self.cross(images, active)
        return self.signal(images)


def unit_points(dim: int) -> Float[Tensor, "points k"]:
    """0 and the unit vectors: the k + 1 points that fix an affine map."""
    return torch.cat([torch.zeros(1, dim), torch.eye(dim)]).double()
