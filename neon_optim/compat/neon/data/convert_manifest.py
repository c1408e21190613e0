"""Manifests of aeon before 1.0 (fields between commas) → those since (between tabs, with a header)."""

from __future__ import annotations

import argparse
import pathlib

from neon_optim.errors import DataError

__all__ = ["convert_manifest"]


def convert_manifest(source_manifest: str, output_manifest: str | None = None) -> None:
    """Write a manifest in the form that aeon 1.0 and later reads.

    Arguments:
        source_manifest: path of the old one.
        output_manifest: path of the new one; default: in the place of the old one.

    Raises:
        DataError: the file cannot be read or written.
    """
    try:
        lines = pathlib.Path(source_manifest).read_text(encoding="utf-8").splitlines()
        fields = lines[0].count(",") + 1 if lines else 0
        header = ["@" + "\t".join(["FILE"] * fields)] if fields else []
        text = "".join(f"{line}\n" for line in [*header, *(line.replace(",", "\t") for line in lines)])
        pathlib.Path(output_manifest or source_manifest).write_text(text, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the manifest {source_manifest} cannot be converted: {error}") from error


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest_file", required=True, help="the manifest")
    parser.add_argument("--destination", help="where the new one goes; default: in its place")
    arguments = parser.parse_args()
    convert_manifest(arguments.manifest_file, arguments.destination)
