"""Attacks in clients, and before a strategy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from flower_clients import MODEL, N, arrays_of, honest, one_round, play, record, reply, trained
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg
from in_process import FIRST, InProcess

import turncoat as tc
from turncoat.errors import HiddenError, SpecError
from turncoat.flower import Guarded, Omniscient, RobustFedAvg, attacking, poison

LAYER = "conv.weight"


def under(mod, client=honest):
    return lambda message, context: mod(message, context, client)


def replies_of(client, what: str = "train") -> list[Message]:
    """One round's replies, in the order of the clients."""
    grid = InProcess(client, N)
    strategy = FedAvg()
    configure = strategy.configure_train if what == "train" else strategy.configure_evaluate
    replies = grid.send_and_receive(configure(1, record(MODEL), ConfigRecord(), grid))
    return sorted(replies, key=lambda message: message.metadata.src_node_id)


def sent_by(client) -> list[np.ndarray]:
    """What each client makes of one layer, as an update."""
    replies = replies_of(client)
    assert not any(message.has_error() for message in replies), replies
    return [message.content["arrays"][LAYER].numpy().astype(np.float64) - MODEL[LAYER] for message in replies]  # type: ignore[index]


HONEST = sent_by(honest)


def test_only_the_named_clients_attack():
    sent = sent_by(under(attacking("sign_flip", {2, 5})))
    for i, (attacked, own) in enumerate(zip(sent, HONEST, strict=True)):
        np.testing.assert_allclose(attacked, -own if i in (2, 5) else own, atol=1e-6)


def test_only_what_is_voted_on_is_replaced():
    (forged, *_), (own, *_) = replies_of(under(attacking("gaussian", {0}, seed=1))), replies_of(honest)
    after, before = arrays_of(forged.content["arrays"]), arrays_of(own.content["arrays"])  # type: ignore[arg-type]
    changed = {name for name in MODEL if not np.array_equal(after[name], before[name])}
    assert changed == {"conv.weight", "bn.weight", "head.bias"}
    assert all(after[name].dtype == MODEL[name].dtype and after[name].shape == MODEL[name].shape for name in MODEL)
    assert forged.content["metrics"] == own.content["metrics"]


def test_traitors_that_need_others_updates_pool_their_own():
    traitors = (1, 4, 7)
    pool = torch.from_numpy(np.stack([HONEST[i].ravel() for i in traitors]))
    for spelling in ("alie(z=8)", "ipm(epsilon=10)", "min_max"):
        expected = tc.attack(spelling, f=3)(pool)[0].reshape(2, 3).numpy()
        sent = sent_by(under(attacking(spelling, traitors)))
        for i in range(N):
            if spelling == "min_max" and i in traitors:  # whose other layers count, too
                np.testing.assert_array_equal(sent[i], sent[traitors[0]])
                assert np.linalg.norm(sent[i] - HONEST[i]) > 0.01
            else:
                np.testing.assert_allclose(sent[i], expected if i in traitors else HONEST[i], atol=1e-5)


def test_pooling_leaves_the_clients_own_context_alone():
    contexts = []

    def client(message, context):
        contexts.append(context)
        context.state["seen"] = ConfigRecord({"partition": context.node_config["partition-id"]})
        return honest(message, context)

    grid = InProcess(under(attacking("alie", {0, 1, 2}), client), N)
    grid.send_and_receive(FedAvg().configure_train(1, record(MODEL), ConfigRecord(), grid))
    assert len(contexts) == 7 + 3 * 3
    for i, context in enumerate(grid.contexts.values()):
        assert context.node_config["partition-id"] == i
        assert context.state["seen"]["partition"] == i  # type: ignore[index]


@pytest.mark.parametrize("attack", ["gaussian", "non_finite", "none", "one_coordinate", "mimic", "rop", "min_sum"])
def test_attacks_of_every_kind_leave_a_robust_strategy_standing(attack):
    result = play(RobustFedAvg("median", f=2), under(attacking(attack, {0, 1}, seed=0)), rounds=2)
    assert np.abs(result.arrays[LAYER].numpy() - MODEL[LAYER] - 1.0).max() < 0.05


def test_random_attacks_follow_their_seed():
    first, second = (sent_by(under(attacking("gaussian", {0, 1}, seed=3))) for _ in range(2))
    other = sent_by(under(attacking("gaussian", {0, 1}, seed=4)))
    np.testing.assert_array_equal(first[0], second[0])
    assert np.abs(first[0] - other[0]).max() > 1
    assert np.abs(first[0] - first[1]).max() > 1
    unseeded = [sent_by(under(attacking("gaussian", {0}))) for _ in range(2)]
    assert np.abs(unseeded[0][0] - unseeded[1][0]).max() > 1


def training_on_labels(message, context):
    """A client whose update is the labels that it trains on."""
    i = context.node_config["partition-id"]
    _, y = poison(torch.zeros(6, 1), torch.arange(6), 10)
    arrays, metrics = trained(message, i)
    arrays[LAYER] = MODEL[LAYER] + y.numpy().reshape(2, 3).astype(np.float32)
    return reply(message, arrays, metrics)


def test_label_flipping_reaches_the_training():
    sent = sent_by(under(attacking("label_flip", {3}), training_on_labels))
    labels = np.arange(6).reshape(2, 3)
    for i in range(N):
        np.testing.assert_array_equal(sent[i], 9 - labels if i == 3 else labels)
    x, y = torch.zeros(6, 1), torch.arange(6)
    assert poison(x, y, 10)[1] is y


def test_poisoning_that_nothing_asks_for_is_no_silent_success():
    first, *rest = replies_of(under(attacking("label_flip", {0})))
    assert "flower.poison" in first.error.reason
    assert not any(message.has_error() for message in rest)


def test_a_mod_of_a_client_app():
    app = ClientApp(mods=[attacking("sign_flip", {0})])

    @app.train()
    def train(message: Message, context) -> Message:
        return honest(message, context)

    @app.evaluate()
    def evaluate(message: Message, context) -> Message:
        return Message(RecordDict(), reply_to=message)

    sent = sent_by(app)
    np.testing.assert_allclose(sent[0], -HONEST[0], atol=1e-6)
    assert not any(message.has_error() for message in replies_of(app, "evaluate"))


def test_what_no_client_can_do_is_refused():
    for spelling in ("agr_tailored", "lookahead", "strongest(alie)"):
        with pytest.raises(HiddenError, match="use Omniscient"):
            attacking(spelling, {0})
    grid = InProcess(under(attacking("sign_flip", {0})), N)
    grid.contexts[FIRST].node_config.clear()
    replies = grid.send_and_receive(FedAvg().configure_train(1, record(MODEL), ConfigRecord(), grid))
    (first,) = (message for message in replies if message.has_error())
    assert first.metadata.src_node_id == FIRST
    assert "node config" in first.error.reason
    with pytest.raises(SpecError, match="did you mean"):
        attacking("sing_flip", {0})


@pytest.mark.parametrize("attack", ["alie(z=8)", "ipm(epsilon=10)", "min_max", "mimic", "fang_krum", "strongest(alie)"])
def test_an_omniscient_attack_sees_the_honest_replies(attack):
    strategy = Omniscient(RobustFedAvg("krum", f=2), attack, f=2, seed=0)
    arrays, metrics = one_round(strategy)
    assert arrays is not None
    assert strategy.traitors == [FIRST, FIRST + 1]
    assert metrics["robust/excluded"] == 0
    assert np.abs(arrays[LAYER] - MODEL[LAYER] - 0.5).max() < 0.3


def test_omniscient_alie_sends_what_the_formula_says():
    seen = []

    def rule(X):
        seen.append(X.clone())
        return X.mean(0)

    one_round(Omniscient(RobustFedAvg(rule, f=2), "alie(z=8)", f=2))
    (X,) = seen
    expected = tc.attack("alie(z=8)", f=2)(X[2:])
    torch.testing.assert_close(X[:2], expected, atol=1e-2, rtol=0)  # one layer is of half precision
    torch.testing.assert_close(X[:2, :6], expected[:, :6], atol=1e-5, rtol=0)


def test_an_omniscient_attack_turns_flowers_average():
    arrays, _ = one_round(Omniscient(FedAvg(), "ipm(epsilon=10)", f=2))
    assert (arrays[LAYER] - MODEL[LAYER]).mean() < -0.5
    guarded, metrics = one_round(Omniscient(Guarded(FedAvg()), "non_finite", f=2))
    assert np.abs(guarded[LAYER] - MODEL[LAYER] - 0.5).max() < 0.02
    assert metrics["robust/excluded"] == 2


def test_the_memory_of_an_attack_survives_rounds():
    strategy = Omniscient(RobustFedAvg("mean", f=0), "mimic(warmup=3)", f=2)
    play(strategy, rounds=3)
    assert int(strategy._state["rounds"]) == 3


def test_what_cannot_be_staged_is_refused():
    for attack, match in [("lookahead", "turncoat.train"), ("label_flip", "attacking"), ("agr_tailored", "has none")]:
        with pytest.raises(HiddenError, match=match):
            Omniscient(FedAvg(), attack, f=2)
