"""A whole program in neon's names, run as it is from the command line: data, model, callbacks, files."""

from __future__ import annotations

import gzip
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

SCRIPT = '''"""Trains a small network on digits."""
from neon import logger
from neon.callbacks.callbacks import Callbacks
from neon.data import MNIST
from neon.initializers import Gaussian
from neon.layers import Affine, GeneralizedCost
from neon.models import Model
from neon.optimizers import GradientDescentMomentum
from neon.transforms import CrossEntropyBinary, Logistic, Misclassification, Rectlin
from neon.util.argparser import NeonArgparser

args = NeonArgparser(__doc__).parse_args()
data = MNIST(path=args.data_dir)
init = Gaussian(scale=0.05)
layers = [Affine(20, init, activation=Rectlin()), Affine(10, init, activation=Logistic(shortcut=True))]
model = Model(layers)
model.fit(
    data.train_iter,
    cost=GeneralizedCost(CrossEntropyBinary()),
    optimizer=GradientDescentMomentum(0.1, 0.9, stochastic_round=args.rounding),
    num_epochs=args.epochs,
    callbacks=Callbacks(model, eval_set=data.valid_iter, **args.callback_args),
)
logger.display("error %.3f" % model.eval(data.valid_iter, metric=Misclassification()))
logger.display("again %.3f" % Model(args.save_path).eval(data.valid_iter, metric=Misclassification()))
'''


@pytest.fixture
def folder(tmp_path):
    """The script, and digits that are told apart by where they are bright."""
    rng = np.random.RandomState(0)

    def part(count):
        labels = np.arange(count) % 10
        images = rng.randint(0, 40, (count, 28, 28))
        for image, label in zip(images, labels, strict=True):
            image[2 * label : 2 * label + 4] += 200
        return images.astype(np.uint8), labels

    with gzip.open(tmp_path / "mnist.pkl.gz", "wb", compresslevel=1) as file:
        pickle.dump((part(320), part(70)), file, protocol=2)
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "neon.cfg").write_text("batch_size = 32\nrng_seed = 1\n")
    return tmp_path


def test_a_script_of_neons_from_its_options_to_its_files(folder):
    options = "-c neon.cfg -w . -e 4 -s model.p -o metrics.h5 --eval_freq 2 --no_progress_bar".split()
    done = subprocess.run(
        [sys.executable, "-m", "neon_optim.compat", "script.py", *options],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.getcwd(), "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = {
        word: float(number)
        for word, number in (line.split()[-2:] for line in done.stderr.splitlines() if "DISPLAY" in line)
    }
    assert told["error"] < 0.1
    assert told["again"] == told["error"]
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "metrics.h5") as metrics:
        cost = metrics["cost/train"][()]
        assert len(cost) == 40
        assert cost[-1] < cost[0] / 4
        assert len(metrics["cost/loss"]) == 2
