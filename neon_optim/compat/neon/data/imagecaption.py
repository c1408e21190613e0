"""neon's images with sentences about them: Flickr8k, Flickr30k, COCO."""

from __future__ import annotations

import gzip
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from neon_optim.compat.display_logger import logger
from neon_optim.compat.neon.data.dataiterator import NervanaDataIterator
from neon_optim.compat.neon.data.datasets import Dataset, plain_pickle
from neon_optim.compat.neon.transforms.cost import BLEUScore
from neon_optim.errors import DataError

__all__ = ["Coco", "Flickr8k", "Flickr30k", "ImageCaption", "ImageCaptionTest"]

_RARE = 5
"""Words that come less often than this are left out."""
_LONGEST = 20
"""Words that a sentence made of probabilities has at most, without the first."""


class ImageCaption(NervanaDataIterator):
    """Minibatches of features of images with a sentence each, to be predicted word by word.

    The inputs are pairs: features, (4096, samples), and words, (vocab_size, T · samples); the targets are pairs: the
    words with the end behind, (vocab_size, (T + 1) · samples), and a mask of 1 up to the end of each sentence.

    Arguments:
        path: the folder of ``features.pkl.gz``.
        max_images: reading stops behind so many sentences; -1: all are read.

    Attributes:
        vocab_size, vocab_to_index, index_to_vocab: the words; number 0 is the end.
        bias_init: logarithms of how often words come, for the bias of a last layer.
        max_sentence_length: T.

    Raises:
        DataError: the file is not there, or is another.
    """

    end_token = "."
    image_size = 4096

    def __init__(self, path: str, max_images: int = -1):
        super().__init__(name=None)
        self.path = path
        logger.display("Reading train images and sentences from %s", path)
        self.read_images("train")
        self.load_vocab()
        sentences: list[list[str]] = []
        images: list[np.ndarray] = []
        for pair in self.iterImageSentencePair():
            if len(sentences) > max_images > 0:
                break
            images.append(pair["image"])
            words = [word for word in pair["sentence"]["tokens"] if word in self.vocab_to_index]
            sentences.append([self.end_token, *words][: self.max_sentence_length])
        self._set_images(images)
        self.X = np.zeros((len(sentences), self.max_sentence_length))
        for row, sentence in zip(self.X, sentences, strict=True):
            row[: len(sentence)] = [self.vocab_to_index[word] for word in sentence]
        self.y = np.hstack([self.X, np.zeros((len(sentences), 1))])
        self.sent_length = np.array([len(sentence) + 1 for sentence in sentences])
        self.sent_ends = np.arange(self.max_sentence_length + 1)[:, np.newaxis]

    def _set_images(self, images: Sequence[np.ndarray]) -> None:
        self.images = np.vstack(images)
        self.nbatches: Any = len(images) // self.be.bsz
        self.ndata = self.nbatches * self.be.bsz

    def read_images(self, split: str) -> None:
        """Read the features, and the sentences of a part: 'train' or 'test'.

        Raises:
            DataError: the file is not there, or is another.
        """
        file = os.path.join(self.path, "features.pkl.gz")
        try:
            with gzip.open(file, "rb") as packed:
                self.dataset = plain_pickle(packed, file)
            self.sent_data, self.features = self.dataset["sents"][split], self.dataset["feats"]
        except OSError as error:
            raise DataError(f"{file} cannot be read: {error}") from error
        except (KeyError, TypeError, IndexError) as error:
            raise DataError(f"{file} does not hold 'sents' with {split!r}, and 'feats'") from error

    def load_vocab(self) -> None:
        """Number the words that are not rare, and make the tensors of a minibatch."""
        sentences = [sentence["tokens"] for sentence in self.iterSentences()]
        counts = Counter(word for sentence in sentences for word in sentence)
        vocab = [self.end_token, *[word for word, count in counts.items() if count >= _RARE]]
        self.vocab_size = len(vocab)
        self.vocab_to_index = {word: number for number, word in enumerate(vocab)}
        self.index_to_vocab = dict(enumerate(vocab))
        counts[self.end_token] = len(sentences)
        frequency = np.array([[counts[word]] for word in vocab], np.float64)
        self.bias_init = np.log(frequency / frequency.sum())
        self.bias_init -= self.bias_init.max()
        length = self.max_sentence_length = max(map(len, sentences)) + 1
        self.dev_image = self.be.iobuf(self.image_size)
        self.dev_X = self.be.iobuf((self.vocab_size, length))
        self.dev_y, self.dev_y_mask = (self.be.iobuf((self.vocab_size, length + 1)) for _ in range(2))
        self.dev_lbl = self.be.iobuf(length, dtype=np.int32)
        self.dev_y_lbl = self.be.iobuf(length + 1, dtype=np.int32)
        self.shape = [self.image_size, (self.vocab_size, length)]
        logger.display("Vocab size: %d, Max sentence length: %d", self.vocab_size, length)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """Pairs ((features, words), (words, mask)), in another order each time."""
        order = self.be.rng.permutation(len(self.X))
        self.X, self.y, self.images = self.X[order], self.y[order], self.images[order]
        self.sent_length = self.sent_length[order]
        for number in range(self.nbatches):
            batch = slice(number * self.be.bsz, (number + 1) * self.be.bsz)
            self.dev_image.set(np.ascontiguousarray(self.images[batch].T))
            self._onehot(self.X[batch], self.dev_lbl, self.dev_X)
            counts = (self.sent_ends <= self.sent_length[batch]).astype(np.float32).reshape(1, -1)
            self.dev_y_mask.set(np.repeat(counts, self.vocab_size, axis=0))
            self._onehot(self.y[batch], self.dev_y_lbl, self.dev_y)
            self.dev_y[:] = self.dev_y * self.dev_y_mask
            yield (self.dev_image, self.dev_X), (self.dev_y, self.dev_y_mask)

    def _onehot(self, numbers: np.ndarray, flat: Any, out: Any) -> None:
        flat.set(np.ascontiguousarray(numbers.T))
        out[:] = self.be.onehot(flat.reshape((1, flat.size)), axis=0)

    def prob_to_word(self, prob: Any) -> list[str]:
        """The sentences of the most probable words, each to its end.

        Arguments:
            prob: probabilities of words, (vocab_size, at least T · samples), a tensor or an array.
        """
        values = prob if isinstance(prob, np.ndarray) else prob.get()
        words = [self.index_to_vocab[number] for number in np.argmax(values, axis=0).tolist()]
        found = []
        for sample in range(self.be.bsz):
            own = words[sample :: self.be.bsz][: min(self.max_sentence_length, _LONGEST + 1)]
            ends = [k for k, word in enumerate(own) if k > 0 and word == self.end_token]
            found.append(" ".join(own[: ends[0] + 1] if ends else own))
        return found

    def predict(self, model: Any) -> tuple[list[str], list[Any]]:
        """(Sentences that a model finds for the images, what stands there).

        Word by word the most probable one is added to what the model is given.
        """
        sentences: list[str] = []
        targets: list[Any] = []
        y = self.be.zeros(self.dev_X.shape)
        size = self.be.bsz
        for x, t in self:
            y.fill(0)
            for step in range(1, self.max_sentence_length + 1):
                prob = model.fprop((x[0], y), inference=True).get()[:, :-size]
                best = np.argmax(prob, axis=0)[: step * size]
                chosen = np.zeros(prob.shape, prob.dtype)
                chosen[best, np.arange(len(best))] = 1
                y.set(chosen)
            sentences += self.prob_to_word(y)
            targets += self._targets_of(t)
        return sentences, targets

    def _targets_of(self, t: Any) -> list[Any]:
        return [t[0]]

    def bleu_score(self, sents: Sequence[str], targets: Sequence[Sequence[str]]) -> None:
        """Show the BLEU score of sentences, in percent, with n-grams of up to 1, 2, 3 and 4 words.

        Sentences and references are also written to ``output``, ``reference0``, … in the folder of the data, as neon
        does for Moses' ``multi-bleu.perl``.

        Arguments:
            sents: the sentences.
            targets: for each the references, as many for all.
        """
        logger.display("Writing output and reference sents to dir %s", self.path)
        self._write("output", [" ".join(sentence.strip(self.end_token).split()) for sentence in sents])
        for k in range(len(targets[0])):
            self._write(f"reference{k}", [references[k] for references in targets])
        BLEUScore()(sents, targets, brevity_penalty=True, lower_case=False)

    def _write(self, name: str, lines: Sequence[str]) -> None:
        with open(os.path.join(self.path, name), "w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)

    def _getImage(self, img: Any) -> np.ndarray:  # noqa: N802 (neon's name)
        found: np.ndarray = self.features[:, img["imgid"]]
        return found

    def iterSentences(self) -> Iterator[Any]:  # noqa: N802 (neon's name)
        """All sentences."""
        for img in self.sent_data:
            yield from img["sentences"]

    def iterImageSentencePair(self) -> Iterator[dict[str, Any]]:  # noqa: N802 (neon's name)
        """All pairs of an image and one of its sentences."""
        for img in self.sent_data:
            for sentence in img["sentences"]:
                yield {"image": self._getImage(img), "sentence": sentence}

    def iterImageSentenceGroup(self) -> Iterator[dict[str, Any]]:  # noqa: N802 (neon's name)
        """All images with all of their sentences."""
        for img in self.sent_data:
            yield {"image": self._getImage(img), "sentences": img["sentences"]}


class ImageCaptionTest(ImageCaption):
    """Minibatches of features of images for tests, with all of their sentences as text.

    Arguments:
        path: the folder of ``features.pkl.gz``.
    """

    def __init__(self, path: str):
        super(ImageCaption, self).__init__(name=None)
        self.path = path
        logger.display("Reading test images and sentences from %s", path)
        self.read_images("train")
        self.load_vocab()
        self.read_images("test")
        groups = list(self.iterImageSentenceGroup())
        self._set_images([group["image"] for group in groups])
        self.ref_sents = [
            [" ".join(sentence["tokens"]) for sentence in group["sentences"]] for group in groups
        ]

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """Pairs ((features, words that are to be found), (sentences, None))."""
        for number in range(self.nbatches):
            batch = slice(number * self.be.bsz, (number + 1) * self.be.bsz)
            self.dev_image.set(np.ascontiguousarray(self.images[batch].T))
            yield (self.dev_image, self.dev_X), (self.ref_sents[batch], None)

    def _targets_of(self, t: Any) -> list[Any]:
        return list(t[0])


class _Captions(Dataset):
    """A dataset of images with sentences, in an archive.

    Arguments:
        path: the folder of the archive, which is unpacked there.
        max_images: see :class:`ImageCaption`.
    """

    archive = ""
    archive_size = 49165563

    def __init__(self, path: str = ".", max_images: int = -1):
        url = "https://s3-us-west-1.amazonaws.com/neon-stockdatasets/image-caption"
        super().__init__(self.archive, url, self.archive_size, path=path)
        self.max_images = max_images

    def load_data(self) -> str:
        """The folder of the data.

        Raises:
            DataError: the archive is not there.
        """
        return self.load_zip(self.filename, self.size)

    def gen_iterators(self) -> dict[str, Any]:
        """The iterators over 'train' and 'test'."""
        path = self.load_data()
        train = ImageCaption(path=path, max_images=self.max_images)
        self._data_dict = {"train": train, "test": ImageCaptionTest(path=path)}
        return self._data_dict


class Flickr8k(_Captions):
    """8,000 photographs of Flickr, with five sentences each.

    Arguments:
        path: the folder of ``flickr8k.zip``, which is unpacked there.
        max_images: see :class:`ImageCaption`.
    """

    archive = "flickr8k.zip"


class Flickr30k(_Captions):
    """30,000 photographs of Flickr, with five sentences each.

    Arguments:
        path: the folder of ``flickr30k.zip``, which is unpacked there.
        max_images: see :class:`ImageCaption`.
    """

    archive = "flickr30k.zip"


class Coco(_Captions):
    """Microsoft COCO: photographs with five sentences each.

    Arguments:
        path: the folder of ``coco.zip``, which is unpacked there.
        max_images: see :class:`ImageCaption`.
    """

    archive = "coco.zip"
    archive_size = 738051031
