"""neon's text: iterators, preparation, stock datasets from files that are there."""

from __future__ import annotations

import pickle
import zipfile

import numpy as np
import pytest

from neon_optim.compat.neon.backends import cleanup_backend, gen_backend
from neon_optim.compat.neon.data import IMDB, PTB, SICK, HutterPrize, Shakespeare, Text
from neon_optim.compat.neon.data.text import TextNMT
from neon_optim.compat.neon.data.text_preprocessing import (
    get_google_word2vec_W,
    get_paddedXY,
    pad_data,
    pad_sentences,
)
from neon_optim.errors import DataError

LINE = "the cat sat on the mat\n"


@pytest.fixture(autouse=True)
def be():
    yield gen_backend("cpu", batch_size=2, rng_seed=1)
    cleanup_backend()


@pytest.fixture
def letters(tmp_path):
    file = tmp_path / "letters.txt"
    file.write_text("abcabcdabcabc")
    return str(file)


def words_of(data, tensor):
    """What stands in the columns of a tensor of one-hot columns, sample by sample."""
    numbers = tensor.get().argmax(axis=0).reshape(-1, 2).T
    return ["".join(data.index_to_token[k] for k in sample) for sample in numbers]


def test_each_piece_of_the_text_goes_on_from_minibatch_to_minibatch(letters):
    data = Text(3, letters)
    assert (data.nbatches, data.ndata, data.shape, data.vocab) == (2, 4, (4, 3), ["a", "b", "c", "d"])
    seen = [(words_of(data, x), words_of(data, t)) for x, t in data]
    # The text is 'abcabc' and 'dabcab'; what is left over, 'c', is left out. The last target is the first token.
    assert seen == [(["abc", "dab"], ["bca", "abc"]), (["abc", "cab"], ["bcd", "aba"])]
    assert [words_of(data, x) for x, _ in data] == [x for x, _ in seen]


def test_numbers_of_tokens_instead_of_columns(letters):
    data = Text(3, letters, onehot_input=False)
    x, t = next(iter(data))
    assert (data.shape, x.get().T.tolist()) == ((3, 1), [[0, 1, 2], [3, 0, 1]])
    assert words_of(data, t) == ["bca", "abc"]


@pytest.mark.parametrize("onehot", [True, False])
def test_targets_in_reverse_with_those_before_for_a_decoder(letters, onehot):
    data = Text(3, letters, onehot_input=onehot, reverse_target=True, get_prev_target=True)
    (_, z), t = next(iter(data))
    assert words_of(data, t) == ["cba", "bad"]
    if onehot:
        before = z.get().reshape(4, 3, 2)
        assert not before[:, 0].any()
        assert np.array_equal(before[:, 1:], t.get().reshape(4, 3, 2)[:, :-1])
    else:
        assert z.get().T.tolist() == [[0, 2, 1], [0, 1, 0]]
    assert data.decoder_shape == data.shape


def test_text_that_does_not_do(letters, tmp_path):
    with pytest.raises(DataError, match="2 tokens of the text are not in vocab: 'c', 'd'"):
        Text(3, letters, vocab="ab")
    with pytest.raises(DataError, match="too short for one minibatch of 2 sequences of 9 tokens"):
        Text(9, letters)
    with pytest.raises(DataError, match="cannot be read as text"):
        Text(3, str(tmp_path / "none"))


def test_shakespeare_is_cut_into_two_files(tmp_path):
    (tmp_path / "shakespeare_input.txt").write_text(LINE * 10)
    data = Shakespeare(5, path=str(tmp_path))
    text = LINE * 10
    assert (tmp_path / "shakespeare_input_train.txt").exists() is False
    assert data.valid_iter.vocab == data.train_iter.vocab == sorted(set(LINE))
    assert (tmp_path / "shakespeare_input_train.txt").read_text() == text[:207]
    assert (tmp_path / "shakespeare_input_valid.txt").read_text() == text[207:]


def test_the_penn_treebank_by_words(tmp_path):
    for phase in ("train", "valid", "test"):
        (tmp_path / f"ptb.{phase}.txt").write_text(LINE * 4)
    data = PTB(3, path=str(tmp_path), tokenizer="newline_tokenizer", onehot_input=False, get_prev_target=True)
    assert data.train_iter.vocab == ["cat", "mat<eos>the", "on", "sat", "the"]
    assert [len(next(iter(data.get_iterator(part)))[0]) for part in ("train", "valid", "test")] == [2, 3, 3]
    with pytest.raises(DataError, match="no tokenizer 'by_word'"):
        PTB(3, path=str(tmp_path), tokenizer="by_word")


@pytest.mark.parametrize(
    ("make", "address"),
    [
        (lambda path: Shakespeare(5, path).train_iter, "karpathy/char-rnn/shakespeare_input.txt"),
        (lambda path: PTB(5, path).train_iter, "lstm/master/data/ptb.train.txt"),
        (lambda path: IMDB(100, 5, path).train_iter, "text-datasets/imdb.pkl"),
        (lambda path: HutterPrize(path).load_data(), "mattmahoney.net/dc/enwik8.zip"),
        (lambda path: SICK(path).load_eval_data(), "data/uploads/sick_train.zip"),
    ],
)
def test_what_is_not_there_is_told_with_its_address(tmp_path, make, address):
    with pytest.raises(DataError, match=f"nothing is downloaded .*{address}"):
        make(str(tmp_path))


def test_sentences_are_filled_up_and_cut_at_the_beginning():
    assert pad_sentences([[1, 2], [], [3, 4, 5]]).tolist() == [[0, 1, 2], [0, 0, 0], [3, 4, 5]]
    assert pad_sentences([[1, 2, 3]], 2, pad_val=9).tolist() == [[2, 3]]
    assert pad_sentences([[7]], 3, pad_val=9).tolist() == [[9, 9, 7]]


def test_reviews_are_read_from_neons_own_file(tmp_path):
    sentences = [[k, 50 + k] for k in range(10)]
    with open(tmp_path / "imdb.pkl", "wb") as file:
        pickle.dump((sentences, [k % 2 for k in range(10)]), file, protocol=2)
    (X, y), (X_test, y_test), nclass = pad_data(str(tmp_path / "imdb.pkl"), vocab_size=40, sentence_length=4)
    assert (X.shape, y.shape, X_test.shape, nclass) == ((8, 4), (8, 1), (2, 4), 2)
    assert (X[:, 0] == 0).all()  # filled up
    assert (X[:, 1] == 1).all()  # the start
    assert (X[:, 3] == 2).all()  # words that are not known
    numbers = np.concatenate([X, X_test])[:, 2] - 3
    assert sorted(numbers) == list(range(10))
    assert np.array_equal(np.concatenate([y, y_test])[:, 0], numbers % 2)
    x, t = next(iter(IMDB(40, 4, path=str(tmp_path)).train_iter))
    assert np.array_equal(x.get().T, X[:2])
    assert np.array_equal(t.get().argmax(axis=0), y[:2, 0])


def test_a_hostile_file_of_reviews_is_refused(tmp_path):
    (tmp_path / "imdb.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(DataError, match=r"imdb.pkl cannot be read .*os.system"):
        IMDB(40, 4, path=str(tmp_path)).gen_iterators()


def test_unknown_words_are_left_out_where_nothing_stands_for_them():
    X, y = get_paddedXY([[1, 90], [2, 3]], [0, 1], vocab_size=20, sentence_length=3, oov=None, shuffle=False)
    assert (X.tolist(), y.tolist()) == ([[0, 1, 4], [1, 5, 6]], [[0], [1]])


def test_vectors_of_words_are_taken_from_a_file_of_word2vec(tmp_path):
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    words = (b"cat", b"\nhat", b"\nmat")
    body = b"".join(word + b" " + vector.tobytes() for word, vector in zip(words, vectors, strict=True))
    (tmp_path / "w").write_bytes(b"3 2\n" + body)
    for vocab in ({"mat": 0, "dog": 1, "cat": 2}, {b"mat": 0, b"dog": 1, b"cat": 2}):
        W, features, rows = get_google_word2vec_W(str(tmp_path / "w"), vocab, index_from=1)
        assert (features, rows, W[1].tolist(), W[3].tolist()) == (2, 4, [4, 5], [0, 1])
        assert (np.abs(W[[0, 2]]) <= 0.25).all()
    (tmp_path / "w").write_bytes(b"3 2\n" + body[:-3])
    with pytest.raises(DataError, match="ends within its 3 vectors"):
        get_google_word2vec_W(str(tmp_path / "w"), {})


def test_translations_are_read_from_hdf5(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "un2000-train.h5", "w") as file:
        file["s_vocab"], file["t_vocab"] = [b"un", b"deux"], [b"one", b"two", b"three"]
        file["X"], file["y"] = np.arange(15).reshape(5, 3) % 2, np.arange(15).reshape(5, 3) % 3
    data = TextNMT(3, str(tmp_path), split="train", get_prev_target=True)
    assert (data.nbatches, data.nclass, data.t_index_to_token[2]) == (2, 3, b"three")
    (x, z), t = next(iter(data))
    assert x.get().T.tolist() == [[0, 1, 0], [0, 1, 0]]
    assert t.get().argmax(axis=0).reshape(3, 2).T.tolist() == [[2, 1, 0], [2, 1, 0]]
    assert z.get().T.tolist() == [[0, 2, 1], [0, 2, 1]]
    with pytest.raises(DataError, match=r"un2000-valid.h5 is not there"):
        TextNMT(3, str(tmp_path), split="valid")


def test_pairs_of_sentences_are_unpacked_and_read(tmp_path):
    for phase in ("train", "trial", "test_annotated"):
        with zipfile.ZipFile(tmp_path / f"sick_{phase}.zip", "w") as archive:
            rows = ["pair\tA\tB\tscore\tjudgment", f"1\tA man\tA {phase}\t4.5\tNEUTRAL"]
            archive.writestr(f"SICK_{phase}.txt", "\n".join(rows))
    train, dev, test, scores = SICK(path=str(tmp_path)).load_eval_data()
    assert (train[0].tolist(), dev[1].tolist(), test[1].tolist()) == (
        [b"A man"],
        [b"A trial"],
        [b"A test_annotated"],
    )
    assert [score.tolist() for score in scores] == [[4.5]] * 3
