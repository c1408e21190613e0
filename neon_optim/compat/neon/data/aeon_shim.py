"""neon's door to aeon, Intel's loader of images, audio and video, where that is installed."""

from __future__ import annotations

from typing import Any

from neon_optim.compat.neon.data.dataloaderadapter import DataLoaderAdapter
from neon_optim.errors import DataError

__all__ = ["AeonDataLoader"]


def AeonDataLoader(config: Any, adapter: bool = True) -> Any:  # noqa: N802
    """aeon's loader for a config of its own, with minibatches as neon's models want them.

    Arguments:
        config: aeon's.
        adapter: give tensors; otherwise aeon's loader itself.

    Raises:
        DataError: aeon is not installed.
    """
    try:
        from aeon import DataLoader
    except ImportError as error:
        raise DataError(
            "this program reads its data with aeon, which is not installed: https://github.com/NervanaSystems/aeon "
            "(for Python 3.6 and earlier). Give the data in arrays (neon.data.ArrayIterator) or in HDF5 files "
            "(neon.data.HDF5Iterator)"
        ) from error
    loader = DataLoader(config)
    return DataLoaderAdapter(loader) if adapter else loader
