"""The catalogue's reader and renderer: exact arguments, and every mistake named by file and tool."""

import random
from collections import Counter
from pathlib import Path

import pytest

from agentlora.core import schema
from agentlora.core.errors import DataError
from agentlora.tasks.tool_calling.toolspec import (
    Phrasing,
    ToolSpec,
    load_catalogue,
    load_sheet,
    problems,
    render,
)

SHEET = """
domain: travel
split: train
tools:
  - name: book_train
    description: Book
      a train.
    parameters:
      type: object
      properties:
        origin: {type: string}
        destination: {type: string}
        first_day: {type: string, format: date}
        last_day: {type: string, format: date}
        price: {type: number}
        guests: {type: integer, minimum: 1}
        extras: {type: array, items: {type: string}}
        quiet: {type: boolean}
      required: [origin, destination]
    values:
      origin: [Leeds, York, Bath]
      destination: [Leeds, York, Bath]
      first_day: {dates: [2026-01-01, "2026-01-05"]}
      last_day: {dates: [2026-01-01, "2026-01-05"]}
      price: {numbers: [1.5, 3], decimals: 2}
      guests: [{say: a party of six, value: 6}, {say: two, value: 2}]
      extras: {list_of: [wifi, {say: a bike, value: bicycle}, lunch], min: 1, max: 3}
    phrasings:
      - text: "{guests} from {destination}, no {origin} I mean, {first_day} to {last_day}"
        set: {quiet: true}
      - "from {origin}  to {destination} under {price} with {extras}"
    missing:
      - {text: "a train to {destination}", lacks: origin, ask: "Where do you start?"}
"""


def sheet(tmp_path: Path, text: str, name: str = "travel.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.fixture
def spec(tmp_path: Path) -> ToolSpec:
    return load_sheet(sheet(tmp_path, SHEET))[0]


def test_the_arguments_are_those_of_the_sentence_in_schema_order(spec: ToolSpec) -> None:
    text, arguments = render(spec, spec.phrasings[0], random.Random(1))
    assert list(arguments) == ["origin", "destination", "first_day", "last_day", "guests", "quiet"]
    said = {6: "a party of six", 2: "two"}[arguments["guests"]]
    assert text == (
        f"{said} from {arguments['destination']}, no {arguments['origin']} I mean, "
        f"{arguments['first_day']} to {arguments['last_day']}"
    )
    assert arguments["quiet"] is True


def test_every_rendering_fits_the_schema_and_never_contradicts_itself(spec: ToolSpec) -> None:
    for seed in range(200):
        for phrasing in spec.phrasings:
            text, arguments = render(spec, phrasing, random.Random(seed))
            assert schema.errors(spec.parameters, arguments) == []
            assert arguments["origin"] != arguments["destination"]
            assert arguments.get("first_day", "0") < arguments.get("last_day", "1")
            assert "  " not in text
            assert "{" not in text


def test_lists_are_said_as_people_say_them(spec: ToolSpec) -> None:
    seen = Counter()
    for seed in range(60):
        text, arguments = render(spec, spec.phrasings[1], random.Random(seed))
        words = ["a bike" if value == "bicycle" else value for value in arguments["extras"]]
        said = " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
        assert text.endswith(f" with {said}")
        seen[len(words)] += 1
    assert set(seen) == {1, 2, 3}


def test_rendering_is_deterministic(spec: ToolSpec) -> None:
    first, again = (render(spec, spec.phrasings[1], random.Random(7)) for _ in range(2))
    assert first == again


def test_the_openai_form_and_the_missing_requests(spec: ToolSpec) -> None:
    assert spec.openai()["function"]["description"] == "Book a train."
    assert spec.missing == (Phrasing("a train to {destination}", {}, "origin", "Where do you start?"),)
    assert "origin" not in render(spec, spec.missing[0], random.Random(0))[1]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("to {destination} under", "under", "required 'destination' is neither a slot nor set"),
        ("{price} with", "{cost} with", "slot 'cost' has no pool"),
        ("set: {quiet: true}", "set: {quiet: 3}", "quiet=3"),
        ("set: {quiet: true}", "set: {loud: true}", "'loud', which is no property"),
        ("value: 6", "value: 0", "values.guests: 0"),
        ("origin: [Leeds, York, Bath]", "origin: [on, off]", "True cannot be said"),
        ("guests: {type: integer", "guests: {type: whole", "not a usable JSON Schema"),
        ("origin: {type: string}", "origin: {type: string, enum: [yes, no]}", "quote it"),
        ("lacks: origin", "lacks: guests", "lacks 'guests'"),
        ("    description: Book\n      a train.\n", "", "missing keys ['description']"),
        ("under {price}", "", "values.price: no phrasing has this slot"),
        ("split: train", "split: valid", "use one of train, dev, test"),
        ("domain: travel", "domain: trips", "must be the file's name"),
        ("tools:", "tools: [", "not readable as YAML"),
    ],
)
def test_a_mistake_is_named_with_its_file(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    assert old in SHEET
    with pytest.raises(DataError) as caught:
        load_sheet(sheet(tmp_path, SHEET.replace(old, new)))
    assert "travel.yaml" in str(caught.value)
    assert complaint in str(caught.value)


def test_the_shipped_catalogue_is_sound() -> None:
    specs = load_catalogue()
    assert all(problems(spec) == [] for spec in specs)
    assert load_catalogue() is specs
    split_of = {(spec.domain, spec.split) for spec in specs}
    assert len(split_of) == len({domain for domain, _ in split_of}), "a domain straddles two splits"
