"""Arguments that are said otherwise than the call has them: a reader who knows English gets the value back exactly."""

from __future__ import annotations

import datetime
import json
import re
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from agentlora.core import schema
from agentlora.core.config import parse
from agentlora.core.types import Example, Split
from agentlora.tasks.tool_calling.conversions import certain, in_words, spoken_forms
from agentlora.tasks.tool_calling.importing.types import ImportedTool
from agentlora.tasks.tool_calling.toolspec import Conversion, ToolSpec, problems
from agentlora.tasks.tool_calling.units import measured
from agentlora.tasks.tool_calling.user_tools import UserToolParams, UserTools, spec_of
from agentlora.tasks.tool_calling.user_values import parameter
from agentlora.tasks.tool_calling.value_words import FLAGS, SYNONYMS, other_words, plain_words

WHOLE, NUMBER, TEXT, YES = ({"type": kind} for kind in ("integer", "number", "string", "boolean"))
SPLITS: tuple[Split, ...] = ("train", "dev", "test")
# one of each unit, in the smallest of its kind: written down here once more, so that a wrong factor is seen
IN_SMALLEST = {
    "millisecond": 1, "ms": 1, "msec": 1, "second": 1000, "s": 1000, "sec": 1000, "minute": 60_000, "min": 60_000,
    "hour": 3_600_000, "h": 3_600_000, "hr": 3_600_000, "day": 86_400_000, "week": 604_800_000, "wk": 604_800_000,
    "millimetre": 1, "mm": 1, "millimeter": 1, "centimetre": 10, "cm": 10, "centimeter": 10, "metre": 1000, "m": 1000,
    "meter": 1000, "kilometre": 1_000_000, "km": 1_000_000, "kilometer": 1_000_000, "gram": 1, "g": 1, "gramme": 1,
    "kilogram": 1000, "kg": 1000, "kilo": 1000, "kilogramme": 1000, "tonne": 1_000_000, "t": 1_000_000,
    "metric ton": 1_000_000, "byte": 1, "KiB": 1024, "kibibyte": 1024, "MiB": 1024**2, "mebibyte": 1024**2,
    "GiB": 1024**3, "gibibyte": 1024**3, "cent": 1, "euro": 100, "EUR": 100, "dollar": 100, "USD": 100, "buck": 100,
    "inch": 1, "inches": 1, "foot": 12, "feet": 12, "ft": 12, "yard": 36, "mile": 63360,
}  # fmt: skip
ONES = "zero one two three four five six seven eight nine ten eleven twelve".split()  # fmt: skip # noqa: SIM905
PARTS = {"half a": "0.5", "half an": "0.5", "a quarter of an": "0.25", "a": "1", "an": "1"}


def read_amount(said: str) -> Fraction:
    """What an English reader makes of an amount, in the smallest unit."""
    if said.endswith(" and a half"):
        return Fraction(3, 2) * read_amount(said.removesuffix(" and a half").replace("an ", "1 "))
    if said.startswith("€"):
        return Fraction(said[1:]) * 100
    parts = re.findall(rf"(\d+(?:\.\d+)?|{'|'.join(ONES)}) ?([A-Za-z]+(?: tons?)?)(?: and | |$)", said)
    whole = re.fullmatch(r"(half an?|a quarter of an|an?) (\w+)", said)
    if whole:
        parts = [(PARTS[whole[1]], whole[2])]
    assert parts, said
    total = Fraction(0)
    for number, unit in parts:
        amount = Fraction(ONES.index(number) if number in ONES else number)
        total += (
            amount * IN_SMALLEST.get(unit)
            if unit in IN_SMALLEST
            else amount * IN_SMALLEST[unit.removesuffix("s")]
        )
    return total


def spec(
    properties: dict[str, Any], split: Split = "train", name: str = "set_limit", seed: int = 0
) -> ToolSpec:
    tool = ImportedTool(name, "Sets it.", {"type": "object", "properties": properties}, "x")
    found = spec_of(tool, split, seed)
    assert isinstance(found, ToolSpec)
    assert problems(found) == []
    return found


def entries(
    case: str, properties: dict[str, Any], split: Split = "train", name: str = "set_limit"
) -> list[Any]:
    found: list[Conversion] = [
        c for n in range(3) for c in spec(properties, split, name, n).conversions.get(case, ())
    ]
    assert all(f"{{{c.slot}}}" in phrasing.text for c in found for phrasing in c.phrasings)
    return [entry for conversion in found for entry in conversion.entries]


# --- units ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "rule", "factor"),
    [
        ("timeout_seconds", WHOLE, 1000),
        ("timeout_seconds", NUMBER, 1000),
        ("delayMs", WHOLE, 1),
        ("ttl", {"type": "integer", "description": "Time to live in minutes."}, 60_000),
        ("retention_days", WHOLE, 86_400_000),
        ("duration", {"type": "number", "description": "How long it takes (hours)"}, 3_600_000),
        ("distance_m", WHOLE, 1000),
        ("radius", {"type": "number", "description": "Radius in kilometres"}, 1_000_000),
        ("width_cm", NUMBER, 10),
        ("weight_kg", NUMBER, 1000),
        ("mass_in_grams", WHOLE, 1),
        ("max_bytes", WHOLE, 1),
        ("size_mib", WHOLE, 1024**2),
        ("price_cents", WHOLE, 1),
        ("amount_eur", NUMBER, 100),
        ("height_inches", WHOLE, 1),
    ],
)
def test_amounts_are_converted_exactly(name: str, rule: dict[str, Any], factor: int) -> None:
    for split in SPLITS:
        said = entries("unit", {name: rule}, split)
        assert len({entry["value"] for entry in said}) > 8
        for entry in said:
            exact = read_amount(entry["say"]) / factor
            assert Fraction(str(entry["value"])) == exact, entry
            assert rule["type"] == "number" or isinstance(entry["value"], int)
        words = {re.sub(r"^[\d.]+ ?", "", entry["say"]) for entry in said}
        assert len(words) > 2  # more than one unit, its own among them


@pytest.mark.parametrize(
    ("name", "rule", "said", "value"),
    [
        ("temperature_c", NUMBER, "68 degrees Fahrenheit", 20),
        ("temp_f", WHOLE, "20 degrees Celsius", 68),
        ("discount_percent", WHOLE, "a quarter", 25),
        ("volume", {"type": "number", "minimum": 0, "maximum": 1}, "30%", 0.3),
        ("timeout_seconds", WHOLE, "an hour and a half", 5400),
        ("distance_m", WHOLE, "1.5 km", 1500),
        ("distance_m", WHOLE, "half a kilometre", 500),
    ],
)
def test_what_somebody_would_say_is_among_it(
    name: str, rule: dict[str, Any], said: str, value: float
) -> None:
    found = [e for n in range(40) for c in spec({name: rule}, seed=n).conversions["unit"] for e in c.entries]
    assert {"say": said, "value": value} in found
    assert {e["value"] for e in found if e["say"] == said} == {value}


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("start_seconds", WHOLE),
        ("created_at_ms", WHOLE),
        ("seconds", {"type": "integer", "description": "Seconds since the epoch"}),
        ("timeout", {"type": "integer", "description": "In seconds or in minutes, as the server likes"}),
        ("timeout", {"type": "integer", "description": "In minutes or hours"}),
        ("timeout_seconds", {"type": "integer", "description": "In milliseconds"}),
        ("requests_per_minutes", WHOLE),
        ("price_per_kg", NUMBER),
        ("area_square_meters", NUMBER),
        ("working_days", WHOLE),
        ("hour", WHOLE),
        ("plan_m", WHOLE),
        ("period_m", WHOLE),
        ("deadline_ms", WHOLE),
        ("temperature_delta_celsius", NUMBER),
        ("percentage", {"type": "number", "description": "Between 0 and 1"}),
        ("min", WHOLE),
        ("size_mb", WHOLE),
        ("amount", {"type": "integer", "description": "In EUR cents"}),
        ("timeout_seconds", TEXT),
        ("timeout_seconds", {"type": "integer", "enum": [30, 60]}),
    ],
)
def test_where_the_unit_is_not_certain_none_is_said(name: str, rule: dict[str, Any]) -> None:
    param = parameter(name, rule, False)
    assert param is not None
    assert measured(param) is None


def test_a_tool_that_has_the_unit_as_an_argument_is_given_it_there() -> None:
    assert entries("unit", {"distance_m": WHOLE})
    assert not entries("unit", {"distance_m": WHOLE, "unit": TEXT})
    assert not entries("unit", {"price_cents": WHOLE, "currency": TEXT})
    # what both would be called without their units
    assert not entries("unit", {"duration_hours": WHOLE, "duration_minutes": WHOLE})
    assert not entries("unit", {"timeout_seconds": WHOLE, "timeout": TEXT})


def test_a_converted_amount_is_called_without_its_unit() -> None:
    (conversion,) = spec({"timeout_seconds": {**WHOLE, "description": "The timeout in seconds"}}).conversions[
        "unit"
    ]
    texts = (
        " ".join(phrasing.text for phrasing in conversion.phrasings).lower().replace("{timeout_seconds}", "")
    )
    assert "timeout" in texts
    assert not re.search("timeout.seconds|in seconds", texts)
    (lasting,) = spec({"duration_minutes": WHOLE}, name="create_meeting").conversions["unit"]
    assert any("for {duration_minutes}" in phrasing.text for phrasing in lasting.phrasings)


def test_bounds_of_the_schema_hold() -> None:
    said = entries(
        "unit", {"timeout_seconds": {"type": "integer", "minimum": 100, "maximum": 5000, "multipleOf": 60}}
    )
    assert said
    assert all(100 <= e["value"] <= 5000 and e["value"] % 60 == 0 for e in said)


# --- dates, numbers -------------------------------------------------------------------------------


FORMATS = ("%Y-%m-%d", "%Y/%m/%d", "%d %B %Y", "%B %d, %Y", "%b %d %Y", "%A, %d %B %Y", "%A, %B %d %Y")


def read_date(said: str) -> set[str]:
    plain = re.sub(r"^the (\d+)(st|nd|rd|th) of ", r"\1 ", said)
    found = set()
    for form in (*FORMATS, "%d/%m/%Y", "%m/%d/%Y"):
        try:
            day = datetime.datetime.strptime(plain, form)
        except ValueError:
            continue
        assert "%A" not in form or f"{day:%A}" in plain
        found.add(f"{day:%Y-%m-%d}")
    return found


@pytest.mark.parametrize("rule", [{"format": "date"}, {"description": "The day (YYYY-MM-DD)."}])
def test_dates_are_said_in_formats_that_are_read_in_one_way(rule: dict[str, Any]) -> None:
    for split in SPLITS:
        said = entries("date", {"due_date": {"type": "string", **rule}}, split)
        assert len(said) > 20
        assert all(read_date(entry["say"]) == {entry["value"]} for entry in said)
        assert len({re.sub(r"\w", "", entry["say"]) for entry in said}) > 3


def test_of_cents_only_the_currency_that_is_said_is_heard() -> None:
    euros = entries(
        "unit", {"price_cents": {"type": "integer", "description": "What an amateur pays (euros)."}}
    )
    assert euros == []  # a name and a description that do not agree
    said = entries(
        "unit", {"price_cents": {"type": "integer", "description": "The price, charged in your euro account"}}
    )
    assert said
    assert not [entry for entry in said if "dollar" in entry["say"] or "USD" in entry["say"]]


def test_optional_dates_and_broken_examples_are_dates_too() -> None:
    optional = {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}], "default": None}
    assert entries("date", {"due": optional})
    assert entries("date", {"due": {"type": ["string", "null"], "description": "YYYY-MM-DD"}})
    broken = {
        "type": "string",
        "format": "date-time",
        "examples": ["2026-13-45T99:99:00Z", "2026-01-02T00:00:00Z"],
    }
    said = entries("date", {"due": broken})
    assert said
    assert not [entry for entry in said if entry["value"] in broken["examples"]]


def test_moments_and_times_are_said_in_words() -> None:
    for entry in entries("date", {"since": {"type": "string", "format": "date-time"}}):
        day, _, clock = entry["value"].partition("T")
        assert read_date(entry["say"].partition(" at ")[0]) == {day}
        assert read_time(entry["say"].partition(" at ")[2].removesuffix(" UTC")) == clock[:5]
    clocks = entries("date", {"start_time": {"type": "string", "description": "24-hour clock, HH:MM"}})
    assert len(clocks) > 10
    assert all(read_time(entry["say"]) == entry["value"] for entry in clocks)


def read_time(said: str) -> str:
    short = re.fullmatch(r"(\d+)(?::(\d\d))? ?(am|pm)", said)
    if short:
        return f"{int(short[1]) % 12 + 12 * (short[3] == 'pm'):02}:{short[2] or '00'}"
    words, _, half = said.rpartition(" in the ")
    back, minutes = next(
        (words.removeprefix(start).removesuffix(" o'clock"), minutes)
        for start, minutes in (("quarter past ", 15), ("half past ", 30), ("quarter to ", -15), ("", 0))
        if words.startswith(start)
    )
    of_day = (ONES.index(back) * 60 + minutes) % 720 + 720 * (half != "morning")
    return f"{of_day // 60:02}:{of_day % 60:02}"


@pytest.mark.parametrize(
    "rule",
    [
        TEXT,
        {"type": "string", "description": "As YYYY-MM-DDTHH:MM:SS."},
        {"type": "string", "description": "DD/MM/YYYY"},
    ],
)
def test_a_date_whose_format_is_not_said_is_said_as_it_is(rule: dict[str, Any]) -> None:
    assert not entries("date", {"date": rule})


def test_a_text_that_is_a_date_has_dates_for_values(tmp_path: Path) -> None:
    found = spec({"date": {"type": "string", "description": "YYYY-MM-DD"}, "day": TEXT, "end_date": TEXT})
    for name in ("date", "end_date"):
        values = [e["value"] if isinstance(e, dict) else e for e in found.values[name]]
        assert all(datetime.date.fromisoformat(value) for value in values)
    examples = build(
        tmp_path, {"date": {"type": "string", "description": "YYYY-MM-DD"}, "label": TEXT}, ("date",)
    )
    given = [c.arguments["date"] for e in examples for c in e.expected.calls if "date" in c.arguments]
    assert len(given) > 200
    assert all(datetime.date.fromisoformat(value) for value in given)  # nothing was invented


def test_numbers_are_spelt_as_english_does() -> None:
    assert [in_words(n) for n in (0, 13, 20, 47, 300, 512, 2500, 40_000, 100_100)] == [
        "zero", "thirteen", "twenty", "forty-seven", "three hundred", "five hundred twelve",
        "two thousand five hundred", "forty thousand", "one hundred thousand one hundred",
    ]  # fmt: skip
    assert spoken_forms(1500) == ["one thousand five hundred", "1,500"]
    assert spoken_forms(12_000)[1:] == ["12,000", "12k"]
    assert spoken_forms(2_500_000) == ["2,500,000", "2.5 million"]
    assert spoken_forms(1_234_567_800_000) == ["1,234,567,800,000"]
    assert spoken_forms(101) == spoken_forms(1) == spoken_forms(-20) == []
    by_words = {in_words(n): n for n in range(1000)}
    assert len(by_words) == 1000
    said = entries("number", {"retries": WHOLE})
    assert len(said) > 20
    assert all(by_words[entry["say"]] == entry["value"] for entry in said)
    halves = [e for e in entries("number", {"score": {**NUMBER, "maximum": 9}}) if " and a half" in e["say"]]
    assert halves
    assert all(by_words[e["say"].split(" and")[0]] + 0.5 == e["value"] for e in halves)
    for name in ("port", "issue_number", "zip_code", "year", "order_id"):
        assert not entries("number", {name: WHOLE}), name


# --- enumerations, yes or no ----------------------------------------------------------------------


def test_a_synonym_is_no_word_of_another_value() -> None:
    values = ["low", "medium", "high", "urgent"]
    assert {value for _, value in other_words(values, ("priority",), False)} == set(values)
    assert ("every day", "daily") in other_words(["daily", "WEEKLY"], ("schedule",), False)
    # "finished" is said for both, and "minor" is a value of its own
    assert not other_words(["done", "completed"], ("status",), False)
    assert "not decided yet" not in dict(other_words(["pending", "pending_review"], ("status",), False))
    assert "minor" not in dict(other_words(["low", "minor", "high"], ("severity",), False))
    assert "hidden from others" not in dict(other_words(["private", "hidden"], ("visibility",), False))


@pytest.mark.parametrize(
    ("values", "name", "said"),
    [
        (["en", "de"], "language", {"English": "en", "German": "de"}),
        (["DE", "FR"], "country", {"Germany": "DE", "France": "FR"}),
        (["de", "fr"], "target", {}),  # a language or a country
        (["EUR", "USD"], "currency", {"euros": "EUR", "US dollars": "USD"}),
        (["S", "M", "XL"], "size", {"small": "S", "medium": "M", "extra large": "XL"}),
        (["s", "m"], "resolution", {}),  # seconds and minutes
        (["mon", "fri"], "day", {"Monday": "mon", "Friday": "fri"}),
        (["en", "xx"], "language", {}),
        (["de"], "language", {}),
    ],
)
def test_codes_are_said_where_all_values_are_of_one_list(
    values: list[str], name: str, said: dict[str, str]
) -> None:
    assert dict(other_words(values, (name,), False)) == said


def test_yes_or_no_is_said_where_one_parameter_only_can_be_meant() -> None:
    name = "create_project"
    said = {e["say"]: e["value"] for e in entries("yes_no", {"private": YES, "title": TEXT}, name=name)}
    assert said["open to everyone"] is False
    assert said["that only I can see"] is True
    opposite = {e["say"]: e["value"] for e in entries("yes_no", {"public": YES}, name=name)}
    assert opposite == {words: not value for words, value in said.items()}
    assert not entries("yes_no", {"private": YES, "visibility": TEXT}, name=name)
    assert not entries("yes_no", {"private": YES, "isPublic": YES}, name=name)
    assert entries("yes_no", {"enabled": YES}, name="create_rule")
    assert not entries("yes_no", {"enabled": YES}, name="list_rules")  # nothing is switched on there
    assert not plain_words(("sparkling",), (), False, False)


def test_dev_and_test_have_words_of_their_own() -> None:
    for shared, new in (*SYNONYMS.values(), *(pair for flag in FLAGS for pair in (flag.yes, flag.no))):
        assert not {s.lower() for s in shared} & {s.lower() for s in new}
    rule = {"priority": {"type": "string", "enum": ["low", "high"]}}
    of_split = {split: {e["say"] for e in entries("synonym", rule, split)} for split in SPLITS}
    assert of_split["train"]
    assert of_split["dev"] == of_split["test"]
    assert not of_split["train"] & of_split["test"]


def test_every_word_of_the_tables_is_for_one_value_or_one_flag() -> None:
    said = Counter(words for flag in FLAGS for pair in (flag.yes, flag.no) for part in pair for words in part)
    assert [words for words, n in said.items() if n > 1] == []
    names = Counter(name for flag in FLAGS for name in f"{flag.names}|{flag.opposite}".split("|") if name)
    assert max(names.values()) == 1
    assert all(
        set(name.split()) & set(flag.about.split()) for flag in FLAGS for name in flag.names.split("|")
    )


def test_what_is_said_for_two_values_is_left_out() -> None:
    given = [{"say": "Two", "value": 2}, {"say": "two", "value": 3}, {"say": "four", "value": 4}]
    assert certain(given) == given[2:]


# --- examples -------------------------------------------------------------------------------------

SHARES = {
    "units_share": 0.2, "dates_share": 0.2, "numbers_share": 0.15, "synonyms_share": 0.2, "yes_no_share": 0.2,
    "none_fits_share": 0, "missing_share": 0, "two_calls_share": 0, "steps_share": 0, "same_tool_share": 0,
}  # fmt: skip


def build(
    folder: Path,
    properties: dict[str, Any],
    required: tuple[str, ...],
    split: Split = "train",
    **settings: Any,
) -> list[Example]:
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    tool = {"name": "create_task", "description": "Creates a task.", "parameters": parameters}
    (folder / "tools.json").write_text(json.dumps([tool]))
    params = {"tools": str(folder / "tools.json"), "examples": 600, "dev_examples": 400, **SHARES, **settings}
    return list(UserTools().build(split, parse(UserToolParams, params), 0))


TASK = {
    "title": TEXT,
    "due": {"type": "string", "format": "date"},
    "timeout_seconds": WHOLE,
    "retries": WHOLE,
    "priority": {"type": "string", "enum": ["low", "medium", "high"]},
    "private": YES,
}


@pytest.mark.parametrize("split", ["train", "dev"])
def test_converted_arguments_are_cases_that_fit_the_schema(tmp_path: Path, split: Split) -> None:
    examples = build(tmp_path, TASK, ("title",), split)
    assert examples == build(tmp_path, TASK, ("title",), split)
    cases = Counter(example.tags["case"] for example in examples)
    assert all(cases[case] > 20 for case in ("unit", "date", "number", "synonym", "yes_no")), cases
    slots = {
        "unit": "timeout_seconds",
        "date": "due",
        "number": "retries",
        "synonym": "priority",
        "yes_no": "private",
    }
    for example in examples:
        for call in example.expected.calls:
            rules = example.tools[0]["function"]["parameters"]
            assert schema.errors(rules, dict(call.arguments)) == []
        if slot := slots.get(example.tags["case"]):
            (call,) = example.expected.calls
            text = str(example.messages[-1]["content"])
            assert slot in call.arguments
            if example.tags["case"] in ("date", "synonym"):
                written = re.sub(r'"[^"]*"', "", text)  # without the title, which is any text
                assert not re.search(
                    rf"(?<![\w-]){re.escape(str(call.arguments[slot]))}(?![\w-])", written
                ), text


def test_a_case_whose_share_is_nothing_is_not_there(tmp_path: Path) -> None:
    examples = build(tmp_path, TASK, ("title",), units_share=0, yes_no_share=0)
    assert not {"unit", "yes_no"} & {example.tags["case"] for example in examples}


def test_the_same_seed_gives_the_same_conversions() -> None:
    assert spec(TASK).conversions == spec(TASK).conversions
    assert spec(TASK).conversions != spec(TASK, seed=1).conversions
