"""Tables as data: what columns become, and what is said of those that can be nothing."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from neon_optim import cleanup_backend, gen_backend
from neon_optim.data import Csv, Parquet
from neon_optim.data.encoding import encoding_from_json
from neon_optim.data.tables import as_table
from neon_optim.errors import ArgumentError, DataError, DataWarning, StateError
from neon_optim.model.datasets import stratified_split

pyarrow = pytest.importorskip("pyarrow")
arrow_csv, parquet = (pytest.importorskip(f"pyarrow.{name}") for name in ("csv", "parquet"))

ROWS = [[k, ["red", "green"][k % 2], k * 0.5, ["no", "yes"][k % 4 == 3]] for k in range(20)]


@pytest.fixture(autouse=True)
def be():
    yield gen_backend("cpu", rng_seed=1, batch_size=4, engine="numpy")
    cleanup_backend()


@pytest.fixture
def write(tmp_path):
    def written(rows=ROWS, names=("n", "color", "size", "label"), name="data.csv", delimiter=","):
        path = tmp_path / name
        with open(path, "w", newline="") as file:
            csv.writer(file, delimiter=delimiter).writerows([names, *rows])
        return str(path)

    return written


def changed(**cells):
    """The rows with other values in some columns of row 2: line 4 of the file."""
    rows = [list(row) for row in ROWS]
    for name, value in cells.items():
        rows[2][("n", "color", "size", "label").index(name)] = value
    return rows


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_table_becomes_numbers_and_categories(write, delimiter):
    data = Csv(write(delimiter=delimiter), "label")
    assert data.encoding.names == ["n", "color", "size"]
    assert data.encoding.target.labels == ("no", "yes")
    (train, _), (valid, _) = data.load()
    X = np.concatenate([train, valid])
    assert X.shape == (20, 4)
    assert X.dtype == np.float32
    np.testing.assert_allclose(train[:, [0, 3]].mean(axis=0), 0, atol=1e-6)  # float32 of float64 sums
    np.testing.assert_allclose(train[:, [0, 3]].std(axis=0), 1, atol=1e-6)
    assert sorted(X[:, 1:3].sum(axis=1).tolist()) == [1.0] * 20
    assert data.nclass == 2
    assert (data.train_iter.ndata, data.valid_iter.ndata) == (16, 4)  # a fifth of each class


def test_parquet_is_read_alike(write, tmp_path):
    path = tmp_path / "data.parquet"
    parquet.write_table(arrow_csv.read_csv(write()), path)
    one, other = Csv(write(), "label"), Parquet(str(path), "label")
    assert one.encoding.to_json() == other.encoding.to_json()
    for part, same in zip(one.load(), other.load(), strict=True):
        np.testing.assert_array_equal(part[0], same[0])
    assert one.train_iter.digest() == other.train_iter.digest()


def test_numbers_are_a_target_of_regression(write):
    data = Csv(write(), "size", ["n"])
    assert data.nclass is None
    assert data.train_iter.nout == 1
    target = data.encoding.target
    np.testing.assert_allclose(
        target.answers(target.encoded(np.array([3.0, 4.5])))["prediction"], [3.0, 4.5], rtol=1e-6
    )


@pytest.mark.parametrize(("task", "classes"), [("auto", 20), ("classification", 20), ("regression", None)])
def test_integers_are_classes_where_there_are_few(write, task, classes):
    rows = [[k % 20, k] for k in range(60)]
    assert Csv(write(rows, ("n", "x")), "n", task=task).nclass == classes
    assert Csv(write(), "size", ["n"], task="auto").nclass is None, "halves are none"


def test_other_data_validates(write):
    other = write(ROWS[:5], name="other.csv")
    data = Csv(write(), "label", validation=other)
    assert (data.train_iter.ndata, data.valid_iter.ndata) == (20, 5)


def test_an_encoding_is_kept_in_json(write):
    data = Csv(write(changed(size="")), "label", missing="mean")
    again = encoding_from_json(data.encoding.to_json())
    np.testing.assert_array_equal(again.inputs(write()), data.encoding.inputs(write()))
    with pytest.raises(StateError, match="an encoding that is not known"):
        encoding_from_json({"kind": "spoken"})


# --- what is missing ---


@pytest.mark.parametrize("word", ["", "NA", "?", "nan"])
@pytest.mark.parametrize("column", ["size", "color"])
def test_a_missing_value_is_an_error_with_its_line(write, word, column):
    path = write(changed(**{column: word}))
    with pytest.raises(DataError, match=rf"{column}: 1 of 20 values are missing \(lines 4\)"):
        _ = Csv(path, "label").train_iter
    left = Csv(path, "label", missing="drop")
    assert left.train_iter.ndata + left.valid_iter.ndata == 19
    filled = Csv(path, "label", missing="mean")
    assert filled.train_iter.ndata + filled.valid_iter.ndata == 20


def test_the_mean_and_the_most_frequent_word_stand_for_what_is_missing(write):
    rows = [["", "red", 1, "no"], [2, "red", 2, "no"], [4, "", 3, "yes"], [6, "blue", 4, "yes"]] * 5
    encoding = Csv(write(rows), "label", missing="mean", validation=0.25).encoding
    assert encoding.features[0].fill == pytest.approx(encoding.features[0].mean)
    assert encoding.features[1].fill == "red"
    X = encoding.inputs({"n": [None], "color": [None], "size": [1]})
    assert X[0, 0] == 0.0
    assert X[0, 1:3].tolist() == [0.0, 1.0]


# --- what does not fit: all of it, with its place ---


def test_words_among_numbers_are_listed(write):
    rows = [list(row) for row in ROWS * 5]
    rows[2][0], rows[7][0], rows[9][2] = "two", "x7", "half"
    with pytest.raises(DataError) as raised:
        _ = Csv(write(rows), "label").train_iter
    text = str(raised.value)
    assert "n: 2 values are no numbers:\n  line 4: 'two'\n  line 9: 'x7'" in text
    assert "size: 1 values are no numbers:\n  line 11: 'half'" in text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda write: Csv(write(), "lable"), "there is no column 'lable'; did you mean 'label'"),
        (lambda write: Csv(write(), "label", ["n", "sise"]), "there is no column 'sise'; did you mean 'size'"),
        (lambda write: Csv(write(), "label", ["label"]), "cannot be one of the features as well"),
        (lambda write: Csv(write(names=("n", "n", "size", "label")), "label"), "'n' stands there more than once"),
        (lambda write: Csv(write(ROWS[:0]), "label"), "has no rows"),
        (lambda write: Csv(write([[1, "a", 2, "no"]] * 9), "label"), "all samples are of one class, 'no'"),
        (lambda write: Csv(write(changed(label="")), "label"), "label: 1 of 20 values are missing"),
        (lambda write: Csv(write([[f"name {k}", "a", 1, k % 2] for k in range(200)]), "label"), "rather a name"),
        (lambda write: Csv(write([[f"2026-11-2{k}", "a", 1, k % 2] for k in range(9)]), "label"), "dates and times"),
        (lambda write: Csv(write(), "color", task="regression"), "words cannot be a target of regression"),
        (lambda write: Csv("nowhere.csv", "label"), "nowhere.csv: there is no such file"),
        (lambda write: Csv(write([*ROWS, [1, 2], [1, 2, 3, 4, 5]]), "label"), "line 22: 2\n  line 23: 5"),
        (lambda write: Parquet(write(), "label"), "is no parquet file"),
        (lambda write: Csv(write(), "label", validation=0.01), "leaves none to validate with"),
    ],
)  # fmt: skip
def test_what_is_refused(write, make, message):
    data = make(write)
    with pytest.raises(DataError) as raised:
        _ = data.train_iter
    assert message in str(raised.value)
    assert raised.value.problems, "it has a place in the config"


def test_words_that_training_has_not_seen(write):
    encoding = Csv(write(), "label").encoding
    with pytest.warns(DataWarning, match="color: 1 rows hold what training has not seen, .*: 'mauve'"):
        X = encoding.inputs(write(changed(color="mauve")))
    assert X[2, 1:3].tolist() == [0.0, 0.0]
    with pytest.raises(
        DataError, match="label: 'maybe' is none of the classes that the model was trained on: 'no', 'yes'"
    ):
        encoding.samples(write(changed(label="maybe")))


def test_what_a_program_has_is_a_table_too(write):
    encoding = Csv(write(), "size", ["n", "color"]).encoding
    names = ["n", "color"]
    expected = encoding.inputs(write())[:2]
    as_mapping = encoding.inputs({"color": ["red", "green"], "n": [0, 1]})
    as_matrix = encoding.inputs(np.array([[0, "red"], [1, "green"]], object))
    as_arrow = encoding.inputs(pyarrow.table({"n": [0, 1], "color": ["red", "green"]}))
    for X in (as_mapping, as_matrix, as_arrow):
        np.testing.assert_array_equal(X, expected)
    with pytest.raises(
        DataError, match=r"an array of \(samples, 2\) with the columns n, color; received an array"
    ):
        as_table(np.zeros((3, 5)), names)
    with pytest.raises(DataError, match="there is no column 'n'"):
        encoding.inputs({"color": ["red"]})


def test_a_word_of_the_validation_data_alone_is_told_of_once(write):
    rows = [[*row[:1], "mauve" if k == 19 else row[1], *row[2:]] for k, row in enumerate(ROWS)]
    path = write(rows)
    labels = np.array([row[3] == "yes" for row in ROWS])
    seeds = (seed for seed in range(40) if 19 in stratified_split(labels, 0.2, seed)[1])
    with pytest.warns(DataWarning) as told:
        _ = Csv(path, "label", split_seed=next(seeds)).train_iter
    assert len(told) == 1


# --- text files as they are ---


@pytest.fixture
def small_blocks(monkeypatch):
    """Files are parsed in blocks of a few lines."""
    monkeypatch.setattr("neon_optim.data.tables._BLOCK", 64)


def test_blocks_of_any_size_say_the_same(write, small_blocks, monkeypatch):
    path = write()
    small = Csv(path, "label")
    found = small.load(), small.encoding.to_json(), small.train_iter.digest()
    monkeypatch.setattr("neon_optim.data.tables._BLOCK", 1 << 20)
    whole = Csv(path, "label")
    assert (found[1], found[2]) == (whole.encoding.to_json(), whole.train_iter.digest())
    np.testing.assert_array_equal(found[0][0][0], whole.load()[0][0])


def test_a_column_that_looks_like_numbers_first(write, small_blocks):
    """Codes such as postal ones: texts from the first row on, with the zeros in front."""
    rows = [[k, ["007", "12"][k % 2] if k < 20 else "A9", k, k % 2] for k in range(40)]
    encoding = Csv(write(rows), "label").encoding
    assert encoding.features[1].values == ("007", "12", "A9")
    rows[3][1] = "none"
    with pytest.warns(DataWarning, match="color: 1 rows hold what training has not seen"):
        encoding.inputs(write(rows[:20]))


def test_line_ends_between_quotes(write, small_blocks):
    rows = [[k, ["a\nb", 'c"d'][k % 2], k, ["no", "yes"][k % 2]] for k in range(20)]
    assert Csv(write(rows), "label").encoding.features[1].values == ("a\nb", 'c"d')
    rows[12][2] = ""
    with pytest.raises(DataError, match=r"size: 1 of 20 values are missing \(lines 20\)"):
        _ = Csv(write(rows), "label").train_iter


def test_empty_lines_count(tmp_path):
    lines = ["n,label", "", *(f"{k},{k % 2}" for k in range(9)), "", "x,1", ""]
    (tmp_path / "d.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match="n: 1 values are no numbers:\n  line 13: 'x'"):
        _ = Csv(str(tmp_path / "d.csv"), "label").train_iter


def test_text_that_is_no_utf8(tmp_path):
    lines = [b"n,word,label", *(b"%d,a,%d" % (k, k % 2) for k in range(9)), b"9,caf\xe9,1"]
    (tmp_path / "d.csv").write_bytes(b"\n".join(lines))
    with pytest.raises(DataError, match=r"the text is no UTF-8; .*\n  line 11: the byte 0xe9"):
        _ = Csv(str(tmp_path / "d.csv"), "label").train_iter


def test_a_file_from_windows_with_a_byte_order_mark(tmp_path):
    lines = ["n, word ,label", *(f"{k}, {'ab'[k % 2]} ,{k % 2}" for k in range(20))]
    (tmp_path / "d.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    encoding = Csv(str(tmp_path / "d.csv"), "label").encoding
    assert encoding.names == ["n", "word"]
    assert encoding.features[1].values == ("a", "b")


def test_many_mistakes_are_counted_and_the_first_listed(write):
    rows = [[("x" if k % 30 == 7 else k), "a", k, k % 2] for k in range(900)]
    with pytest.raises(DataError) as raised:
        _ = Csv(write(rows), "label").train_iter
    assert "n: 30 values are no numbers:\n  line 9: 'x'" in str(raised.value)
    assert "  and 20 more" in str(raised.value)
    rows = [["" if k % 3 == 1 else k, "a", k, k % 2] for k in range(90)]
    with pytest.raises(DataError, match=r"30 of 90 values are missing \(lines 3, 6, .*30, …\)"):
        _ = Csv(write(rows), "label").train_iter


def test_other_data_that_does_not_fit(write):
    path = write()
    for rows, message in (
        ([[1, "red", 2.0, "maybe"]], "label: 'maybe' is none of the classes"),
        ([[1, "red", "", "no"]], r"other.csv: size: 1 of 1 values are missing \(lines 2\)"),
        ([["one", "red", 2, "no"]], "other.csv: n: 1 values are no numbers:\n  line 2: 'one'"),
    ):
        with pytest.raises(DataError, match=message):
            _ = Csv(path, "label", validation=write(rows, name="other.csv")).valid_iter
    other = write([[1, 2]], ("n", "label"), name="other.csv")
    with pytest.raises(DataError, match=r"other\.csv: there is no column 'color'"):
        _ = Csv(path, "label", validation=other).valid_iter


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "empty.csv").write_bytes(b"\n")
    (tmp_path / "names.csv").write_text("n,label\n")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    for make, message in (
        (lambda p: Csv(p("empty.csv"), "label"), "empty.csv is empty"),
        (lambda p: Csv(p("names.csv"), "label"), "names.csv has no rows"),
        (lambda p: Csv(p("folder.csv"), "label"), "folder.csv is a folder, not a table"),
        (lambda p: Parquet(p("cut.parquet"), "label"), "cut.parquet is no parquet file"),
        (lambda p: Csv(p("gone.csv"), "label"), "gone.csv: there is no such file"),
    ):
        with pytest.raises(DataError, match=message):
            _ = make(lambda name: str(tmp_path / name)).train_iter


def test_integers_beyond_those_of_float64_are_rounded(write):
    rows = [[2**62 + k, "a", k, k % 2] for k in range(20)]
    assert Csv(write(rows), "label").encoding.features[0].mean == pytest.approx(2**62)


@pytest.mark.parametrize(("size", "good"), [("1MiB", True), (1 << 20, True), ("2 gb", True), ("1KB", False)])
@pytest.mark.parametrize("more", ["", "x"])
def test_sizes_of_memory(size, good, more):
    if good and not more:
        assert Csv("a.csv", "b", memory=size).memory_bytes >= 1 << 20
    else:
        with pytest.raises(ArgumentError, match="memory must be a size of at least 1MiB"):
            Csv("a.csv", "b", memory=f"{size}{more}")
