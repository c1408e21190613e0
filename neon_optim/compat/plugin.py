"""Our backends as backends of Intel's neon: import this module, then name one.

::

    import neon_optim.compat.plugin
    from neon.backends import gen_backend
    be = gen_backend(backend="neon_optim", batch_size=128)

neon's classes register themselves when they are defined, so that ``-b neon_optim`` on the command line of a neon
program works too, once this module is imported.
"""

from __future__ import annotations

from neon_optim.compat.neon_there import require_neon

require_neon()

from neon_optim.compat.inside.device_backend import NeonOptimGPU  # noqa: E402 (they need neon)
from neon_optim.compat.inside.host_backend import NeonOptimCPU  # noqa: E402

__all__ = ["NeonOptimCPU", "NeonOptimGPU"]
