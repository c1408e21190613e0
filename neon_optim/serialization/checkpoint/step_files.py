"""The checkpoints in a folder, by their steps: their names, which there are, how they are deleted."""

from __future__ import annotations

import contextlib
import os
import re

from neon_optim.errors import CheckpointError
from neon_optim.serialization.checkpoint import shard_index, sharded

__all__ = ["StepFiles"]

_NAME = re.compile(r"step-(\d{9,18})\.(safetensors|sharded)")


class StepFiles:
    """``step-000000123.safetensors``, or ``step-000000123.sharded``, a folder, where processes have saved together.

    A step that has both (a save was killed between writing the one and deleting the other) is its file.

    Arguments:
        folder: that holds them; it need not exist.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def file(self, step: int) -> str:
        """The name of an ordinary checkpoint."""
        return os.path.join(self.folder, f"step-{step:09d}.safetensors")

    def shards(self, step: int) -> str:
        """The name of a sharded one."""
        return os.path.join(self.folder, f"step-{step:09d}.sharded")

    def path(self, step: int) -> str:
        """What a step has; its file, where it has nothing."""
        file, shards = self.file(step), self.shards(step)
        return shards if shard_index.is_sharded(shards) and not os.path.lexists(file) else file

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, in order; it may be damaged.

        Raises:
            CheckpointError: the folder cannot be read.
        """
        found = set()
        for name in self._names():
            match = _NAME.fullmatch(name)
            if match is not None and (
                match[2] == "safetensors" or shard_index.is_sharded(os.path.join(self.folder, name))
            ):
                found.add(int(match[1]))
        return sorted(found)

    def _names(self) -> list[str]:
        try:
            return os.listdir(self.folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise CheckpointError(f"cannot read {self.folder!r}: {error.strerror}") from error

    def identity(self, step: int) -> tuple[int, int] | None:
        """Differs when a step was saved again; None: it has no checkpoint."""
        path = self.path(step)
        try:
            found = os.lstat(shard_index.index_file(path) if shard_index.is_sharded(path) else path)
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    def delete(self, step: int) -> None:
        """Delete the checkpoint of a step; without one nothing is done.

        Raises:
            OSError: it cannot be deleted.
        """
        self.delete_file(step)
        self.delete_shards(step)

    def delete_file(self, step: int) -> None:
        """Delete the ordinary checkpoint of a step."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.file(step))

    def delete_shards(self, step: int) -> None:
        """Delete the sharded checkpoint of a step."""
        if shard_index.is_sharded(self.shards(step)):
            sharded.delete(self.shards(step))

    def sweep(self) -> None:
        """Delete what killed processes have left of sharded checkpoints that they were saving, or deleting."""
        for name in self._names():
            match = _NAME.fullmatch(name)
            if match is not None and match[2] == "sharded":
                sharded.sweep(os.path.join(self.folder, name))
