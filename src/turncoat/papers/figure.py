"""A figure, table or theorem of a paper: what is run or computed for it, how it is drawn, and what it claims."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from turncoat.papers.campaigns import cells, why
from turncoat.papers.evidence import Evidence, NotLearnt, Run, Runs, Undecided, Verdict
from turncoat.results.result import Result
from turncoat.spec import Spec, spell_field

if TYPE_CHECKING:
    from turncoat.papers.pictures import Picture


UNAVAILABLE = "unavailable until supplied"


@dataclass(frozen=True)
class Claim:
    """A sentence of a paper, in our words and with its threshold, and the predicate that judges it.

    `judge` takes what its figure has: runs, or what was computed.
    """

    name: str
    says: str
    judge: Callable[[Any], Evidence] = field(repr=False)


class Judgement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A claim, and what came of it, with the numbers in words."""

    figure: str
    claim: str
    says: str
    verdict: Verdict
    numbers: list[str]
    """Those that decide first; not of all comparisons where they are many."""
    comparisons: int = 1
    computed: bool = False
    """Of arithmetic or theory: nothing was trained or timed for it."""
    learnt: bool = True
    """False where a control did not learn, which leaves it undecided."""
    why: str = ""

    @property
    def state(self) -> str:
        """Its verdict, or that there is nothing to judge."""
        return "unavailable" if self.numbers == [UNAVAILABLE] else self.verdict


def asked_for(result: Result) -> Spec:
    """The specification as it was before the run chose how to compute gradients."""
    return msgspec.structs.replace(result.spec, gradients=None)


def canonical(**fields: Mapping[str, str]) -> dict[str, str]:
    """What a paper calls rules, attacks and splits, by their spelling in results."""
    return {spell_field(field, spelled): name for field, names in fields.items() for spelled, name in names.items()}


@dataclass(frozen=True)
class Figure:
    """A figure, table or theorem; `campaign` and `where` say what is run for it, or `computes` what is computed."""

    id: str
    title: str
    claims: Sequence[Claim]
    draws: Callable[[Any], list[Picture]] = field(repr=False, default=lambda found: [])
    campaign: str = ""
    where: Sequence[Mapping[str, Any]] = ({},)
    """Of the campaign, what has all these values; or those of any, where there are several."""
    computes: Callable[[], Any] | None = field(repr=False, default=None)
    names: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What the paper calls rules, attacks and splits."""
    timed: bool = False
    """Whether what it computes are times, which are others whenever they are taken."""
    note: str = ""
    """What a reader of it has to know."""

    @property
    def paper(self) -> str:
        return self.id.partition("-")[0]

    def cells(self, scale: str, device: str = "cpu") -> dict[Spec, Spec]:
        """The paper's runs, and for each the one that stands for it at a scale."""
        return cells(self.campaign, self.where, scale, device) if self.campaign else {}

    def judged(self, found: Any) -> list[Judgement]:
        """Its claims, judged by its runs or by what was computed."""
        return [self._judged(claim, found) for claim in self.claims]

    def _judged(self, claim: Claim, found: Any) -> Judgement:
        try:
            evidence = claim.judge(found)
        except Undecided as reason:
            return self.undecided(claim, str(reason), learnt=not isinstance(reason, NotLearnt))
        return self._judgement(claim, evidence.verdict, list(evidence.numbers), evidence.count)

    def undecided(self, claim: Claim, reason: str, learnt: bool = True) -> Judgement:
        """What becomes of a claim of which nothing can be said."""
        return self._judgement(claim, "undecided", [reason], learnt=learnt)

    def _judgement(
        self, claim: Claim, verdict: Verdict, numbers: list[str], comparisons: int = 1, learnt: bool = True
    ) -> Judgement:
        return Judgement(
            figure=self.id,
            claim=claim.name,
            says=claim.says,
            verdict=verdict,
            numbers=numbers,
            comparisons=comparisons,
            computed=self.computes is not None and not self.timed,
            learnt=learnt,
            why=why(self.id, claim.name) if verdict == "fails" else "",
        )

    def runs(self, cells: Mapping[Spec, Spec], results: Iterable[Result]) -> Runs:
        """The paper's runs of some cells, with the results that there are."""
        found = {asked_for(result): result for result in results}
        return Runs((Run(paper, found.get(spec)) for paper, spec in cells.items()), self.names)
