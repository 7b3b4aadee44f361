"""JSON as the standard has it."""

from __future__ import annotations

import json

import pytest

from agentlora.core.files import loads_strict


def test_blanks_around_a_value_are_no_part_of_it() -> None:
    assert loads_strict(' \t\r\n{"a": [1, " x "]} \n') == {"a": [1, " x "]}


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        '\n {"a": }',
        " {} {}",
        '{"a": 1',
        "[1,]\n",
        " tru ",
        "\x0b{}",
        "{}\x0c",
        "\u00a0{}",
        "\ufeff{}",
    ],
)
def test_what_is_wrong_is_told_with_its_place_in_the_whole_text(text: str) -> None:
    with pytest.raises(json.JSONDecodeError) as told:
        json.JSONDecoder().decode(text)
    with pytest.raises(json.JSONDecodeError) as found:
        loads_strict(text)
    assert str(found.value) == str(told.value)


@pytest.mark.parametrize(
    "text", ["NaN", " [1e999]", '{"a": -Infinity}', '"\\ud800"', '["\ud800"]', "1" * 5000, "[" * 10**6]
)
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a JSON number|half a character|digits|nested too deeply"):
        loads_strict(text)
