"""Claims point the right way: in a world as its paper tells it they hold, where no attack does anything they fail."""

import math
import random

import msgspec

from turncoat.papers import s2
from turncoat.papers import s3_names as s3
from turncoat.papers.run import FIGURES, PAPERS
from turncoat.results import Record
from turncoat.results.reading import attack_parts
from turncoat.spec import spell_field


def world(figure, told, make_runs):
    """The figure's runs in a world that tells the accuracy, or the distance, of each run of the paper."""
    cells, results, _ = make_runs(figure)
    papers = {run: paper for paper, run in cells.items()}

    def lived(result):
        paper, chance = papers[msgspec.structs.replace(result.spec, gradients=None)], random.Random(str(result.spec))
        records = told(paper)
        near = [
            msgspec.structs.replace(
                record,
                test_accuracy=record.test_accuracy and record.test_accuracy + 0.002 * chance.random(),
                train_loss=record.train_loss and record.train_loss * (1 + 0.002 * chance.random()),
                extra={name: value * (1 + 0.002 * chance.random()) for name, value in record.extra.items()},
            )
            for record in records
        ]
        return msgspec.structs.replace(result, records=near)

    return figure.runs(cells, map(lived, results))


def level(accuracy, swing=0.0, passed=0.1):
    """A run that ends at an accuracy; below half, it never was above it."""
    ends = [accuracy + swing * (-1) ** t for t in range(8)]
    return [
        Record(round=20 * t, test_accuracy=end, train_loss=2 - 2 * end, passed=passed) for t, end in enumerate(ends)
    ]


def verdicts(paper, told, make_runs):
    return {
        (figure.id, judgement.claim): judgement.verdict
        for figure in PAPERS[paper]
        if figure.campaign
        for judgement in figure.judged(world(figure, told, make_runs))
    }


# S1 -------------------------------------------------------------------------------------------------------------------


def s1_told(spec):
    epsilon = attack_parts(spec.attack).strength
    harmed = spec.rule == "median" and epsilon is not None and epsilon >= 0
    harmed = harmed or (spec.rule == "krum" and epsilon is not None and epsilon <= 1)
    if not harmed:
        return level(0.6)
    if spec.attack_start > 40:
        return [*level(0.6)[:4], *level(0.1)[4:]]
    return level(0.1)


def test_fall_of_empires(make_runs):
    assert set(verdicts("S1", s1_told, make_runs).values()) == {"holds"}
    learning = [Record(round=20 * t, test_accuracy=0.2 + 0.06 * t, train_loss=1.0) for t in range(8)]
    calm = verdicts("S1", lambda spec: learning, make_runs)
    assert {claim for claim, verdict in calm.items() if verdict == "holds"} == {
        ("S1-F4", "defends-below-0"),
        ("S1-F5", "defends-large"),
    }
    assert "undecided" not in calm.values()


# S2 -------------------------------------------------------------------------------------------------------------------


def s2_told(spec):
    rule = spec.rule.rpartition(" >> ")[2]
    epsilon, momentary = attack_parts(spec.attack).strength, spec.attack_start > 0
    if spec.rule == "mean" or "alie" in spec.attack or momentary:
        return level(0.95)
    if spec.lr == 0.1:
        return level(0.2)
    if spec.attack.startswith("random"):
        return level(0.7 if rule in (s2.COMED, s2.KRUM) else 0.9 if rule.startswith("mixtailor") else 0.97)
    if rule.startswith("mixtailor"):
        better = {s2.WITHOUT[s2.BULYAN]: 0.03, s2.WITHOUT[s2.GEOMED]: -0.05}.get(rule, 0.0)
        return level(0.946 + better)
    victim = {0.1: s2.KRUM, 0.2: s2.KRUM, 10: s2.COMED}[epsilon]
    cifar = spec.task.startswith("cifar10") and rule == s2.COMED
    if rule == victim or cifar or (rule == s2.GEOMED and spec.f == 4):
        return level(0.1)
    return level(0.95, swing=0.02) if rule in (s2.COMED, s2.KRUM) else level(0.96)


def test_mixtailor(make_runs, monkeypatch):
    monkeypatch.setattr("turncoat.papers.s2.RULE_SECONDS", s2.FINAL)  # what a made-up run takes says nothing
    found = verdicts("S2", s2_told, make_runs)
    del found["S2-F4a", "costs-no-more"]
    tailored = {claim: verdict for claim, verdict in found.items() if verdict != "holds"}
    assert tailored == {}
    calm = verdicts("S2", lambda spec: level(0.95), make_runs)
    words = ("fails", "vulnerable", "persist", "corrupted")
    harms = [claim for _, claim in calm if any(word in claim for word in words)]
    assert harms
    assert {calm[claim] for claim in calm if claim[1] in harms} == {"fails"}


# S3 -------------------------------------------------------------------------------------------------------------------

GROWING = dict(zip((0, 0.25, 0.5, 2.5, 5, 8, 10), (0, 0.02, 0.04, 0.15, 0.22, 0.30, 0.30), strict=True))
RECOVERING = GROWING | {5: 0.08, 8: 0.07, 10: 0.06}


def s3_told(spec):
    rule = next((name for name in s3.RULES if spell_field("rule", name) == spec.rule), "mean")
    unlike = {"dirichlet(beta=0.1)": 1.3, "dirichlet(beta=0.3)": 1.15}.get(spec.split, 1.0)
    attack, grid = attack_parts(spec.attack), spec.n == 25
    if rule == "mean":
        return level(0.8)
    if not grid:
        harm = {"alie": 0.6, "ipm": 0.3} if rule != s3.DNC else {"alie": 0.05, "ipm": 0.02}
        return level(0.8 - harm.get(attack.name, 0.1))
    curve = RECOVERING if rule == s3.NNM else GROWING
    if attack.name == "alie":
        cost = curve[attack.strength or 0] + 0.15 * ("+" in spec.attack)
    else:
        usual = {0.1: 0.02, 0.5: 0.04}.get(attack.strength or 0, 0.12 if attack.strength else 0.0)
        cost = (0.03 if unlike == 1 else 0.09) if rule == s3.NNM and attack.strength == 10 else usual
    return level(0.8 - unlike * cost, passed=0.1 * unlike)


def test_stress_testing(make_runs):
    figure = FIGURES["S3-F1"]
    found = {j.claim: j.verdict for j in figure.judged(world(figure, s3_told, make_runs))}
    assert found.pop("alie-withstands-dnc") == "fails"  # S3 says of Fashion-MNIST that all drop
    assert found.pop("calibrated-alie-nnm") == "fails"  # and that trMean(NNM) recovers where z is larger than usual
    assert {claim: verdict for claim, verdict in found.items() if verdict != "holds"} == {}
    calm = {j.claim: j.verdict for j in figure.judged(world(figure, lambda spec: level(0.8), make_runs))}
    held = {name for name, verdict in calm.items() if verdict == "holds"}
    assert {name for name in held if not name.startswith(("ipm-plateau", "heterogeneity"))} == {"alie-withstands-dnc"}
    assert {calm[f"{name}-{rule}"] for name in ("alie-drops", "calibrated-alie") for rule in s3.JUDGED.values()} == {
        "fails"
    }
    assert calm["alie-recovers-nnm"] == calm["ipm-rfa-stays-low"] == calm["alie-sign"] == "fails"


def test_the_tables(make_runs):
    figure = FIGURES["S3-T2"]
    found = {j.claim: j.verdict for j in figure.judged(world(figure, s3_told, make_runs))}
    assert set(found.values()) == {"holds"}
    table = FIGURES["S3-T1-fashion"]
    found = {j.claim: j.verdict for j in table.judged(world(table, s3_told, make_runs))}
    assert found["alie-collapses-nnm"] == "holds"
    assert found["ipm-worse-than-others"] == "fails"  # not for DnC, which is in this table
    calm = {j.claim: j.verdict for j in figure.judged(world(figure, lambda spec: level(0.8), make_runs))}
    assert calm["alie-collapses-nnm"] == calm["alie-24-rfa"] == "fails"


def test_readings_differ_where_one_does_harm(make_runs):
    figure = FIGURES["S3-readings"]

    def told(spec):
        other = "own" not in spec.attack or "client" in spec.split or spec.rule == "centered_clipping(tau=1)"
        return level(0.8 if spec.rule == "mean" or other else 0.5)

    assert {j.verdict for j in figure.judged(world(figure, told, make_runs))} == {"holds"}
    assert {j.verdict for j in figure.judged(world(figure, lambda spec: level(0.8), make_runs))} == {"fails"}
    (picture,) = figure.draws(world(figure, told, make_runs))
    rows = {row[0]: row[1:] for row in picture.table.rows}
    assert [cell[:4] for cell in rows["ALIE z=8, radius 1"]] == ["", "80.1", "", ""]


# S0 -------------------------------------------------------------------------------------------------------------------


def way(distances):
    """A model that stands so far from the optimum (2, 2), towards the start, after each step."""
    places = [{"error": d, "theta_1": 2 - d / math.sqrt(2), "theta_2": 2 - d / math.sqrt(2)} for d in distances]
    return [Record(round=t, extra=place) for t, place in enumerate(places)]


def s0_told(spec):
    attack = attack_parts(spec.attack)
    if spec.task.startswith("mean_estimation"):
        planned = attack.name in ("nlp", "beam")
        if not spec.rule.startswith("krum") or attack.name == "beam":
            return way([2.8, *[1.5 if attack.name == "beam" else 2.0 if planned else 1.0] * 8])
        late = {"nlp(objective=-1)": 2.5, "nlp(objective=0)": 2.9}.get(spec.attack, 3.2) if planned else 1.5
        return way([2.8, *[1.0 if planned else 1.2] * 4, *[late] * 4])
    accuracy = 0.9
    if attack.name == "ssnlp":
        lead = 0.2 if spec.momentum == 0 else 0.1
        length = int(spec.attack.partition("l=")[2].split(",")[0].rstrip(")"))
        if spec.rule.startswith("geometric_median") and not spec.momentum:
            lead = 0.2 if length == 1 else -0.05
        if spec.rule.startswith("krum") and not spec.momentum:
            lead += 0.001 * length
        if spec.task.startswith("mnist/cnn"):
            lead = 0.3 if spec.momentum else 0.01
        if spec.rule.startswith("nnm"):
            return [Record(round=t, test_accuracy=0.1, train_loss=1e9) for t in range(8)]
        return level(0.7 - lead)
    if attack.name == "stab":
        loss = 0.5 + 0.1 * spec.rule.startswith("nnm") - 0.2 * bool(spec.momentum)
        return level(accuracy - loss)
    return level(accuracy if spec.attack == "none" else 0.7)


def test_optimal_attacks(make_runs):
    found = verdicts("S0", s0_told, make_runs)
    assert found.pop(("S0-A2", "nlp-Krum (n-f-2 neighbours)")) == "fails"  # S0: not in the first half
    exploded = [found.pop(claim) for claim in list(found) if "explodes" in claim[1]]
    assert exploded == ["undecided"] * 3  # in all of three seeds, which are too few
    assert {claim: verdict for claim, verdict in found.items() if verdict != "holds"} == {}
    calm = verdicts("S0", lambda spec: way([2.8] + [1.0] * 8) if "mean" in spec.task else level(0.92), make_runs)
    harms = {claim: calm[claim] for claim in calm if claim[1].startswith(("nlp-by-far", "defeats"))}
    assert set(harms.values()) == {"fails"}
    equal = {claim: calm[claim] for claim in calm if claim[1].startswith(("nlp-farthest", "nlp-far-", "beam"))}
    assert equal
    assert "holds" not in equal.values()
