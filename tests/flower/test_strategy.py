"""The robust strategy against replies of every kind, without an engine."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pytest
import torch
from flower_clients import (
    MODEL,
    TARGET,
    Arrays,
    N,
    arrays_of,
    honest,
    one_round,
    play,
    record,
    spoiling,
    trained,
)
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg
from in_process import FIRST, InProcess

import turncoat as tc
from turncoat.errors import InputError, SpecError, ToleranceError
from turncoat.flower import RobustFedAvg
from turncoat.registry import entries
from turncoat.rules.base import Outcome

VOTED = ("conv.weight", "bn.weight", "head.bias")


def moved(arrays: Arrays) -> float:
    """How far the weights are from where honest clients want them, at most."""
    return max(float(np.abs(arrays[name] - MODEL[name] - TARGET).max()) for name in VOTED)


def values(name, value):
    def spoil(arrays, metrics):
        arrays[name] = np.full_like(arrays[name], value)

    return spoil


def without(name):
    def spoil(arrays, metrics):
        del arrays[name]

    return spoil


def replaced(name, array):
    return lambda arrays, metrics: arrays.update({name: array})


def raw(data: bytes, dtype="float32", shape=(2, 3), stype="numpy.ndarray"):
    """A layer of bytes that somebody chose."""

    def spoil(arrays, metrics):
        layers = record(arrays)
        layers["conv.weight"] = Array(dtype, shape, stype, data)
        content = RecordDict({"arrays": layers, "metrics": MetricRecord(metrics)})
        return lambda message: Message(content, reply_to=message)

    return spoil


def npy(array, **options) -> bytes:
    stream = BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def claiming_much() -> bytes:
    stream = BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (10**12, 3)})
    return stream.getvalue()


MALFORMED = {
    "NaN": values("conv.weight", np.nan),
    "Inf": values("head.bias", np.inf),
    "float64 that float16 cannot hold": replaced("bn.weight", np.full(4, 1e38)),
    "a missing layer": without("head.bias"),
    "an extra layer": lambda arrays, metrics: arrays.update(more=np.zeros(3, np.float32)),
    "another shape": replaced("conv.weight", np.zeros((3, 2), np.float32)),
    "a broadcastable shape": replaced("conv.weight", np.zeros((1, 3), np.float32)),
    "integers for floats": replaced("conv.weight", np.zeros((2, 3), np.int64)),
    "floats for integers": replaced("bn.num_batches_tracked", np.array(8.0)),
    "complex numbers": replaced("conv.weight", np.zeros((2, 3), np.complex64)),
    "long doubles": replaced("conv.weight", np.zeros((2, 3), np.longdouble)),
    "strings": replaced("conv.weight", np.full((2, 3), "x")),
    "NaN statistics": values("bn.running_mean", np.nan),
    "negative variances": values("bn.running_var", -1.0),
    "bytes that are no array": raw(b"no array at all"),
    "no bytes": raw(b""),
    "a cut array": raw(npy(np.zeros((2, 3), np.float32))[:-4]),
    "a long array": raw(npy(np.zeros((2, 3), np.float32)) + b"more"),
    "a terabyte": raw(claiming_much()),
    "pickled objects": raw(npy(np.array([[None] * 3] * 2), allow_pickle=True)),
    "another serialisation": raw(npy(np.zeros((2, 3), np.float32)), stype="pickle"),
    "no records": lambda arrays, metrics: lambda message: Message(RecordDict(), reply_to=message),
    "two models": lambda arrays, metrics: (
        lambda message: Message(RecordDict({"arrays": record(arrays), "again": record(arrays)}), reply_to=message)
    ),
}
FINITE = {
    "1e38": values("conv.weight", 1e38),
    "-1e308": values("head.bias", -1e308),
    "opposite": values("conv.weight", -100.0),
    "10^9 examples": lambda arrays, metrics: metrics.update({"num-examples": 10**9}),
    "negative examples": lambda arrays, metrics: metrics.update({"num-examples": -5}),
    "lists for metrics": lambda arrays, metrics: metrics.update({"loss": [1.0, 2.0], "num-examples": [1, 2]}),
    "metrics not finite": lambda arrays, metrics: metrics.update({"loss": float("nan"), "accuracy": float("inf")}),
    "no metrics": lambda arrays, metrics: metrics.clear(),
    "strings for metrics": lambda arrays, metrics: lambda message: Message(
        RecordDict({"arrays": record(arrays), "metrics": ConfigRecord({"loss": "low", "num-examples": "many"})}),
        reply_to=message,
    ),
    "a metric in many records": lambda arrays, metrics: lambda message: Message(
        RecordDict({"arrays": record(arrays), **{f"metrics {i}": MetricRecord({"loss": 1e9}) for i in range(99)}}),
        reply_to=message,
    ),
    "statistics of 1e38": values("bn.running_var", 1e38),
    "a huge counter": values("bn.num_batches_tracked", 2**62),
}  # fmt: skip


@pytest.mark.parametrize("rule", ["median", "krum", "nnm >> trimmed_mean", "geometric_median"])
@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_replies_are_excluded(kind, rule):
    strategy = RobustFedAvg(rule, f=2)
    arrays, metrics = one_round(strategy, spoiling(MALFORMED[kind]))
    assert moved(arrays) < 0.02
    assert metrics["robust/excluded"] == 2
    assert metrics["robust/replies"] == N - 2
    assert strategy.suspicion == {FIRST + i: float(i < 2) for i in range(N)}
    assert all(arrays[name].dtype == array.dtype and arrays[name].shape == array.shape for name, array in MODEL.items())


@pytest.mark.parametrize("kind", FINITE)
def test_finite_lies_are_outvoted(kind):
    arrays, metrics = one_round(RobustFedAvg("nnm >> trimmed_mean", f=2), spoiling(FINITE[kind]))
    assert moved(arrays) < 0.02
    assert metrics["robust/excluded"] == 0
    assert 0 <= arrays["bn.running_mean"].min() <= arrays["bn.running_mean"].max() <= 0.9
    assert 1 <= arrays["bn.running_var"].min() <= arrays["bn.running_var"].max() <= 1.9
    assert arrays["bn.num_batches_tracked"] == 8
    assert 1.2 <= metrics["loss"] <= 1.9


@pytest.mark.parametrize("width", [np.float16, np.float32, np.float64])
def test_other_floats_byte_orders_and_layouts_are_read_as_what_they_say(width):
    def other(arrays, metrics):
        arrays["conv.weight"] = np.asfortranarray(arrays["conv.weight"].astype(np.dtype(width).newbyteorder(">")))

    arrays, metrics = one_round(RobustFedAvg("mean", f=0), spoiling(other, tuple(range(N))))
    assert metrics["robust/excluded"] == 0
    assert moved(arrays) < 0.02
    assert arrays["conv.weight"].dtype == np.float32


def test_scalars_and_empty_layers_are_read():
    model = MODEL | {"scale": np.array(2.0, np.float32), "none": np.zeros((0, 3), np.float32)}
    result = play(RobustFedAvg("median", f=2), rounds=2, model=model)
    assert result.arrays["scale"].numpy() == 2.0
    assert result.arrays["none"].numpy().shape == (0, 3)


def test_missing_replies_do_not_lower_f():
    def fails(arrays, metrics):
        raise RuntimeError("out of memory")

    def none(arrays, metrics):
        return lambda message: None

    for spoil in (fails, none):
        strategy = RobustFedAvg("trimmed_mean", f=2)
        arrays, metrics = one_round(strategy, spoiling(spoil, (0, 1, 2)))
        assert moved(arrays) < 0.02
        assert (metrics["robust/missing"], metrics["robust/f"], metrics["robust/refused"]) == (3, 2, 0)
        assert not any(strategy.suspicion.values())
        arrays, metrics = one_round(strategy, spoiling(spoil, tuple(range(6))))
        assert arrays is None  # four replies, two of which may be Byzantine
        assert metrics["robust/refused"] == 1


def test_two_that_are_missing_and_two_that_lie():
    def client(message, context):
        i = context.node_config["partition-id"]
        if i < 2:
            return None
        return spoiling(values("conv.weight", 1e38), (2, 3))(message, context)

    arrays, metrics = one_round(RobustFedAvg("trimmed_mean", f=2), client)
    assert moved(arrays) < 0.02
    assert metrics["robust/suspects"] == 2


def test_a_malformed_reply_uses_up_f():
    def spoil(arrays, metrics):
        arrays["conv.weight"][0, 0] = np.nan

    seen = []

    def rule(X, f):
        seen.append((len(X), f))
        return X.mean(0)

    one_round(RobustFedAvg(rule, f=2), spoiling(spoil, (4,)))
    assert seen == [(N - 1, 1)]


@pytest.mark.parametrize("traitors", [3, 10])
def test_more_malformed_replies_than_f_leave_the_model(traitors):
    strategy = RobustFedAvg("median", f=2)
    result = play(strategy, spoiling(MALFORMED["NaN"], tuple(range(traitors))), rounds=2)
    assert not result.arrays
    assert result.train_metrics_clientapp[2]["robust/refused"] == 1


def test_second_replies_strangers_and_error_replies():
    grid = InProcess(honest, N)
    strategy = RobustFedAvg("median", f=2)
    messages = list(strategy.configure_train(1, record(MODEL), ConfigRecord(), grid))
    replies = grid.send_and_receive(messages)
    stranger = InProcess(honest, N + 5).send_and_receive(
        [Message(messages[0].content, dst_node_id=FIRST + N + 2, message_type="train")]
    )
    failed = Message(Error(1, "a\nlong " * 1000), reply_to=messages[1])
    twice = replies[0]
    arrays, metrics = strategy.aggregate_train(1, [*replies[2:], twice, twice, failed, *stranger])
    assert moved(arrays_of(arrays)) < 0.02
    assert (metrics["robust/replies"], metrics["robust/missing"], metrics["robust/excluded"]) == (N - 2, 1, 1)
    assert strategy.suspicion[twice.metadata.src_node_id] == 1


def test_updates_are_aggregated_not_weights():
    """A clipped sum, centred clipping from 0, takes small steps from the model, wherever that stands."""
    result = play(RobustFedAvg("centered_clipping(tau=0.1)", f=2))
    change = result.arrays["conv.weight"].numpy() - MODEL["conv.weight"]
    assert 0 < np.abs(change).max() <= 0.1


def test_the_memory_of_a_rule_survives_rounds():
    result = play(RobustFedAvg("centered_clipping(tau=0.1)", f=2), rounds=3)
    again = tc.rule("centered_clipping(tau=0.1)")
    model, state = {name: MODEL[name] for name in MODEL}, None
    for _ in range(3):
        grid = InProcess(lambda message, context: None, N)
        rows = []
        message = next(iter(FedAvg().configure_train(1, record(model), ConfigRecord(), grid)))
        for i in range(N):
            sent, _ = trained(message, i)
            rows.append(np.concatenate([(sent[name].astype(float) - model[name]).ravel() for name in VOTED]))
        X = torch.from_numpy(np.stack(rows))
        aggregation, state = again.step(X, again.init(X) if state is None else state)
        pieces = np.split(aggregation.vector.numpy(), [6, 10])
        for name, piece in zip(VOTED, pieces, strict=True):
            model[name] = (model[name] + piece.reshape(model[name].shape)).astype(MODEL[name].dtype)
    for name in VOTED:
        np.testing.assert_allclose(result.arrays[name].numpy(), model[name], rtol=1e-6)


def test_a_refused_round_leaves_the_memory():
    strategy = RobustFedAvg("centered_clipping(tau=0.1)", f=2)
    one_round(strategy)
    before = strategy._state.clone()
    assert one_round(strategy, spoiling(MALFORMED["NaN"], tuple(range(5))))[0] is None
    assert torch.equal(strategy._state, before)


def test_claimed_examples_count_only_where_they_are_trusted():
    def heavy(arrays, metrics):
        arrays["conv.weight"] = arrays["conv.weight"] + 10
        metrics["num-examples"] = 10**9

    plain, _ = one_round(RobustFedAvg("mean", f=0), spoiling(heavy, (0,)))
    trusting, _ = one_round(RobustFedAvg("mean", f=0, trust_examples=True), spoiling(heavy, (0,)))
    flowers, _ = one_round(FedAvg(), spoiling(heavy, (0,)))
    assert plain["conv.weight"].mean() == pytest.approx(5 + TARGET + 1, abs=0.02)
    np.testing.assert_allclose(trusting["conv.weight"], flowers["conv.weight"], rtol=1e-5)


@pytest.mark.parametrize("claim", [0, -1, float("nan"), float("inf"), [1], None])
def test_counts_that_are_none_are_excluded_where_they_are_trusted(claim):
    def spoil(arrays, metrics):
        metrics["num-examples"] = claim
        if claim is None:
            del metrics["num-examples"]

    arrays, metrics = one_round(RobustFedAvg("mean", f=1, trust_examples=True), spoiling(spoil, (3,)))
    assert moved(arrays) < 0.02
    assert metrics["robust/excluded"] == 1


def test_buffers_apart_are_medians():
    arrays, _ = one_round(RobustFedAvg("mean", f=0, buffers=["head.bias"]))
    np.testing.assert_allclose(arrays["bn.running_mean"], 0.45, rtol=1e-6)
    np.testing.assert_allclose(arrays["bn.running_var"], 1.45, rtol=1e-6)
    rows = [trained(Message(RecordDict({"arrays": record(MODEL)}), FIRST, "train"), i)[0] for i in range(N)]
    np.testing.assert_array_equal(arrays["head.bias"], np.median([row["head.bias"] for row in rows], axis=0))
    with pytest.raises(InputError, match="does not have: nothing"):
        one_round(RobustFedAvg("mean", f=0, buffers=["nothing"]))


def test_f_follows_the_sample():
    assert RobustFedAvg("median", f=2).tolerated(5, 10) == 2
    assert RobustFedAvg("median", f=4).tolerated(3, 10) == 3
    assert RobustFedAvg("median", f=0.2).tolerated(10, 10) == 2
    assert RobustFedAvg("median", f=0.07).tolerated(100, 100) == 7
    assert RobustFedAvg("median", f=0.21).tolerated(10, 10) == 3
    few = RobustFedAvg("median", f=0.2, risk=0.01).tolerated(20, 1000)
    rng = np.random.default_rng(0)
    drawn = rng.hypergeometric(200, 800, 20, size=20000)
    assert (drawn > few).mean() <= 0.013
    assert (drawn > few - 1).mean() > 0.01
    assert RobustFedAvg("median", f=2, risk=0.5).tolerated(10, 10) == 2


def test_f_too_large_for_the_sample_is_refused_before_anything_is_sent():
    grid = InProcess(honest, N)
    strategy = RobustFedAvg("krum", f=2, fraction_train=0.5)
    with pytest.raises(ToleranceError, match="f = 2 is too large for n = 5"):
        strategy.configure_train(1, record(MODEL), ConfigRecord(), grid)
    strategy = RobustFedAvg("median", f=2, fraction_train=0.5)
    messages = list(strategy.configure_train(1, record(MODEL), ConfigRecord(), grid))
    _, metrics = strategy.aggregate_train(1, grid.send_and_receive(messages))
    assert (metrics["robust/replies"], metrics["robust/f"]) == (5, 2)


def test_suspicion_is_the_share_of_replies():
    def client(message, context):
        round = message.content["config"]["server-round"]
        return (spoiling(values("conv.weight", 50.0), (3,)) if round % 2 else honest)(message, context)

    strategy = RobustFedAvg("geometric_median", f=2)
    result = play(strategy, client, rounds=4)
    assert strategy.suspicion[FIRST + 3] == 0.5
    assert result.train_metrics_clientapp[1][f"suspicion/{FIRST + 3}"] == 1
    assert result.train_metrics_clientapp[4][f"suspicion/{FIRST + 3}"] == 0.5
    assert f"suspicion/{FIRST}" not in result.train_metrics_clientapp[4]


def test_evaluation_metrics_are_medians():
    def client(message, context):
        i = context.node_config["partition-id"]
        if message.metadata.message_type != "evaluate":
            return honest(message, context)
        if i == 0:
            raise RuntimeError
        if i == 1:
            return Message(RecordDict(), reply_to=message)
        metrics = {"accuracy": 1e9 if i < 4 else 0.8, "num-examples": 10**9 if i < 4 else 10}
        return Message(RecordDict({"metrics": MetricRecord(metrics)}), reply_to=message)

    result = play(RobustFedAvg("median", f=2), client)
    assert dict(result.evaluate_metrics_clientapp[1]) == {"accuracy": 0.8}
    nobody = RobustFedAvg("median", f=2)
    assert nobody.aggregate_evaluate(1, []) is None
    assert nobody.aggregate_train(1, []) == (None, None)


@pytest.mark.parametrize("name", [name for name in entries("rule") if name not in ("monna", "ls_reconstruction")])
def test_every_rule_trains(name):
    mixes = issubclass(entries("rule")[name].load(), tc.Mixing)
    spelling = f"{name} >> trimmed_mean" if mixes else name
    n = 2 * N if name in ("bucketing", "bulyan", "mixtailor") else N

    def loss(arrays: ArrayRecord) -> float:
        return moved(arrays_of(arrays))

    strategy = RobustFedAvg(spelling, f=2, loss=loss if name == "zeno" else None)
    result = play(strategy, rounds=2, n=n)
    assert result.arrays, result.train_metrics_clientapp
    assert all(np.isfinite(array.numpy()).all() for array in result.arrays.values())


def test_zeno_sees_the_model_after_an_update():
    seen = []

    def loss(arrays):
        seen.append(arrays_of(arrays))
        return moved(seen[-1])

    arrays, _ = one_round(RobustFedAvg("zeno", f=2, loss=loss), spoiling(values("conv.weight", -50.0)))
    assert moved(arrays) < 0.02
    assert len(seen) == N + 1
    assert all(set(model) == set(MODEL) for model in seen)


@dataclass(frozen=True)
class Overflowing(tc.Rule):
    """A rule that makes of finite rows what is not."""

    name = "overflowing"

    def outcome(self, look, state):
        return Outcome(torch.full((look.d,), torch.inf))


def test_an_aggregate_that_is_not_finite_leaves_the_model():
    arrays, metrics = one_round(RobustFedAvg(Overflowing(f=2)))
    assert arrays is None
    assert metrics["robust/refused"] == 1


def test_what_cannot_hold_is_refused_at_once():
    with pytest.raises(SpecError, match="give f"):
        RobustFedAvg("median")
    with pytest.raises(SpecError, match="a share below"):
        RobustFedAvg("median", f=0.5)
    with pytest.raises(SpecError, match="from 0 up"):
        RobustFedAvg("median", f=-1)
    with pytest.raises(SpecError, match="built with f = 2 but used with f = 3"):
        RobustFedAvg(tc.Krum(f=2), f=3)
    with pytest.raises(SpecError, match="probability"):
        RobustFedAvg("median", f=2, risk=1.5)
    with pytest.raises(SpecError, match="none of its own"):
        RobustFedAvg("nnm >> monna", f=2)
    with pytest.raises(SpecError, match="give loss"):
        RobustFedAvg("zeno", f=2)
    with pytest.raises(SpecError, match="did you mean"):
        RobustFedAvg("medain", f=2)
    assert RobustFedAvg(tc.Krum(f=3)).f == 3


def test_a_model_that_cannot_be_trained_is_refused():
    for array, match in [
        (np.full((2, 3), np.nan, np.float32), "not finite"),
        (np.zeros((2, 3), np.complex64), "complex64"),
    ]:
        with pytest.raises(InputError, match=match):
            play(RobustFedAvg("median", f=2), model=MODEL | {"conv.weight": array})
    with pytest.raises(InputError, match="no floating point"):
        play(RobustFedAvg("median", f=2), model={"steps": np.array(3)})


def test_own_metric_functions_are_kept():
    def count(contents, key):
        return MetricRecord({"n": len(contents)})

    assert one_round(RobustFedAvg("median", f=2, train_metrics_aggr_fn=count))[1]["n"] == N


def test_replies_are_not_written_to():
    grid = InProcess(honest, N)
    strategy = RobustFedAvg("median", f=2)
    replies = grid.send_and_receive(strategy.configure_train(1, record(MODEL), ConfigRecord(), grid))
    before = [arrays_of(message.content["arrays"]) for message in replies]
    strategy.aggregate_train(1, replies)
    for message, arrays in zip(replies, before, strict=True):
        after = arrays_of(message.content["arrays"])
        assert all(np.array_equal(after[name], arrays[name]) for name in arrays)


def test_the_order_of_replies_does_not_matter():
    grid = InProcess(honest, N)
    strategy = RobustFedAvg("krum", f=2)
    messages = list(strategy.configure_train(1, record(MODEL), ConfigRecord(), grid))
    replies = grid.send_and_receive(messages)
    first, second = (strategy.aggregate_train(1, order)[0] for order in (replies, replies[::-1]))
    assert first == second


def test_a_reply_under_another_name_is_read():
    def client(message, context):
        arrays, metrics = trained(message, 1)
        content = RecordDict({"model": record(arrays), "m": MetricRecord(metrics)})
        return Message(content, reply_to=message)

    assert moved(one_round(RobustFedAvg("median", f=2), client)[0]) < 0.02
