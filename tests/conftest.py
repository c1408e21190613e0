"""The CUDA driver of a run: real, emulated or none (--gpu). Without one, tests marked ``gpu`` are skipped."""

from __future__ import annotations

import gc
import os

import pytest
from cudasim import session

collect_ignore_glob = ["conftest.py", "*/conftest.py"]  # they hold no doctests, and share one module name

DRIVER = pytest.StashKey[session.Driver]()
SELECTED = pytest.StashKey[bool]()  # whether the run has GPU tests


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--gpu",
        choices=session.MODES,
        default=os.environ.get("NEON_OPTIM_TEST_GPU", "auto"),
        help="driver for the GPU tests: a real device where there is one, else the emulated driver (auto); "
        "or one of them and nothing else; or off",
    )


def pytest_configure(config: pytest.Config) -> None:
    try:
        config.stash[DRIVER] = session.start(config.getoption("--gpu"))
    except session.UnavailableError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_report_header(config: pytest.Config) -> str:
    driver = config.stash[DRIVER]
    return f"gpu: {driver.description}" + (" (GPU tests are skipped)" if driver.kind == "none" else "")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Says it again at the end, since -q hides the header."""
    if config.stash.get(SELECTED, False):
        terminalreporter.write_line(pytest_report_header(config))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    driver = config.stash[DRIVER]
    config.stash[SELECTED] = any(item.get_closest_marker("gpu") for item in items)
    if driver.kind == "none":
        skip = pytest.mark.skip(reason=f"no CUDA driver: {driver.description}")
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(skip)


def pytest_collection_finish() -> None:
    """What is alive before the first test stays: the garbage collector, which many tests call, need not look at it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def gpu_driver(pytestconfig: pytest.Config) -> session.Driver:
    """The driver of this run."""
    return pytestconfig.stash[DRIVER]
