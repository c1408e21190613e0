"""Makes bad and good configs: random text, mutated texts, texts of a grammar.

To fuzz: `PYTHONPATH=. python tests/serialization/fuzz_configs.py COUNT [SEED]`.
"""

from __future__ import annotations

import random
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from toys import MODEL

from neon_optim.errors import ConfigError, ConfigWarning
from neon_optim.serialization import load_config

CONFIGS = Path(__file__).parents[2] / "configs"
ALPHABET = " \n\t-:,{}[]&*!|>'\"%@`#?~.=<0123456789eExob_aznrΩ\x85\u2028\ufeff\x00\x7f\ud800"
CLASSES = (
    "ToyAdam ToyMulti ToyLinear ToyInit ToyCost ToySchedule ToyRule ToyFragile ToyData toydata "
    "Adam Schedule neon.optimizers.optimizer.Adam os.system x "
    "Linear Bias Activation Rectlin Gaussian CrossEntropyMulti MultiOptimizer Sequential digits"
).split()
KEYS = (
    "type config layers cost optimizer dataset epochs batchsize batch_size backend datatype rng_seed checkpoint "
    "every_steps name nout init scale learning_rate schedule steps change optimizer_mapping default stochastic_round "
    "wdecay samples << free 0 transform scale loc val shortcut momentum_coef"
).split()
SCALARS = [
    *"1 -1 0 1e-8 1e999 .nan .inf 010 yes true null ~ '1' 1_000 0x1F [] {} *a *b é".split(),
    *("9" * 500, '"\\x00"', "!!int 1", "!!python/object:os.system {}", "|\n  text", "&a 1", ""),
]

GOOD = [MODEL, *(path.read_text(encoding="utf-8") for path in sorted(CONFIGS.glob("*.yaml")))]


def random_text(rng: random.Random) -> str:
    return "".join(rng.choice(ALPHABET) for _ in range(rng.randrange(80)))


def mutated(rng: random.Random, text: str | None = None) -> str:
    text = rng.choice(GOOD) if text is None else text
    for _ in range(rng.choice((1, 1, 2, 3, 5))):
        start = rng.randrange(len(text) + 1)
        end = min(len(text), start + rng.randrange(12))
        other = rng.randrange(len(text) + 1)
        text = rng.choice(
            (
                text[:start] + text[end:],
                text[:start] + random_text(rng)[:6] + text[end:],
                text[:start] + rng.choice(SCALARS + KEYS + CLASSES) + text[end:],
                text[:other] + text[start:end] * rng.randrange(1, 30) + text[other:],
                text.replace(rng.choice(KEYS), rng.choice(KEYS)),
            )
        )
    return text


def grammatical(rng: random.Random, depth: int = 0) -> str:
    """Flow YAML with keys, classes and scalars that mean something here."""
    kind = rng.randrange(10)
    anchor = rng.choice(("&a ", "&b ")) if rng.random() < 0.05 else ""
    if depth > 5 or kind < 3:
        return anchor + rng.choice(SCALARS + CLASSES).replace("\n", " ")
    if kind < 5:
        return f"{anchor}[{', '.join(grammatical(rng, depth + 1) for _ in range(rng.randrange(4)))}]"
    if kind < 8:
        return f"{anchor}{{type: {rng.choice(CLASSES)}, config: {mapping(rng, depth + 1)}}}"
    return anchor + mapping(rng, depth + 1)


def mapping(rng: random.Random, depth: int) -> str:
    items = (f"{rng.choice(KEYS)}: {grammatical(rng, depth)}" for _ in range(rng.randrange(4)))
    return "{" + ", ".join(items) + "}"


def document(rng: random.Random) -> str:
    return "".join(f"{rng.choice(KEYS)}: {grammatical(rng)}\n" for _ in range(rng.randrange(1, 6)))


def cases(seed: int, count: int) -> Iterator[tuple[str, list[str]]]:
    """(text, overrides), `count` of them."""
    rng = random.Random(seed)
    makers = (random_text, mutated, document, lambda rng: mutated(rng, document(rng)))
    for _ in range(count):
        overrides = []
        if rng.random() < 0.1:
            path = rng.choice((".", "[0].", ".0.")).join(rng.choices(KEYS, k=rng.randrange(1, 4)))
            overrides = [f"{path}={grammatical(rng)}", random_text(rng)]
        yield rng.choice(makers)(rng) + "\n", overrides


def run(seed: int, count: int) -> tuple[int, float, str]:
    """How many of the cases loaded, the longest time in seconds that one took, and its text."""
    load_config(MODEL)  # the first one also imports the model stack
    loaded, slowest, text_of_slowest = 0, 0.0, ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConfigWarning)
        for text, overrides in cases(seed, count):
            started = time.process_time()
            try:
                load_config(text, overrides)
                loaded += 1
            except ConfigError as error:
                if not error.problems or len(str(error)) > 100_000:
                    raise AssertionError(f"a poor message from {text!r}") from error
            except Exception as error:
                raise AssertionError(f"{type(error).__name__} from {text!r} with {overrides!r}") from error
            taken = time.process_time() - started
            if taken > slowest:
                slowest, text_of_slowest = taken, text
    return loaded, slowest, text_of_slowest


if __name__ == "__main__":
    number = int(sys.argv[1])
    good, longest, what = run(int(sys.argv[2]) if len(sys.argv) > 2 else 1, number)
    print(
        f"{number} configs: {good} loaded, {number - good} ConfigError, slowest {longest * 1000:.1f} ms: {what!r}"
    )
