"""The round of distributed training as a function: (state, Byzantine rows) -> next state.

What a run fixes (data, workers, rule, attack) is a `Federation`; what changes from round to round is a `State`. A
round can therefore be replayed, saved and continued bit for bit, and rolled out by an adversary that looks ahead.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from time import perf_counter

import torch
from torch import Tensor

from turncoat.attacks import Attack, View
from turncoat.errors import HiddenError, InputError, SpecError
from turncoat.learning.batches import Batches
from turncoat.learning.gradients import Learner
from turncoat.learning.simulator import Simulator, Watch
from turncoat.learning.state import State
from turncoat.learning.streams import derive, torch_stream, untouched
from turncoat.rules import Aggregation, Rule
from turncoat.spec import Seeds, Spec, seen

SAMPLE = 20000  # training examples on which an adversary that looks ahead may measure losses
TRUSTED = 128  # examples in the server's own batch, for rules that ask for one


@dataclass(frozen=True)
class Sent:
    """What the workers made of a round before the adversary spoke, and what of it the next round needs."""

    rows: Tensor
    """(n, d) scratch: the honest vectors first; the last f rows are the Byzantine workers' own ones, if computed."""
    honest: int
    losses: Tensor
    momenta: Tensor | None
    buffers: tuple[Tensor, ...]


@dataclass
class Clock:
    """Seconds spent in each phase."""

    seconds: dict[str, float] = field(default_factory=dict)
    started: float = 0.0
    synchronise: Callable[[], None] | None = None
    """Waits for the device, whose work would else count for whoever needs it first."""

    def start(self) -> None:
        self.started = perf_counter()

    def lap(self, phase: str) -> None:
        if self.synchronise:
            self.synchronise()
        now = perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self.started
        self.started = now


class Federation:
    """n workers around one server, with everything that does not change from round to round.

    Methods leave the state and what was sent as they are; `keep=False` lets a round overwrite what was sent.
    """

    def __init__(
        self,
        spec: Spec,
        learner: Learner,
        x: Tensor,
        y: Tensor,
        classes: int,
        batches: Batches,
        rule: Rule,
        attack: Attack,
        schedule: Callable[[int], float],
        optimum: Tensor | None = None,
        drawing: Callable[..., AbstractContextManager[None]] = untouched,
    ) -> None:
        assert isinstance(spec.seed, Seeds)
        assert spec.f_actual is not None
        self.spec, self.learner, self.rule, self.attack = spec, learner, rule, attack
        self.x, self.y, self.classes, self.batches = x, y, classes, batches
        self.schedule, self.optimum = schedule, optimum
        self.drawing = drawing  # in which code of the user's own may draw from global generators
        self.watch: Watch | None = None  # of a planner at work
        self.seeds = spec.seed
        self.n, self.f = spec.n, spec.f_actual
        self._seen = seen(spec)
        self._own = computes_own(spec, attack)
        self._spare: list[Tensor] = []
        check(spec, rule, attack, classes, fed=all(map(len, batches.workers)))

    def initial(self) -> State:
        """The state before the first round."""
        parameters = self.learner.initial().clone()
        like = parameters.new_zeros((self.n, 1)).expand(self.n, len(parameters))
        with self.drawing(self.seeds.server, "own start"):
            rule, attack = self.rule.init(like), self.attack.init(like)
        return State(
            round=0,
            parameters=parameters,
            momenta=self._matrix().zero_() if self.spec.momentum else None,
            server_momentum=torch.zeros_like(parameters) if self.spec.server_momentum else None,
            rule=rule,
            attack=attack,
            buffers=tuple(buffer.clone() for buffer in self.learner.buffers),
        )

    def step(self, state: State, clock: Clock | None = None, keep: bool = True) -> tuple[State, Sent, Aggregation]:
        """One round of the run itself: the next state, what was sent and the aggregation."""
        clock = clock or Clock()
        clock.start()
        sent = self.prepare(state)
        clock.lap("gradients")
        rows, attack_state = self.craft(state, sent)
        clock.lap("attack")
        following, aggregation = self.round(state, sent, rows, clock, keep)
        if attack_state is not state.attack:
            following = replace(following, attack=attack_state)
        return following, sent, aggregation

    def forget(self, state: State) -> None:
        """Let later rounds reuse the memory of a state that nobody needs any more."""
        self._recycle(state.momenta)

    def prepare(self, state: State) -> Sent:
        """The vectors that the workers computed on their own data, clipped and with momentum."""
        spec, h = self.spec, self.n - self.f
        attacked = self.attacked(state.round)
        identities = self._identities(state.round)
        computing = self._computing
        rows = self._matrix()
        buffers = tuple(buffer.clone() for buffer in state.buffers)
        losses = self._compute(state, rows[:computing], attacked, identities, buffers)
        if spec.clip is not None and spec.clip_at == "worker":
            _clip(rows[:computing], spec.clip)
        momenta = None
        if state.momenta is not None:
            rows, momenta = self._with_momentum(rows, state.momenta, computing)
        if identities is not None:
            rows, losses = rows[identities], losses[identities]
        return Sent(rows, h, losses, momenta, buffers)

    def craft(self, state: State, sent: Sent) -> tuple[Tensor | None, object]:
        """The rows that the adversary sends and its next state; None for rows that stay the workers' own."""
        if self.f == 0 or not self.attacked(state.round):
            return None, state.attack
        with self.drawing(self.seeds.adversary, "own attack", state.round):
            rows, attack_state = self.attack.step(self.view(state, sent), state.attack)
        if not isinstance(rows, Tensor) or rows.shape != (self.f, self.learner.d):
            shape = tuple(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__
            raise InputError(f"{self.attack} crafted {shape}, expected a tensor of shape {(self.f, self.learner.d)}")
        return rows, attack_state

    def view(self, state: State, sent: Sent) -> View:
        """What the adversary sees of this round."""
        return View(
            n=self.n,
            f=self.f,
            honest_rows=sent.rows[: sent.honest][: self._seen] if self._seen != 0 else None,
            own_rows=sent.rows[sent.honest :] if self._own else None,
            round=state.round,
            remaining=self.remaining(state.round),
            lr=self.schedule(state.round),
            parameters=state.parameters,
            rule=self.rule,
            rule_state=state.rule,
            generator=torch_stream(self.seeds.adversary, "attack", state.round) if self.attack.draws else None,
            simulator=partial(Simulator, self, state, sent, self.watch) if self._seen is None else None,
        )

    def round(
        self, state: State, sent: Sent, rows: Tensor | None, clock: Clock | None = None, keep: bool = True
    ) -> tuple[State, Aggregation]:
        """The next state after the Byzantine rows (f, d) arrived, and the aggregation; the attack's state is kept."""
        spec = self.spec
        received = self._matrix().copy_(sent.rows) if keep else sent.rows
        if rows is not None:
            received[sent.honest :].copy_(rows)
        if spec.clip is not None and spec.clip_at == "server_inputs":
            _clip(received, spec.clip)
        generator = torch_stream(self.seeds.server, "rule", state.round) if self.rule.draws else None
        rule = self.rule.trusting(self._trusted_loss(state)) if self.rule.trusts else self.rule
        with self.drawing(self.seeds.server, "own rule", state.round):
            aggregation, rule_state = rule.step(received, state.rule, generator, examined=False)
        aggregate: Tensor = aggregation.vector
        if clock:
            clock.lap("rule")
        lr = self.schedule(state.round)
        update, server_momentum = self._server(state, aggregate)
        following = State(
            round=state.round + 1,
            parameters=torch.add(state.parameters, update, alpha=-lr),
            momenta=sent.momenta,
            server_momentum=server_momentum,
            rule=rule_state,
            attack=state.attack,
            buffers=sent.buffers,
        )
        if received is not sent.momenta:
            self._recycle(received)
        elif rows is not None:
            received[sent.honest :].zero_()  # what traitors sent is no momentum
        if clock:
            clock.lap("update")
        return following, aggregation

    def attacked(self, round: int) -> bool:
        """Whether the attack is on in that round."""
        stop = self.spec.attack_stop
        return self.spec.attack_start <= round and (stop is None or round < stop)

    def remaining(self, round: int) -> int:
        """How many rounds are attacked from that one on."""
        stop = self.spec.rounds if self.spec.attack_stop is None else min(self.spec.rounds, self.spec.attack_stop)
        return stop - max(round, self.spec.attack_start)

    def honest_batch(self, round: int) -> tuple[Tensor, Tensor]:
        """(h b, ...) and (h b,) the examples that the h honest workers draw in a round, in its first local step."""
        identities, h = self._identities(round), self.n - self.f
        x, y = (drawn if self.spec.local_steps == 1 else drawn[:, 0] for drawn in self.drawn(round))
        if identities is not None:
            x, y = x[identities[:h]], y[identities[:h]]
        return x[:h].flatten(0, 1), y[:h].flatten(0, 1)

    def drawn(self, round: int) -> tuple[Tensor, Tensor]:
        """(workers, b, ...) and (workers, b) what those draw that compute; with local steps (workers, steps, ...)."""
        first, steps = round * self.spec.local_steps, self.spec.local_steps
        batches = [self.batches.indices(first + step, self._computing) for step in range(steps)]
        indices = batches[0] if steps == 1 else torch.stack(batches, dim=1)
        x = self.x.index_select(0, indices.reshape(-1)).view(*indices.shape, *self.x.shape[1:])
        return x, self.y[indices]

    @property
    def _computing(self) -> int:
        """How many workers compute vectors: the Byzantine ones, too, where somebody needs theirs."""
        return self.n if self._own or (self.f and self.spec.byzantine == "random") else self.n - self.f

    @cached_property
    def sample(self) -> tuple[Tensor, Tensor]:
        """Training examples on which an adversary that looks ahead may measure losses, always the same."""
        stream = torch_stream(self.seeds.adversary, "sample")
        drawn = torch.randperm(len(self.x), generator=stream)[:SAMPLE].to(self.x.device)
        return self.x[drawn], self.y[drawn]

    def _compute(
        self, state: State, rows: Tensor, attacked: bool, identities: Tensor | None, buffers: tuple[Tensor, ...]
    ) -> Tensor:
        """Fill rows with the workers' gradients, or with their pseudo-gradients after local steps; their losses."""
        spec = self.spec
        x, y = self.drawn(state.round)
        if attacked and self.attack.manipulates == "data" and len(rows) == self.n:
            traitors = slice(self.n - self.f, None) if identities is None else identities[self.n - self.f :]
            with self.drawing(self.seeds.adversary, "own poison", state.round):
                x[traitors], y[traitors] = self.attack.poison(x[traitors], y[traitors], self.classes)
        seed = derive(self.seeds.model, "round", state.round)
        with self.drawing(seed, "own model"):
            if spec.local_steps == 1:
                return self.learner.gradients(state.parameters, x, y, rows, seed=seed, buffers=buffers)
            assert spec.local_lr is not None
            return self.learner.local_updates(state.parameters, x, y, spec.local_lr, rows, seed=seed, buffers=buffers)

    def _with_momentum(self, rows: Tensor, before: Tensor, computing: int) -> tuple[Tensor, Tensor]:
        """Rows with momentum, and the momenta to keep, which must survive the rows being overwritten."""
        beta = self.spec.momentum
        if self.spec.momentum_form == "damped":
            rows[:computing].mul_(1 - beta)
        rows[:computing].add_(before[:computing], alpha=beta)
        rows[computing:].zero_()  # nobody's momenta, so that the state holds no chance memory
        overwritten = (computing == self.n and self.f > 0) or self.spec.clip_at == "server_inputs"
        if overwritten:
            momenta = self._matrix()
            return rows, momenta.copy_(rows)
        return rows, rows

    def _trusted_loss(self, state: State) -> Callable[[Tensor], float]:
        """The loss after the update by a vector, on training examples that the server draws for itself."""
        stream = torch_stream(self.seeds.server, "trusted", state.round)
        drawn = torch.randint(len(self.y), (TRUSTED,), generator=stream).to(self.x.device)
        x, y, lr = self.x[drawn], self.y[drawn], self.schedule(state.round)
        buffers = state.buffers
        return lambda update: self.learner.evaluate(state.parameters - lr * update, x, y, buffers=buffers)[0]

    def _server(self, state: State, aggregate: Tensor) -> tuple[Tensor, Tensor | None]:
        spec = self.spec
        update = aggregate
        if spec.clip is not None and spec.clip_at == "aggregate":
            update = update.clone()  # the rule may remember the vector
            _clip(update[None], spec.clip)
        if spec.weight_decay:
            update = update.add(state.parameters, alpha=spec.weight_decay)
        if state.server_momentum is None:
            return update, None
        momentum = torch.add(update, state.server_momentum, alpha=spec.server_momentum)
        return momentum, momentum

    def _identities(self, round: int) -> Tensor | None:
        """The workers in a random order whose last f are Byzantine, where each round has others."""
        if self.spec.byzantine == "last" or self.f == 0:
            return None
        return torch.randperm(self.n, generator=torch_stream(self.seeds.adversary, "identities", round)).to(
            self.x.device
        )

    def _matrix(self) -> Tensor:
        if self._spare:
            return self._spare.pop()
        return torch.empty((self.n, self.learner.d), dtype=self.x.dtype, device=self.x.device)

    def _recycle(self, matrix: Tensor | None) -> None:
        if matrix is not None and len(self._spare) < 2:
            self._spare.append(matrix)


def check(spec: Spec, rule: Rule, attack: Attack, classes: int | None, fed: bool) -> None:
    """Raise what a rule and an attack would raise in a run of a resolved spec.

    `classes` is 0 where samples have none, and None where that is not known yet; `fed` says whether the Byzantine
    workers hold data.
    """
    rule.check(spec.n)
    if spec.f_actual and attack.needs_run and seen(spec) is not None:
        raise HiddenError(
            f'{attack} looks ahead, which takes all workers\' vectors and batches: knowledge = "omniscient"'
        )
    if spec.f_actual and attack.knowledge == "omniscient" and not attack.needs_own and seen(spec) == 0:
        raise HiddenError(f'{attack} takes the honest workers\' vectors, and knowledge = "own" hides them')
    if spec.f_actual and attack.manipulates == "data" and classes == 0:
        raise SpecError(f"{attack} poisons labels, and {spec.task} has none")
    if computes_own(spec, attack) and not fed:
        raise HiddenError(
            f"{attack} needs vectors that the Byzantine workers computed themselves, but share = "
            f'"{spec.share}" gives them no data: set share = "all"'
        )


def computes_own(spec: Spec, attack: Attack) -> bool:
    """Whether the Byzantine workers compute vectors as the honest ones do."""
    return bool(spec.f_actual) and (attack.needs_own or spec.attack_start > 0 or spec.attack_stop is not None)


def _clip(rows: Tensor, largest: float) -> None:
    """Shorten the rows to at most that norm, in place."""
    norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True, dtype=torch.float64)
    rows.mul_((largest / norms.clamp(min=largest)).to(rows.dtype))
