"""The registry's reading of the source is what Python makes of it."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turncoat.errors import SpecError
from turncoat.registry import ROOMS, bind, entries, suggest
from turncoat.spelling import Call, parse, parse_chain


@pytest.mark.parametrize("kind", ROOMS)
def test_entries_say_what_the_classes_are(kind):
    for entry in entries(kind).values():
        made = entry.load()
        fields = {field.name: field.default for field in dataclasses.fields(made) if not field.kw_only}
        assert made.name == entry.name
        assert fields == entry.parameters
        assert made.source == entry.source
        assert made.__doc__.split("\n\n")[0].split() == entry.summary.split()
        for trait, value in entry.traits.items():
            assert getattr(made, trait) == value


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused(text):
    try:
        calls = parse_chain(text)
    except SpecError:
        return
    assert parse_chain(" >> ".join(map(str, calls))) == calls


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["C"], exclude_characters="()>"), max_size=8),
)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), values | st.lists(values, max_size=3), max_size=3))
def test_calls_survive_their_spelling(kwargs):
    import keyword

    kwargs = {key: value for key, value in kwargs.items() if not keyword.iskeyword(key)}
    assert parse(str(Call("name", (), kwargs))) == Call("name", (), kwargs)


def test_hostile_spellings():
    for text in ("(" * 5000, "a" * 3000, "a(" * 300 + ")" * 300, "a(b=" + "[" * 500 + "]" * 500 + ")", "\0", "a;b"):
        with pytest.raises(SpecError):
            parse_chain(text)


def test_arguments_are_bound_by_position_and_by_name():
    entry = entries("attack")["alie"]
    assert bind(entry, parse("alie(8, ddof=0)")) == {"z": 8, "ddof": 0}
    assert suggest("trimmedmean", entries("rule")).startswith("did you mean trimmed_mean")
