from __future__ import annotations

import pytest
import torch
from torch import nn

from surfing.architectures import (
    build_generator,
    conv_critic,
    conv_encoder,
    generator_from_manifest,
    generator_names,
    mlp_critic,
    mlp_encoder,
)
from surfing.errors import GeneratorError, InputError, UnknownNameError

SMALL = {
    "conv": {"latent_dim": 3, "width": 2, "hidden": 8},
    "mlp": {"latent_dim": 3, "hidden": 8},
}


@pytest.mark.parametrize("name", generator_names())
@pytest.mark.parametrize("size", [28, 8])
@pytest.mark.parametrize(("output", "low"), [("sigmoid", 0.0), ("tanh", -1.0)])
def test_images_have_the_shape_and_range_that_is_promised(name, size, output, low):
    generator = build_generator(name, **SMALL[name], image_size=size, output=output)
    x = generator(20 * torch.randn(16, 3))
    assert x.shape == (16, 1, size, size)
    assert x.min() >= low
    assert x.max() <= 1
    assert x.min() < (low + 1) / 2 < x.max()


def test_every_generator_is_a_plain_sequence_of_plain_layers():
    for name in generator_names():
        generator = build_generator(name, **SMALL[name])
        assert type(generator) is nn.Sequential
        assert all(type(layer).__module__.startswith("torch.nn") for layer in generator)


def test_only_the_convolutional_generator_has_batch_norm():
    def normed(name):
        layers = build_generator(name, **SMALL[name])
        return [layer for layer in layers if isinstance(layer, nn.modules.batchnorm._BatchNorm)]

    assert len(normed("conv")) == 3
    assert not normed("mlp")


def test_the_infogan_layout_at_its_own_width():
    generator = build_generator("conv", latent_dim=62, width=64, hidden=1024)
    linear = [tuple(m.weight.shape) for m in generator if isinstance(m, nn.Linear)]
    convolutions = [m for m in generator if isinstance(m, nn.ConvTranspose2d)]
    assert linear == [(1024, 62), (128 * 7 * 7, 1024)]
    assert [(m.in_channels, m.out_channels) for m in convolutions] == [(128, 64), (64, 1)]
    assert all((m.kernel_size, m.stride) == ((4, 4), (2, 2)) for m in convolutions)


def test_critics_and_encoders_mirror_them():
    x = torch.rand(4, 1, 8, 8)
    assert conv_critic(width=2, hidden=4, image_size=8)(x).shape == (4, 1)
    assert mlp_critic(hidden=4, image_size=8)(x).shape == (4, 1)
    assert conv_encoder(latent_dim=3, width=2, hidden=4, image_size=8)(x).shape == (4, 6)
    assert mlp_encoder(latent_dim=3, hidden=4, image_size=8)(x).shape == (4, 6)


def test_a_penalised_critic_has_no_batch_norm():
    critic = conv_critic(width=2, hidden=4)
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in critic.modules())


def test_a_manifest_rebuilds_the_generator():
    entry = {"name": "conv", "arguments": SMALL["conv"]}
    assert str(generator_from_manifest(entry)) == str(build_generator("conv", **SMALL["conv"]))


def test_unknown_names_list_the_known_ones():
    with pytest.raises(UnknownNameError, match="conv, mlp"):
        build_generator("os.system")
    with pytest.raises(UnknownNameError, match="sigmoid, tanh"):
        build_generator("conv", **SMALL["conv"], output="relu")


@pytest.mark.parametrize(
    "arguments",
    [
        {"width": 2},
        {"latent_dim": 3, "depth": 3},
        {"latent_dim": 0},
        {"latent_dim": True},
        {"latent_dim": 3, "width": -1},
        {"latent_dim": 3, "image_size": 30},
    ],
)
def test_wrong_arguments_are_input_errors(arguments):
    with pytest.raises(InputError, match=r"latent_dim|width|depth|image_size"):
        build_generator("conv", **arguments)


@pytest.mark.parametrize("entry", [{}, {"name": 3}, {"name": "conv", "arguments": [1]}])
def test_a_malformed_manifest_entry_is_refused(entry):
    with pytest.raises(InputError, match="architecture"):
        generator_from_manifest(entry)


def test_what_a_manifest_claims_is_compared_before_memory_is_taken_for_it():
    state = build_generator("mlp", latent_dim=3, hidden=4, layers=1, image_size=8).state_dict()
    right = {"name": "mlp", "arguments": {"latent_dim": 3, "hidden": 4, "layers": 1}}
    right["arguments"] |= {"image_size": 8}
    assert generator_from_manifest(right, state)(torch.zeros(1, 3)).shape == (1, 1, 8, 8)
    for name, size in (("hidden", 1 << 15), ("image_size", 1 << 15), ("layers", 300)):
        entry = {"name": "mlp", "arguments": right["arguments"] | {name: size}}
        with pytest.raises(GeneratorError, match=r"shape|has"):
            generator_from_manifest(entry, state)
    huge = {"latent_dim": 3, "width": 1 << 15, "hidden": 1 << 15, "image_size": 1 << 15}
    with pytest.raises(GeneratorError, match=r"lacks|shape"):
        generator_from_manifest({"name": "conv", "arguments": huge}, state)
    with pytest.raises(InputError, match="expected an integer in"):
        build_generator("mlp", latent_dim=3, hidden=10**12)
