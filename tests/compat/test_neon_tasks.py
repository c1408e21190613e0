"""neon's tasks and stories: copying and sorting, bAbI, images with sentences."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from neon_optim.compat.neon.backends import cleanup_backend, gen_backend
from neon_optim.compat.neon.data import (
    BABI,
    QA,
    CopyTask,
    Flickr8k,
    ImageCaption,
    ImageCaptionTest,
    PrioritySortTask,
    RepeatCopyTask,
    Ticker,
)
from neon_optim.errors import DataError

B = 2


@pytest.fixture(autouse=True)
def be():
    yield gen_backend("cpu", batch_size=B, rng_seed=1)
    cleanup_backend()


def minibatches(task, count=20):
    """Inputs, outputs and mask as (rows, steps, samples)."""
    np.random.seed(0)
    data = Ticker(task)
    assert (data.shape, data.nbatches) == ((task.nin, task.time_steps_max), 100)
    for _, (x, (y, mask)) in zip(range(count), data, strict=False):
        yield [tensor.get().reshape(len(tensor), task.time_steps_max, B) for tensor in (x, y, mask)]


def test_a_sequence_is_to_be_given_back():
    lengths = set()
    for x, y, mask in minibatches(CopyTask(4, 3)):
        length = (int(mask[0, :, 0].sum()) - 2) // 2
        lengths.add(length)
        assert x[-2].any(axis=1).tolist() == [True] + [False] * 9
        assert x[-1, length + 1].all()
        assert np.array_equal(x[:3, 1 : length + 1], y[:, length + 2 : 2 * length + 2])
        assert not y[:, : length + 2].any()
        assert not x[:, 2 * length + 2 :].any()
    assert lengths == {1, 2, 3, 4}


def test_a_sequence_is_to_be_given_back_several_times():
    for x, y, mask in minibatches(RepeatCopyTask(2, 3, 2)):
        steps = int(mask[0, :, 0].sum())
        length = int(np.flatnonzero(x[-1, :, 0])[0]) - 1
        count = int(x[-1, length + 1, 0])
        assert steps == length * (count + 1) + 3
        for k in range(1, count + 1):
            assert np.array_equal(y[:-1, k * length + 2 : (k + 1) * length + 2], x[:2, 1 : length + 1])
        assert y[-1, steps - 1].all()
        assert y[-1].sum() == B


def test_a_sequence_is_to_be_sorted():
    for x, y, mask in minibatches(PrioritySortTask(4, 3)):
        length = (int(mask[0, :, 0].sum()) - 2) // 2
        for sample in range(B):
            vectors, priorities = x[:3, 1 : length + 1, sample], x[-1, 1 : length + 1, sample]
            assert np.array_equal(y[:, length + 2 : 2 * length + 2, sample], vectors[:, priorities.argsort()])


STORY = """1 Mary went home.
2 John went to the garden.
3 Where is Mary?\thome\t1
1 John's in bed.
2 Where is John?\tbed\t1
"""


@pytest.fixture
def babi(tmp_path):
    with tarfile.open(tmp_path / "tasks_1-20_v1-2.tar.gz", "w:gz") as archive:
        for subset, text in (("en", STORY), ("hn", STORY.replace("garden", "bagicha"))):
            for part in ("train", "test"):
                name = f"tasks_1-20_v1-2/{subset}/qa1_single-supporting-fact_{part}.txt"
                archive.addfile(member(name, text), io.BytesIO(text.encode()))
        archive.addfile(member("../outside", "x"), io.BytesIO(b"x"))
    return tmp_path / "data"


def member(name, text):
    found = tarfile.TarInfo(name)
    found.size = len(text)
    return found


def test_stories_with_questions(tmp_path, babi):
    data = BABI(path=str(tmp_path))
    assert not (tmp_path.parent / "outside").exists()
    story, query, answer = data.train_parsed[0]
    assert story == "Mary went home . John went to the garden .".split()
    assert (query, answer) == (["Where", "is", "Mary", "?"], "home")
    assert data.train_parsed[1][0] == ["John", "'", "s", "in", "bed", "."]
    stories, queries, answers = data.train
    assert (stories.shape, queries.shape, answers.shape) == ((2, 10), (2, 4), (2, data.vocab_size))
    assert [data.index_to_word[k] for k in queries[0]] == query
    assert data.index_to_word[answers[1].argmax()] == "bed"
    assert stories[1, :4].tolist() == [0, 0, 0, 0]
    assert data.words_to_vector(["nobody"]) == [data.vocab_size - 1]
    assert "bagicha" in BABI(path=str(tmp_path), subset="hn").vocab


def test_stories_that_are_not_there(tmp_path, babi):
    with pytest.raises(DataError, match=r"nothing is downloaded .*babi/tasks_1-20_v1-2.tar.gz"):
        BABI(path=str(babi))
    with pytest.raises(DataError, match="no task 'qa21'"):
        BABI(path=str(tmp_path), task="qa21")
    with pytest.raises(DataError, match=r"has no file .*en/qa2_two-supporting-facts_train.txt"):
        BABI(path=str(tmp_path), task="qa2_two-supporting-facts")


def test_stories_come_in_another_order_each_time():
    numbers = np.arange(7)
    data = QA(np.tile(numbers[:, None], 4), np.tile(numbers[:, None], 3), np.eye(7))
    assert (data.nbatches, data.shape) == (3, [(4, 1), (3, 1)])
    orders = []
    for _ in range(2):
        seen = []
        for (story, query), answer in data:
            assert (story.shape, query.shape, answer.shape) == ((4, B), (3, B), (7, B))
            assert np.array_equal(story.get()[0], answer.get().argmax(axis=0))
            seen += story.get()[0].tolist()
        orders.append(seen)
    assert orders[0] != orders[1]


@pytest.fixture
def captions(tmp_path):
    def sentences(*texts):
        return [{"tokens": text.split()} for text in texts]

    train = [{"imgid": k, "sentences": sentences("a dog runs", "a cat")} for k in range(5)]
    test = [{"imgid": k, "sentences": sentences("a cat runs", "the cat")} for k in range(2)]
    features = np.arange(5, dtype=np.float32) * np.ones((4096, 1), np.float32)
    folder = tmp_path / "flickr8k"
    folder.mkdir()
    with gzip.open(folder / "features.pkl.gz", "wb") as file:
        pickle.dump({"sents": {"train": train, "test": test}, "feats": features}, file, protocol=2)
    return str(folder)


def test_images_with_sentences(captions):
    data = ImageCaption(captions)
    assert data.index_to_vocab == {0: ".", 1: "a", 2: "dog", 3: "runs", 4: "cat"}
    assert (data.nbatches, data.max_sentence_length, data.shape) == (5, 4, [4096, (5, 4)])
    assert data.bias_init.max() == 0
    for (image, x), (y, mask) in data:
        assert (image.get() == image.get()[0]).all()
        said = x.get().argmax(axis=0).reshape(4, B)
        target, kept = y.get().reshape(5, 5, B), mask.get().reshape(5, 5, B)
        for k in range(B):
            length = 3 if said[1:, k].tolist() == [1, 2, 3] else 2
            assert kept[0, :, k].tolist() == [1] * min(length + 3, 5) + [0] * (2 - length)
            assert target[:, :4, k].argmax(axis=0).tolist() == said[:, k].tolist()
            assert target[:, :, k].sum() == kept[0, :, k].sum()
    columns = data.be.zeros((5, 8))
    for step, tokens in enumerate([(0, 0), (1, 1), (2, 0), (3, 4)]):
        for k, token in enumerate(tokens):
            columns[token : token + 1, 2 * step + k : 2 * step + k + 1] = 1.0
    assert data.prob_to_word(columns) == [". a dog runs", ". a ."]


def test_sentences_of_tests_are_text(captions, caplog):
    data = ImageCaptionTest(captions)
    _, (sentences, mask) = next(iter(data))
    assert (sentences, mask) == ([["a cat runs", "the cat"]] * 2, None)

    class Predicts:
        def fprop(self, x, inference):
            columns = np.zeros((5, 5 * B))
            columns[4] = 1.0  # 'cat'
            return data.be.array(columns)

    assert data.predict(Predicts()) == (["cat cat cat cat"] * 2, [["a cat runs", "the cat"]] * 2)
    with caplog.at_level("INFO", "neon"):
        data.bleu_score([". a cat runs ."], [["a cat runs", "the cat"]])
    assert "Bleu scores: 100.0 100.0 100.0" in caplog.text
    assert [(Path(captions) / name).read_text() for name in ("output", "reference1")] == [
        "a cat runs\n",
        "the cat\n",
    ]


def test_images_that_are_not_there(tmp_path, captions):
    with pytest.raises(DataError, match=r"nothing is downloaded .*image-caption/flickr8k.zip"):
        Flickr8k(path=str(tmp_path)).get_iterator("train")
    with pytest.raises(DataError, match=r"features.pkl.gz cannot be read"):
        ImageCaption(str(tmp_path))
