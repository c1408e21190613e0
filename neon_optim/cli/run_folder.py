"""The folder of a training run: what is in it, who may use it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from neon_optim.cli.same_settings import ChangedSetting, differences
from neon_optim.described.listing import first_lines
from neon_optim.errors import RunError

__all__ = ["RunFolder", "check_same_data", "check_same_settings"]

#: Settings that may change when a run is resumed: they decide how long and where it runs, not what it computes.
FREE_TO_CHANGE = (
    *(
        "epochs",
        "backend",
        "engine",
        "device_id",
        "deterministic",
        "checkpoint",
        "stop",
        "metrics",
        "loggers",
        "distributed.bucket_mb",
        "distributed.timeout",
    ),
)

_PARENT = Path("runs")


class _TakenError(RunError):
    """Another process is at work in a folder."""


class RunFolder:
    """A folder with ``config.yaml``, ``metrics.jsonl``, ``checkpoints/`` and ``training.png``.

    Arguments:
        path: the folder; it need not exist.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._stem: str | None = None

    @classmethod
    def numbered(cls, config: str) -> RunFolder:
        """``runs/<name of the config>-<number>``, with the next number that nobody has when it is `locked`."""
        stem = Path(config).stem
        folder = cls(cls._of_number(stem, max(_numbers(stem), default=0) + 1))
        folder._stem = stem
        return folder

    @classmethod
    def last(cls, config: str) -> RunFolder:
        """``runs/<name of the config>-<number>`` with the highest number that there is, or a new one."""
        stem = Path(config).stem
        numbers = _numbers(stem)
        return cls(cls._of_number(stem, max(numbers))) if numbers else cls.numbered(config)

    @staticmethod
    def _of_number(stem: str, number: int) -> Path:
        return _PARENT / f"{stem}-{number}"

    @property
    def config(self) -> Path:
        """All settings."""
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        """The log."""
        return self.path / "metrics.jsonl"

    @property
    def table(self) -> Path:
        """The epochs as CSV, where they are asked for."""
        return self.path / "metrics.csv"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def picture(self) -> Path:
        """Cost and learning rate."""
        return self.path / "training.png"

    def holds_run(self) -> bool:
        """Whether a run has been here."""
        return any(
            os.path.lexists(place)
            for place in (self.config, self.metrics, self.table, self.checkpoints, self.picture)
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
        fd = self._lock() if self._stem is None else self._take_number(self._stem)
        try:
            yield
        finally:
            os.close(fd)

    def _take_number(self, stem: str) -> int:
        """Make the folder of the next number that nobody has; its lock."""
        number = 0
        while True:
            number = max([number, *_numbers(stem)]) + 1
            self.path = self._of_number(stem, number)
            try:
                _PARENT.mkdir(parents=True, exist_ok=True)
                self.path.mkdir()
            except FileExistsError as error:
                if not _PARENT.is_dir():
                    raise self._cannot_be_created(error) from error
                continue  # another process was faster
            except OSError as error:
                raise self._cannot_be_created(error) from error
            with contextlib.suppress(_TakenError):  # somebody resumes it already
                fd = self._lock()
                if not self.holds_run():
                    self._stem = None  # it has its number
                    return fd
                os.close(fd)

    def _lock(self) -> int:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise self._cannot_be_created(error) from error
        try:
            if not os.access(self.path, os.W_OK | os.X_OK):
                raise RunError(f"the folder {str(self.path)!r} is not writable: check its owner and mode")
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(fd)
            raise _TakenError(
                f"another process is training in {str(self.path)!r}: wait for its end, or give another folder with -s"
            ) from error
        except OSError:  # a file system without locks
            pass
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _cannot_be_created(self, error: OSError) -> RunError:
        return RunError(f"the folder {str(self.path)!r} cannot be created: {error.strerror}")

    def read_settings(self) -> Any:
        """The config of the run that has been here: ``config.yaml``; where that is missing, what the newest readable
        checkpoint says. None if the run did not come that far.

        Raises:
            ConfigError: the file is damaged.
            RunError: there are checkpoints, but nothing tells the settings that they were trained with.
        """
        from neon_optim.errors import CheckpointError
        from neon_optim.serialization import dump_config, load_config
        from neon_optim.serialization.checkpoint import training_state
        from neon_optim.serialization.checkpoint.manager import CheckpointManager
        from neon_optim.serialization.checkpoint.stored import read_state

        if self.config.exists():
            return load_config(self.config)
        manager = CheckpointManager(self.checkpoints)
        steps = manager.steps()
        for step in reversed(steps):
            with contextlib.suppress(CheckpointError):
                extra = training_state.decode(read_state(manager.path(step)).get("extra"))
                if isinstance(extra, dict) and isinstance(extra.get("config"), dict):
                    return load_config(dump_config(extra["config"]))
        if steps:
            raise RunError(
                f"the settings of the run in {str(self.path)!r} are not known: {str(self.config)!r} is missing, and no "
                "checkpoint there tells them. Put the file back, or start a new run in another folder with -s"
            )
        return None

    def picture_is_due(self) -> bool:
        """Whether the picture is missing, or older than the log."""
        try:
            return self.picture.stat().st_mtime < self.metrics.stat().st_mtime
        except FileNotFoundError:
            return self.metrics.exists()

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


def _numbers(stem: str) -> list[int]:
    """Which folders ``runs/<stem>-<number>`` there are."""
    pattern = re.compile(re.escape(stem) + r"-(\d{1,9})")
    try:
        return [int(match[1]) for match in map(pattern.fullmatch, os.listdir(_PARENT)) if match]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RunError(
            f"the folder {str(_PARENT)!r} cannot be read: {error.strerror}; give a folder with -s"
        ) from error


def check_same_settings(
    folder: RunFolder, stored: Mapping[str, Any], given: Mapping[str, Any], changed: Sequence[str] = ()
) -> list[ChangedSetting]:
    """Raise `RunError` if a run that is to be continued was started with other settings.

    Arguments:
        changed: paths whose values are to be others, with all that they hold.

    Returns:
        What is another of these.
    """
    from neon_optim.serialization.config.overrides import split_path

    asked = [_from_front(split_path(path), given) for path in changed]
    found, wanted = [], []
    for difference in differences(stored, given):
        parts = split_path(difference.path) or [difference.path.partition(".")[0]]
        if any(parts[: len(path)] == path[: len(parts)] for path in asked):
            wanted.append(difference)
        elif not any(f"{difference.path}.".startswith(f"{free}.") for free in FREE_TO_CHANGE):
            found.append(str(difference))
    if found:
        raise RunError(
            "\n".join(
                [
                    f"the run in {str(folder.path)!r} has other settings, so it cannot be continued exactly:",
                    *first_lines(found),
                    *_how_to_continue(folder),
                    "go on with others by --change, or start a new one in another folder.",
                ]
            )
        )
    return wanted


def _from_front(parts: list[str], values: Any) -> list[str]:
    """A path whose numbers of items all count from the front."""
    found = []
    for part in parts:
        if isinstance(values, list) and re.fullmatch(r"-?\d{1,9}", part):
            number = int(part) + (len(values) if part.startswith("-") else 0)
            part, values = str(number), values[number] if 0 <= number < len(values) else None
        else:
            values = values.get(part) if isinstance(values, Mapping) else None
        found.append(part)
    return found


def _how_to_continue(folder: RunFolder) -> list[str]:
    if not folder.config.exists():
        return []
    command = ["neon-optim", "train", str(folder.config), "-s", str(folder.path), "--resume"]
    return [f"continue it with its own: {shlex.join(command)}"]


def check_same_data(folder: RunFolder, extra: Any, digest: str) -> None:
    """Raise `RunError` if a run that is to be continued was trained on other data, by what its checkpoint says."""
    known = extra.get("data", digest) if isinstance(extra, dict) else digest
    if known != digest:
        raise RunError(
            f"the run in {str(folder.path)!r} was trained on other data, so it cannot be continued exactly:\n"
            f"  SHA-256 of the training data: {known} in the run, {digest} now\n"
            "put the data back as it was, or start a new run in another folder."
        )
