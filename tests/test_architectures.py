from __future__ import annotations

import pytest
import torch
from torch import nn

from surfing.architectures import (
    build_generator,
    conv_critic,
    conv_encoder,
    deep_critic,
    deep_encoder,
    generator_from_manifest,
    generator_names,
    mlp_critic,
    mlp_encoder,
)
from surfing.errors import GeneratorError, InputError, UnknownNameError

SMALL = {
    "conv": {"latent_dim": 3, "width": 2, "hidden": 8},
    "deep": {"latent_dim": 3, "width": 2},
    "mlp": {"latent_dim": 3, "hidden": 8},
    "style": {"latent_dim": 3, "width": 2, "hidden": 8},
}


@pytest.mark.parametrize(
    ("name", "size"),
    [("conv", 28), ("conv", 8), ("mlp", 28), ("mlp", 8), ("deep", 32), ("deep", 8), ("style", 16)],
)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("output", "low"), [("sigmoid", 0.0), ("tanh", -1.0)])
def test_images_have_the_shape_and_range_that_is_promised(name, size, channels, output, low):
    generator = build_generator(
        name, **SMALL[name], image_size=size, channels=channels, output=output
    )
    x = generator(20 * torch.randn(16, 3))
    assert x.shape == (16, channels, size, size)
    assert x.min() >= low
    assert x.max() <= 1
    assert x.min() < (low + 1) / 2 < x.max()


def test_every_generator_but_the_style_based_is_a_plain_sequence_of_plain_layers():
    for name in set(generator_names()) - {"style"}:
        generator = build_generator(name, **SMALL[name])
        assert type(generator) is nn.Sequential
        assert all(type(layer).__module__.startswith("torch.nn") for layer in generator)


def test_the_convolutional_generators_alone_have_batch_norm():
    def normed(name):
        layers = build_generator(name, **SMALL[name]).modules()
        return [layer for layer in layers if isinstance(layer, nn.modules.batchnorm._BatchNorm)]

    assert len(normed("conv")) == 3
    assert len(normed("deep")) == 4
    assert not normed("mlp")
    assert not normed("style")


@pytest.mark.parametrize("upsampling", ["transposed", "nearest"])
def test_the_deep_layout_doubles_the_side_and_halves_the_channels(upsampling):
    deep = build_generator("deep", latent_dim=5, width=3, image_size=64, upsampling=upsampling)
    x, seen = torch.randn(2, 5), []
    for layer in deep:
        x = layer(x)
        if isinstance(layer, nn.BatchNorm2d):
            seen.append(tuple(x.shape[1:]))
    assert seen == [(24, 4, 4), (12, 8, 8), (6, 16, 16), (3, 32, 32)]
    assert x.shape == (2, 3, 64, 64)


@pytest.mark.parametrize("size", [4, 12, 28, 96])
def test_a_side_that_is_no_doubling_of_four_names_the_layout_that_takes_it(size):
    for name in ("deep", "style"):
        with pytest.raises(InputError, match=r"image_size.*'conv'"):
            build_generator(name, **SMALL[name], image_size=size)


def test_the_length_of_z_means_nothing_to_a_style_based_generator():
    style = build_generator("style", **SMALL["style"], image_size=8)
    z = torch.randn(4, 3)
    torch.testing.assert_close(style(z), style(3 * z))


def test_modulated_convolutions_are_those_of_their_source():
    """Against weights made for each row: s_i W_oi, of unit norm by output channel."""
    style = build_generator("style", **SMALL["style"], image_size=8)
    layer = style.convolutions[2]
    x, w = torch.randn(2, 8, 8, 8)[:, : layer.convolution.in_channels], torch.randn(2, 8)
    by_row = []
    for one, s in zip(x, layer.style(w), strict=True):
        weight = s[None, :, None, None] * layer.convolution.weight
        weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        made = nn.functional.conv2d(one[None], weight, padding=1)
        made = made + layer.strength * layer.noise + layer.bias
        by_row.append(2**0.5 * nn.functional.leaky_relu(made, 0.2))
    torch.testing.assert_close(layer(x, w), torch.cat(by_row))


def test_w_plus_reaches_what_w_reaches_and_each_of_its_vectors_counts():
    style = build_generator("style", **SMALL["style"], image_size=8)
    z = torch.randn(2, 3)
    w = style.mapping(z / z.square().mean(1, keepdim=True).sqrt())
    each = w.unsqueeze(1).repeat(1, style.styles, 1)
    torch.testing.assert_close(style.synthesis(each), style(z), atol=1e-5, rtol=1e-5)
    for number in range(style.styles):
        other = each.clone()
        other[:, number] += 1
        assert (style.synthesis(other) - style(z)).abs().max() > 1e-6


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
    colour = torch.rand(4, 3, 16, 16)
    assert deep_critic(width=2, image_size=16)(colour).shape == (4, 1)
    assert deep_encoder(latent_dim=3, width=2, image_size=16)(colour).shape == (4, 6)
    assert conv_critic(width=2, hidden=4, image_size=16, channels=3)(colour).shape == (4, 1)


def test_a_penalised_critic_has_no_batch_norm():
    for critic in (conv_critic(width=2, hidden=4), deep_critic(width=2)):
        assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in critic.modules())


def test_a_manifest_rebuilds_the_generator():
    entry = {"name": "conv", "arguments": SMALL["conv"]}
    assert str(generator_from_manifest(entry)) == str(build_generator("conv", **SMALL["conv"]))


def test_unknown_names_list_the_known_ones():
    with pytest.raises(UnknownNameError, match="conv, deep, mlp, style"):
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
