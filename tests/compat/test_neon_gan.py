"""neon's GAN: a generator and a discriminator trained against each other, with costs, callbacks and pictures."""

from __future__ import annotations

import numpy as np
import pytest

from neon_optim import cleanup_backend
from neon_optim.compat.neon.backends import gen_backend
from neon_optim.compat.neon.callbacks.callbacks import Callbacks, GANCostCallback
from neon_optim.compat.neon.callbacks.plotting_callbacks import GANPlotCallback
from neon_optim.compat.neon.data import ArrayIterator
from neon_optim.compat.neon.initializers import Gaussian
from neon_optim.compat.neon.layers import Affine, GeneralizedGANCost, Sequential
from neon_optim.compat.neon.layers.container import GenerativeAdversarial
from neon_optim.compat.neon.models.model import GAN
from neon_optim.compat.neon.transforms import GANCost, Identity, Logistic, Rectlin
from neon_optim.errors import ArgumentError
from neon_optim.optimizers import GradientDescentMomentum

pytest.importorskip("h5py")


@pytest.fixture(autouse=True)
def be():
    yield gen_backend("cpu", rng_seed=2, batch_size=8)
    cleanup_backend()


def data(samples=48):
    images = np.random.RandomState(0).rand(samples, 16).astype(np.float32)
    return ArrayIterator(images, np.zeros(samples, dtype=int), nclass=1, lshape=(1, 4, 4))


def gan(func, **options):
    init = Gaussian(scale=0.2)
    generator = Sequential([Affine(12, init, activation=Rectlin()), Affine(16, init, activation=Logistic())])
    last = Identity() if func == "wasserstein" else Logistic()
    discriminator = Sequential([Affine(12, init, activation=Rectlin()), Affine(1, init, activation=last)])
    model = GAN(GenerativeAdversarial(generator, discriminator), noise_dim=(4,), **options)
    return model, GeneralizedGANCost(GANCost(func=func))


@pytest.mark.parametrize("func", ["original", "modified", "wasserstein"])
def test_costs_and_their_derivatives(be, func):
    """By data and by noise, against finite differences of the mean over the outputs, of which there is one."""
    cost, rate = GANCost(func=func, scale=2.0), 1e-3
    y = np.linspace(0.2, 0.8, 8, dtype=np.float32).reshape(1, 8)
    other = be.array(np.full((1, 8), 0.5))

    def slope(of):
        found = be.empty((1, 8))
        ends = []
        for step in (rate, -rate):
            found[:] = of(be.array(y + step))
            ends.append(found.get().astype(np.float64))
        return 2.0 * (ends[0] - ends[1]) / (2.0 * rate)

    found = be.empty((1, 8))
    found[:] = cost.bprop_data(be.array(y))
    np.testing.assert_allclose(found.get(), slope(lambda x: cost(x, other, "dis_data")), rtol=2e-3)
    found[:] = cost.bprop_noise(be.array(y))
    np.testing.assert_allclose(found.get(), slope(lambda x: cost(other, x, "dis_noise")), rtol=2e-3)
    found[:] = cost.bprop_generator(be.array(y))
    if func == "wasserstein":
        np.testing.assert_allclose(found.get(), slope(lambda x: cost(other, x, "gen")), rtol=2e-3)
    else:  # one makes log(1 - y) small, the other -log(y); the value of each is that of the other, as in neon
        expected = 2.0 / (y - 1.0) if func == "original" else -2.0 / y
        np.testing.assert_allclose(found.get(), expected, rtol=1e-5)


def test_a_kind_of_cost_that_there_is_not(be):
    with pytest.raises(
        ArgumentError, match="cost_type must be 'dis', 'dis_data', 'dis_noise' or 'gen', received 'all'"
    ):
        GANCost()(be.ones((1, 8)), be.ones((1, 8)), "all")


@pytest.mark.parametrize("func", ["modified", "wasserstein"])
def test_both_networks_learn(tmp_path, func):
    model, cost = gan(func, k=2, wgan_param_clamp=0.05 if func == "wasserstein" else None)
    callbacks = Callbacks(model, progress_bar=False, output_file=str(tmp_path / "gan.h5"))
    callbacks.add_callback(GANCostCallback())
    train = data()
    model.initialize(train, cost)
    before = [np.array(layer.W.get()) for layer in model.layers.layers if hasattr(layer, "W")]
    model.fit(train, cost, GradientDescentMomentum(0.05, 0.9), num_epochs=2, callbacks=callbacks)
    after = [np.array(layer.W.get()) for layer in model.layers.layers if hasattr(layer, "W")]
    assert all((one != other).any() for one, other in zip(before, after, strict=True))
    assert (model.current_batch, model.gen_iter) == (12, 5)
    assert np.isfinite(model.total_cost).all()
    assert model.noise_batch.shape == model.data_batch.shape == (16, 8)
    import h5py

    with h5py.File(tmp_path / "gan.h5", "r") as file:
        steps = file["gan/gen_iter"][:]
    assert list(steps[steps > 0]) == [1, 2, 3, 4, 5]


def test_the_discriminator_of_a_wasserstein_gan_stays_within_its_bounds():
    model, cost = gan("wasserstein", wgan_param_clamp=0.01)
    model.initialize(data(), cost)
    model.clip_param_in_layers(model.layers.discriminator.layers_to_optimize, model.wgan_param_clamp)
    assert all(abs(layer.W.get()).max() <= 0.01 for layer in model.layers.discriminator.layers_to_optimize)
    assert max(abs(layer.W.get()).max() for layer in model.layers.generator.layers_to_optimize) > 0.01


def test_the_schedule_of_critics():
    model, _ = gan("wasserstein", k=5, wgan_train_sched=True)
    assert [model.get_k(step) for step in (0, 24, 25, 499, 500, 501)] == [100, 100, 5, 5, 100, 5]


def test_a_generator_that_is_never_trained_is_told():
    model, cost = gan("modified", k=100)
    with pytest.raises(
        ArgumentError, match="the generator was not trained in an epoch of 6 minibatches; k is 100"
    ):
        model.fit(data(), cost, GradientDescentMomentum(0.05, 0.9), 1, Callbacks(model, progress_bar=False))


def test_pictures_of_data_and_of_what_is_made(tmp_path):
    image, _ = pytest.importorskip("PIL.Image"), pytest.importorskip("matplotlib")
    pytest.importorskip("scipy.signal")
    model, cost = gan("wasserstein")
    callbacks = Callbacks(model, progress_bar=False)
    callbacks.add_callback(GANCostCallback())
    callbacks.add_callback(GANPlotCallback(str(tmp_path / "it"), hw=4, num_samples=6, padding=1))
    model.fit(data(), cost, GradientDescentMomentum(0.01, 0.9), num_epochs=1, callbacks=callbacks)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("it_data_000.png", "it_noise_000.png"),
        "it_training.png",
    ]
    pixels = np.asarray(image.open(tmp_path / "it_data_000.png"))
    assert pixels.shape == (14, 9, 3)
    first = 1.0 - model.data_batch.get()[:, 0].reshape(4, 4)
    np.testing.assert_allclose(pixels[:4, :4, 0] / 255, first, atol=1 / 255)
    with pytest.raises(ArgumentError, match="6 images of 1 × 28 × 28 are due"):
        GANPlotCallback("it", num_samples=6).on_epoch_end({}, model, 0)
