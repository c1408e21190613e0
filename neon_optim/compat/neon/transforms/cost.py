"""neon's costs and metrics.

The derivatives of the cross-entropies have that of the activation before them folded in, as there. A metric is a
number, or an array of several, for the samples of a minibatch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from neon_optim.compat.display_logger import logger
from neon_optim.described.arguments import Flag, Positive, PositiveInt, Real
from neon_optim.described.object import NervanaObject
from neon_optim.errors import ArgumentError, BackendError

__all__ = [
    "Accuracy",
    "BLEUScore",
    "Cost",
    "CrossEntropyBinary",
    "CrossEntropyMulti",
    "GANCost",
    "LogLoss",
    "MeanSquared",
    "Metric",
    "Misclassification",
    "MultiMetric",
    "ObjectDetection",
    "PrecisionRecall",
    "SmoothL1Loss",
    "SquareHingeLoss",
    "SumSquared",
    "TopKMisclassification",
]

_ALL = slice(0, None)


class Cost(NervanaObject, kind="cost", abstract=True):
    """A function of outputs y and targets t, both (features × samples).

    A subclass has the methods ``__call__`` and ``bprop``, or sets ``func`` and ``funcgrad``, functions of y and t.
    """

    _named_by_class: ClassVar[bool] = True

    def __call__(self, y: Any, t: Any) -> Any:
        """The cost of each sample as an op-tree, (1, samples)."""
        return self._given("func", "__call__")(y, t)

    def bprop(self, y: Any, t: Any) -> Any:
        """The derivative by y as an op-tree."""
        return self._given("funcgrad", "bprop")(y, t)

    def _given(self, function: str, method: str) -> Any:
        found = getattr(self, function, None)
        if found is None:
            raise NotImplementedError(
                f"{self.classnm} has neither a method {method} nor a function {function}"
            )
        return found

    @property
    def _backend(self) -> Any:
        if self.be is None:
            raise BackendError(f"no backend: call gen_backend() before {self.classnm}()")
        return self.be

    def _same_shape(self, y: Any, t: Any) -> None:
        if y.shape != t.shape:
            raise ArgumentError(f"{self.classnm}: outputs have the shape {y.shape}, and targets {t.shape}")


class CrossEntropyBinary(Cost):
    """-Σ t log(y) + (1 - t) log(1 - y), behind Logistic(shortcut=True).

    Arguments:
        scale: factor of the derivative, not of the value.
    """

    scale: Real = 1

    def __call__(self, y: Any, t: Any) -> Any:
        self._same_shape(y, t)
        be = self.be
        return be.sum(be.safelog(1 - y) * (t - 1) - be.safelog(y) * t, axis=0)

    def bprop(self, y: Any, t: Any) -> Any:
        """scale (y - t): by the inputs of the Logistic before it."""
        return self.scale * (y - t)


class CrossEntropyMulti(Cost):
    """-Σ t log(y), behind Softmax.

    Arguments:
        scale: factor of the derivative, not of the value.
        usebits: measure in bits; value and derivative are divided by log(2).
    """

    scale: Real = 1
    usebits: Flag = False

    @property
    def logscale(self) -> float:
        """What one nat is in the unit of the cost."""
        return 1.0 / math.log(2.0) if self.usebits else 1.0

    def __call__(self, y: Any, t: Any) -> Any:
        self._same_shape(y, t)
        return self.be.sum(-t * self.logscale * self.be.safelog(y), axis=0)

    def bprop(self, y: Any, t: Any) -> Any:
        """scale (y - t): by the inputs of the Softmax before it."""
        return self.logscale * self.scale * (y - t)


class SumSquared(Cost):
    """Σ (y - t)² / 2."""

    def __call__(self, y: Any, t: Any) -> Any:
        return self.be.sum(self.be.square(y - t), axis=0) / 2.0

    def bprop(self, y: Any, t: Any) -> Any:
        """y - t."""
        return y - t


class MeanSquared(Cost):
    """The mean over the outputs of (y - t)² / 2."""

    def __call__(self, y: Any, t: Any) -> Any:
        return self.be.mean(self.be.square(y - t), axis=0) / 2.0

    def bprop(self, y: Any, t: Any) -> Any:
        """(y - t) / number of outputs."""
        return (y - t) / y.shape[0]


class SmoothL1Loss(Cost):
    """Σ of σ² x² / 2 where \\|x\\| < 1 / σ², else \\|x\\| - 1 / (2 σ²), with x = y - t.

    Arguments:
        sigma: σ.

    References:
        Girshick, Fast R-CNN, ICCV 2015.
    """

    sigma: Positive = 1.0

    def __call__(self, y: Any, t: Any) -> Any:
        return self.be.sum(self.smoothL1(y - t), axis=0)

    def bprop(self, y: Any, t: Any) -> Any:
        """σ² x where \\|x\\| < 1 / σ², else the sign of x."""
        return self.smoothL1grad(y - t)

    def smoothL1(self, x: Any) -> Any:  # noqa: N802 (neon's name)
        """The cost of each difference."""
        return _smooth_l1(self.be, x, self.sigma * self.sigma)

    def smoothL1grad(self, x: Any) -> Any:  # noqa: N802 (neon's name)
        """The derivative by each difference."""
        be, squared = self.be, self.sigma * self.sigma
        distance = be.absolute(x)
        inner = be.less(distance, 1 / squared)
        return x * squared * inner + be.sgn(x) * be.greater_equal(distance, 1 / squared)


def _smooth_l1(be: Any, x: Any, squared: float) -> Any:
    distance = be.absolute(x)
    near = 0.5 * be.square(x) * squared * be.less(distance, 1 / squared)
    return near + (distance - 0.5 / squared) * be.greater_equal(distance, 1 / squared)


class SquareHingeLoss(Cost):
    """The mean of max(margin - s y, 0)², with s = 2 t - 1.

    Arguments:
        margin: from which distance on an output costs nothing.
    """

    margin: Real = 1

    def __call__(self, y: Any, t: Any) -> Any:
        t = 2 * t - 1
        return self.be.mean(self.be.square(self.be.maximum(self.margin - t * y, 0)), axis=0)

    def bprop(self, y: Any, t: Any) -> Any:
        """-2 s max(margin - s y, 0) / number of outputs."""
        t = 2 * t - 1
        return -2 * t * self.be.maximum(self.margin - t * y, 0) / float(y.shape[0])


class GANCost(Cost):
    """Costs of a discriminator and of a generator, from the outputs for data and for noise.

    Arguments:
        scale: factor of the derivatives.
        cost_type: 'dis' or 'gen'.
        func: 'original', 'modified' or 'wasserstein'.

    References:
        Goodfellow et al., Generative adversarial nets, NIPS 2014; the signs are such that all costs are made small.
        Arjovsky et al., Wasserstein GAN, ICML 2017.
    """

    scale: Real = 1.0
    cost_type: Literal["dis", "gen"] = "dis"
    func: Literal["original", "modified", "wasserstein"] = "modified"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.one_buf = self._backend.iobuf(1)
        self.one_buf.fill(1)

    def __call__(
        self,
        y_data: Any,
        y_noise: Any,
        cost_type: Literal["dis", "dis_data", "dis_noise", "gen"] = "dis",
    ) -> Any:
        """The mean of one of the costs, (1, samples)."""
        self._same_shape(y_data, y_noise)
        be, wasserstein = self.be, self.func == "wasserstein"
        if cost_type == "gen":
            if wasserstein:
                return be.mean(y_noise, axis=0)
            cost = -be.safelog(y_noise) if self.func == "original" else be.safelog(1 - y_noise)
            return be.mean(cost, axis=0)
        of_data = y_data if wasserstein else -be.safelog(y_data)
        of_noise = -y_noise if wasserstein else -be.safelog(1 - y_noise)
        costs = {"dis": of_data + of_noise, "dis_data": of_data, "dis_noise": of_noise}
        if cost_type not in costs:
            raise ArgumentError(
                f"GANCost: cost_type must be 'dis', 'dis_data', 'dis_noise' or 'gen', received {cost_type!r}"
            )
        return be.mean(costs[cost_type], axis=0)

    def bprop_noise(self, y_noise: Any) -> Any:
        """The derivative of the discriminator's cost by its outputs for noise."""
        return -self.scale * self.one_buf if self.func == "wasserstein" else self.scale / (1.0 - y_noise)

    def bprop_data(self, y_data: Any) -> Any:
        """The derivative of the discriminator's cost by its outputs for data."""
        return self.scale * (self.one_buf if self.func == "wasserstein" else -1.0 / y_data)

    def bprop_generator(self, y_noise: Any) -> Any:
        """The derivative of the generator's cost by the discriminator's outputs for noise."""
        if self.func == "wasserstein":
            return self.scale * self.one_buf
        return self.scale / (y_noise - 1.0) if self.func == "original" else -self.scale / y_noise


class Metric(Cost, abstract=True):
    """What is measured and not trained on.

    Attributes:
        metric_names: a name for each number that it gives.
    """

    metric_names: ClassVar[Any] = ()

    def __call__(self, y: Any, t: Any, calcrange: slice = _ALL) -> Any:
        """The mean over the samples in ``calcrange``: a number, or an array where there are several names."""
        raise NotImplementedError(f"{self.classnm} has no method __call__")


class MultiMetric(Metric):
    """A metric of one of the outputs of a model that has several.

    Arguments:
        metric: what measures it.
        index: which of the outputs.
    """

    metric: Any
    index: int

    def __call__(self, y: Any, t: Any, *args: Any, **kwargs: Any) -> Any:
        """That of the metric, for the outputs and targets at the index."""
        return self.metric(y[self.index], t[self.index], *args, **kwargs)

    @property
    def metric_names(self) -> Any:
        """Those of the metric."""
        return self.metric.metric_names

    def __getattr__(self, key: str) -> Any:
        if key == "metric" or key.startswith("_"):
            raise AttributeError(key)
        return getattr(self.metric, key)


class LogLoss(Metric):
    """-log of the output at the right class."""

    metric_names: ClassVar[Any] = ["LogLoss"]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.correctProbs = self._backend.iobuf(1)

    def __call__(self, y: Any, t: Any, calcrange: slice = _ALL) -> Any:
        """The mean, an array of ()."""
        self.correctProbs[:] = -self.be.safelog(self.be.sum(y * t, axis=0))
        return np.array(self.correctProbs.get()[:, calcrange].mean())


class TopKMisclassification(Metric):
    """-log of the output at the right class; how often it is not the largest; how often not among the k largest.

    Arguments:
        k: number of guesses.

    Where outputs equal that of the right class, the k guesses are taken to fall on these with the same probability.
    """

    k: PositiveInt

    def __post_init__(self) -> None:
        super().__post_init__()
        self.correctProbs, self.top1, self.topk = [self._backend.iobuf(1) for _ in range(3)]

    @property
    def metric_names(self) -> list[str]:
        """'LogLoss', 'Top1Misclass', 'Top<k>Misclass'."""
        return ["LogLoss", "Top1Misclass", f"Top{self.k}Misclass"]

    def __call__(self, y: Any, t: Any, calcrange: slice = _ALL) -> np.ndarray:
        """The three means."""
        be, correct = self.be, self.correctProbs
        correct[:] = be.sum(y * t, axis=0)
        slots = self.k - be.sum(be.greater(y, correct), axis=0)
        equal = be.sum(be.equal(y, correct), axis=0)
        share = slots / equal
        hits = be.less_equal(equal, slots) * (1 - share) + share
        self.topk[:] = 1.0 - be.greater(slots, 0) * hits
        self.top1[:] = 1.0 - be.equal(be.max(y, axis=0), correct) / equal
        correct[:] = -be.safelog(correct)
        return np.array([found.get()[:, calcrange].mean() for found in (correct, self.top1, self.topk)])


class _ClassMetric(Metric, abstract=True):
    """Compares the class with the largest output with that with the largest target.

    Attributes:
        preds, hyps: those classes.
        outputs: the result for each sample; the memory of ``preds``.
    """

    def _make_buffers(self, steps: int) -> None:
        self.preds, self.hyps = [self._backend.iobuf((1, steps), persist_values=False) for _ in range(2)]
        self.outputs = self.preds

    def _compare(self, compare: Any, y: Any, t: Any, calcrange: slice) -> Any:
        self.preds[:] = self.be.argmax(y, axis=0)
        self.hyps[:] = self.be.argmax(t, axis=0)
        self.outputs[:] = compare(self.preds, self.hyps)
        return self.outputs.get()[:, calcrange].mean()


class Misclassification(_ClassMetric):
    """How often the largest output is not that of the right class.

    Arguments:
        steps: how many steps a sample has.
    """

    steps: PositiveInt = 1
    metric_names: ClassVar[Any] = ["Top1Misclass"]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._make_buffers(self.steps)

    def __call__(self, y: Any, t: Any, calcrange: slice = _ALL) -> Any:
        """The mean over the samples in ``calcrange``."""
        return self._compare(self.be.not_equal, y, t, calcrange)


class Accuracy(_ClassMetric):
    """How often the largest output is that of the right class."""

    metric_names: ClassVar[Any] = ["Accuracy"]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._make_buffers(1)

    def __call__(self, y: Any, t: Any, calcrange: slice = _ALL) -> Any:
        """The mean over the samples in ``calcrange``."""
        return self._compare(self.be.equal, y, t, calcrange)


class PrecisionRecall(Metric):
    """Precision and recall, class by class, and their means.

    Arguments:
        num_classes: number of classes.
        binarize: make the outputs one-hot first, in place.
        epsilon: is added to what is divided by.

    Attributes:
        outputs: precision and recall of each class, (classes, 2).
        token_stats: for each class how often it is found and right, found, and due, (classes, 3).
    """

    num_classes: PositiveInt
    binarize: Flag = False
    epsilon: Positive = 1e-6
    metric_names: ClassVar[Any] = ["Precision", "Recall"]

    def __post_init__(self) -> None:
        super().__post_init__()
        be = self._backend
        self.outputs, self.token_stats = be.empty((self.num_classes, 2)), be.empty((self.num_classes, 3))
        self.bin_buf = be.iobuf(1, dtype=np.int32) if self.binarize else None

    def __call__(self, y: Any, t: Any, calcrange: slice = _ALL) -> np.ndarray:
        """The means over the classes; y and t are 0 or 1, unless ``binarize`` makes them so."""
        be, stats = self.be, self.token_stats
        if self.bin_buf is not None:
            self.bin_buf[:] = be.argmax(y, axis=0)
            y[:] = be.onehot(self.bin_buf, axis=0)
        for column, counted in enumerate((y * t, y, t)):
            stats[:, column] = be.sum(counted, axis=1)
        for column in (0, 1):
            self.outputs[:, column] = stats[:, 0] / (stats[:, column + 1] + self.epsilon)
        means: np.ndarray = self.outputs.get().mean(axis=0)
        return means


class ObjectDetection(Metric):
    """Accuracy of labels, and the smooth L1 distance of bounding boxes, as Fast R-CNN gives both."""

    metric_names: ClassVar[Any] = ["Accuracy", "SmoothL1Loss"]
    label_ind: ClassVar[int] = 0
    bbox_ind: ClassVar[int] = 1

    def smoothL1(self, x: Any) -> Any:  # noqa: N802 (neon's name)
        """The cost of each difference."""
        return _smooth_l1(self.be, x, 1)

    def __call__(self, y: Any, t: Any, calcrange: slice = _ALL) -> np.ndarray:
        """Both means.

        Arguments:
            y: labels, (classes, regions), and boxes, (4 · classes, regions).
            t: labels, or labels and their mask; boxes and their mask.
        """
        be = self.be
        boxes, mask = t[self.bbox_ind]
        self.detectionMetric = be.empty((1, boxes.shape[1]))
        self.detectionMetric[:] = be.sum(self.smoothL1(y[self.bbox_ind] * mask - boxes), axis=0)
        found, due = y[self.label_ind], t[self.label_ind]
        if isinstance(due, tuple):
            due, mask = due
            found, due = found * mask, due * mask
        self.preds, self.hyps, self.labelMetric = [be.empty((1, boxes.shape[1])) for _ in range(3)]
        self.preds[:] = be.argmax(found, axis=0)
        self.hyps[:] = be.argmax(due, axis=0)
        self.labelMetric[:] = be.equal(self.preds, self.hyps)
        return np.array([of.get()[:, calcrange].mean() for of in (self.labelMetric, self.detectionMetric)])


class BLEUScore(Metric):
    """The BLEU score of sentences against several references each.

    Arguments:
        unk: the word that stands for all unknown ones; a match that holds it does not count.

    Attributes:
        bleu_n: the scores, in percent, with n-grams of up to 1, 2, … words.

    References:
        Papineni et al., BLEU: a method for automatic evaluation of machine translation, ACL 2002.
    """

    unk: str = "<unk>"
    metric_names: ClassVar[Any] = ["BLEU"]
    end_token: ClassVar[str] = "."

    def __call__(  # type: ignore[override]
        self,
        y: Iterable[str],
        t: Iterable[Sequence[str]],
        N: int = 4,
        brevity_penalty: bool = False,
        lower_case: bool = True,
    ) -> Any:
        """The score with n-grams of up to N words; those of fewer words are shown too, and stay in ``bleu_n``.

        Arguments:
            y: sentences.
            t: references of each.
            brevity_penalty: lower the score where sentences are shorter than the references nearest in length.
            lower_case: make the sentences lower case first; references are taken as they are.
        """
        found, matched = np.zeros(N), np.zeros(N)
        length = due_length = 0
        for sentence, references in zip(y, t, strict=True):
            words = (sentence.lower() if lower_case else sentence).strip(self.end_token).split()
            choices = [reference.split() for reference in references]
            length += len(words)
            due_length += min((len(choice) for choice in choices), key=lambda n: (abs(n - len(words)), n))
            for n in range(1, N + 1):
                counts = _ngrams(words, n)
                most: Counter = Counter()
                for choice in choices:
                    most |= _ngrams(choice, n)
                known = {gram: count for gram, count in counts.items() if not self._holds_unknown(gram)}
                found[n - 1] += sum(counts.values())
                matched[n - 1] += sum(min(count, most[gram]) for gram, count in known.items())
        logarithms = np.log(np.divide(matched, found, out=np.zeros(N), where=found > 0) + 1e-7)
        penalty = math.exp(1 - due_length / length) if brevity_penalty and 0 < length < due_length else 1.0
        self.bleu_n = [100 * penalty * math.exp(logarithms[:n].mean()) for n in range(1, N + 1)]
        logger.display("Bleu scores: " + " ".join([str(round(score, 2)) for score in self.bleu_n]))
        return self.bleu_n[-1]

    def _holds_unknown(self, gram: tuple[str, ...]) -> bool:
        return any(self.unk in word for word in gram)


def _ngrams(words: list[str], n: int) -> Counter:
    return Counter(tuple(words[at : at + n]) for at in range(len(words) - n + 1))
