"""Data of the users: files of tables, arrays and images, as datasets."""

from __future__ import annotations

from neon_optim.data.array_datasets import Npy, Npz
from neon_optim.data.image_folders import Images
from neon_optim.data.table_datasets import Csv, Parquet

__all__ = ["Csv", "Images", "Npy", "Npz", "Parquet"]
