"""neon's command line: the options of its scripts, from arguments and files; logging and the backend by them."""

from __future__ import annotations

import argparse
import inspect
import logging
import os
import sys
from collections.abc import Callable, Sequence
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import numpy as np

from neon_optim.compat import config_file
from neon_optim.compat.display_logger import logger
from neon_optim.compat.neon.backends import gen_backend
from neon_optim.compat.neon.backends.backend import Backend
from neon_optim.compat.neon.callbacks.callbacks import Callbacks
from neon_optim.compat.neon.version import VERSION
from neon_optim.errors import BackendError, ConfigError, RegistryError

__all__ = ["NeonArgparser", "extract_valid_args"]

_TYPES = {"f16": np.float16, "f32": np.float32, "f64": np.float64}
_PATHS = ("data_dir", "save_path", "model_file", "output_file", "logfile")
_NOT_HERE = {
    "log_token": "neon's cloud is gone: nothing is sent there; the metrics are in the file of --output_file",
    "profile": "it has no effect",
    "profile_inference": "it has no effect",
}
"""What is said about options that neon has and that do nothing here, when they are used."""

_our_handlers: list[logging.Handler] = []


def extract_valid_args(
    args: argparse.Namespace, func: Callable[..., Any], startidx: int = 0
) -> dict[str, Any]:
    """What is in ``args`` under the names of the arguments of ``func``.

    Arguments:
        args: parsed arguments.
        func: the function; of a class without an instance its ``__init__``.
        startidx: how many of its first arguments to leave out.
    """
    names = list(inspect.signature(func).parameters)[startidx:]
    return {name: value for name, value in vars(args).items() if name in names}


class NeonArgparser(argparse.ArgumentParser):
    """The options of neon's scripts, to which a script adds its own with ``add_argument``.

    A value comes from the command line, else from the file of ``--config``, else from ``~/nervana/neon.cfg``, else
    it is the default. The first argument is the description for ``--help`` as in neon: what is not wrapped anew.

    Arguments:
        default_config_files: files to read instead of ``~/nervana/neon.cfg``; later ones come first.
        default_overrides: other defaults, by the names of the options.
        add_config_file_help: of ConfigArgParse; without effect.
        args, options: as of ``argparse.ArgumentParser``.

    Attributes:
        work_dir: neon's folder, ``~/nervana``.
        defaults: the other defaults.
    """

    def __init__(
        self,
        *args: Any,
        default_config_files: Sequence[str] | None = None,
        default_overrides: dict[str, Any] | None = None,
        add_config_file_help: bool = False,
        **options: Any,
    ) -> None:
        self._PARSED = False
        self._config_options: list[str] = []
        self.work_dir = os.path.join(os.path.expanduser("~"), "nervana")
        self.defaults = dict(default_overrides or {})
        files = (
            [os.path.join(self.work_dir, "neon.cfg")]
            if default_config_files is None
            else default_config_files
        )
        self._default_config_files = [Path(file).expanduser() for file in files]
        super().__init__(
            description=options.pop("description", args[0] if args else None),
            formatter_class=options.pop("formatter_class", _Help),
            **options,
        )
        self.setup_default_args()
        self.set_defaults(**self.defaults)

    def setup_default_args(self) -> None:
        """Add neon's options."""
        self.add_argument("--version", action="version", version=VERSION)
        self.add_argument("-c", "--config", is_config_file=True, help="file to read options from")
        self.add_argument("-v", "--verbose", action="count", default=1, help="say more; twice: more still")
        self.add_argument("--no_progress_bar", action="store_true", help="show no bar of progress and cost")
        self._add_benchmark_options(self.add_argument_group("benchmark").add_argument)
        self._add_runtime_options(self.add_argument_group("runtime").add_argument)
        self._add_backend_options(self.add_argument_group("backend").add_argument)

    def _add_benchmark_options(self, add: Callable[..., Any]) -> None:
        add("--profile", action="store_true", help="no effect here")
        add("--profiling_method", type=str, default="time", help="no effect here")
        add("--profile_inference", action="store_true", help="no effect here")
        add("--profile_iterations", type=int, default=50, help="no effect here")
        add("--profile_iter_skip", type=int, default=5, help="no effect here")

    def _add_runtime_options(self, add: Callable[..., Any]) -> None:
        add("-w", "--data_dir", default=os.path.join(self.work_dir, "data"), help="folder of the datasets")
        add("-e", "--epochs", type=int, default=10, help="passes over the data")
        add("-s", "--save_path", type=str, default=None, help="file to save the model in")
        add("--serialize", nargs="?", type=int, default=0, const=1, metavar="N", help="save each N epochs")
        add("--model_file", help="file to load the model from")
        add(
            "-l",
            "--log",
            dest="logfile",
            nargs="?",
            const=os.path.join(self.work_dir, "neon_log.txt"),
            help="file to log to",
        )
        add("-o", "--output_file", default=None, help="HDF5 file for the metrics of the run")
        add("-eval", "--eval_freq", type=int, default=None, help="validate each so many epochs")
        add("-H", "--history", type=int, default=1, help="how many files of the model to keep")
        add("--log_token", type=str, default="", help="of neon's cloud; no effect here")
        add("--manifest", action="append", help="name:path of a manifest of aeon")
        add("--manifest_root", type=str, default=None, help="folder that paths in manifests are relative to")

    def _add_backend_options(self, add: Callable[..., Any]) -> None:
        add("-b", "--backend", choices=Backend.backend_choices(), default="cpu", help="where to compute")
        add("-i", "--device_id", type=int, default=0, help="number of the GPU")
        add("-m", "--max_devices", type=int, default=1, help="a program computes on one device here")
        add("-r", "--rng_seed", type=int, default=None, metavar="SEED", help="seed of the random numbers")
        add(
            "-u",
            "--rounding",
            const=True,
            type=int,
            nargs="?",
            metavar="BITS",
            default=False,
            help="round stochastically, to so many bits",
        )
        add("-d", "--datatype", choices=list(_TYPES), default="f32", help="type of the numbers")
        add("-z", "--batch_size", type=int, default=128, help="samples in a minibatch")
        add("--caffe", action="store_true", help="sizes of convolution and pooling, and dropout, as in Caffe")
        add("--deterministic", action="store_true", help="the same bits on every engine and processor")

    def add_yaml_arg(self) -> None:
        """Add the argument ``yaml_file``, an open file."""
        self.add_argument("yaml_file", type=_open_file, help="file that specifies the model")

    def add_argument(self, *args: Any, **options: Any) -> argparse.Action:
        """Add an option, as in ``argparse``; one with ``is_config_file=True`` names a file to read options from."""
        if self._PARSED:
            logger.warning(
                "an argument was added after the others were parsed: parse_args may have to run again"
            )
            self._PARSED = False
        is_file = options.pop("is_config_file", False) or options.pop("is_config_file_arg", False)
        action = super().add_argument(*args, **options)
        if is_file:
            self._config_options += action.option_strings
        return action

    add = add_arg = add_argument

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As of ``argparse``, with what the files say."""
        given = list(sys.argv[1:] if args is None else args)
        try:
            files = self._files(given)
            settings: config_file.Settings = {}
            for file in files:
                settings.update(config_file.read_settings(file))
            more = config_file.as_arguments(settings, self, given, ", ".join(map(str, files)))
        except ConfigError as error:
            self.error(str(error))
        end = given.index("--") if "--" in given else len(given)
        return super().parse_known_args(given[:end] + more + given[end:], namespace)

    def _files(self, given: list[str]) -> list[Path]:
        """The files to read, those that count more last."""
        found = [file for file in self._default_config_files if file.is_file()]
        if self._config_options:
            finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
            finder.add_argument(*self._config_options, dest="files", action="append", default=[])
            found += [Path(file).expanduser() for file in finder.parse_known_args(given)[0].files]
        return found

    def parse_args(self, gen_be: bool = True, *, args: Sequence[str] | None = None) -> Any:  # type: ignore[override]
        """Parse the command line, set up logging and, unless told otherwise, the backend.

        What is wrong with an argument ends the program with a message and exit code 2, as in ``argparse``.

        Arguments:
            gen_be: make the backend.
            args: the arguments; default: those of the process.

        Returns the values by name; among them ``datatype``, a NumPy type, ``progress_bar``, ``compat_mode``, and
        ``callback_args``: those that ``Callbacks`` takes.
        """
        parsed = super().parse_args(args)
        for path in _PATHS:
            if getattr(parsed, path, None):
                setattr(parsed, path, os.path.expanduser(getattr(parsed, path)))
        parsed.progress_bar = not parsed.no_progress_bar
        self._set_up_logging(parsed)
        for option, said in _NOT_HERE.items():
            if getattr(parsed, option):
                logger.warning("--%s: %s", option, said)
        if parsed.max_devices > 1:
            logger.warning("--max_devices: one device is used")
        parsed.datatype = _TYPES[parsed.datatype] if isinstance(parsed.datatype, str) else parsed.datatype
        parsed.compat_mode = "caffe" if parsed.caffe else None
        self._look_at_files(parsed)
        parsed.manifest = parsed.manifest and self._manifests(parsed.manifest)
        if gen_be:
            try:
                gen_backend(**extract_valid_args(parsed, gen_backend))
            except (BackendError, RegistryError) as error:
                self.error(f"argument -b/--backend: {error}")
        logger.info("%s", self.format_values(parsed))
        self._PARSED = True
        self.args = parsed
        parsed.callback_args = extract_valid_args(parsed, Callbacks.__init__, startidx=1)
        return parsed

    def format_values(self, parsed: argparse.Namespace | None = None) -> str:
        """The options and their values, one a line."""
        values = vars(self.args if parsed is None else parsed)
        return "options:\n" + "\n".join(f"  {name} = {values[name]!r}" for name in sorted(values))

    def _set_up_logging(self, parsed: argparse.Namespace) -> None:
        """Log to the terminal and to the file, from the level that ``-v`` gives."""
        level = max(logging.DEBUG, logging.ERROR - parsed.verbose * 10)
        parsed.log_thresh = level
        logger.setLevel(level)
        logger.propagate = False
        terminal = logging.StreamHandler()
        handlers: list[tuple[logging.Handler, int]] = [(terminal, level)]
        if parsed.logfile:
            to_file = RotatingFileHandler(parsed.logfile, mode="w", maxBytes=10_000_000, backupCount=5)
            handlers = [(to_file, level), (terminal, logging.ERROR if parsed.progress_bar else level)]
        for handler in _our_handlers:
            logger.removeHandler(handler)
            handler.close()
        _our_handlers.clear()
        for handler, threshold in handlers:
            handler.setLevel(threshold)
            handler.setFormatter(logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s"))
            logger.addHandler(handler)
            _our_handlers.append(handler)

    def _look_at_files(self, parsed: argparse.Namespace) -> None:
        """What is known beforehand about the files of the model: a run of hours must not fail at its end."""
        if parsed.serialize > 0 and parsed.save_path is None:
            parsed.save_path = "neon_model.pkl"
            logger.warning("--serialize without --save_path: the model is saved in %s", parsed.save_path)
        if parsed.save_path is not None:
            folder = os.path.dirname(os.path.abspath(parsed.save_path))
            try:
                os.makedirs(folder, exist_ok=True)
            except OSError as error:
                self.error(f"argument -s/--save_path: the folder {folder} cannot be made: {error}")
            taken = os.path.exists(parsed.save_path)
            if taken:
                logger.warning("the file %s is there and will be overwritten", parsed.save_path)
            if not os.access(parsed.save_path if taken else folder, os.W_OK):
                self.error(f"argument -s/--save_path: {parsed.save_path} cannot be written")
            if parsed.serialize == 0:
                parsed.serialize = 1
                logger.warning("--save_path without --serialize: the model is saved after each epoch")
        if parsed.model_file and not os.access(parsed.model_file, os.R_OK):
            self.error(f"argument --model_file: {parsed.model_file} is not there or cannot be read")

    def _manifests(self, manifests: Any) -> dict[str, str]:
        if not all(":" in item for item in manifests):
            self.error(f"argument --manifest: name:path is due, received {manifests}")
        return dict(item.split(":", 1) for item in manifests)


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults behind the options, and the description as the script has it."""


def _open_file(path: str) -> Any:
    try:
        return open(path, encoding="utf-8")
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path} cannot be read: {error.strerror}") from error
