"""What programs written for neon do with its objects beyond their documented use."""

from __future__ import annotations

import numpy as np
import pytest

from neon_optim.compat.measured import Measured
from neon_optim.compat.neon.backends import cleanup_backend, gen_backend
from neon_optim.compat.neon.initializers import Gaussian
from neon_optim.compat.neon.layers import Convolution, Pooling
from neon_optim.errors import RegistryError


@pytest.fixture
def be():
    yield gen_backend("cpu", batch_size=1, rng_seed=0)
    cleanup_backend()


@pytest.mark.parametrize("layer", [lambda: Convolution((3, 3, 4), init=Gaussian()), lambda: Pooling(2)])
def test_a_layer_may_be_made_anew_for_images_of_another_size(be, layer):
    """deep_dream.py: it sets `nglayer` to None where a layer has one, before it is configured."""
    made = layer()
    assert made.nglayer is None
    for size in (6, 8):
        made.nglayer = made.outputs = None
        made.configure((3, size, size))
        made.allocate()
        image = be.array(np.ones((3, size, size)))
        assert made.fprop(image).shape == (int(np.prod(made.out_shape)), 1)
        assert np.array_equal(made.fprop(image).get(), made.fprop(image.reshape((-1, 1))).get())


def test_windows_larger_than_the_image_leave_nothing(be):
    """As neon's own test of Benchmark has it."""
    made = Pooling(3, strides=2)
    made.configure((4, 2, 2))
    made.allocate()
    assert (made.out_shape, made.outputs.shape) == ((4, 0, 0), (0, 1))


def test_what_was_measured_is_printed_as_a_number():
    error = np.array([0.125], np.float32).view(Measured)
    assert "%.1f %d" % (error * 100, error * 100) == "12.5 12"  # noqa: UP031 - as the scripts do
    assert (error[0], error.shape) == (0.125, (1,))
    with pytest.raises(ValueError):
        float(np.zeros(2).view(Measured))


def test_names_at_the_top():
    from neon_optim.compat import neon

    assert neon.load_class("neon.optimizers.Adam").__name__ == "Adam"
    for no_class in ("neon.util.persist.os", "neon.util.persist.save_obj", "os.system"):
        with pytest.raises(RegistryError):
            neon.load_class(no_class)
    assert neon.get_args(lambda a, b=3: None) == {"a": None, "b": 3}
    assert neon.DISPLAY_LEVEL_NUM == 41
