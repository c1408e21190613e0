"""neon's command line: its options, its file, logging and the backend that follow from them."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from neon_optim import NervanaObject
from neon_optim.compat.display_logger import logger
from neon_optim.compat.neon.backends import cleanup_backend, gen_backend
from neon_optim.compat.neon.util import argparser
from neon_optim.compat.neon.util.argparser import NeonArgparser, extract_valid_args


@pytest.fixture(autouse=True)
def _as_it_was(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    level, propagate = logger.level, logger.propagate
    yield
    for handler in argparser._our_handlers:
        logger.removeHandler(handler)
        handler.close()
    argparser._our_handlers.clear()
    logger.setLevel(level)
    logger.propagate = propagate
    cleanup_backend()


def parsed(*line, parser=None, gen_be=False):
    return (parser or NeonArgparser("A script.")).parse_args(gen_be, args=list(line))


def test_the_defaults_are_neons(tmp_path):
    args = parsed()
    expected = {
        "epochs": 10,
        "batch_size": 128,
        "backend": "cpu",
        "device_id": 0,
        "rng_seed": None,
        "rounding": False,
        "datatype": np.float32,
        "data_dir": str(tmp_path / "nervana" / "data"),
        "save_path": None,
        "serialize": 0,
        "history": 1,
        "eval_freq": None,
        "output_file": None,
        "model_file": None,
        "logfile": None,
        "manifest": None,
        "compat_mode": None,
        "progress_bar": True,
        "verbose": 1,
        "log_thresh": logging.WARNING + 0,
    }
    assert {name: getattr(args, name) for name in expected} == expected


def test_every_option_has_neons_letter(tmp_path):
    (tmp_path / "m.p").touch()
    line = (
        "-v -e 2 -z 64 -r 3 -d f64 -i 0 -b cpu -w data -s out/m.p --serialize 2 -H 4 -eval 5 -o m.h5 -u 8 "
        "--no_progress_bar --model_file m.p --caffe --manifest train:a.csv --manifest val:b:c.csv --manifest_root x"
    ).split()
    args = parsed(*line)
    assert (args.verbose, args.log_thresh) == (2, logging.INFO)
    assert (args.epochs, args.batch_size, args.rng_seed, args.datatype) == (2, 64, 3, np.float64)
    assert (args.save_path, args.serialize, args.history) == ("out/m.p", 2, 4)
    assert (args.eval_freq, args.output_file, args.rounding) == (5, "m.h5", 8)
    assert (args.progress_bar, args.model_file, args.compat_mode) == (False, "m.p", "caffe")
    assert args.manifest == {"train": "a.csv", "val": "b:c.csv"}
    assert parsed("--eval_freq", "3").eval_freq == 3


def test_the_backend_follows():
    args = parsed("-z", "32", "-r", "7", "-d", "f64", gen_be=True)
    be = NervanaObject.be
    assert (be.bsz, be.default_dtype, be.rng_seed) == (32, np.float64, 7)
    args.batch_size = 16
    be = gen_backend(**extract_valid_args(args, gen_backend))
    assert (be.bsz, be.default_dtype) == (16, np.float64)


def test_what_callbacks_take():
    taken = parsed("-o", "m.h5", "--eval_freq", "2").callback_args
    assert (taken["output_file"], taken["eval_freq"], taken["progress_bar"]) == ("m.h5", 2, True)
    assert "model" not in taken
    assert "epochs" not in taken


def test_valid_arguments_of_a_function():
    args = parsed()
    assert extract_valid_args(args, lambda epochs, other: None) == {"epochs": 10}
    assert extract_valid_args(args, lambda epochs, batch_size: None, startidx=1) == {"batch_size": 128}


def test_defaults_of_a_script():
    parser = NeonArgparser(
        default_overrides={"batch_size": 1, "backend": "cpu", "serialize": 1, "data_dir": "~/d"}
    )
    parser.add_argument("--rlayer_type", default="lstm", choices=["gru", "lstm"])
    args = parsed("--rlayer_type", "gru", parser=parser)
    assert (args.batch_size, args.serialize, args.save_path) == (1, 1, "neon_model.pkl")
    assert args.rlayer_type == "gru"
    assert "~" not in args.data_dir


def test_files_of_options(tmp_path):
    (tmp_path / "nervana").mkdir()
    (tmp_path / "nervana" / "neon.cfg").write_text("epochs = 3\nbatch_size: 50\n")
    (tmp_path / "mine.cfg").write_text("[run]\nepochs 4\nno_progress_bar\nmanifest = [train:a, val:b]\n")
    assert (parsed().epochs, parsed().batch_size) == (3, 50)
    args = parsed("-c", "mine.cfg", "-z", "8")
    assert (args.epochs, args.batch_size, args.progress_bar) == (4, 8, False)
    assert args.manifest == {"train": "a", "val": "b"}
    assert parsed("-c", "mine.cfg", "-e", "5").epochs == 5
    assert parsed(parser=NeonArgparser(default_config_files=["mine.cfg"])).epochs == 4


def test_a_model_file_as_an_argument(tmp_path):
    (tmp_path / "m.yaml").write_text("epochs: 1")
    parser = NeonArgparser()
    parser.add_yaml_arg()
    with parsed("m.yaml", parser=parser).yaml_file as file:
        assert file.read() == "epochs: 1"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["-b", "tpu"], "invalid choice: 'tpu'"),
        (["-d", "f8"], "invalid choice: 'f8'"),
        (["--model_file", "none.p"], "none.p is not there or cannot be read"),
        (["-s", "/dev/null/m.p"], "the folder /dev/null cannot be made"),
        (["--manifest", "a.csv"], "name:path is due"),
        (["-c", "none.cfg"], "none.cfg cannot be read"),
        (["--epoch_count", "3"], "unrecognized arguments"),
    ],
)
def test_mistakes_end_with_a_message(line, said, capsys):
    with pytest.raises(SystemExit) as ended:
        parsed(*line)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_what_has_no_effect_says_so(capsys):
    parsed("--log_token", "abc", "--profile", "-m", "4")
    told = capsys.readouterr().err
    assert "cloud is gone" in told
    assert "--profile" in told
    assert "--max_devices" in told


def test_logging(tmp_path, capsys):
    parsed("-vv")
    logger.debug("a detail")
    assert "neon - DEBUG - a detail" in capsys.readouterr().err
    parsed("-l", "run.log")
    logger.warning("to the file alone")
    logger.error("to both")
    assert capsys.readouterr().err.count("to both") == 1
    text = (tmp_path / "run.log").read_text()
    assert "to the file alone" in text
    assert "to both" in text
    parsed()
    logger.display("shown always")
    assert capsys.readouterr().err.count("shown always") == 1


def test_help_shows_defaults_and_the_description(capsys):
    with pytest.raises(SystemExit):
        parsed("-h")
    shown = capsys.readouterr().out
    assert "A script." in shown
    assert "(default: 128)" in shown


def test_arguments_that_come_late(capsys):
    parser = NeonArgparser()
    parsed(parser=parser)
    parser.add_argument("--late")
    assert "parse_args may have to run again" in capsys.readouterr().err
    assert "epochs = 10" in parser.format_values()
