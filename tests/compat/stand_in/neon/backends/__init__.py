import numpy as np

from neon import NervanaObject
from neon.backends import nervanacpu  # noqa: F401 (it registers its backend)
from neon.backends.backend import Backend


def gen_backend(backend="cpu", rng_seed=None, datatype=np.float32, batch_size=0, **options):
    cleanup_backend()
    made = Backend.backends[backend](
        rng_seed=rng_seed,
        default_dtype=datatype,
        stochastic_round=False,
        device_id=0,
        num_devices=0,
        compat_mode=None,
        deterministic=None,
        **options,
    )
    NervanaObject.be = made
    made.bsz = batch_size
    return made


def cleanup_backend():
    if NervanaObject.be is not None:
        NervanaObject.be.cleanup_backend()
        NervanaObject.be = None
