"""The folder of a training run: what is in it, who may use it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from neon_optim.errors import ConfigProblem, RunError, shown

__all__ = ["RunFolder", "check_same_data", "check_same_settings"]

#: Settings that may change when a run is resumed: they decide how long and where it runs, not what it computes.
FREE_TO_CHANGE = ("epochs", "backend", "engine", "device_id", "checkpoint")


class RunFolder:
    """A folder with ``config.yaml``, ``metrics.jsonl``, ``checkpoints/`` and ``training.png``.

    Arguments:
        path: the folder; it need not exist.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.metrics = self.path / "metrics.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.picture = self.path / "training.png"

    @classmethod
    def default(cls, config: str, resume: bool) -> RunFolder:
        """``runs/<name of the config>-<number>``: the next number; to resume, the last one that there is."""
        stem = Path(config).stem
        parent = Path("runs")
        pattern = re.compile(re.escape(stem) + r"-(\d{1,9})")
        numbers = []
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            numbers = [int(match[1]) for match in map(pattern.fullmatch, os.listdir(parent)) if match]
        if resume and numbers:
            return cls(parent / f"{stem}-{max(numbers)}")
        return cls(parent / f"{stem}-{max(numbers, default=0) + 1}")

    def holds_run(self) -> bool:
        """Whether a run has been here."""
        return any(
            os.path.lexists(place) for place in (self.config, self.metrics, self.checkpoints, self.picture)
        )

    def refuse_other_run(self) -> None:
        """Raise `RunError` if a run has been here."""
        if self.holds_run():
            raise RunError(
                f"the folder {str(self.path)!r} already holds a run: add --resume to continue it, or give a new folder "
                "with -s"
            )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Create the folder and keep other processes out while the block runs.

        Raises:
            RunError: it cannot be created or written, or another process is at work in it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise RunError(f"the folder {str(self.path)!r} cannot be created: {error.strerror}") from error
        try:
            if not os.access(self.path, os.W_OK | os.X_OK):
                raise RunError(f"the folder {str(self.path)!r} is not writable: check its owner and mode")
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno == errno.EWOULDBLOCK:
                    raise RunError(
                        f"another process is training in {str(self.path)!r}: wait for its end, or give another folder"
                    ) from error
            yield
        finally:
            os.close(fd)

    def read_config(self) -> dict[str, Any] | None:
        """The settings of the run that has been here; None if it did not come that far.

        Raises:
            ConfigError: the file is damaged.
        """
        from neon_optim.serialization import load_config

        return dict(load_config(self.config)) if self.config.exists() else None

    def write_config(self, values: Mapping[str, Any]) -> None:
        """Write the settings, whole or not at all."""
        from neon_optim.serialization import dump_config
        from neon_optim.serialization.durable import replacing

        text = (
            "# The settings of this run, in full. `neon-optim train <this file>` repeats it.\n"
            + dump_config(values)
        )
        with replacing(self.config) as file:
            file.write(text.encode("utf-8"))


def check_same_settings(folder: RunFolder, stored: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise `RunError` if a run that is to be continued was started with other settings."""
    differences = [
        str(ConfigProblem(f"{shown(stored.get(key))} in the run, {shown(given.get(key))} now", path=key))
        for key in sorted({*stored, *given} - set(FREE_TO_CHANGE))
        if stored.get(key) != given.get(key)
    ]
    if differences:
        raise RunError(
            "\n".join(
                [
                    f"the run in {str(folder.path)!r} has other settings, so it cannot be continued exactly:",
                    *(f"  {difference}" for difference in differences),
                    f"continue it with its own: neon-optim train {folder.config} -s {folder.path} --resume",
                    "or start a new one in another folder.",
                ]
            )
        )


def check_same_data(folder: RunFolder, extra: Any, digest: str) -> None:
    """Raise `RunError` if a run that is to be continued was trained on other data, by what its checkpoint says."""
    known = extra.get("data", digest) if isinstance(extra, dict) else digest
    if known != digest:
        raise RunError(
            f"the run in {str(folder.path)!r} was trained on other data, so it cannot be continued exactly:\n"
            f"  SHA-256 of the training data: {known} in the run, {digest} now\n"
            "put the data back as it was, or start a new run in another folder."
        )
