"""What a careless user does: right, or refused before work with a sentence that helps."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import surfing
from surfing.evaluation.compare import compare
from surfing.evaluation.samples import Criterion, noisy, own_z
from surfing.evaluation.selftest import run as selftest
from surfing.problem.operators import as_operator

ENTRIES = [surfing.direct, surfing.surf, surfing.recover]
ENTRY = pytest.mark.parametrize("entry", ENTRIES, ids=lambda f: f.__name__)


def latents(count, k=6, seed=0):
    return torch.randn(count, k, generator=torch.Generator().manual_seed(seed))


def path_of(*modules, k=6, latent=None):
    states = [(i, module.state_dict()) for i, module in enumerate(modules)]
    return surfing.Trajectory.from_state_dicts(states, latent=latent or surfing.Normal(k))


def dense(*shape, k=6, seed=0):
    m = int(np.prod(shape)) if shape else 100
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(k, 64), nn.ReLU(), nn.Linear(64, m))
        return nn.Sequential(*net, nn.Unflatten(1, shape)) if len(shape) > 1 else net


@pytest.fixture
def net():
    return dense()


@pytest.fixture
def y(net):
    return net(latents(3)).detach()


# Generators that are none -------------------------------------------------------------------------


class Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(6, 18)

    def forward(self, z):
        return torch.view_as_complex(self.a(z).reshape(-1, 9, 2))


class Pair(nn.Linear):
    def forward(self, z):
        x = super().forward(z)
        return x, x


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (Complex(), r"real signals.*view_as_real"),
        (Pair(6, 9), "Wrap it in a module that returns one tensor"),
        (
            nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8, track_running_stats=False)),
            "track_running_stats=True",
        ),
        (nn.Sequential(nn.Linear(6, 8), nn.Flatten(0)), "a row for each latent"),
        (nn.Linear(7, 9), r"latents of shape \(3, 6\)"),
    ],
    ids=["complex", "tuple", "batch statistics", "flattened", "other k"],
)
@ENTRY
def test_a_generator_that_is_none_is_refused(entry, net, said):
    with pytest.raises(surfing.GeneratorError, match=said):
        entry(path_of(net), torch.zeros(2, 9), generator=net)


# Operators that are none --------------------------------------------------------------------------


def random(x):
    return x + 0.1 * torch.randn_like(x)


@pytest.mark.parametrize(
    ("operator", "said"),
    [
        (torch.round, r"derivative is zero.*round"),
        (lambda x: (x > 0).float() * (x * 0 + 1), r"derivative is zero|gradient"),
        (lambda x: x.detach(), "without a gradient"),
        (lambda x: x.sum(), r"measurements \(3, ...\)"),
        (lambda x: x.long(), "floating point"),
        (random, "draws random numbers"),
        (nn.Dropout(0.5), "draws random numbers"),
        (nn.BatchNorm1d(100, affine=False), "rows in any number and order|failed on 1"),
        (lambda x: [x], "got list"),
        (nn.Identity, "the class Identity"),
        (nn.ReLU(inplace=True), "inplace"),
        (lambda x: x / 0, "finite"),
        (lambda x: x @ torch.zeros(7, 3), "failed on 3 signals"),
        (3, "expected None, a callable"),
        ("gauss:3", "unknown operator"),
        ("gaussian", "expected a number"),
    ],
)
@ENTRY
def test_an_operator_that_is_none_is_refused(entry, net, y, operator, said):
    with pytest.raises(surfing.InputError, match=said):
        entry(path_of(net), y, generator=net, operator=operator)


def test_a_deepinv_physics_with_noise_is_its_noise_free_operator(net, y):
    deepinv = pytest.importorskip("deepinv")
    physics = deepinv.physics.Inpainting(
        img_size=(1, 10, 10), mask=0.5, noise_model=deepinv.physics.GaussianNoise(0.1)
    )
    picture = dense(1, 10, 10)
    trajectory = path_of(picture)
    z = latents(3)
    solution = surfing.recover(
        trajectory, physics.A(picture(z).detach()), generator=picture, operator=physics
    )
    assert float((solution.z - z).norm(dim=1).max()) < 0.01
    with pytest.raises(surfing.MeasurementError, match=r"noise-free.*noise="):
        surfing.recover(
            trajectory, picture(z).detach(), generator=picture, operator=physics.forward
        )


# Measurements of another shape or scale -----------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda x: x.permute(0, 2, 3, 1), r"y\.permute\(0, 3, 1, 2\)"),
        (lambda x: x[0], r"pass y\[None\]"),
        (lambda x: x.flatten(1), "reshape"),
        (lambda x: x[:, :2], r"expected \(targets, 3, 4, 5\)"),
        (lambda x: x.long(), "floating point"),
        (lambda x: x.tolist(), "tensor"),
        (lambda x: x.to_sparse(), "to_dense"),
        (lambda x: x.to(torch.cfloat), r"pass y\.real"),
    ],
    ids=["permuted", "one", "flat", "two channels", "whole", "list", "sparse", "complex"],
)
@ENTRY
def test_shape_errors_say_what_would_fit(entry, spoil, said):
    net = dense(3, 4, 5)
    with pytest.raises(surfing.MeasurementError, match=said):
        entry(path_of(net), spoil(net(latents(2)).detach()), generator=net)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [(lambda x: x[:, 0], r"y\[:, None\]"), (lambda x: x[0, 0], r"y\[None, None\]")],
    ids=["channel", "batch and channel"],
)
def test_a_missing_channel_is_told(spoil, said):
    net = dense(1, 4, 5)
    with pytest.raises(surfing.MeasurementError, match=said):
        surfing.direct(path_of(net), spoil(net(latents(2)).detach()), generator=net)


@pytest.mark.parametrize("factor", [255.0, 1 / 255])
@ENTRY
def test_another_scale_is_noted(entry, net, y, factor):
    solution = entry(path_of(net), factor * y, generator=net)
    assert any("generator's units" in note for note in solution.notes)
    assert "generator's units" in solution.summary()
    assert not entry(path_of(net), y, generator=net).notes


def test_one_target_of_another_scale_is_noted_too(net):
    y = net(latents(20)).detach()
    y[7] *= 255
    solution = surfing.direct(path_of(net), y, generator=net)
    assert any("generator's units" in note and "1 of 20" in note for note in solution.notes)


# Noise --------------------------------------------------------------------------------------------


@ENTRY
def test_a_noise_level_for_each_target(entry, net, y):
    level = torch.tensor([0.1, 0.2, 0.4])
    noisy_y = y + level[:, None] * latents(3, 100, seed=3)
    for given in (level, level.numpy(), level.tolist()):
        solution = entry(path_of(net), noisy_y, generator=net, noise=given)
        assert bool(solution.success.all())
        far = (2 * solution.risk).sqrt() / (level.double() * 10)
        assert bool(((far > 0.8) & (far < 1.2)).all())
    by_stopping = entry(
        path_of(net), noisy_y, generator=net, stopping=surfing.Stopping(noise=level)
    )
    assert torch.equal(by_stopping.z, solution.z)


@pytest.mark.parametrize(
    "noise",
    [-1.0, float("nan"), torch.ones(4), torch.ones(3, 99), "law", torch.inf, [0.1, 0.2], True],
)
@ENTRY
def test_a_noise_level_that_fits_nothing_is_refused(entry, net, y, noise):
    with pytest.raises(surfing.InputError, match="noise"):
        entry(path_of(net), y, generator=net, noise=noise)


@pytest.mark.parametrize("prior", [None, "law"])
@pytest.mark.parametrize("noise", [0.0, 1e-30])
@ENTRY
def test_no_noise_at_all_is_a_noise_level(entry, net, y, noise, prior):
    solution = entry(path_of(net), y, generator=net, noise=noise, prior=prior, z0=latents(3))
    assert bool(solution.success.all())


@ENTRY
def test_measurements_with_their_axes_exchanged_are_told(entry, net, y):
    with pytest.raises(surfing.MeasurementError, match=r"y\.T"):
        entry(path_of(net), y.T, generator=net)


@pytest.mark.parametrize("seed", [1.5, "3", None])
@ENTRY
def test_a_seed_is_an_integer(entry, net, y, seed):
    with pytest.raises(surfing.InputError, match=r"^seed: expected an integer"):
        entry(path_of(net), y, generator=net, seed=seed)
    with pytest.raises(surfing.InputError, match=r"^operator_seed: expected an integer"):
        entry(path_of(net), y, generator=net, operator_seed=seed)


def test_an_entry_that_is_seldom_other_than_zero_is_a_measurement(net, y):
    """Half of the signals leave a rectified entry at zero: that is no mask."""
    model = surfing.ForwardModel(path_of(net), generator=net, operator=torch.relu)
    assert model.problem(torch.relu(y)).notes == ()


# Surroundings -------------------------------------------------------------------------------------


@ENTRY
def test_autocast_around_a_run_changes_nothing(entry, net, y):
    plain = entry(path_of(net), y, generator=net)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = entry(path_of(net), y, generator=net)
    assert torch.equal(plain.z, inside.z)


@pytest.mark.parametrize("switch", [torch.no_grad, torch.inference_mode])
@ENTRY
def test_gradients_that_are_switched_off_change_nothing(entry, net, y, switch):
    plain = entry(path_of(net), y, generator=net, descent=surfing.LBFGS())
    with switch():
        inside = entry(path_of(net), y, generator=net, descent=surfing.LBFGS())
    assert torch.equal(plain.z, inside.z.clone())


@ENTRY
def test_global_random_numbers_rest_without_a_generator(entry):
    trajectory = surfing.zoo.packaged()
    x = surfing.zoo.draw_samples(trajectory, 2)
    torch.manual_seed(3)
    np.random.seed(3)
    before, other = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    entry(trajectory, x, seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    assert bool((other == np.random.get_state()[1]).all())


def test_generator_from_manifest_loads_its_state_and_draws_nothing():
    trajectory = surfing.zoo.packaged()
    before = torch.random.get_rng_state()
    made = surfing.zoo.generator_from_manifest(trajectory.architecture, trajectory.state(-1))
    assert torch.equal(before, torch.random.get_rng_state())
    held = made.state_dict()
    assert all(torch.equal(held[n], t) for n, t in trajectory.state(-1).items())


@ENTRY
def test_an_optimiser_in_another_form_shows_the_one_that_works(entry, net, y):
    with pytest.raises(surfing.InputError, match=r"partial\(torch\.optim\.Adam, lr="):
        entry(path_of(net), y, generator=net, descent=surfing.TorchOptim(torch.optim.Adam, lr=0.05))
    adam = surfing.TorchOptim(partial(torch.optim.Adam, lr=0.05))
    assert len(entry(path_of(net), y, generator=net, descent=adam)) == 3


# Import -------------------------------------------------------------------------------------------


def test_import_says_where_no_prefix_fits(tmp_path, net, caplog):
    source = tmp_path / "source"
    source.mkdir()
    two = {f"{part}.{n}": t for part in "ab" for n, t in net.state_dict().items()}
    for step in (0, 1):
        torch.save(two, source / f"step_{step}.pt")
    with caplog.at_level("WARNING", logger="surfing"):
        trajectory = surfing.import_checkpoints(source, tmp_path / "run")
    assert "all" in caplog.text
    assert "prefix" in caplog.text
    assert trajectory.metadata["imported_prefix"] == ""
    assert len(trajectory.state(0)) == 8


# What selftest and compare say --------------------------------------------------------------------


def test_selftest_goes_by_the_strategy_that_users_get():
    trajectory = surfing.zoo.packaged()
    model = surfing.ForwardModel(trajectory, operator="gaussian:20")
    told = selftest(model, targets=20)
    y = model.measure(model.signals(own_z(model, 20)))
    assert told.met == (int(surfing.recover(model, y).success.sum()), 20)
    assert "optimiser" in told.verdict


def test_selftest_with_noise_and_the_law_as_prior():
    model = surfing.ForwardModel(surfing.zoo.packaged(), operator="gaussian:50")
    told = selftest(model, targets=10, noise=0.3, prior="law")
    assert told.success == "measurements met to their noise level"
    assert told.met[0] >= 9
    assert told.latent_error > 0.1


@pytest.fixture(scope="module")
def dead():
    """A generator whose last two latents do nothing, as those of a VAE."""

    class Dead(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = dense(k=4)

        def forward(self, z):
            return self.inner(z[:, :4])

    return Dead()


def test_where_z_is_not_determined_the_signal_counts(dead):
    model = surfing.ForwardModel(path_of(dead), generator=dead)
    told = selftest(model, targets=6)
    assert told.open_directions == 2
    assert told.found == told.met == (6, 6)
    assert "2 latent directions open" in told.verdict
    assert told.latent_error > 0.01
    compared = compare(model, targets=4, budgets=(400,), methods=("lm", "recover"))
    assert compared.facts["open_directions"] == 2
    assert "2 latent directions" in compared.facts["success"]
    for curve in compared.curves:
        assert curve.rates() == [(4, 4)]
    exact = compare(model, targets=4, budgets=(400,), methods=("recover",), exact=True)
    assert exact.curves[0].rates() == [(0, 4)]
    summary = surfing.recover(model, model.signals(latents(2))).summary()
    assert "2 latent directions are not determined" in summary


def test_a_method_that_no_budget_pays_for_has_no_rate(net):
    model = surfing.ForwardModel(path_of(net), generator=net)
    compared = compare(model, targets=3, budgets=(5, 4000), methods=("adam", "recover"))
    adam = compared.curves[0]
    assert adam.rates()[0] == (0, 0)
    assert adam.rates()[1][1] == 3
    line = compared.to_dict()["methods"][0]
    assert line["found"][0] == [0, 0]
    assert line["by_target"][0] == ""
    assert line["recover_against_it"][0] == {"won": 0, "lost": 0, "p": 1.0}


def test_noise_is_added_where_something_is_measured():
    y = torch.zeros(4, 3)
    level = torch.tensor([[0.1, torch.inf, 0.1]]).expand(4, -1)
    drawn = noisy(y, level)
    assert bool((drawn[:, 1] == 0).all())
    assert bool((drawn[:, 0] != 0).all())
    assert torch.equal(drawn, noisy(y, level))
    by_target = noisy(torch.zeros(4, 4), torch.tensor([0.0, 0, 0, 1]))
    assert bool((by_target[:3] == 0).all())
    with pytest.raises(surfing.InputError, match="noise"):
        noisy(y, torch.ones(2))


def test_the_criterion_asks_for_latents_where_they_are_determined(net):
    model = surfing.ForwardModel(path_of(net), generator=net)
    truth = own_z(model, 3)
    problem = model.problem(model.signals(truth))
    criterion = Criterion.of(problem, model, truth)
    everybody = torch.arange(3)
    nothing = torch.zeros(3, dtype=torch.float64)
    assert criterion.words == "||z - z*|| < 0.01"
    assert criterion.found(truth, nothing, everybody).tolist() == [True] * 3
    assert criterion.found(truth + 1, nothing, everybody).tolist() == [False] * 3


# Priors -------------------------------------------------------------------------------------------


def test_a_prior_that_was_asked_for_is_no_failure(dead):
    """The message of UNIDENTIFIED advises prior=1e-3: whoever follows it gets an answer."""
    model = surfing.ForwardModel(path_of(dead), generator=dead)
    y = model.signals(latents(4))
    open_ = surfing.recover(model, y)
    assert set(open_.status.tolist()) == {int(surfing.Status.UNIDENTIFIED)}
    chosen = surfing.recover(model, y, prior=1e-3)
    assert set(chosen.status.tolist()) == {int(surfing.Status.SOLVED)}
    assert float(chosen.z[:, 4:].abs().max()) < 1e-3
    assert float((chosen.x - y).square().mean().sqrt()) < 0.01


def test_fewer_measurements_than_latents_get_a_weak_prior_and_a_note():
    model = surfing.ForwardModel(surfing.zoo.packaged(), operator="gaussian:8")
    y = model.measure(model.signals(own_z(model, 12)))
    weak = surfing.recover(model, y)
    none = surfing.recover(model, y, prior=0)
    assert any("weak prior" in note for note in weak.notes)
    assert not any("weak prior" in note for note in none.notes)
    assert int(weak.success.sum()) >= int(none.success.sum())
    # It does not keep targets that are met from ending.
    assert float(weak.cost.mean()) < 1.5 * float(none.cost.mean())


@pytest.mark.parametrize("prior", [-1, float("nan"), "LAW", torch.ones(3)])
@ENTRY
def test_a_prior_that_is_none_is_refused(entry, net, y, prior):
    with pytest.raises(surfing.InputError, match="prior"):
        entry(path_of(net), y, generator=net, prior=prior)


# Outliers -----------------------------------------------------------------------------------------


class Outliers:
    """Measurements with and without gross outliers, and the error of what is recovered."""

    def __init__(self, told):
        trajectory = surfing.zoo.packaged()
        self.model = surfing.ForwardModel(trajectory, operator="gaussian:100")
        z, sigma = own_z(self.model, 16), 0.05
        self.x, self.noise = self.model.signals(z), sigma if told else None
        self.clean = noisy(self.model.measure(self.x), sigma)
        g = torch.Generator().manual_seed(4)
        gross = torch.rand(self.clean.shape, generator=g) < 0.1
        size = float(self.clean.square().mean().sqrt())
        far = self.clean + 5 * size * torch.randn(self.clean.shape, generator=g)
        self.spoilt = torch.where(gross, far, self.clean)
        self.without, self.squares = self.error(self.clean, None), self.error(self.spoilt, None)

    def error(self, y, loss):
        found = surfing.recover(self.model, y, noise=self.noise, loss=loss)
        return float((found.x - self.x).square().mean((1, 2, 3)).sqrt().median())


@pytest.fixture(scope="module", params=[True, False], ids=["noise told", "noise not told"])
def outliers(request):
    return Outliers(request.param)


@pytest.mark.parametrize("loss", [surfing.Huber(), surfing.StudentT()], ids=["huber", "student"])
def test_gross_outliers_at_most_double_the_error(loss, outliers):
    """With a tenth of the measurements far off the error stays within twice that without them."""
    robust = outliers.error(outliers.spoilt, loss)
    assert robust <= 2 * outliers.without
    assert robust < outliers.squares
    assert outliers.squares > 2 * outliers.without or outliers.noise is None
    assert outliers.error(outliers.clean, loss) <= 2 * outliers.without


@ENTRY
def test_a_loss_keeps_the_weights_of_the_rows(entry, net):
    """An entry whose noise is large weighs little with a robust loss too."""
    z = latents(4)
    level = torch.full((100,), 0.01)
    level[:10] = 100.0
    y = noisy(net(z).detach(), level.expand(4, -1))
    solution = entry(path_of(net), y, generator=net, noise=level, loss=surfing.Huber(), z0=z)
    # Were the row's weights lost, the ten entries with their noise of 100 would carry z away.
    assert float((solution.z - z).norm(dim=1).max()) < 0.2


def test_named_operators_are_what_they_are_called():
    x = torch.zeros(1, 1, 28, 28)
    assert as_operator("gaussian:7", (1, 28, 28))(x).shape == (1, 7)


# What goes with each target, wherever it is solved ------------------------------------------------


def _masked(x, mask):
    return mask * x


def test_noise_inputs_and_starts_by_target_travel_with_their_targets(net):
    """In shards of another executor, as numpy arrays, and in another order."""
    g = torch.Generator().manual_seed(0)
    z = latents(260)
    mask = (torch.rand(260, 100, generator=g) < 0.5).float()
    level = 0.01 + 0.1 * torch.rand(260, generator=g)
    y = mask * (net(z).detach() + level[:, None] * torch.randn(260, 100, generator=g))
    model = surfing.ForwardModel(path_of(net), generator=net, operator=_masked)
    parts = {"noise": level, "z0": z + 0.1}

    def recovered(order, *, numpy=False, executor=None):
        cut = {name: t[order].numpy() if numpy else t[order] for name, t in parts.items()}
        given = {"mask": mask[order].numpy() if numpy else mask[order]}
        return surfing.recover(
            *(model, y[order].numpy() if numpy else y[order]),
            **cut,
            given=given,
            prior="law",
            ids=order.tolist(),
            executor=executor,
        )

    everybody = torch.arange(260)
    whole = recovered(everybody)
    assert int(whole.success.sum()) >= 250
    assert torch.equal(recovered(everybody, executor="local").z, whole.z)
    assert torch.equal(recovered(everybody, numpy=True).z, whole.z)
    moved = everybody.flip(0)
    gap = (recovered(moved).z - whole.z[moved]).abs().amax(1)
    assert float(gap.quantile(0.9)) < 0.02  # blocks of other targets round differently
