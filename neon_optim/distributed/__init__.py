"""Many processes that train one model: gradients joined in one fixed order, the optimizer's state shared out."""

from neon_optim.distributed.distributed import Distributed

__all__ = ["Distributed"]
