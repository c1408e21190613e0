"""The base of neon's stock datasets: files in a folder, and iterators over what is in them."""

from __future__ import annotations

import os
import posixpath
import zipfile
from typing import Any, NoReturn

from neon_optim.described.object import NervanaObject
from neon_optim.errors import CheckpointError, DataError
from neon_optim.serialization.neon.pickle_data import read_pickle_data

__all__ = ["Dataset"]

_LARGEST_PICKLE = 1 << 31
_MOST_VALUES = 100_000_000


class Dataset(NervanaObject):
    """Files of a dataset in a folder, and the iterators over its parts.

    Nothing is downloaded: a file that is not there is an error that names the path and the address.

    Arguments:
        filename: name of the file, or names of the files.
        url: where it is to be had, without the name.
        size: bytes of the file, for the message where it is missing.
        path: the folder.
        subset_pct: how many percent of the samples to use.
    """

    def __init__(self, filename: Any, url: str, size: Any, path: str = ".", subset_pct: float = 100) -> None:
        super().__init__(name=None)
        if not 0 < subset_pct <= 100:
            raise DataError(f"subset_pct must be above 0 and at most 100, received {subset_pct!r}")
        self.filename = filename
        self.url = url
        self.size = size
        self.path = path
        self.subset_pct = subset_pct
        self._data_dict: dict[str, Any] | None = None

    def serialize(self) -> dict[str, Any]:
        """What describes this object."""
        return self.get_description()

    def load_zip(self, filename: str, size: Any) -> str:
        """The path of a file of the dataset; of an archive ``x.zip``, which is unpacked beside it, that of ``x``.

        Raises:
            DataError: it is not there, or is no archive.
        """
        folder, filepath = self._valid_path_append(self.path, "", filename)
        if not os.path.exists(filepath):
            self.fetch_dataset(self.url, filename, filepath, size)
        if ".zip" not in filepath:
            return filepath
        try:
            with zipfile.ZipFile(filepath) as archive:
                archive.extractall(folder)
        except (zipfile.BadZipFile, OSError) as error:
            raise DataError(f"{filepath} cannot be unpacked: {error}") from error
        return filepath.split(".zip")[0]

    @staticmethod
    def _valid_path_append(path: str, *args: str) -> Any:
        """The folder, made where it is not there, with each of the names behind it: a list where there are several.

        Raises:
            DataError: the path is not that of a folder.
        """
        folder = os.path.expanduser(path)
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise DataError(f"the folder of the data, {path}, cannot be made: {error}") from error
        found = [os.path.join(folder, name) for name in args]
        return found if len(found) > 1 else found[0] if found else path

    @staticmethod
    def fetch_dataset(url: str, sourcefile: str, destfile: str, totalsz: Any) -> NoReturn:
        """Tell where the file is to be had and where to put it.

        Raises:
            DataError: always.
        """
        about = f" ({totalsz / 1e6:,.1f} MB)" if isinstance(totalsz, (int, float)) and totalsz > 1e4 else ""
        raise DataError(
            f"the file {destfile} is not there, and nothing is downloaded by itself. "
            f"Fetch {posixpath.join(url, sourcefile)}{about} and put it there"
        )

    def gen_iterators(self) -> dict[str, Any]:
        """The iterators by the names of the parts ('train', 'valid', …); a subclass makes them."""
        raise NotImplementedError(f"{self.classnm} does not say what its parts are: it lacks gen_iterators()")

    @property
    def data_dict(self) -> dict[str, Any]:
        """The iterators by the names of the parts, made when they are first asked for."""
        if self._data_dict is None:
            self._data_dict = self.gen_iterators()
        return self._data_dict

    def get_iterator(self, setname: str) -> Any:
        """The iterator over one part.

        Raises:
            DataError: there is no such part.
        """
        if setname not in self.data_dict:
            raise DataError(f"{self.classnm} has no part {setname!r}, only {', '.join(self.data_dict)}")
        return self.data_dict[setname]

    @property
    def train_iter(self) -> Any:
        """The iterator over 'train'."""
        return self.get_iterator("train")

    @property
    def valid_iter(self) -> Any:
        """The iterator over 'valid'."""
        return self.get_iterator("valid")

    @property
    def test_iter(self) -> Any:
        """The iterator over 'test'."""
        return self.get_iterator("test")


def plain_pickle(file: Any, name: str) -> Any:
    """The arrays and plain values of a pickle in an open file, read without running anything in it.

    Raises:
        DataError: damage, or something else in it.
    """
    try:
        data = file.read(_LARGEST_PICKLE + 1)
        if len(data) > _LARGEST_PICKLE:
            raise DataError(f"{name} holds more than {_LARGEST_PICKLE:,} bytes")
        return read_pickle_data(data, name, max_values=_MOST_VALUES)
    except (CheckpointError, OSError, EOFError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{name} cannot be read as a pickle of arrays: {error}") from error
