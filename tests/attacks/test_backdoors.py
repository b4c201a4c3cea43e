"""Backdoors: what they do to batches, and that a run measures whether they work."""

import math

import pytest
import torch

import turncoat as tc
from turncoat.attacks.backdoor import Backdoor, BadNets, ModelReplacement
from turncoat.data.sources import Images
from turncoat.registry import entries


def images(*lead, classes=10, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*lead, 1, 8, 8, generator=generator)
    return x, torch.randint(classes, lead, generator=generator)


@pytest.mark.parametrize("lead", [(2, 10), (2, 3, 10), (1, 1)])
def test_poisoned_batches(lead):
    x, y = images(*lead)
    kept = x.clone(), y.clone()
    attack = BadNets(target=4, rate=0.3, size=2, value=7.0)
    bad_x, bad_y = attack.poison(x, y, 10)
    assert torch.equal(x, kept[0])
    assert torch.equal(y, kept[1])
    count = 3 if lead[-1] == 10 else 1
    assert (bad_y[..., :count] == 4).all()
    assert (bad_x[..., :count, :, 6:, 6:] == 7).all()
    assert torch.equal(bad_y[..., count:], y[..., count:])
    assert torch.equal(bad_x[..., count:, :, :, :], x[..., count:, :, :, :])
    outside = torch.ones(8, 8, dtype=torch.bool)
    outside[6:, 6:] = False
    assert torch.equal(bad_x[..., outside], x[..., outside])


def test_the_default_patch_is_a_possible_pixel_of_every_data_set():
    made = [entry.load() for entry in entries("dataset").values()]
    found = [source for source in made if issubclass(source, Images)]
    assert len(found) >= 5
    for source in found:
        for mean, deviation in zip(source.pixel_mean, source.pixel_std, strict=True):
            assert BadNets().value <= (1 - mean) / deviation


def test_model_replacement_scales_what_it_trained():
    own = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    view = tc.View(n=10, f=2, own_rows=own)
    assert torch.equal(ModelReplacement().craft(view), 5 * own)
    assert torch.equal(ModelReplacement(boost=2).craft(view), 2 * own)
    assert torch.equal(BadNets().craft(view), own)


def run(attack, f=2, rule="mean", **fields):
    return tc.train("digits", n=10, f=f, rule=rule, attack=attack, rounds=60, seed=1, progress=False, **fields)


def test_badnets_gets_in_under_the_mean_and_is_measured(tmp_path):
    clean, control = run("none"), run("badnets", f=0)
    assert all(record.extra == {} for record in clean.records)
    assert control.records[-1].extra["attack_success"] < 0.1
    poisoned = run("badnets")
    assert poisoned.records[-1].extra["attack_success"] > 0.9
    assert poisoned.final_accuracy > clean.final_accuracy - 0.05
    assert tc.Result.load(poisoned.save(tmp_path / "run.json")).records == poisoned.records
    assert poisoned.to_polars()["attack_success"][-1] == poisoned.records[-1].extra["attack_success"]
    assert run("badnets", rule="krum").records[-1].extra["attack_success"] < 0.1


def test_success_is_the_share_of_other_classes_that_become_the_target():
    training = tc.Training(tc.Spec(n=10, f=2, attack="badnets(target=3, size=4)", rounds=20, seed=0))
    training.finish()
    data, learner = training.dataset, training.federation.learner
    weight, bias = training.state.parameters.split([640, 10])
    hits = total = 0
    for x, y in zip(data.x_test, data.y_test, strict=True):
        if int(y) != 3:
            x = x.clone()
            x[:, 4:, 4:] = 1.8
            hits += int((weight.view(10, 64) @ x.flatten() + bias).argmax()) == 3
            total += 1
    assert learner.d == 650
    assert training.records[-1].extra["attack_success"] == pytest.approx(hits / total)


def test_model_replacement_beats_badnets_by_one_traitor():
    success = {name: run(name, f=1).records[-1].extra["attack_success"] for name in ("badnets", "model_replacement")}
    assert success["model_replacement"] > 0.9
    assert success["model_replacement"] >= success["badnets"]


def test_local_steps_and_random_identities():
    result = run("badnets", local_steps=2, local_lr=0.1, byzantine="random")
    assert result.records[-1].extra["attack_success"] > 0.8


def test_a_model_that_says_nothing_is_no_success():
    result = run("model_replacement", lr=1e38)
    assert math.isnan(result.records[-1].extra["attack_success"])


class Stripe(Backdoor):
    """A trigger of one's own."""

    name = "stripe"

    def trigger(self, x):
        x = x.clone()
        x[..., 0] = 1.8
        return x


def test_triggers_of_ones_own_are_measured():
    result = run(Stripe(target=1))
    assert result.records[-1].extra["attack_success"] > 0.9


def test_what_backdoors_refuse():
    for spelling, message in {
        "badnets(target=-1)": "target is a class",
        "badnets(rate=0)": "above 0",
        "badnets(rate=1.5)": "up to 1",
        "model_replacement(size=0)": "pixels from 1",
    }.items():
        with pytest.raises(tc.SpecError, match=message):
            tc.attack(spelling, f=1)
    with pytest.raises(tc.SpecError, match="the classes are 0 to 9"):
        run("badnets(target=10)")
    with pytest.raises(tc.SpecError, match="9 x 9 pixels"):
        run("badnets(size=9)")
    with pytest.raises(tc.SpecError, match=r"samples are of shape \(5,\)"):
        BadNets().poison(torch.zeros(2, 3, 5), torch.zeros(2, 3, dtype=torch.int64), 10)
    with pytest.raises(tc.SpecError, match="poisons labels"):
        tc.train("mean_estimation", n=5, f=1, attack="badnets", rounds=1)
    with pytest.raises(tc.HiddenError, match="no data"):
        run("badnets", share="honest")
