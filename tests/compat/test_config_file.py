"""Options from files: what neon's scripts find in neon.cfg."""

from __future__ import annotations

import argparse

import pytest

from neon_optim.compat.config_file import as_arguments, read_settings
from neon_optim.errors import ConfigError


@pytest.fixture
def parser():
    made = argparse.ArgumentParser()
    made.add_argument("-e", "--epochs", type=int, default=10)
    made.add_argument("-v", "--verbose", action="count", default=1)
    made.add_argument("--quiet", action="store_true")
    made.add_argument("--manifest", action="append")
    made.add_argument("--sizes", nargs="+", type=int)
    return made


def settings(tmp_path, text):
    file = tmp_path / "neon.cfg"
    file.write_text(text)
    return read_settings(file)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("epochs = 5", {"epochs": "5"}),
        ("epochs: 5", {"epochs": "5"}),
        ("epochs 5", {"epochs": "5"}),
        ("--epochs 5", {"epochs": "5"}),
        ("epochs=5  # few", {"epochs": "5"}),
        ("data_dir = '/a b/c'", {"data_dir": "/a b/c"}),
        ("url = http://x/y#z", {"url": "http://x/y#z"}),
        ("name =", {"name": ""}),
        ("quiet", {"quiet": "true"}),
        ("manifest = [train:a.csv, val:b.csv]", {"manifest": ["train:a.csv", "val:b.csv"]}),
        ("# epochs = 5", {}),
        ("; epochs = 5", {}),
        ("[section]\n\n---", {}),
    ],
)
def test_a_line(tmp_path, line, expected):
    assert settings(tmp_path, line) == expected


def test_what_is_no_line(tmp_path):
    with pytest.raises(ConfigError, match=r"neon\.cfg:2: a line like 'epochs = 5' is due"):
        settings(tmp_path, "epochs = 5\n= 7")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_settings(tmp_path / "nothing.cfg")


def test_settings_become_arguments(parser):
    given = {"epochs": "5", "verbose": "2", "quiet": "yes", "manifest": ["a", "b"], "sizes": ["1", "2"]}
    parsed = parser.parse_args(as_arguments(given, parser, [], "f"))
    assert (parsed.epochs, parsed.verbose, parsed.quiet) == (5, 3, True)
    assert (parsed.manifest, parsed.sizes) == (["a", "b"], [1, 2])
    assert as_arguments({"quiet": "no"}, parser, [], "f") == []


@pytest.mark.parametrize("line", [["-e", "3"], ["-e3"], ["--epochs", "3"], ["--epochs=3"]])
def test_the_command_line_counts_more(parser, line):
    assert as_arguments({"epochs": "5"}, parser, line, "f") == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"epoch": "5"}, "f: there is no option --epoch"),
        ({"quiet": "perhaps"}, "f: quiet is true or false, received 'perhaps'"),
        ({"epochs": ["1", "2"]}, "f: epochs takes one value"),
    ],
)
def test_a_setting_that_does_not_fit(parser, given, said):
    with pytest.raises(ConfigError, match=said):
        as_arguments(given, parser, [], "f")
