"""Adversaries that look ahead: what they imagine is what happens, and what they choose is not worse than its parts."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

import turncoat as tc
from turncoat.attacks import IPM, attack
from turncoat.attacks.planning.base import OF_S0
from turncoat.attacks.planning.moves import Mix, Send, Use
from turncoat.attacks.planning.objective import EXPLODED, Objective, finite
from turncoat.attacks.planning.plan import Plan
from turncoat.attacks.planning.rollout import SpentError
from turncoat.attacks.planning.ssnlp import along_mean
from turncoat.learning.simulator import Simulator
from turncoat.learning.training import Training
from turncoat.results.result import Planned
from turncoat.spec import Spec

pytestmark = pytest.mark.filterwarnings("ignore:.*krum has no guarantee")

MEAN = {"task": "mean_estimation", "n": 12, "f": 5, "lr": 0.5, "clip": 2.0, "batch": 1, "rounds": 4}
DIGITS = {"task": "digits/softmax", "n": 8, "f": 3, "lr": 0.1, "batch": 8, "rounds": 6, "split": "dirichlet(1.0)"}
SMALL = {"task": "digits/mlp(hidden=8)", "n": 8, "f": 2, "lr": 0.2, "batch": 4, "rounds": 5}
WAYS = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "both momenta": {"momentum": 0.5, "server_momentum": 0.9, "momentum_form": "undamped"},
    "weight decay": {"weight_decay": 0.01, "clip": 0.5},
    "clipped inputs": {"clip": 0.5, "clip_at": "server_inputs", "momentum": 0.9},
    "clipped aggregate": {"clip": 0.1, "clip_at": "aggregate", "schedule": "cosine"},
    "float64": {"dtype": "float64"},
    "others each round": {"byzantine": "random", "momentum": 0.9},
    "local steps": {"local_steps": 2, "local_lr": 0.1, "lr": 1.0},
}
CHAIN = "nnm >> geometric_median(nu=0.1, iterations=8)"
MOVES = [
    Use(attack("ipm(2)", f=2)),
    Use(attack("alie(1.5)", f=2)),
    Use(attack("mimic", f=2)),
    Use(attack("min_max", f=2)),
]


def training(attack="none", **fields):
    return Training(Spec(attack=attack, **{"evaluate_every": 1, "seed": 3, **fields}))


def simulator(training):
    return Simulator(training.federation, training.state, training.federation.prepare(training.state))


def carried_out(plan, tmp_path, **fields):
    """A finished run whose traitors carry out the plan, and a simulator at the beginning of the same run."""
    made = [training(f"replay('{plan.save(tmp_path / 'plan.safetensors')}')", **fields) for _ in range(2)]
    made[0].finish()
    return made[0], simulator(made[1])


def errors(result):
    return [record.extra["error"] for record in result.records[1:]]


# What is imagined is what happens.


@pytest.mark.parametrize("way", WAYS.values(), ids=list(WAYS))
@pytest.mark.parametrize("rule", ["median", "krum", "centered_clipping(tau=0.5)", "nnm >> trimmed_mean"])
def test_a_plan_rolled_out_is_the_live_run_bit_for_bit(rule, way, tmp_path):
    moves = [*MOVES, MOVES[0]]
    live, ahead = carried_out(Plan(tuple(moves)), tmp_path, rule=rule, **{**SMALL, **way})
    world = ahead(moves, Objective("mean", "batch")).end.worlds[0]
    assert torch.equal(world.state.parameters, live.state.parameters)
    if "momentum" in way:
        assert torch.equal(world.state.momenta[:6], live.state.momenta[:6])
    if live.state.rule is not None:
        assert torch.equal(world.state.rule, live.state.rule)


def test_dropout_is_imagined_as_it_will_be(tmp_path):
    given = {**SMALL, "task": "digits/cnn", "rounds": 3}
    moves = [Use(IPM(epsilon=2.0))] * given["rounds"]
    live, ahead = carried_out(Plan(tuple(moves)), tmp_path, rule="median", **given)
    end = ahead(moves, Objective()).end
    assert torch.equal(end.worlds[0].state.parameters, live.state.parameters)


@pytest.mark.parametrize(
    "rule", ["bucketing >> trimmed_mean(reduce=True)", "mixtailor(pool=[median, krum, centered_clipping])", "zeno"]
)
def test_planning_leaves_the_live_run_and_its_servers_stream_alone(rule):
    given = {**SMALL, "rounds": 3, "rule": rule}
    alone, planned = training("ipm(2)", **given), training('beam(l=2, attacks=["ipm(2)"])', **given)
    alone.finish()
    planned.finish()
    assert torch.equal(alone.state.parameters, planned.state.parameters)


def test_what_a_server_will_draw_is_imagined_from_the_adversarys_own_stream():
    given = {**SMALL, "rule": "mixtailor(pool=[median, mean, krum])", "rounds": 1}
    one, other = (training(seed=tc.Seeds(data=1, model=1, server=server, adversary=1), **given) for server in (1, 2))
    moves = [Use(IPM(epsilon=5.0))]
    rolled = [simulator(each)(moves, Objective()) for each in (one, other)]
    assert len(rolled[0].end.worlds) > 1  # several draws, of which losses are the mean
    assert rolled[0].losses == rolled[1].losses  # the server's seed has no part in it
    drawn = {tuple(world.state.parameters.tolist()) for world in rolled[0].end.worlds}
    assert len(drawn) > 1


def test_a_run_continued_in_the_middle_of_a_plan_ends_with_the_same_bits(tmp_path):
    given = {**DIGITS, "rule": "median", "attack": "ssnlp(l=4, budget=60)"}
    whole, half = training(**given), training(**given)
    whole.finish()
    for _ in range(2):
        half.advance()
    again = Training.load(half.save(tmp_path / "half.safetensors"))
    again.finish()
    assert torch.equal(whole.state.parameters, again.state.parameters)
    assert whole.result().plans == again.result().plans


def test_moves_that_begin_alike_are_simulated_once():
    ahead = simulator(training(rule="median", **DIGITS))
    a, b = Use(IPM(epsilon=1.0)), Use(IPM(epsilon=2.0))
    ahead([a, a, a], Objective())
    assert ahead.spent == 3
    rolled = ahead([a, a, b], Objective())
    assert ahead.spent == 4
    anew = simulator(training(rule="median", **DIGITS))([a, a, b], Objective())
    assert rolled.losses == anew.losses
    ahead.limit = 5
    with pytest.raises(SpentError):
        ahead([b, b, b], Objective())


# Plans.


def test_a_plan_survives_its_file(tmp_path):
    moves = (
        Use(attack("alie(z=1.2345678901234567)", f=3)),
        Use(attack("min_max", f=3), factor=-2.5),
        Send(torch.randn(650)),
        Send(torch.randn(3, 650), about_mean=True),
        Mix(torch.randn(6, dtype=torch.float64)),
    )
    plan = Plan(
        moves,
        planned=(Planned(round=0, rounds=5, objective="x", winner="y", value=1.5, simulated_rounds=9, tried={}),),
    )
    read = Plan.load(plan.save(tmp_path / "plan.safetensors"), f=3)
    assert list(read.moves) == list(moves)
    assert read.planned == plan.planned
    honest = torch.randn(5, 650)
    view = tc.View(n=8, f=3, honest_rows=honest)
    for one, other in zip(moves, read.moves, strict=True):
        assert torch.equal(one.rows(view, {})[0], other.rows(view, {})[0])
    rows = moves[1].attack(honest)
    assert torch.allclose(moves[1].rows(view, {})[0], honest.mean(0) - 2.5 * (rows - honest.mean(0)), atol=1e-5)
    mixed = moves[-1].rows(view, {})[0]
    basis = torch.cat([honest, honest.std(0, keepdim=True)]).double()
    assert torch.allclose(mixed.double(), (moves[-1].weights @ basis).expand(3, -1), atol=1e-5)


@pytest.mark.parametrize("content", [b"", b"no plan", b"\x08" + bytes(7) + b"{}      "])
def test_a_file_that_is_no_plan_is_one_clear_error(content, tmp_path):
    path = tmp_path / "plan.safetensors"
    path.write_bytes(content)
    with pytest.raises(tc.SpecError, match="plan"):
        Plan.load(path)
    with pytest.raises(tc.SpecError, match="cannot read the plan"):
        Plan.load(tmp_path / "nothing")
    with pytest.raises(tc.SpecError, match="takes the file"):
        training("replay", rule="median", **DIGITS)


def test_a_plan_that_is_too_short_is_refused_before_it_is_begun(tmp_path):
    with pytest.raises(tc.SpecError, match="plans 2 rounds, and this run is attacked for 6"):
        carried_out(Plan((Use(IPM()),) * 2), tmp_path, rule="median", **DIGITS)


def test_saved_attacks_are_replayed_bit_for_bit(tmp_path):
    given = {**DIGITS, "rule": "krum", "evaluate_every": 1, "progress": False}
    for name in ("lookahead(planner=gradient, over=span, budget=500)", "random_ipm", "ssnlp(l=2, budget=20)"):
        first = tc.train(attack=name, save_attack=tmp_path / "plan", **given)
        again = tc.train(attack=f"replay('{tmp_path / 'plan'}')", **given)
        assert [r.test_loss for r in again.records] == [r.test_loss for r in first.records]


# S0's planners.


def test_objectives_are_what_the_paper_says():
    losses = [3.0, 1.0, 2.0]
    assert Objective(1).value(losses) == Objective("mean").value(losses) == 2
    assert Objective(0).value(losses) == Objective("final").value(losses) == 2
    assert Objective(-1).value(losses) == Objective("min").value(losses) == 1
    assert Objective(0.5).value(losses) == pytest.approx((3 + 0.5 + 0.5) / 1.75)
    for combine in (1, 0, -1, 0.9, 1.1):
        found = Objective(combine).values(torch.tensor([losses, losses[::-1]], dtype=torch.float64))
        assert found.tolist() == pytest.approx([Objective(combine).value(each) for each in (losses, losses[::-1])])
    assert [finite(x) for x in (math.nan, math.inf, -math.inf, 1e35, 2.0)] == [EXPLODED] * 4 + [2.0]
    for wrong in (-2, "last", math.inf):
        with pytest.raises(tc.SpecError, match="objective is"):
            Objective(wrong)


def test_a_fixed_lambda_is_ipm():
    for lam in (-1.0, 0.3, 0.5, 1.0, 7.3):
        (move,) = along_mean([lam])
        honest = torch.randn(5, 40)
        view = tc.View(n=8, f=3, honest_rows=honest)
        assert torch.equal(move.rows(view, {})[0], IPM(epsilon=2 * lam - 1, f=3)(honest))
        expected = (1 - lam) * honest.mean(0) + lam * -honest.mean(0)
        assert torch.allclose(move.rows(view, {})[0], expected.expand(3, -1), atol=1e-6)


@pytest.mark.parametrize("length", [1, 3, 4])
def test_ssnlp_beats_every_constant_lambda_on_its_first_segment(length):
    found = tc.train(rule="median", attack=f"ssnlp(l={length})", progress=False, **DIGITS)
    assert [plan.rounds for plan in found.plans] == [length] * (6 // length) + [6 % length] * (6 % length > 0)
    ahead = simulator(training(rule="median", **{**DIGITS, "seed": 0}))
    for lam in (0.0, 0.5, 0.55, 1.0, 2.0, 5.0, 10.0):
        assert found.plans[0].value >= ahead(along_mean([lam] * length), Objective("mean")).value - 1e-9


@pytest.mark.parametrize("objective", [1, 0, 0.9, 1.1, -1])
@pytest.mark.parametrize("rule", ["median", "krum", "geometric_median(nu=0.1, iterations=8, start=origin)"])
def test_nlp_is_never_worse_than_an_attack_that_it_knows(rule, objective):
    given = {**MEAN, "rule": rule, "evaluate_every": 1, "progress": False}
    goal = Objective(objective)
    found = tc.train(attack=f"nlp(objective={objective}, budget=1500)", **given)
    assert goal.value(errors(found)) == pytest.approx(found.plans[0].value, rel=1e-6)
    for name in OF_S0:
        assert found.plans[0].value >= goal.value(errors(tc.train(attack=name, **given))) - 1e-9
    assert found.plans[0].simulated_rounds <= 1500
    assert set(found.plans[0].tried) >= {str(attack(name)) for name in OF_S0}


@pytest.mark.parametrize("solver", ["powell", "slsqp", "lbfgsb"])
def test_solvers_find_what_pays(solver):
    given = {**MEAN, "rule": "median", "evaluate_every": 1, "progress": False}
    found = tc.train(attack=f"nlp(objective=0, solver={solver}, attacks=[mimic], budget=3000)", **given)
    assert found.plans[0].value > errors(tc.train(attack="mimic", **given))[-1] + 0.05


def test_nlp_refuses_what_solvers_without_derivatives_cannot_do():
    with pytest.raises(tc.SpecError, match="3,900 numbers"):
        tc.train(rule="median", attack="nlp", progress=False, **DIGITS)


def brute_force(rule, names, rounds):
    ahead = simulator(training(rule=rule, **{**MEAN, "rounds": rounds}))
    moves = [Use(attack(name, f=5)) for name in names]
    return max(ahead(list(plan), Objective("min")).value for plan in itertools.product(moves, repeat=rounds))


@pytest.mark.parametrize("rule", ["median", "krum", "centered_clipping(tau=1)"])
@pytest.mark.parametrize("length", [1, 2, 4])
def test_a_beam_without_limit_is_brute_force(rule, length):
    names = ["ipm(0.5)", "alie(1.5)", "mimic"]
    spelled = ", ".join(f'"{name}"' for name in names)
    given = {**MEAN, "rule": rule, "rounds": 4, "seed": 3, "evaluate_every": 1, "progress": False}
    found = tc.train(attack=f"beam(l={length}, width=None, attacks=[{spelled}])", **given)
    assert found.plans[0].value == brute_force(rule, names, 4)
    assert min(errors(found)) == pytest.approx(found.plans[0].value, rel=1e-6)


def test_a_beam_of_one_attack_is_that_attack_and_a_narrow_one_keeps_the_best_alone():
    given = {**MEAN, "rule": "krum", "rounds": 5, "evaluate_every": 1, "progress": False}
    alone = {name: errors(tc.train(attack=name, **given)) for name in ("ipm(0.5)", "alie(1.5)", "mimic")}
    one = tc.train(attack='beam(attacks=["ipm(0.5)"])', **given)
    assert errors(one) == alone["ipm(0.5)"]
    narrow = tc.train(attack='beam(l=2, width=1, attacks=["ipm(0.5)", "alie(1.5)", "mimic"])', **given)
    assert min(errors(narrow)) >= max(map(min, alone.values())) - 1e-6
    initial = tc.train(attack='beam(attacks=["ipm(0.5)"], include_initial=True)', **{**given, "rounds": 1})
    assert initial.plans[0].value == pytest.approx(min(math.sqrt(8), alone["ipm(0.5)"][0]), rel=1e-6)


def test_stab_widens_the_logits_and_then_behaves():
    given = {**DIGITS, "rounds": 8, "rule": "median", "progress": False, "evaluate_every": 1}
    found = tc.train(attack="stab(attack_rounds=4, budget=30)", **given)
    assert len(found.plans) == 4
    assert all(plan.objective == "mean of logits" for plan in found.plans)
    given.pop("progress")
    behaving = training("stab(attack_rounds=4, budget=30)", **given | {"seed": 0})
    for _ in range(4):
        behaving.advance()
    federation, state = behaving.federation, behaving.state
    sent = federation.prepare(state)
    assert torch.equal(federation.craft(state, sent)[0], sent.rows[sent.honest :])
    ahead = simulator(training(**{**given, "seed": 0}))
    honest = ahead(along_mean([0.0]), Objective("mean", "logits")).value
    assert found.plans[0].value > honest


# This project's own.


@pytest.mark.parametrize("rule", ["median", "krum", "geometric_median", "centered_clipping(tau=1)", "nnm >> median"])
def test_best_beats_the_attacks_that_it_knows(rule):
    given = {**MEAN, "rule": rule, "evaluate_every": 1, "progress": False}
    found = tc.train(attack="lookahead(budget=3000)", **given)
    (plan,) = found.plans
    assert plan.value == max(plan.tried.values()) == plan.tried[plan.winner]
    assert set(plan.tried) >= {"steering", "gradient", "search", "powell", "ipm tuned", "alie tuned"}
    assert errors(found)[-1] == pytest.approx(plan.value, rel=1e-6)
    assert plan.simulated_rounds <= 3000 + 4 * 64  # the last population is finished
    nlp = tc.train(attack="nlp(objective=0, budget=3000)", **given)
    assert plan.value >= 0.9 * nlp.plans[0].value


@pytest.mark.parametrize("rule", ["median", "krum", "multi_krum", "centered_clipping(tau=0.5)", "nnm >> trimmed_mean"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_steering_beats_ipm_at_any_strength(rule, momentum):
    given = {**DIGITS, "rule": rule, "momentum": momentum, "rounds": 10, "split": "iid"}
    found = tc.train(attack="lookahead(planner=gradient, budget=1200, measure=sample)", progress=False, **given)
    ahead = simulator(training(**{**given, "seed": 0}))
    strengths = [-1, 0, 0.1, 0.3, 0.6, 1, 2, 5, 10, 100]
    ipm = max(ahead([Use(IPM(epsilon=e))] * 10, Objective("final", "sample")).value for e in strengths)
    assert found.plans[0].value > ipm


@pytest.mark.parametrize("over", ["lambdas", "span", "rows"])
@pytest.mark.parametrize("planner", ["gradient", "search"])
@pytest.mark.parametrize("identical", [True, False])
def test_every_planner_works_in_every_space(over, planner, identical):
    given = {**MEAN, "rule": "trimmed_mean", "evaluate_every": 1, "progress": False}
    name = f"lookahead(planner={planner}, over={over}, identical={identical}, budget=2000)"
    found = tc.train(attack=name, **given)
    assert errors(found)[-1] == pytest.approx(found.plans[0].value, rel=1e-6)
    assert found.plans[0].value > errors(tc.train(attack="none", **given))[-1]


@pytest.mark.parametrize("way", [way for way in WAYS if way not in ("others each round", "local steps")])
@pytest.mark.parametrize("rule", ["median", "krum", "centered_clipping(tau=0.5)", CHAIN])
def test_unrolled_rounds_are_simulated_rounds(rule, way):
    made = training(rule=rule, **SMALL, **WAYS[way])
    made.advance()
    ahead = simulator(made)
    unrolled = ahead.unrolled(Objective("mean", "batch"))
    assert unrolled is not None
    strengths = made.state.parameters.new_tensor([-1.0, 0.4, 3.0])
    with torch.no_grad():
        losses = unrolled(lambda a: -strengths[:, None, None] * a.honest.mean(1, keepdim=True), 3, 3)
    for found, strength in zip(losses, strengths, strict=True):
        rolled = [_first_world(ahead, [Use(IPM(epsilon=float(strength)))] * t) for t in (1, 2, 3)]
        assert found.tolist() == pytest.approx(rolled, rel=1e-4)


def _first_world(ahead, moves):
    place = ahead(moves, Objective("final", "batch")).end
    return finite(ahead._of(place.worlds[0], "batch", place.round - 1))


@pytest.mark.parametrize("heavy", [0, 2**40])
@pytest.mark.parametrize("rule", ["median", "krum", "geometric_median", "centered_clipping(tau=0.5)"])
def test_derivatives_through_rounds_and_rule_are_right(rule, heavy, monkeypatch):
    monkeypatch.setattr("turncoat.learning.unrolled.HEAVY", heavy)
    made = training(rule=rule, dtype="float64", momentum=0.5, server_momentum=0.5, **{**SMALL, "rounds": 3})
    unrolled = simulator(made).unrolled(Objective("final", "batch"))
    assert unrolled is not None
    base = torch.randn(3, made.federation.learner.d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    way = torch.randn(base.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def value(offsets):
        return unrolled(lambda a: a.honest.mean(1, keepdim=True) + 0.01 * offsets[a.t], 1, 3, last_only=True)[0, 0]

    at = base.clone().requires_grad_(True)
    value(at).backward()
    slope = at.grad
    with torch.no_grad():
        step = 1e-5
        expected = (value(base + step * way) - value(base - step * way)) / (2 * step)
    assert float((slope * way).sum()) == pytest.approx(float(expected), rel=1e-4, abs=1e-9)


def test_any_rule_can_be_searched_and_only_some_differentiated():
    def own(X):
        return X.sort(0).values[3:-3].mean(0)

    given = {**MEAN, "rule": own, "evaluate_every": 1, "progress": False}
    found = tc.train(attack="lookahead(planner=search, budget=1500)", **given)
    assert errors(found)[-1] == pytest.approx(found.plans[0].value, rel=1e-6)
    assert found.plans[0].value > errors(tc.train(attack="none", **given))[-1] + 0.1
    assert "gradient" not in tc.train(attack="lookahead(budget=300)", **given).plans[0].tried
    with pytest.raises(tc.SpecError, match="planner=search needs none"):
        tc.train(attack="lookahead(planner=gradient)", **given)


def test_without_cma_only_the_search_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cma", None)
    given = {**MEAN, "rule": "median", "progress": False}
    with pytest.raises(tc.SpecError, match=r"turncoat\[cma\]"):
        tc.train(attack="lookahead(planner=search)", **given)
    found = tc.train(attack="lookahead(budget=500)", **given)
    assert "search" not in found.plans[0].tried


# Bad input, bad luck.


@pytest.mark.parametrize("name", ["nlp", "ssnlp", "stab", "beam", "lookahead"])
def test_planners_take_a_run_and_all_knowledge(name):
    with pytest.raises(tc.HiddenError, match="looking ahead"):
        tc.attack(name, f=2)(torch.randn(8, 5), torch.randn(2, 5), rule=tc.rule("median", f=2))
    for level in ("own", "partial(2)"):
        with pytest.raises(tc.HiddenError, match="omniscient"):
            training(name, rule="median", knowledge=level, **MEAN)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ssnlp(l=0)", "l is a number of rounds"),
        ("ssnlp(solver=Newton)", "solver is one of"),
        ("stab(attack_rounds=0)", "attack_rounds"),
        ("nlp(objective=-3)", "objective is"),
        ("nlp(budget=0)", "budget"),
        ("beam(width=0)", "l and width"),
        ("beam(attacks=[])", "at least one attack"),
        ("lookahead(planner=luck)", "planner is one of"),
        ("lookahead(over=moon)", "over is one of"),
        ("lookahead(l=0)", "l counts rounds"),
        ("lookahead(measure=taste)", "measure is one of"),
    ],
)
def test_wrong_values_are_refused(name, message):
    with pytest.raises(tc.SpecError, match=message):
        tc.attack(name, f=2)


def test_a_budget_too_small_for_one_plan_says_so():
    with pytest.raises(tc.SpecError, match="budget is spent"):
        tc.train(rule="median", attack="nlp(budget=2)", progress=False, **MEAN)


@pytest.mark.parametrize("nonfinite", ["exclude", "propagate"])
@pytest.mark.parametrize("name", ["ssnlp(l=2, budget=30)", "beam", "lookahead(budget=900, l=3)"])
def test_losses_that_are_no_numbers_count_as_1e31_and_stop_nothing(name, nonfinite):
    given = {**SMALL, "lr": 1e30, "rule": "mean", "nonfinite": nonfinite, "progress": False}
    found = tc.train(attack=name, **given)
    assert max(plan.value for plan in found.plans) == EXPLODED
    assert found.plans
    if nonfinite == "propagate":
        assert found.records[-1].round == SMALL["rounds"]


def test_attacks_keep_their_memory_through_a_plan(tmp_path):
    used = [Use(attack("mimic(warmup=3)", f=2))] * SMALL["rounds"]
    live, _ = carried_out(Plan(tuple(used)), tmp_path, rule="median", **SMALL)
    plain = training("mimic(warmup=3)", rule="median", **SMALL)
    plain.finish()
    assert torch.equal(live.state.parameters, plain.state.parameters)


def test_a_replay_conforms_like_any_attack(tmp_path):
    plan = Plan((Use(attack("ipm(2)", f=2)),) * 3)
    report = tc.testing.check_attack(f"replay('{plan.save(tmp_path / 'p.safetensors')}')", seconds=30)
    assert report.passed, str(report)
    with pytest.raises(tc.SpecError, match="looks ahead"):
        tc.testing.check_attack("ssnlp")


def test_the_content_of_a_plan_is_part_of_a_runs_key(tmp_path):
    from turncoat.campaign.keys import keys_of

    path = tmp_path / "plan"
    spec = Spec(n=5, f=1, attack=f"replay('{path}')")
    keys = set()
    for epsilon in (1.0, 2.0):
        Plan((Use(IPM(epsilon=epsilon)),)).save(path)
        keys.add(keys_of([spec])[0].digest)
    assert len(keys) == 2
    assert replace(plan := Plan.load(path), done=0) == plan
