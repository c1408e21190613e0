"""Data of the users: files of tables, arrays and images, as datasets."""

from __future__ import annotations

from neon_optim.data.array_datasets import Hdf5, Idx, Npy, Npz
from neon_optim.data.image_folders import Images
from neon_optim.data.table_datasets import Csv, Parquet

__all__ = ["Csv", "Hdf5", "Idx", "Images", "Npy", "Npz", "Parquet"]
