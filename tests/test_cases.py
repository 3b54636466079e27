"""What users reported, each as a small input: right, or refused with a sentence that helps.

Fifteen cases in the order of their numbers; the smaller ones are in test_careless.py.
"""

from __future__ import annotations

import importlib
import time
import warnings

import pytest
import torch
from torch import nn

import surfing
from surfing.generator import Generator
from surfing.problem.operators import as_operator


@pytest.fixture(scope="module")
def packaged():
    return surfing.zoo.packaged()


@pytest.fixture(scope="module")
def pictures(packaged):
    """The packaged generator with its trained weights, in eval mode."""
    return surfing.zoo.generator_from_manifest(packaged.architecture, packaged.state(-1)).eval()


def latents(count, k=10, seed=0):
    return torch.randn(count, k, generator=torch.Generator().manual_seed(seed))


def path_of(*modules, k=6, latent=None):
    states = [(i, module.state_dict()) for i, module in enumerate(modules)]
    return surfing.Trajectory.from_state_dicts(states, latent=latent or surfing.Normal(k))


def dense(k=6, m=100, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(k, 64), nn.ReLU(), nn.Linear(64, m))


# 01 ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def masked(packaged, pictures):
    g = torch.Generator().manual_seed(8)
    z = torch.randn(3, 10, generator=g)
    masks = (torch.rand(3, 1, 28, 28, generator=g) < 0.3).float()
    return masks, masks * pictures(z).detach(), z


def masking(x, mask):
    return mask * x


ENTRIES = [surfing.direct, surfing.surf, surfing.recover]
ENTRY = pytest.mark.parametrize("entry", ENTRIES, ids=lambda f: f.__name__)


@ENTRY
def test_01_a_mask_for_each_target_gives_the_answer_of_each_target_alone(packaged, masked, entry):
    masks, y, _ = masked
    common = {"operator": masking, "batch_invariant": True}
    both = entry(packaged, y[:2], given={"mask": masks[:2]}, **common)
    for target in (0, 1):
        alone = entry(
            *(packaged, y[target : target + 1]),
            given={"mask": masks[target : target + 1].numpy()},
            ids=[target],
            **common,
        )
        assert torch.equal(alone.z[0], both.z[target])
        assert torch.equal(alone.risk[0], both.risk[target])


def test_01_recover_solves_targets_with_a_mask_each(packaged, masked):
    masks, y, z = masked
    solution = surfing.recover(packaged, y, operator=masking, given={"mask": masks})
    assert bool(solution.success.all())
    assert float((solution.z - z).norm(dim=1).max()) < 0.01


@ENTRY
@pytest.mark.parametrize("targets", [1, 2, 3])
def test_01_without_given_masks_are_refused_before_work(packaged, masked, entry, targets):
    masks, y, _ = masked
    own = torch.cat([masks, masks])[:targets]
    if targets == 1:  # one mask for all is an operator like any other
        model = surfing.ForwardModel(packaged, operator=lambda x: own * x)
        assert model.measure(masks).shape == masks.shape
        return
    with pytest.raises(surfing.MeasurementError, match="rows in any number and order") as told:
        entry(packaged, y[:targets], operator=lambda x: own * x)
    assert "given" in str(told.value)


@pytest.mark.parametrize(
    "operator",
    [
        lambda x: x / x.max(),
        lambda x: x - x.mean(0),
        lambda x: x.flip(0),
        lambda x: x * torch.arange(1, 1 + len(x)).reshape(-1, 1, 1, 1),
        lambda x: x[:1].expand_as(x),
    ],
    ids=["max", "mean", "flipped", "numbered", "first"],
)
def test_01_an_operator_that_mixes_rows_is_refused(packaged, operator):
    with pytest.raises(surfing.MeasurementError, match=r"rows in any number and order.*given"):
        surfing.ForwardModel(packaged, operator=operator)


def test_01_learned_starts_and_sampling_say_what_they_do_with_masks(packaged, masked):
    masks, y, _ = masked
    model = surfing.ForwardModel(packaged, operator=masking)
    with pytest.raises(surfing.InputError, match="given"):
        surfing.learn(model, 500)
    assert len(surfing.direct(model, y, given={"mask": masks})) == 3


# 02 ---------------------------------------------------------------------------------------------


class PowerIteration(nn.Module):
    """Writes into its buffer at each forward, as spectral norm does."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 64), nn.Linear(64, 100)
        self.register_buffer("u", nn.functional.normalize(torch.randn(64), dim=0))

    def forward(self, z):
        weight = self.a.weight
        with torch.no_grad():
            v = nn.functional.normalize(weight.T @ self.u, dim=0)
            self.u.copy_(nn.functional.normalize(weight @ v, dim=0))
        return self.b(torch.relu(nn.functional.linear(z, weight / (self.u @ weight @ v))))


@ENTRY
def test_02_nothing_moves_where_a_forward_writes_into_its_buffer(entry):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first, net = PowerIteration(), PowerIteration()
    trajectory = path_of(first, net)
    held = {n: t.clone() for n, t in trajectory.state(-1).items()}
    own = {n: t.clone() for n, t in net.state_dict().items()}
    y = torch.randn(4, 100, generator=torch.Generator().manual_seed(1))
    a, b = (entry(trajectory, y, generator=net) for _ in "ab")
    assert torch.equal(a.z, b.z)
    assert all(torch.equal(held[n], t) for n, t in trajectory.state(-1).items())
    assert all(torch.equal(own[n], t) for n, t in net.state_dict().items())


# 03 ---------------------------------------------------------------------------------------------


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 64), nn.Linear(64, 100)

    def forward(self, z):
        hidden = torch.relu(self.a(z))
        return self.b(hidden + 0.1 * torch.randn_like(hidden))


@ENTRY
@pytest.mark.parametrize("alone", [False, True], ids=["", "batch-invariant"])
def test_03_a_generator_that_draws_is_refused_in_every_mode(entry, alone):
    with pytest.raises(surfing.GeneratorError, match=r"two passes of one latent differ.*given"):
        entry(path_of(Noisy()), torch.zeros(2, 100), generator=Noisy(), batch_invariant=alone)


def test_03_noise_that_is_given_is_the_remedy():
    class Told(Noisy):
        def forward(self, z, noise):
            return self.b(torch.relu(self.a(z)) + 0.1 * noise)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Told()
    noise, z = latents(3, 64, seed=1), latents(3, 6, seed=2)
    y = net(z, noise).detach()
    solution = surfing.recover(path_of(net), y, generator=net, given={"noise": noise})
    assert float((solution.z - z).norm(dim=1).max()) < 0.01


# 04 ---------------------------------------------------------------------------------------------


def test_04_the_law_as_prior_is_the_map_estimate(packaged, pictures):
    g = torch.Generator().manual_seed(3)
    z, sigma = torch.randn(16, 10, generator=g), 0.3
    x = pictures(z).detach()
    operator = as_operator("gaussian:50", (1, 28, 28))
    y = operator(x) + sigma * torch.randn(16, 50, generator=g)
    plain, found = (
        surfing.recover(packaged, y, operator="gaussian:50", noise=sigma, prior=prior)
        for prior in (None, "law")
    )
    error = (found.z - z).norm(dim=1)
    rms = (found.x - x).square().mean((1, 2, 3)).sqrt()
    assert float(error.median()) <= 2.1
    assert float(rms.median()) <= 0.033
    assert float(error.median()) < float((plain.z - z).norm(dim=1).median())


@ENTRY
def test_04_for_a_linear_generator_the_map_estimate_has_a_closed_form(entry):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Linear(6, 40).double()
    y = torch.randn(5, 40, generator=torch.Generator().manual_seed(1)).double()
    law, sigma = surfing.Normal(6), 0.4
    solution = entry(path_of(net, latent=law), y, generator=net, noise=sigma, prior="law")
    w, b = net.weight.detach(), net.bias.detach()
    closed = torch.linalg.solve(w.T @ w + sigma**2 * torch.eye(6).double(), w.T @ (y - b).T).T
    assert float((solution.z - closed).norm(dim=1).max()) < 1e-6


def test_04_the_message_that_advises_a_prior_names_the_argument():
    assert "prior=" in surfing.Status.UNIDENTIFIED.message
    with pytest.raises(surfing.InputError, match=r"^prior: .*noise"):
        surfing.direct(path_of(dense()), torch.zeros(1, 100), generator=dense(), prior="law")


# 05 ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["spectral_norm", "weight_norm"])
def test_05_the_old_norms_work(tmp_path, norm):
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        wrap = getattr(nn.utils, norm)
        net = nn.Sequential(wrap(nn.Linear(6, 64)), nn.ReLU(), wrap(nn.Linear(64, 100)))
        net(torch.randn(4, 6))  # as in any training
        z = torch.randn(4, 6)
        trajectory = path_of(net)
        with surfing.Recorder(tmp_path / "r", net, latent=surfing.Normal(6)) as recorder:
            recorder.step()
        y = net.eval()(z).detach()
        for path in (trajectory, surfing.Trajectory.open(tmp_path / "r")):
            solution = surfing.recover(path, y, generator=net)
            assert bool(solution.success.all())


# 06 ---------------------------------------------------------------------------------------------


def test_06_a_wrapper_and_its_prefix_are_matched():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.ConvTranspose2d(6, 8, 4), nn.ReLU(), nn.ConvTranspose2d(8, 1, 4, 2))
    trajectory = path_of(net)
    wrapped = nn.Sequential(nn.Unflatten(1, (6, 1, 1)), net)
    z = latents(3, 6)
    y = wrapped(z).detach()
    solution = surfing.recover(trajectory, y, generator=wrapped)
    assert float((solution.z - z).norm(dim=1).max()) < 0.01
    with pytest.raises(surfing.GeneratorError, match="wrapper"):
        surfing.direct(trajectory, y, generator=net)


@pytest.mark.parametrize("inside", [False, True], ids=["bare", "wrapped"])
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", ""])
def test_06_what_dataparallel_and_compile_put_before_names_is_stripped(prefix, inside):
    net = dense()
    held = {prefix + n: t for n, t in net.state_dict().items()}
    trajectory = surfing.Trajectory.from_state_dicts([(0, held)], latent=surfing.Normal(6))
    z = latents(2, 6)
    module = nn.DataParallel(net) if inside else net
    solution = surfing.recover(trajectory, net(z).detach(), generator=module)
    assert bool(solution.success.all())
    assert list(trajectory.state(0)) == list(net.state_dict())


def test_06_where_two_prefixes_would_do_both_are_named():
    two = nn.ModuleDict({"a": nn.Linear(6, 9), "b": nn.Linear(6, 9)})
    with pytest.raises(surfing.GeneratorError, match=r"'a\.', 'b\.'"):
        surfing.direct(path_of(two), torch.zeros(1, 9), generator=nn.Linear(6, 9))


# 07 ---------------------------------------------------------------------------------------------


@ENTRY
def test_07_a_default_of_double_precision_changes_nothing(entry):
    net = dense()
    trajectory, y = path_of(net), net(latents(2, 6)).detach()
    plain = entry(trajectory, y, generator=net)
    torch.set_default_dtype(torch.float64)
    try:
        double = entry(trajectory, y, generator=net)
    finally:
        torch.set_default_dtype(torch.float32)
    assert double.z.dtype == torch.float32
    assert torch.equal(plain.z, double.z)


# 08 ---------------------------------------------------------------------------------------------


@pytest.fixture
def halves():
    state = dense().state_dict()
    return state, [{n: state[n].clone() for n in state if n.startswith(f)} for f in ("0.", "2.")]


def _shards(folder, parts, *, index=False, names="model-{:05d}-of-{:05d}.safetensors"):
    import json

    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    places = {}
    for i, part in enumerate(parts):
        name = names.format(i + 1, len(parts))
        save_file(part, folder / name)
        places |= dict.fromkeys(part, name)
    if index:
        index = folder / "model.safetensors.index.json"
        index.write_text(json.dumps({"metadata": {}, "weight_map": places}))


@pytest.mark.parametrize("index", [False, True], ids=["by name", "by index"])
def test_08_shards_are_joined(tmp_path, halves, index):
    state, parts = halves
    for step in (0, 100):
        _shards(tmp_path / "source" / f"checkpoint-{step}", parts, index=index)
    trajectory = surfing.import_checkpoints(tmp_path / "source", tmp_path / "run")
    assert trajectory.steps == (0, 100)
    for i in range(2):
        assert set(trajectory.state(i)) == set(state)
        assert all(torch.equal(t, state[n]) for n, t in trajectory.state(i).items())


def test_08_an_index_tells_where_names_do_not(tmp_path, halves):
    state, parts = halves
    for step in (0, 100):
        folder = tmp_path / "source" / f"checkpoint-{step}"
        _shards(folder, parts, index=True, names="part_{}_{}.safetensors")
    trajectory = surfing.import_checkpoints(tmp_path / "source", tmp_path / "run")
    assert set(trajectory.state(0)) == set(state)


def test_08_a_part_is_never_taken_for_the_whole(tmp_path, halves):
    _, parts = halves
    for step in (0, 100):
        _shards(tmp_path / "source" / f"checkpoint-{step}", parts)
    with pytest.raises(surfing.InputError, match=r"chooses parts of .*model\.safetensors"):
        surfing.import_checkpoints(
            tmp_path / "source",
            tmp_path / "run",
            pattern=r".*/model\-00001\-of\-00002\.safetensors",
        )
    (tmp_path / "source" / "checkpoint-100" / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(surfing.InputError, match="part 2 is missing"):
        surfing.import_checkpoints(tmp_path / "source", tmp_path / "run")


def test_08_weights_tied_in_the_module_are_filled_in(tmp_path):
    from safetensors.torch import save_model

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(6, 16), nn.Linear(16, 16), nn.Linear(16, 16)
            self.c.weight = self.b.weight

        def forward(self, z):
            return self.c(torch.relu(self.b(self.a(z))))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Tied()
    source = tmp_path / "source"
    source.mkdir()
    for step in (0, 1):
        save_model(net, str(source / f"step_{step}.safetensors"))
    trajectory = surfing.import_checkpoints(source, tmp_path / "run", latent=surfing.Normal(6))
    z = latents(2, 6)
    bound = Generator(net).at(trajectory.state(-1))
    assert torch.equal(bound(z), net(z))
    assert len(surfing.direct(trajectory, net(z).detach(), generator=net)) == 2


# 09 ---------------------------------------------------------------------------------------------


def test_09_seconds_bound_the_call_and_progress_speaks_at_once(packaged, pictures, monkeypatch):
    """By a clock that counts the calls of its own: no wall time is measured."""
    module = importlib.import_module("surfing.portfolio.bank")
    began, told = time.perf_counter(), []
    y = pictures(latents(1)).detach()
    limit = 0.5
    monkeypatch.setattr(module, "learn", _watched(module.learn, told))
    solution = surfing.recover(packaged, y, seconds=limit, progress=lambda *n: told.append(n))
    assert told[0] == (0, 1)
    (until,) = [entry for entry in told if isinstance(entry, float)]
    assert until <= began + limit + 60  # a deadline was passed on to what is done once
    assert solution.info["seconds"]["asked"] == limit
    assert solution.cost_once > 0
    assert solution.info["seconds"]["spent"] <= solution.seconds + 1e-3


def _watched(learn, told):
    def watched(model, size, *, seed, until):
        told.append(until)
        return learn(model, size, seed=seed, until=until)

    return watched


# 10: in test_careless.py -------------------------------------------------------------------------

# 11 ---------------------------------------------------------------------------------------------


@ENTRY
def test_11_descents_keep_to_the_support_of_the_law(entry):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(6, 64), nn.Tanh(), nn.Linear(64, 100))
    trajectory = path_of(net, latent=surfing.Uniform(6, -1, 1))
    outside = net(torch.full((3, 6), 1.5)).detach()
    solution = entry(trajectory, outside, generator=net)
    assert float(solution.z.abs().max()) <= 1
    assert set(solution.status.tolist()) == {int(surfing.Status.OUTSIDE)}
    assert "law" in solution.messages()[0]
    z = 2 * torch.rand(3, 6, generator=torch.Generator().manual_seed(0)) - 1
    inside = surfing.recover(trajectory, net(z).detach(), generator=net)
    assert bool(inside.success.all())


# 12 ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [4, 5])
@pytest.mark.parametrize("recorder_first", [True, False])
def test_12_the_trajectory_ends_at_the_module_that_is_left(tmp_path, every, recorder_first):
    lightning = pytest.importorskip("lightning.pytorch")
    callbacks = pytest.importorskip("lightning.pytorch.callbacks")
    if not hasattr(callbacks, "EMAWeightAveraging"):
        pytest.skip("this Lightning has no EMAWeightAveraging")
    from surfing.integrations.lightning import RecorderCallback

    class Training(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.generator = dense(6, 50)

        def training_step(self, batch, index):
            wanted = batch[0].repeat(1, 9)[:, :50].sin()
            return (self.generator(batch[0]) - wanted).square().mean()

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 3e-3)

    recorder = RecorderCallback(tmp_path / "r", latent=surfing.Normal(6), every=every)
    two = [recorder, callbacks.EMAWeightAveraging(decay=0.9)]
    data = torch.utils.data.TensorDataset(latents(256, 6))
    module = Training()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            max_epochs=3,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=two if recorder_first else two[::-1],
        )
        trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=64))
    trajectory = surfing.Trajectory.open(tmp_path / "r")
    left = module.generator.state_dict()
    assert trajectory.steps[-1] == 12
    assert all(torch.equal(t, left[n]) for n, t in trajectory.state(-1).items())


def test_12_a_module_that_changed_after_its_last_step_is_recorded_anew(tmp_path):
    """The sibling without Lightning: an average, or the best weights, put back before closing."""
    net = dense()
    with surfing.Recorder(tmp_path / "r", net, latent=surfing.Normal(6), every=1) as recorder:
        for _ in range(3):
            with torch.no_grad():
                net[0].weight.add_(0.1)
            recorder.step()
        with torch.no_grad():
            net[0].weight.mul_(0.5)
    trajectory = surfing.Trajectory.open(tmp_path / "r")
    assert trajectory.steps == (0, 1, 2, 3)
    assert torch.equal(trajectory.state(-1)["0.weight"], net[0].weight)
    assert "all whole" in str(trajectory.verify())


# 13 ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["torch", "numpy", "several"])
def test_13_an_encoders_estimate_is_a_start_of_recover(packaged, pictures, kind):
    z = latents(12, seed=3)
    near = z + 0.3 * latents(12, seed=4)
    y = as_operator("gaussian:30", (1, 28, 28))(pictures(z).detach())
    given = {"torch": near, "numpy": near.numpy(), "several": torch.stack([near, -near], 1)}
    model = surfing.ForwardModel(packaged, operator="gaussian:30")
    warm = surfing.recover(model, y, z0=given[kind])
    alone = surfing.direct(model, y, z0=near)
    assert bool(((warm.z - z).norm(dim=1) < 0.01).all())
    # Of several the likeliest is tried first: now and then that is the wrong one.
    typical = torch.median if kind == "several" else torch.mean
    assert float(typical(warm.cost)) <= float(typical(alone.cost))
    cold = surfing.recover(model, y)
    assert bool((warm.risk <= cold.risk.clamp(min=1e-8)).all())


# 14 ---------------------------------------------------------------------------------------------

SIGMA = 0.05


def _of_masks(seen):
    return lambda x: seen * x


@pytest.fixture(scope="module")
def unmeasured(pictures):
    g = torch.Generator().manual_seed(0)
    z = torch.randn(24, 10, generator=g)
    x = pictures(z).detach()
    seen = (torch.rand(1, 1, 28, 28, generator=g) < 0.15).float()
    return z, x, seen, seen * (x + SIGMA * torch.randn(x.shape, generator=g))


def mahalanobis(solution, z):
    """Median squared distance; its expectation is the number of latents."""
    e = (solution.z - z).double()
    inverse = torch.linalg.inv(solution.covariance.double())
    return float(torch.einsum("ti,tij,tj->t", e, inverse, e).median())


@pytest.mark.parametrize("how", ["callable", "given", "inf", "nan"])
def test_14_what_was_not_measured_never_counts(packaged, unmeasured, how):
    z, x, seen, y = unmeasured
    arguments = {"operator": _of_masks(seen), "noise": SIGMA}
    if how == "given":
        arguments |= {"operator": masking, "given": {"mask": seen.expand(24, -1, -1, -1)}}
    if how in ("inf", "nan"):
        level = torch.where(seen[0] > 0, SIGMA, torch.inf)
        arguments = {"noise": level}
        y = torch.where(seen > 0, y, torch.nan) if how == "nan" else y
    solution = surfing.recover(packaged, y, budget=1000, **arguments)
    assert float((solution.x - x).square().mean().sqrt()) <= 0.024
    assert 5 <= mahalanobis(solution, z) <= 20
    assert bool(solution.success.all())
    assert any(f"{int(seen.sum())} of 784" in note for note in solution.notes)


@pytest.mark.parametrize("name", ["inpainting:0.15", "mri:8"])
def test_14_the_named_operators_too(packaged, pictures, name):
    pytest.importorskip("deepinv")
    z = latents(24)
    x = pictures(z).detach()
    model = surfing.ForwardModel(packaged, operator=name)
    y = model.measure(x)
    y = y + SIGMA * torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    solution = surfing.recover(model, y, noise=SIGMA, budget=1000)
    assert 5 <= mahalanobis(solution, z) <= 20
    assert float((solution.x - x).square().mean().sqrt()) <= 0.05


def test_14_the_reconstructor_too(packaged, unmeasured):
    deepinv = pytest.importorskip("deepinv")
    from surfing.integrations.deepinv import SurfingReconstructor

    z, x, seen, y = unmeasured
    physics = deepinv.physics.Inpainting(
        img_size=(1, 28, 28), mask=seen[0], noise_model=deepinv.physics.GaussianNoise(SIGMA)
    )
    reconstruct = SurfingReconstructor(packaged, budget=1000)
    found = reconstruct(y, physics)
    assert float((found - x).square().mean().sqrt()) <= 0.024
    assert 5 <= mahalanobis(reconstruct.solution, z) <= 20


# 15 ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def squashed():
    """A path whose generator ends in a sigmoid, and targets that it can't make."""

    def net():
        layers = (nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 300))
        return nn.Sequential(*layers, nn.Sigmoid())

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net(), (made := net())
        optimiser = torch.optim.Adam(made.parameters(), 1e-3)
        states = [(0, {n: t.clone() for n, t in made.state_dict().items()})]
        basis = torch.randn(16, 300)
        for step in range(1, 1201):
            z = torch.randn(64, 16)
            loss = (made(z) - torch.sigmoid(z.tanh() @ basis)).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if step % 100 == 0:
                states.append((step, {n: t.clone() for n, t in made.state_dict().items()}))
    trajectory = surfing.Trajectory.from_state_dicts(states, latent=surfing.Normal(16))
    y = torch.rand(24, 40, generator=torch.Generator().manual_seed(2))
    return trajectory, made, y


@ENTRY
def test_15_an_answer_stays_typical_of_the_law_or_says_how_far_out_it_is(squashed, entry):
    trajectory, net, y = squashed
    solution = entry(trajectory, y, generator=net, operator=lambda x: x[:, :40])
    norm = solution.z.norm(dim=1)
    for length, sentence in zip(norm.tolist(), solution.messages()):
        if length > 2 * 4.0:
            assert "times as far out" in sentence
    assert float(norm.median()) < 8
    lone = {surfing.Status.CONVERGED, surfing.Status.STALLED}
    for length, status in zip(norm.tolist(), solution.status.tolist()):
        if length > 20:
            assert surfing.Status(status) not in lone
