"""What people see while a model is trained: lines that fit, a bar that moves, outputs that fail."""

from __future__ import annotations

import errno
import io
import re
import time
from types import SimpleNamespace

import pytest
from runs import ROOT

from neon_optim.errors import CheckpointWarning, DataError, RunError
from neon_optim.model.callbacks import MetricsLog
from neon_optim.model.plot import plot_metrics
from neon_optim.model.progress import PatientStream, PlainProgress, ProgressBar, progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def fake(epochs=40, batches=45):
    """As much of a Training as progress looks at."""
    model = SimpleNamespace(step=0, epoch_index=0, minibatch_index=0)
    training = SimpleNamespace(
        model=model, num_epochs=epochs, nbatches=batches, steps=[], record={}, read_costs=lambda: None
    )

    def epoch(callback, rate=0.003, seconds=0.0, seen=lambda: None, **more):
        training.steps = []
        callback.on_epoch_begin(training)
        for batch in range(1, batches + 1):
            model.step, model.minibatch_index = model.step + 1, batch
            training.steps = [(model.step, 0.7354, rate)]
            callback.on_minibatch_end(training)
            time.sleep(seconds / batches)
            seen()
        model.epoch_index, model.minibatch_index = model.epoch_index + 1, 0
        training.record = {
            "epoch": model.epoch_index,
            "step": model.step,
            "train_cost": 0.7354,
            "learning_rate": rate,
        }
        training.record |= {"valid_cost": 0.3096, "valid_error": 0.0808, **more}
        callback.on_epoch_end(training)

    return training, epoch


@pytest.fixture(params=[60, 80, 100, 200])
def columns(request, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(request.param))
    monkeypatch.setenv("TERM", "xterm")
    return request.param


def test_no_line_of_a_terminal_is_wider_than_it(columns):
    stream = Terminal()
    training, epoch = fake()
    callback = progress(stream)
    assert isinstance(callback, ProgressBar)
    callback.on_train_begin(training)
    for rate in (0.003, 0.0009, 0.00027, 1.2345e-05):
        epoch(callback, rate)
    callback.on_train_end(training)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    lines = re.split(r"[\r\n]+", text)
    assert max(map(len, lines)) <= columns
    ends = [line for line in lines if line.startswith("epoch") and "valid error" in line]
    assert len(ends) == 4
    for part in ("epoch  1/40", "cost 0.7354", "valid error  8.08 %", "lr 0.003"):
        assert part in ends[0]
    assert ("valid cost" in ends[0], ends[0].endswith(" s")) == (columns >= 80, columns >= 100)


def test_a_terminal_without_a_cursor_gets_lines_that_fit(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    training, epoch = fake()
    callback = progress(stream)
    callback.on_train_begin(training)
    epoch(callback)
    assert type(callback) is PlainProgress
    assert len(stream.getvalue().rstrip("\n")) <= 80
    assert stream.getvalue().endswith("lr 0.003\n")


def test_columns_stay_in_line_in_a_pipe():
    stream = io.StringIO()
    training, epoch = fake()
    callback = progress(stream)
    callback.on_train_begin(training)
    for error in (0.2981, 0.0891):
        epoch(callback, valid_error=error)
    first, second = stream.getvalue().splitlines()
    assert "valid error 29.81 %  lr" in first
    assert first.index("lr") == second.index("lr")


def test_the_bar_moves_in_epochs_shorter_than_its_interval(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(ProgressBar, "interval", 0.1)
    training, epoch = fake(epochs=20, batches=4)
    callback = progress(Terminal())
    callback.on_train_begin(training)
    shown = []

    def look():
        task = callback._bar.tasks[0]
        shown.append((task.description, task.completed, task.fields["text"]))

    for _ in range(20):
        epoch(callback, seconds=0.03, seen=look)
    callback.on_train_end(training)
    assert [row[0] for row in shown[::4]] == [f"epoch {number:2}/20" for number in range(1, 21)]
    assert [row[1] for row in shown] == sorted(row[1] for row in shown)
    assert shown[-1][1] >= 76
    assert all("cost 0.7354  lr 0.003" in row[2] for row in shown[16:])


def test_markup_in_a_name_is_shown_as_it_stands(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    stream = Terminal()
    training, epoch = fake()
    callback = progress(stream)
    callback.on_train_begin(training)
    epoch(callback, **{"valid_[red]:smile:[/red]": 0.5})
    callback.on_train_end(training)
    assert "valid [red]:smile:[/red] 0.5000" in stream.getvalue()


class Failing(io.StringIO):
    def write(self, text):
        raise OSError(errno.EIO, "gone")


@pytest.mark.parametrize("closed", [True, False])
def test_an_output_that_fails_does_not_end_training(closed):
    stream = io.StringIO() if closed else Failing()
    if closed:
        stream.close()
    told = []
    training, epoch = fake()
    callback = PlainProgress(PatientStream(stream, told.append))
    callback.on_train_begin(training)
    epoch(callback)
    epoch(callback)
    assert len(told) == 1


def test_without_standard_output_nothing_is_shown(monkeypatch):
    monkeypatch.setattr("sys.stdout", None)
    training, epoch = fake()
    callback = progress()
    callback.on_train_begin(training)
    epoch(callback)


# --- the log ---

STEP = '{"step": %d, "epoch": 1, "cost": 0.5, "learning_rate": 0.1}'


@pytest.mark.parametrize("bad", ["#&!", "", "[1, 2]", '{"step": "x", "cost": 1}', "\0\0", '{"other": 1}'])
def test_a_bad_line_is_left_out_and_told_and_all_others_stay(tmp_path, bad):
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join([STEP % 1, bad, STEP % 2, STEP % 3, STEP % 4]) + "\n")
    log = MetricsLog(path)
    with pytest.warns(
        CheckpointWarning, match=r"metrics\.jsonl: line 2 cannot be read as a step or an epoch"
    ):
        log.on_train_begin(SimpleNamespace(model=SimpleNamespace(step=3, epoch_index=0)))
    log.on_train_end(None)
    assert path.read_text() == "\n".join([STEP % 1, STEP % 2, STEP % 3]) + "\n"


def test_the_line_that_a_kill_tore_is_no_news(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for end, kept in ((STEP % 3, [1, 2, 3]), ('{"step": 3, "ep', [1, 2])):
        path.write_text("\n".join([STEP % 1, STEP % 2, end]))
        log = MetricsLog(path)
        log.on_train_begin(SimpleNamespace(model=SimpleNamespace(step=3, epoch_index=0)))
        log.on_train_end(None)
        assert path.read_text() == "".join(STEP % step + "\n" for step in kept)


@pytest.mark.parametrize("text", ["5\n", '{"cost": 1}\n', "no json\n"])
def test_a_picture_of_what_is_no_log(tmp_path, text):
    (tmp_path / "log").write_text(text)
    with pytest.raises(DataError, match="is no metrics log"):
        plot_metrics(tmp_path / "log", tmp_path / "picture.png")


def test_a_matplotlib_that_fails(tmp_path, monkeypatch):
    figure = pytest.importorskip("matplotlib.figure")

    def broken(*arguments, **options):
        raise AttributeError("of another NumPy")

    monkeypatch.setattr(figure.Figure, "savefig", broken)
    (tmp_path / "log").write_text(STEP % 1 + "\n")
    with pytest.raises(RunError, match=r"matplotlib cannot draw .*of another NumPy"):
        plot_metrics(tmp_path / "log", tmp_path / "picture.png")


def test_the_terminal_that_the_documentation_shows_has_80_columns():
    text = (ROOT / "docs/training.md").read_text()
    blocks = re.findall(r"^```\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    terminal = blocks[:2]
    assert "$ neon-optim train configs/digits_mlp.yaml\n" in terminal[0]
    assert "Best checkpoint: " in terminal[1]
    assert max(len(line) for block in terminal for line in block.splitlines()) <= 80
