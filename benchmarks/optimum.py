"""The most that an adversary who plans ahead can do to mean estimation in the plane, by dynamic programming.

    python benchmarks/optimum.py [--rules median krum ...] [--seeds 20] [--search 2] [--output benchmarks/optimum.json]

S0 lets solvers for smooth functions search plans b_1..b_8 of what the 5 Byzantine ones of 12 workers send. The model
has two parameters, so that the best plan can be found by working backwards over a grid of models, and what a search
finds can be judged by it. The output holds for each rule and seed what the recursion says (`values`) and the plans
that follow from it, varied a little at random, with what they reach in the run itself (`reached`: a lower bound of the
optimum, and nearly always the better estimate). The resolution is doubled until two agree within 1 % with each other
and with what is reached; `disagreement` says how far they differ. --search compares the first so many seeds of each
rule with a random search over two rounds. A problem that is in the output already is not computed again. One thread.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from peers import HERE
from torch import Tensor

from turncoat.learning.round import Federation
from turncoat.learning.training import Parts, set_up
from turncoat.progress import progress
from turncoat.results.files import write_atomically
from turncoat.rules.batched import batched
from turncoat.spec import Spec, resolve

Aggregate = Callable[[Tensor], Tensor]
"""(C, n, 2) rows -> (C, 2) vectors, without memory."""

OBJECTIVES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "final": lambda loss, later: later,
    "mean": torch.add,
    "min": torch.minimum,
}
"""What a plan is worth from a round on, of the loss after that round and of what is to come (for mean: the sum)."""

RULES = (
    "median",
    "trimmed_mean",
    "krum",
    'krum(neighbours="n-f")',
    "geometric_median(nu=0.1, iterations=8, start=origin)",
    "geometric_median",
)
N, F, ROUNDS, LR, CLIP, TARGET = 12, 5, 8, 0.5, 2.0, (2.0, 2.0)
RESOLUTIONS = ((0.3, 8), (0.15, 16), (0.075, 32))  # steps of the grid and directions of candidates
AGREE = 0.01

FAR = 1e3
RADII = (0.25, 0.5, 0.75, 1.0, 1.2, 1.4, 1.7, 2.0, 2.4, 3.0, 4.0, 8.0, 32.0, FAR)
"""Along a ray from the honest mean, in units of the honest vectors' largest distance from it."""
NEAR = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""From the origin, in units of the longest honest vector."""
BISECTIONS, TURNS = 8, 4
RASTER = 0.4  # between the models from which the box of the next ones is found
CALL = 2048  # candidates that a rule is given at once: few enough for the processor's cache
POINTS = 64  # of the grid, whose candidates are in memory at once


@dataclass(frozen=True)
class Problem:
    """theta <- theta - lr F(g_1, ..., g_h, b, ..., b), with g_i = clip(theta - x_i) and f times the same b, from 0.

    `samples` is (T, h, 2), the honest workers' one sample in each round. The loss is the distance to `target`.
    """

    samples: Tensor
    f: int
    aggregate: Aggregate
    lr: float = LR
    clip: float = CLIP
    target: tuple[float, float] = TARGET

    @property
    def rounds(self) -> int:
        return len(self.samples)

    def honest(self, t: int, theta: Tensor) -> Tensor:
        """(P, 2) models -> (P, h, 2) honest vectors in round t = 0, 1, ... ."""
        rows = theta[:, None] - self.samples[t]
        return rows * (self.clip / rows.norm(dim=2, keepdim=True)).clamp(max=1)

    def outputs(self, honest: Tensor, b: Tensor) -> Tensor:
        """(P, h, 2) honest vectors and (P, C, 2) Byzantine ones -> (P, C, 2) aggregates."""
        kept = honest[:, None].expand(-1, b.shape[1], -1, -1)
        sent = b[:, :, None].expand(-1, -1, self.f, -1)
        rows = torch.cat([kept, sent], dim=2).flatten(0, 1)
        return torch.cat([self.aggregate(part) for part in rows.split(CALL)]).view_as(b)

    def loss(self, theta: Tensor) -> Tensor:
        """(..., 2) models -> (...) losses."""
        return (theta - theta.new_tensor(self.target)).norm(dim=-1)

    def losses(self, plans: Tensor) -> Tensor:
        """(C, T, 2) plans -> (C, T) losses after each round."""
        theta, losses = plans.new_zeros(len(plans), 2), []
        for t in range(self.rounds):
            theta = theta - self.lr * self.outputs(self.honest(t, theta), plans[:, t, None])[:, 0]
            losses.append(self.loss(theta))
        return torch.stack(losses, dim=1)


def score(objective: str, losses: Tensor) -> Tensor:
    """(..., T) losses of plans -> (...) what the objective makes of them."""
    if objective == "final":
        return losses[..., -1]
    return losses.mean(-1) if objective == "mean" else losses.amin(-1)


@dataclass(frozen=True)
class Table:
    """(A, B, K) values on a grid; bilinear between its points, and beyond its edge as on the edge."""

    low: Tensor
    step: float
    values: Tensor

    def at(self, theta: Tensor) -> Tensor:
        """(..., 2) models -> (..., K) values."""
        last = torch.tensor(self.values.shape[:2]) - 1
        place = ((theta - self.low) / self.step).clamp(min=0).minimum(last)
        corner = place.long().minimum(last - 1)
        i, j = corner.unbind(-1)
        u, v = (place - corner)[..., None].unbind(-2)
        left, right = (torch.lerp(self.values[i, k], self.values[i + 1, k], u) for k in (j, j + 1))
        return torch.lerp(left, right, v)


@dataclass(frozen=True)
class Reply:
    """The best b for each of K objectives at each of P models."""

    values: Tensor
    """(P, K)"""
    b: Tensor
    """(P, K, 2)"""
    after: Tensor
    """(P, K, 2) where it takes the model."""

    def or_better(self, other: Reply) -> Reply:
        better = (other.values > self.values)[..., None]
        b, after = torch.where(better, other.b, self.b), torch.where(better, other.after, self.after)
        return Reply(torch.maximum(self.values, other.values), b, after)


@dataclass(frozen=True)
class Adversary:
    """The best reply to what is known, out of candidates for b that are tight for every rule of the benchmark.

    - Rays from the honest mean in `directions` directions. Where a rule is continuous, the edge of its range is mostly
      reached far out, for coordinate-wise rules each corner by all rays of a quadrant. Krum returns b itself as long
      as it selects it: on each ray, the interval with the largest jump of the output is bisected, and both of its
      ends are candidates.
    - The honest vectors: a b near one that lies apart may be selected when none in between is.
    - Circles around the origin: b of about length nu = 0.1 has the largest weight in the first of RFA's steps from
      there, and 8 steps do not undo it.
    - Around the best of these for each objective, rays on both sides and a circle, `TURNS` times, each time at half
      the distance: the ranges of Krum and of the geometric median have spikes that few directions miss.
    """

    problem: Problem
    objectives: tuple[str, ...]
    directions: int

    def reply(self, t: int, theta: Tensor, following: Table | None) -> Reply:
        """The best b in round t at (P, 2) models; the table has the worth of what follows, None after the last."""
        honest = self.problem.honest(t, theta)
        centre = honest.mean(1, keepdim=True)
        best = self._best(theta, following, *self.candidates(honest))
        for turn in range(1, TURNS + 1):
            x, y = (best.b - centre).unbind(-1)
            angles, step = torch.atan2(y, x), 2 * math.pi / self.directions / 2**turn
            rays = self._rays(honest, torch.cat([angles - step, angles + step], dim=1))
            best = best.or_better(self._best(theta, following, *rays))
            width = torch.minimum(best.b.norm(dim=-1), (best.b - centre).norm(dim=-1)) / 2**turn
            around = (best.b[:, :, None] + width[..., None, None] * _circle(8, honest)).flatten(1, 2)
            best = best.or_better(self._best(theta, following, around, self.problem.outputs(honest, around)))
        return best

    def candidates(self, honest: Tensor) -> tuple[Tensor, Tensor]:
        """(P, C, 2) vectors for (P, h, 2) honest ones, without those around the best, and their outputs."""
        x, y = _circle(self.directions, honest).T
        b, outputs = self._rays(honest, torch.atan2(y, x).expand(len(honest), -1))
        radii = honest.norm(dim=2).amax(1)[:, None] * honest.new_tensor(NEAR)
        circles = radii[:, :, None, None] * _circle(self.directions, honest)
        others = torch.cat([honest, circles.flatten(1, 2)], dim=1)
        return torch.cat([b, others], dim=1), torch.cat([outputs, self.problem.outputs(honest, others)], dim=1)

    def _best(self, theta: Tensor, following: Table | None, b: Tensor, outputs: Tensor) -> Reply:
        after = theta[:, None] - self.problem.lr * outputs
        loss = self.problem.loss(after)
        worth = [loss] * len(self.objectives)
        if following is not None:
            later = following.at(after).unbind(-1)
            worth = [OBJECTIVES[name](loss, value) for name, value in zip(self.objectives, later, strict=True)]
        values, chosen = torch.stack(worth, dim=-1).max(1)
        chosen = chosen[..., None].expand(-1, -1, 2)
        return Reply(values, b.gather(1, chosen), after.gather(1, chosen))

    def _rays(self, honest: Tensor, angles: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors at all radii in (P, D) directions and at both ends of each ray's largest jump; their outputs."""
        centre, unit = honest.mean(1)[:, None, None], _spread(honest)
        ways = torch.stack([angles.cos(), angles.sin()], dim=-1)[:, :, None]

        def send(radii: Tensor) -> tuple[Tensor, Tensor]:
            """(P, D, R) radii -> (P, D, R, 2) vectors and outputs."""
            b = centre + (unit * radii)[..., None] * ways
            return b, self.problem.outputs(honest, b.flatten(1, 2)).view_as(b)

        radii = honest.new_tensor(RADII).expand(*angles.shape, -1)
        b, outputs = send(radii)
        at = outputs.diff(dim=2).norm(dim=-1).argmax(-1, keepdim=True)
        low, high = radii.gather(-1, at), radii.gather(-1, at + 1)
        below, above = (outputs.gather(2, i[..., None].expand(-1, -1, -1, 2)) for i in (at, at + 1))
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            output = send(middle)[1]
            down = (output - below).norm(dim=-1) > (above - output).norm(dim=-1)
            low, high = torch.where(down, low, middle), torch.where(down, middle, high)
            down = down[..., None]
            below, above = torch.where(down, below, output), torch.where(down, output, above)
        edges = centre + (unit * torch.cat([low, high], dim=2))[..., None] * ways
        return torch.cat([b, edges], 2).flatten(1, 2), torch.cat([outputs, below, above], 2).flatten(1, 2)


def _circle(directions: int, like: Tensor) -> Tensor:
    """(directions, 2) unit vectors, none along an axis when there are a multiple of four."""
    angles = (torch.arange(directions, dtype=like.dtype) + 0.5) * (2 * math.pi / directions)
    return torch.stack([angles.cos(), angles.sin()], dim=-1)


def _spread(honest: Tensor) -> Tensor:
    """(P, 1, 1) the largest distance from the mean; not 0, where all honest vectors are the same."""
    return (honest - honest.mean(1, keepdim=True)).norm(dim=2).amax(1).clamp(min=1e-6)[:, None, None]


@dataclass(frozen=True)
class Optimum:
    """By objective: what the recursion says, and the plan (T, 2) that follows from it with what it exactly reaches."""

    values: dict[str, float]
    reached: dict[str, float]
    plans: dict[str, Tensor]


def optimum(
    samples: Tensor,
    f: int,
    aggregate: Aggregate,
    lr: float = LR,
    clip: float = CLIP,
    target: tuple[float, float] = TARGET,
    objectives: Sequence[str] = tuple(OBJECTIVES),
    step: float = 0.15,
    directions: int = 16,
) -> Optimum:
    """The largest final, mean and smallest loss that a plan can reach, nearly; see `Problem` for what is given.

    V_t(theta), the most that can be had from round t on, is tabulated over a grid with that step, from V_{t+1} where
    the candidates for b take the model; the first round starts from 0 alone. Two errors remain: V is interpolated,
    which mostly flatters, and candidates may miss the best b. What the plans reach has the first one not at all.
    """
    problem = Problem(samples, f, aggregate, lr, clip, target)
    adversary = Adversary(problem, tuple(objectives), directions)
    boxes = reachable(adversary, margin=max(step, RASTER / 2))
    tables: list[Table | None] = [None]
    for t in range(problem.rounds - 1, 0, -1):
        tables.append(tabulate(adversary, t, *boxes[t - 1], step, tables[-1]))
    return follow(adversary, tables[::-1])


def reachable(adversary: Adversary, margin: float) -> list[tuple[Tensor, Tensor]]:
    """The lowest and highest coordinates of the models after each round but the last, with a margin around.

    All candidates are played from one model in each square of side `RASTER` that the round before came to.
    """
    problem = adversary.problem
    theta, boxes = problem.samples.new_zeros(1, 2), []
    for t in range(problem.rounds - 1):
        outputs = [adversary.candidates(problem.honest(t, part))[1] for part in theta.split(POINTS)]
        after = (theta[:, None] - problem.lr * torch.cat(outputs)).flatten(0, 1)
        boxes.append((after.amin(0) - margin, after.amax(0) + margin))
        theta = RASTER * (after / RASTER).round().unique(dim=0)
    return boxes


def tabulate(adversary: Adversary, t: int, low: Tensor, high: Tensor, step: float, following: Table | None) -> Table:
    """The best that can be had from round t on, over a box."""
    shape = ((high - low) / step).ceil().int().add(1).tolist()
    points = low + step * torch.cartesian_prod(*(torch.arange(count, dtype=low.dtype) for count in shape))
    values = torch.cat([adversary.reply(t, part, following).values for part in points.split(POINTS)])
    return Table(low, step, values.view(*shape, -1))


def follow(adversary: Adversary, tables: Sequence[Table | None]) -> Optimum:
    """The plans that tables of what follows each round make best, with exact transitions and more directions."""
    problem, names = adversary.problem, adversary.objectives
    adversary = Adversary(problem, names, 8 * adversary.directions)
    theta, replies = problem.samples.new_zeros(len(names), 2), []
    for t, following in enumerate(tables):
        replies.append(adversary.reply(t, theta, following))
        theta = replies[-1].after.diagonal().T  # each objective goes its own way
    plans = torch.stack([reply.b.diagonal().T for reply in replies], dim=1)
    start = replies[0].values.diagonal().tolist()
    values, reached = {}, {}
    for name, value, losses in zip(names, start, problem.losses(plans), strict=True):
        values[name] = value / problem.rounds if name == "mean" else value
        reached[name] = float(score(name, losses))
    return Optimum(values, reached, dict(zip(names, plans, strict=True)))


def search(problem: Problem, objective: str, start: Tensor | None = None, seed: int = 0, draws: int = 1000) -> Tensor:
    """The plan (T, 2) that a random search over all its vectors at once finds, beginning with a plan or with none.

    The best plans so far are varied in some rounds, ever more narrowly. Where there is none to begin with, many of any
    sign and size in each coordinate are drawn: for two rounds, the best of several seeds is near the optimum.
    """
    random = torch.Generator().manual_seed(seed)
    like = {"generator": random, "dtype": problem.samples.dtype}
    if start is None:
        shape = (20 * draws, problem.rounds, 2)
        sizes = math.log(0.01) + math.log(100 * FAR) * torch.rand(shape, **like)
        plans = sizes.exp() * torch.randn(shape, **like).sign()
    else:
        plans = start[None]
    best = plans[:0]
    for step in range(40):
        plans = torch.cat([best, plans])
        best = plans[score(objective, problem.losses(plans)).topk(min(draws // 10, len(plans))).indices]
        plans = best.repeat(draws // len(best), 1, 1)
        width = 0.85**step * (torch.rand((*plans.shape[:2], 1), **like) < 0.4)
        plans = plans + width * (1 + plans.abs()) * torch.randn(plans.shape, **like)
    return best[0]


def federation_of(rule: str, seed: int) -> Federation:
    """The run whose adversary plans."""
    about: dict[str, Any] = {"n": N, "f": F, "lr": LR, "clip": CLIP, "batch": 1, "rounds": ROUNDS, "seed": seed}
    return set_up(resolve(Spec(task="mean_estimation", rule=rule, attack="none", **about)), Parts())[1]


def problem_of(federation: Federation, rounds: int = ROUNDS) -> Problem:
    """A run's own samples and rule."""
    form = batched(federation.rule, N)
    assert form is not None
    drawn = [federation.x[federation.batches.indices(t, N - F)[:, 0]] for t in range(rounds)]
    return Problem(torch.stack(drawn), F, lambda X: form(X)[0])


def replay(federation: Federation, plan: Tensor) -> Tensor:
    """(T, 2) models after each round of the run itself, whose Byzantine workers send the plan."""
    state, models = federation.initial(), []
    for b in plan:
        state, _ = federation.round(state, federation.prepare(state), b.expand(F, -1))
        models.append(state.parameters)
    return torch.stack(models)


def solve(rule: str, seed: int) -> dict[str, Any]:
    """One problem at ever finer resolution, until two agree."""
    federation = federation_of(rule, seed)
    problem = problem_of(federation)
    reached, plans, seconds = dict.fromkeys(OBJECTIVES, 0.0), {}, []
    entry: dict[str, Any] = {}
    for step, directions in RESOLUTIONS:
        since = perf_counter()
        found = optimum(problem.samples, F, problem.aggregate, step=step, directions=directions)
        for name, plan in found.plans.items():
            plan = search(problem, name, plan)
            loss = float(score(name, problem.loss(replay(federation, plan))))
            if loss > reached[name]:
                reached[name], plans[name] = loss, [[float(f"{each:.6g}") for each in b] for b in plan.tolist()]
        seconds.append(perf_counter() - since)
        coarse = entry.get("values", {})
        apart = disagreement(found.values, reached, coarse)
        entry = {"values": found.values, "reached": reached, "coarse": coarse, "disagreement": apart}
        entry |= {"step": step, "directions": directions, "seconds": seconds, "plans": plans}
        if coarse and apart <= AGREE:
            break
    return entry


def disagreement(values: dict[str, float], *others: dict[str, float]) -> float:
    """The largest relative difference of values to those of a coarser grid, or to what is reached."""
    return max(abs(other[name] / values[name] - 1) for other in others for name in other)


def two_rounds(rule: str, seed: int) -> dict[str, Any]:
    """The recursion and the random search, over the first two rounds of a problem."""
    problem = problem_of(federation_of(rule, seed), rounds=2)
    found = optimum(problem.samples, F, problem.aggregate)
    searched = {}
    for name in OBJECTIVES:
        plans = torch.stack([search(problem, name, seed=restart, draws=4000) for restart in range(10)])
        searched[name] = float(score(name, problem.losses(plans)).max())
    return {"values": found.values, "reached": found.reached, "searched": searched}


def table(problems: dict[str, dict[str, Any]]) -> str:
    """Means over the seeds of what is reached, and how sure that is."""
    lines = ["| rule | seeds | final | mean | min | disagreement | seconds |", "|---|---|---|---|---|---|---|"]
    for rule, seeds in problems.items():
        entries = list(seeds.values())
        means = [f"{statistics.mean(entry['reached'][name] for entry in entries):.3f}" for name in OBJECTIVES]
        apart = f"{100 * max(entry['disagreement'] for entry in entries):.2f} %"
        seconds = f"{statistics.mean(entry['seconds'][-1] for entry in entries):.0f}"
        lines.append(f"| {' | '.join([f'`{rule}`', str(len(entries)), *means, apart, seconds])} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", nargs="*", default=RULES)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--search", type=int, default=0, help="seeds to compare with a random search over two rounds")
    parser.add_argument("--output", type=Path, default=HERE / "optimum.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", ".* has no guarantee at n = 2f")
    about = {"platform": platform.platform(), "python": platform.python_version(), "torch": torch.__version__}
    known = json.loads(options.output.read_text()) if options.output.exists() else {"problems": {}}
    problems = known["problems"]
    asked = [(rule, seed) for rule in options.rules for seed in range(options.seeds)]
    with progress(len(asked)) as show:
        for done, (rule, seed) in enumerate(asked):
            show(done, f"{rule}, seed {seed}")
            entry = problems.setdefault(rule, {}).get(str(seed)) or solve(rule, seed)
            if seed < options.search and "two_rounds" not in entry:
                entry["two_rounds"] = two_rounds(rule, seed)
            problems[rule][str(seed)] = entry
            text = json.dumps({"about": about, "problems": problems}, indent=1)
            write_atomically(options.output, f"{text}\n".encode())
    print(table({rule: seeds for rule, seeds in problems.items() if seeds}))
    for rule, seeds in problems.items():
        for seed, entry in seeds.items():
            if entry["disagreement"] > AGREE:
                print(f"{rule}, seed {seed}: values and plans differ by {entry['disagreement']:.1%}", file=sys.stderr)


if __name__ == "__main__":
    main()
