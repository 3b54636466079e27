"""Latent laws: reproducible by identity, and of the moments that they claim."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import surfing
from surfing.latents import Latent, latent_from_dict

LAWS = [surfing.Normal(4), surfing.Uniform(4, -1, 1), surfing.Uniform(4, 0.5, 3)]


@pytest.mark.parametrize("law", LAWS, ids=repr)
@given(ids=st.lists(st.integers(0, 2**50), min_size=1, max_size=5), seed=st.integers(-3, 2**63))
@settings(max_examples=25, deadline=None)
def test_a_target_draws_the_same_in_any_company(law, ids, seed):
    together = law.sample(ids, 3, seed=seed)
    for row, identity in enumerate(ids):
        assert torch.equal(law.sample([identity], 3, seed=seed)[0], together[row])
    # The first draws don't depend on how many are asked for.
    assert torch.equal(law.sample(ids, 1, seed=seed)[:, 0], together[:, 0])


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_moments(law):
    z = law.sample(range(5000), 4, seed=1).reshape(-1)
    n = len(z)  # 80,000 numbers: four standard errors
    assert float(z.mean()) == pytest.approx(law.mean, abs=4 * law.std / n**0.5)
    assert float(z.std()) == pytest.approx(law.std, rel=0.02)
    assert torch.equal(law.project(z[:4, None].expand(4, 4)), z[:4, None].expand(4, 4))
    expected = ((z[:4] - law.mean) / law.std).square().sum() / 2
    assert torch.allclose(law.penalty(z[:4][None])[0], expected)


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_seeds_and_identities_are_apart(law):
    a, b, c = law.sample([1], 8, seed=0), law.sample([2], 8, seed=0), law.sample([1], 8, seed=1)
    assert not torch.equal(a, b)
    assert not torch.equal(a, c)


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_a_manifest_keeps_a_law(law):
    assert latent_from_dict(json.loads(json.dumps(law.to_dict()))) == law
    assert isinstance(law, Latent)


def test_projection_is_onto_the_box():
    law = surfing.Uniform(2, -1, 1)
    assert law.project(torch.tensor([[-3.0, 0.5]])).tolist() == [[-1.0, 0.5]]


@pytest.mark.parametrize(
    "build",
    [
        lambda: surfing.Normal(0),
        lambda: surfing.Normal(2.0),
        lambda: surfing.Normal(True),
        lambda: surfing.Uniform(2, 1, 1),
        lambda: surfing.Uniform(2, 0, float("inf")),
        lambda: latent_from_dict({"law": "uniform", "dim": 2}),
    ],
)
def test_bad_laws(build):
    with pytest.raises(surfing.InputError):
        build()


def test_an_unknown_law_names_the_known():
    with pytest.raises(surfing.UnknownNameError, match=r"normal.*uniform"):
        latent_from_dict({"law": "cauchy"})
