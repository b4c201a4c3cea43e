"""All figures: what is run for them is the papers', what stands for it is smaller, and all claims can be judged."""

import random

import msgspec
import pytest

from turncoat.errors import ResultError, SpecError
from turncoat.papers import kept
from turncoat.papers.campaigns import seeds, shrunk, why
from turncoat.papers.evidence import Runs
from turncoat.papers.page import setting_of, tally, write_papers
from turncoat.papers.run import FIGURES, PAPERS, Shown, chosen, judgements, keep, reproduce

TRAINED = [figure for figure in FIGURES.values() if figure.campaign]
KEPT_AS_THEY_ARE = ("n", "f", "f_actual", "rule", "split", "share", "batch", "momentum", "server_momentum", "knowledge")


def test_every_figure_of_the_papers_is_there():
    assert set(FIGURES) >= {f"S0-F{i}" for i in range(1, 24)} | {"S0-A2"}
    assert set(FIGURES) >= {"S1-F1", "S1-F4", "S1-F5", "S1-toy1", "S1-toy2", "S1-Thm1", "S1-Thm2"}
    assert set(FIGURES) >= {f"S2-F{name}" for name in ("1a", "1b", "1c", "1d", "2", "3", "4a", "4b", "5", "6")}
    assert set(FIGURES) >= {"S2-Prop1", "S2-Thm1", "S2-Thm2", "S2-Thm3"}
    assert set(FIGURES) >= {"S3-F1", "S3-F2", "S3-T1", "S3-T2"}
    assert all(figure.claims and (figure.campaign or figure.computes) for figure in FIGURES.values())


def test_claims_have_names_of_their_own():
    names = [(figure.id, claim.name) for figure in FIGURES.values() for claim in figure.claims]
    assert len(set(names)) == len(names)
    assert not any("cmls" in claim.says.lower() for figure in FIGURES.values() for claim in figure.claims)


@pytest.mark.parametrize("figure", TRAINED, ids=lambda figure: figure.id)
def test_quick_keeps_what_the_figure_is_about(figure):
    found = figure.cells("quick")
    assert found
    for paper, run in found.items():
        for field in KEPT_AS_THEY_ARE:
            assert getattr(paper, field) == getattr(run, field)
        assert paper.attack.partition("(")[0] == run.attack.partition("(")[0]
        assert run.rounds <= paper.rounds
    assert all(paper == run for paper, run in figure.cells("paper").items())
    assert shrunk(figure.cells("paper")) == []


def test_the_settings_are_the_papers():
    (one,) = {(s.n, s.f, s.rounds, s.lr, s.clip) for s in FIGURES["S0-F1"].cells("paper")}
    assert one == (12, 5, 8, 0.5, 2.0)
    assert {s.rounds for s in FIGURES["S0-F3"].cells("paper")} == {640}
    assert {(s.n, s.f) for s in FIGURES["S1-F5"].cells("paper")} == {(25, 11)}
    assert {s.batch for s in FIGURES["S2-F2"].cells("paper") if s.f} == {128}
    assert {s.rounds for s in FIGURES["S2-F1c"].cells("paper")} == {40000}
    assert {(s.n, s.f, s.rounds) for s in FIGURES["S3-T2"].cells("paper")} == {(17, 3, 8000)}


def test_a_figure_runs_its_own_part_of_a_campaign_and_its_controls():
    found = FIGURES["S0-F7"].cells("paper")
    assert {spec.rule for spec in found} == {"median", "mean"}
    assert {spec.split for spec in found} == {"iid"}
    assert {spec.attack for spec in found if spec.rule == "mean"} == {"none"}
    assert seeds("S0-cnn", found) == "0, 1, 2"
    assert seeds("S1", FIGURES["S1-F4"].cells("quick").values()) == "0, 1, 2 of 10"


@pytest.mark.parametrize("scale", ["quick", "paper"])
@pytest.mark.parametrize("figure", TRAINED, ids=lambda figure: figure.id)
def test_whatever_came_of_the_runs_claims_are_judged_and_figures_drawn(figure, scale, make_runs, monkeypatch):
    monkeypatch.setattr("turncoat.papers.evidence.FLOORS", {})
    _, _, runs = make_runs(figure, scale)
    judged = figure.judged(runs)
    assert [judgement.claim for judgement in judged] == [claim.name for claim in figure.claims]
    told = [number for judgement in judged for number in judgement.numbers]
    assert not any("no runs" in number or "missing" in number for number in told)
    pictures = figure.draws(runs)
    assert pictures or figure.id.endswith("-text")
    assert all(picture.panels for picture in pictures)
    assert all("" not in picture.panels or len(picture.panels) == 1 for picture in pictures)


@pytest.mark.parametrize("share", [0.0, 0.9])
@pytest.mark.parametrize("figure", TRAINED, ids=lambda figure: figure.id)
def test_runs_that_failed_leave_claims_open_and_stop_no_page(figure, share, make_runs, monkeypatch, tmp_path):
    monkeypatch.setattr("turncoat.papers.evidence.FLOORS", {})
    monkeypatch.setattr("turncoat.papers.page.write_drawing", lambda drawing, stem: [])
    cells, results, _ = make_runs(figure)
    chance = random.Random(0)
    left = figure.runs(cells, [result for result in results if chance.random() < share])
    judged = figure.judged(left)
    undecided = [judgement for judgement in judged if judgement.verdict == "undecided"]
    assert undecided if share else len(undecided) == len(judged)
    write_papers([Shown(figure, left, judged, cells)], judged, "quick", tmp_path)


def test_a_control_that_did_not_learn_leaves_all_open(make_runs, make_result):
    figure = FIGURES["S1-F4"]
    cells, results, _ = make_runs(figure)
    poor = [
        msgspec.structs.replace(result, records=make_result().records[:1]) if result.spec.rule == "mean" else result
        for result in results
    ]
    judged = figure.judged(figure.runs(cells, poor))
    assert {judgement.verdict for judgement in judged} == {"undecided"}
    assert not any(judgement.learnt for judgement in judged)
    assert "the control on cifar10/fallcnn reached 10.0%" in judged[0].numbers[0]


def test_kept_runs_are_judged_as_before(make_runs, tmp_path, monkeypatch):
    monkeypatch.setattr("turncoat.papers.evidence.FLOORS", {})
    for name in ("S0-F1", "S2-F4a"):
        figure = FIGURES[name]
        cells, results, runs = make_runs(figure)
        again = kept.load(kept.save(results, tmp_path / "runs.json"))
        assert [result.spec for result in again] == [result.spec for result in results]
        before, after = figure.judged(runs), figure.judged(figure.runs(cells, again))
        assert [judgement.verdict for judgement in after] == [judgement.verdict for judgement in before]


@pytest.mark.parametrize(
    ("text", "message"), [("{", "holds no runs"), ('{"version": 2}', "holds no runs"), ("[1]", "holds no runs")]
)
def test_a_file_that_holds_no_runs_is_one_line(text, message, tmp_path):
    path = tmp_path / "runs.json"
    path.write_text(text)
    with pytest.raises(ResultError, match=message):
        kept.load(path)
    with pytest.raises(ResultError, match="cannot read"):
        kept.load(tmp_path / "nowhere.json")


def test_pages_and_files(make_runs, tmp_path, monkeypatch):
    shown = []
    for name in ("S0-F1", "S1-toy2", "S3-F1", "S3-T1", "S3-24"):
        figure = FIGURES[name]
        cells, _, runs = make_runs(figure) if figure.campaign else ({}, [], None)
        found = figure.computes() if figure.computes else runs
        shown.append(Shown(figure, found, figure.judged(found), cells))
    shown.append(Shown(FIGURES["S3-T2"], Runs([]), [], {}, "SVHN is not here"))
    index, *pages = write_papers(shown, judgements(shown), "quick", tmp_path)
    assert [page.name for page in pages] == ["S0.html", "S1.html", "S3.html"]
    assert "S3-F1" in index.read_text()
    text = (tmp_path / "S3.html").read_text()
    assert "Unavailable until supplied. SVHN is not here" in text
    assert "26.34±12.22" in text  # the paper's own figure in Table 1
    assert "rounds 250 for 6000" in text  # what was shrunk
    ahead = FIGURES["S0-F3"]
    told = setting_of(Shown(ahead, Runs([]), [], ahead.cells("quick")), "quick")
    assert "ssnlp's l 2 for 4, 4 for 64" in told
    assert told.endswith("without ssnlp(l=16)")
    drawn = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert {"S0-F1-0.png", "S0-F1-0.svg", "S3-F1-1.png", "S3-T1-0.svg", "S1-toy2-0.png"} <= set(drawn)


def test_figures_are_chosen_by_name_paper_or_all():
    assert [figure.id for figure in chosen(["S3-F1", "S0-F1"])] == ["S3-F1", "S0-F1"]
    assert chosen(["S1"]) == PAPERS["S1"]
    assert len(chosen(["all", "S1"])) == len(FIGURES)
    with pytest.raises(SpecError, match="did you mean S3-F1"):
        chosen(["S3-F11"])
    with pytest.raises(SpecError, match="did you mean quick"):
        reproduce(["S1-toy1"], "quik")


def test_why_a_claim_fails_stands_beside_it():
    (shown,) = reproduce(["S1-Thm1"], progress=False)
    (judgement,) = [each for each in shown.judgements if each.verdict == "fails"]
    assert judgement.claim == "as-stated"
    assert judgement.why.startswith("The proof bounds the smallest")
    assert why("S1-Thm1", "corrected") == ""


def test_reproducing_runs_computes_and_judges(tmp_path, monkeypatch):
    figure = FIGURES["S0-F1"]
    small = {paper: run for paper, run in figure.cells("quick").items() if run.attack in ("alie", "ipm(epsilon=0.1)")}
    monkeypatch.setattr("turncoat.papers.figure.cells", lambda *args: small)
    shown = reproduce(["S1-toy1", "S0-F1"], folder=tmp_path, jobs=2, progress=False)
    assert [each.figure.id for each in shown] == ["S0-F1", "S1-toy1"]
    assert len(shown[0].found) == len(small) == 20
    assert shown[1].judgements[0].verdict == "holds"
    assert list((tmp_path / "quick" / "runs").glob("*.json"))


def test_a_figure_without_its_data_stops_nothing(tmp_path, monkeypatch):
    from turncoat.errors import DataUnavailableError

    def missing(specs):
        raise DataUnavailableError("svhn is not here: put it there")

    monkeypatch.setattr("turncoat.papers.run.obtain", missing)
    lines = []
    (shown,) = reproduce(["S3-T1"], folder=tmp_path, progress=False, told=lines.append)
    assert shown.unavailable == "svhn is not here: put it there"
    assert "unavailable until supplied: svhn is not here" in lines[-1]
    assert {judgement.verdict for judgement in shown.judgements} == {"undecided"}
    assert tally(shown.judgements) == f"{len(shown.judgements)} unavailable"


def test_figures_of_earlier_calls_come_along(tmp_path):
    reproduce_and_keep(["S1-toy1"], tmp_path)
    shown = reproduce_and_keep(["S1-toy2"], tmp_path)
    assert [each.figure.id for each in shown] == ["S1-toy1", "S1-toy2"]
    (tmp_path / "quick" / "claims.json").write_text("{")
    with pytest.raises(ResultError, match="holds no verdicts"):
        reproduce(["S1-toy1"], folder=tmp_path)


def test_what_another_call_left_stays(tmp_path, make_runs, monkeypatch):
    """Verdicts and runs of figures that are not asked for, whatever became of their runs; and times are not taken."""
    monkeypatch.setattr("turncoat.papers.evidence.FLOORS", {})
    figure, timed = FIGURES["S1-F5"], FIGURES["S3-F2"]
    cells, results, runs = make_runs(figure)
    assert timed.computes is not None
    found = timed.computes()
    keep(
        [Shown(figure, runs, figure.judged(runs), cells), Shown(timed, found, timed.judged(found))], tmp_path / "quick"
    )
    before = (tmp_path / "quick" / "claims.json").read_text()
    assert {one.figure.id for one in reproduce_and_keep(["S1-toy1"], tmp_path)} == {"S1-toy1", "S1-F5"}
    assert [one.figure.id for one in reproduce_and_keep(["S3-24"], tmp_path)] == ["S3-24"]
    (tmp_path / "quick" / "S1.json").unlink()
    assert {one.figure.id for one in reproduce_and_keep(["S1-toy1"], tmp_path)} == {"S1-toy1"}
    after = msgspec.json.decode((tmp_path / "quick" / "claims.json").read_bytes())
    assert [one for one in after if one["figure"] in ("S1-F5", "S3-F2")] == msgspec.json.decode(before)
    assert len(kept.load(kept.save(results, tmp_path / "S1.json"))) == len(results)


def test_the_index_has_all_papers(tmp_path):
    for name in ("S1-toy1", "S2-Thm2"):
        shown = reproduce([name], folder=tmp_path, progress=False)
        write_papers(shown, keep(shown, tmp_path / "quick"), "quick", tmp_path / "quick")
    text = (tmp_path / "quick" / "index.html").read_text()
    assert "S1-toy1" in text
    assert "S2-Thm2" in text


def reproduce_and_keep(names, folder):
    shown = reproduce(names, folder=folder, progress=False)
    keep(shown, folder / "quick")
    return shown


def test_what_is_computed_is_said_to_be():
    computed = {figure.id for figure in FIGURES.values() if figure.undecided(figure.claims[0], "").computed}
    theory = {"S1-toy1", "S1-toy2", "S1-Thm1", "S1-Thm2", "S2-Prop1", "S2-Thm1", "S2-Thm2", "S2-Thm3"}
    assert computed == theory | {"S3-T3", "S3-24"}
