#!/usr/bin/env python3
"""Builds the emulated driver: build.py FOLDER makes FOLDER/libcuda.so.1. Needs g++ and cuda.h."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HOME = Path(__file__).resolve().parent
ENTRY_POINT = re.compile(r"\bcu[A-Z]\w*(?=\()")
NOT_SUPPORTED = 801


class BuildError(Exception):
    """The emulated driver cannot be built; the message says what is missing."""


def toolkit() -> Path:
    """The folder of the CUDA toolkit, by CUDA_HOME, CUDA_ROOT or the usual place."""
    for folder in (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_ROOT"), "/usr/local/cuda"):
        if folder and (Path(folder) / "include" / "cuda.h").is_file():
            return Path(folder)
    raise BuildError("no cuda.h: install the CUDA toolkit and point CUDA_HOME at it")


def source_digest() -> str:
    """Changes with every source that takes part in the build or in the translation of kernels."""
    digest = hashlib.sha256(str(HOME).encode())  # the library knows where the translator lies
    for path in sorted([*HOME.glob("driver/*"), *HOME.glob("ptx2c/*.py"), Path(__file__)]):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def cached_library(cache: Path) -> Path:
    """The library for these sources, built at the first call and found in ``cache`` later."""
    folder = cache / f"driver-{source_digest()}"
    if not (folder / "libcuda.so.1").exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            made = Path(scratch) / "driver"
            build(made)
            try:
                made.rename(folder)
            except OSError:  # another process was faster
                if not folder.exists():
                    raise
    return folder / "libcuda.so.1"


def build(folder: Path) -> Path:
    """Compiles the driver into ``folder`` and returns the library."""
    include = f"-I{toolkit() / 'include'}"
    folder.mkdir(parents=True, exist_ok=True)
    definitions = [f'-DCUDASIM_HOME="{HOME}"', f'-DCUDASIM_SOURCE_DIGEST="{source_digest()}"']
    objects = []
    for source in sorted(HOME.glob("driver/*.cpp")):
        objects.append(folder / f"{source.stem}.o")
        _run("g++", "-std=c++17", "-O1", "-g", "-fPIC", "-Wall", "-Wno-format-security", "-Wno-clobbered",
             "-fvisibility=hidden", include, *definitions, "-c", source, "-o", objects[-1])  # fmt: skip
    stubs = folder / "stubs.c"
    stubs.write_text(
        "".join(f"int {name}(void) {{ return {NOT_SUPPORTED}; }}\n" for name in _missing(objects, include))
    )
    library = folder / "libcuda.so.1"
    _run("gcc", "-fPIC", "-c", stubs, "-o", folder / "stubs.o")
    _run("g++", "-shared", "-Wl,-soname,libcuda.so.1", "-o", library, *objects, folder / "stubs.o", "-ldl")
    (folder / "libcuda.so").symlink_to("libcuda.so.1")  # what the linker looks for when PyCUDA is built
    for made in [*objects, stubs, folder / "stubs.o"]:
        made.unlink()
    return library


def _missing(objects: list[Path], include: str) -> list[str]:
    """The entry points that cuda.h declares and our objects do not define."""
    declared = ENTRY_POINT.findall(
        _run("gcc", "-E", "-P", include, "-include", "cuda.h", "-x", "c", "/dev/null")
    )
    defined = re.findall(r" T (cu[A-Z]\w*)", _run("nm", "--defined-only", *objects))
    return sorted(set(declared) - set(defined))


def _run(*command: object) -> str:
    try:
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise BuildError(f"no {command[0]}: install a C++ compiler") from None
    except subprocess.CalledProcessError as error:
        raise BuildError(f"{command[0]} failed:\n{error.stderr}") from None
    return done.stdout


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} FOLDER")
    print(build(Path(sys.argv[1])))
