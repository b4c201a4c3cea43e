"""Other projects' conventions: each can be made, is what the documentation says, and tells apart what it should."""

from pathlib import Path

import pytest
from render import presets

import turncoat as tc
from turncoat.presets import NOT_OFFERED, PRESETS
from turncoat.registry import entries
from turncoat.spelling import parse

LISTED = [(preset, name) for preset, names in PRESETS.items() for name in names]


@pytest.mark.parametrize(("preset", "name"), LISTED)
def test_presets_stand_for_what_exists(preset, name):
    make = tc.rule if name in entries("rule") else tc.attack
    mixing = name in ("bucketing", "nnm")
    spelling = f"{name}(preset={preset}){' >> mean' * mixing}"
    stood_for = PRESETS[preset][name] + " >> mean" * mixing
    assert make(spelling, f=2) == make(stood_for, f=2)
    assert make(name + " >> mean" * mixing, f=2, preset=preset) == make(stood_for, f=2)


@pytest.mark.parametrize(("preset", "name"), NOT_OFFERED)
def test_what_is_not_offered_says_why(preset, name):
    make = tc.rule if name in entries("rule") else tc.attack
    with pytest.raises(tc.SpecError, match="is not offered"):
        make(f"{name}(preset={preset})", f=2)


def test_arguments_beside_a_preset_win_and_unknown_ones_are_refused():
    assert str(tc.rule("krum(preset=byzfl, p=3)", f=1)) == 'krum(neighbours="n-f-1", p=3)'
    assert str(tc.rule("median(preset=byzfl)", f=1)) == "median"
    with pytest.raises(tc.SpecError, match="did you mean byzfl or byzpy"):
        tc.rule("krum(preset=byzf)", f=1)


def test_a_run_records_what_a_preset_stands_for():
    specs = [tc.Spec(n=10, f=2, rule=rule) for rule in ("krum(preset=byzfl)", 'krum(neighbours="n-f-1")')]
    from turncoat.campaign.keys import keys_of
    from turncoat.spec import resolve

    assert resolve(specs[0]) == resolve(specs[1])
    assert keys_of(specs)[0].digest == keys_of(specs)[1].digest
    assert parse(resolve(specs[0]).rule).kwargs == {"neighbours": "n-f-1"}


def test_the_documented_tables_are_those_of_the_code():
    page = (Path(__file__).parents[2] / "docs" / "conventions.md").read_text()
    for table in presets().values():
        assert table in page
