"""Which optimizer a parameter goes to, and that those with one rule run in one pass."""

from __future__ import annotations

import numpy as np
import pytest

from neon_optim import gen_backend
from neon_optim.described.build import from_description
from neon_optim.errors import ArgumentError, StateError
from neon_optim.optimizers import SGD, Adam, AdamW, Lookahead, MultiOptimizer, Muon
from neon_optim.schedules import Plateau
from neon_optim.stepping.parameters import NamedParameter


class Dense:
    def __init__(self, name, shape=(3, 2)):
        self.name = name
        self.params = [((np.ones(shape), np.ones(shape)), [])]

    def get_params(self):
        return self.params


class Bias(Dense):
    pass


@pytest.fixture(autouse=True)
def be(engine):
    return gen_backend("cpu", datatype=np.float64, batch_size=1, engine=engine)


def chosen(mapping, parameter):
    multi = MultiOptimizer(
        {"default": SGD(0.1, name="default"), **{key: SGD(0.1, name=key) for key in mapping}}
    )
    return multi.optimizer_for(parameter).name


CONV = NamedParameter("conv1", "Convolution", "W", ((None, None), []))


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        (["Convolution", "conv1", "conv1/W", "conv*"], "conv1/W"),
        (["Convolution", "conv1", "conv*"], "conv1"),
        (["Convolution", "conv*", "/c.*/"], "Convolution"),
        (["conv*", "fc*"], "conv*"),
        (["/conv[0-9]/", "conv"], "/conv[0-9]/"),
        (["Conv*"], "Conv*"),
        (["*/W"], "*/W"),
        (["conv", "/conv/", "?onv", "1"], "default"),
        ([], "default"),
    ],
)
def test_names_come_before_classes_before_patterns_before_default(mapping, expected):
    assert chosen(mapping, CONV) == expected


def test_two_patterns_that_match_are_an_error_that_names_both():
    multi = MultiOptimizer({"default": SGD(0.1), "conv*": SGD(0.1), "/.*1/": SGD(0.1)}, name="mine")
    layers = [Dense("conv1")]
    with pytest.raises(
        ArgumentError, match=r"mine: the patterns 'conv\*' and '/\.\*1/' .* both match 'conv1/W'"
    ):
        multi.optimize(layers, 0)
    np.testing.assert_array_equal(layers[0].params[0][0][0], 1.0)


def test_a_bad_pattern_or_no_default_is_refused_at_once():
    with pytest.raises(
        ArgumentError, match=r"optimizer_mapping must hold regular expressions .*received '/\(/'"
    ):
        MultiOptimizer({"default": SGD(0.1), "/(/": SGD(0.1)})
    with pytest.raises(ArgumentError, match="must have an entry 'default', received"):
        MultiOptimizer({"Bias": SGD(0.1)})
    with pytest.raises(ArgumentError, match=r"no_decay must hold regular expressions"):
        SGD(0.1, no_decay=["/[/"])


def count_passes(be, optimizer, layers):
    passes = []
    execute = be.execute
    be.execute = lambda *args, **kwargs: passes.append(args[0]) or execute(*args, **kwargs)
    optimizer.optimize(layers, 0)
    be.execute = execute
    return len(passes)


def test_optimizers_with_one_rule_run_in_one_pass(be):
    layers = [Dense(f"fc{k}") for k in range(6)] + [Bias("b")]
    same = MultiOptimizer(
        {
            "default": AdamW(0.1),
            "fc1": AdamW(0.2, beta_1=0.5),
            "fc[23]": AdamW(0.3, wdecay=0.5),
            "Bias": MultiOptimizer({"default": AdamW(0.4)}),
        }
    )
    assert count_passes(be, same, layers) == 1
    expected = {"fc0": 0.1, "fc1": 0.2, "fc2": 0.3, "b": 0.4}
    for layer in layers:
        if layer.name in expected:
            rate = expected[layer.name]
            decay = 0.5 if layer.name == "fc2" else 0.01
            np.testing.assert_allclose(layer.params[0][0][0], 1 - rate * decay - rate, rtol=1e-6)
    other = MultiOptimizer({"default": AdamW(0.1), "Bias": SGD(0.1), "fc1": SGD(0.5)})
    assert count_passes(be, other, [Dense("fc0"), Dense("fc1"), Bias("b")]) == 2


def test_optimizers_that_round_differently_do_not_share_a_pass(be):
    def make(**options):
        layers = [Dense("a"), Dense("b")]
        for layer in layers:
            layer.params[:] = [((np.ones((64, 64), np.float32), np.full((64, 64), 0.3, np.float32)), [])]
        mapping = {"default": SGD(0.01), "b": SGD(0.01, **options)}
        return layers, MultiOptimizer(mapping)

    layers, multi = make(stochastic_round=4)
    assert count_passes(be, multi, layers) == 2
    nearest, rounded = (layer.params[0][0][0] for layer in layers)
    assert len(np.unique(nearest)) == 1
    assert len(np.unique(rounded)) == 2


def test_each_clips_the_norm_of_its_own_parameters():
    layers = [Dense("a"), Dense("b")]
    layers[1].params[0][0][1][:] = 100.0
    MultiOptimizer(
        {"default": SGD(1.0, gradient_clip_norm=1.0), "b": SGD(1.0, gradient_clip_norm=2.0)}
    ).optimize(layers, 0)
    for layer, norm in zip(layers, (1.0, 2.0), strict=True):
        assert np.linalg.norm(1.0 - layer.params[0][0][0]) == pytest.approx(norm, rel=1e-12)


def test_nested_ones_count_restore_and_name_their_states():
    def make():
        inner = MultiOptimizer({"default": Lookahead(Muon(0.1), every=2), "*2": SGD(0.1, momentum_coef=0.5)})
        return MultiOptimizer({"default": Adam(), "fc*": inner})

    multi, layers = make(), [Dense("fc1"), Dense("fc2"), Bias("b")]
    for _ in range(3):
        multi.optimize(layers, 0)
    owners = {parameter.path: owner for parameter, owner in multi.named_parameters(layers)}
    assert {path: owner.slots for path, owner in owners.items()} == {
        "fc1/W": ("momentum", "slow"),
        "fc2/W": ("velocity",),
        "b/W": ("m", "v"),
    }
    counters = multi.get_counters()
    assert counters["fc*"]["default"] == {"t": 3, "optimizer": {"t": 3}}
    again = from_description(multi.get_description())
    again.set_counters(counters)
    assert again.get_counters() == counters
    with pytest.raises(StateError, match="do not fit"):
        MultiOptimizer({"default": Adam()}).set_counters(counters)


def test_a_metric_reaches_each_schedule_once():
    plateau = Plateau(factor=0.5, patience=0)
    multi = MultiOptimizer(
        {"default": SGD(1.0, schedule=plateau), "a": Lookahead(SGD(1.0, schedule=plateau)), "b": Adam()}
    )
    for metric in (1.0, 1.0, 1.0):
        multi.observe(metric)
    assert multi.optimizer_mapping["default"].at(0).lr == 0.25


def test_a_changed_mapping_or_list_counts_from_the_next_step():
    layers = [Dense("a"), Dense("b")]
    multi = MultiOptimizer({"default": SGD(0.5)})
    multi.optimize(layers, 0)
    multi.optimizer_mapping["b"] = SGD(0.25)
    multi.optimize(layers, 0)
    assert [layer.params[0][0][0][0, 0] for layer in layers] == [0.0, 0.25]
    multi.optimize([layers[1], Dense("c")], 0)
    assert [layer.params[0][0][0][0, 0] for layer in layers] == [0.0, 0.0]


def test_what_no_decay_names_stays_without_it():
    layers = [Dense("fc"), Bias("b"), Dense("norm_1")]
    for layer in layers:
        layer.params[0][0][1][:] = 0.0
    optimizer = AdamW(0.5, wdecay=0.5, no_decay=["Bias", "/norm_[0-9]+/"])
    for step in range(1, 3):
        optimizer.optimize(layers, 0)
        assert [layer.params[0][0][0][0, 0] for layer in layers] == [0.75**step, 1.0, 1.0]
    optimizer.no_decay.append("fc/*")
    optimizer.optimize(layers, 0)
    assert layers[0].params[0][0][0][0, 0] == 0.75**2


def test_decoupled_decay_has_one_meaning_where_it_is_the_default():
    """On AdamW ``wdecay`` is decoupled already; ``decoupled_wdecay`` then stands in its place."""
    found = []
    for options in ({"wdecay": 0.5}, {"decoupled_wdecay": 0.5}, {"wdecay": 0.1, "decoupled_wdecay": 0.5}):
        (layer,) = layers = [Dense("a")]
        AdamW(0.1, **options).optimize(layers, 0)
        found.append(layer.params[0][0][0][0, 0])
    assert found[0] == found[1] == found[2] == pytest.approx(1 - 0.05 - 0.1, rel=1e-6)


def test_counters_that_do_not_fit_change_nothing():
    multi = MultiOptimizer({"default": Adam(), "late": Adam(schedule=Plateau())})
    before = multi.get_counters()
    wrong = {"default": {"t": 7}, "late": {"t": 7, "schedules": {"schedule": {"unknown": 1}}}}
    with pytest.raises(StateError, match="Plateau"):
        multi.set_counters(wrong)
    assert multi.get_counters() == before


@pytest.mark.parametrize("kind", [SGD, Muon])
def test_the_random_numbers_of_a_tensor_do_not_depend_on_who_else_is_rounded(kind):
    """A tensor has those of its place among all tensors of the step."""

    def trained(**options):
        layers = [Dense("a"), Dense("b")]
        for layer in layers:
            layer.params[:] = [((np.ones((64, 64), np.float32), np.full((64, 64), 0.3, np.float32)), [])]
        gen_backend("cpu", rng_seed=1, batch_size=1)
        mapping = {"default": SGD(0.01, **options), "b": kind(learning_rate=0.01, stochastic_round=7)}
        MultiOptimizer(mapping).optimize(layers, 0)
        return layers[1].params[0][0][0]

    np.testing.assert_array_equal(trained(stochastic_round=7), trained(stochastic_round=False))
