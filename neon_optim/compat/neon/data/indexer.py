"""An index of the files in a folder, by the folders below it, which are their classes."""

from __future__ import annotations

import glob
import os

from neon_optim.compat.display_logger import logger
from neon_optim.described.object import NervanaObject
from neon_optim.errors import DataError

__all__ = ["Indexer"]


class Indexer(NervanaObject):
    """Writes ``filename,label1`` lines: the files of each folder below ``path``, with the number of that folder.

    Arguments:
        path: the folder of the folders.
        index_file: path of the index.
        pattern: which files.
    """

    def __init__(self, path: str, index_file: str, pattern: str = "*") -> None:
        super().__init__()
        self.path = path
        self.index_file = index_file
        self.pattern = pattern

    def run(self) -> None:
        """Write the index, unless it is there.

        Raises:
            DataError: the folder is not there.
        """
        if os.path.exists(self.index_file):
            return
        if not os.path.isdir(self.path):
            raise DataError(f"there is no folder {self.path} to index")
        classes = sorted(entry.name for entry in os.scandir(self.path) if entry.is_dir())
        with open(self.index_file, "w", encoding="utf-8") as index:
            index.write("filename,label1\n")
            for number, name in enumerate(classes):
                for file in sorted(glob.glob(os.path.join(glob.escape(self.path), name, self.pattern))):
                    index.write(f"{name}/{os.path.basename(file)},{number}\n")
        logger.info("wrote the index %s", self.index_file)
