"""The general-ability probes: that they are right, fair, and the same everywhere."""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import pairwise

import pytest

from agentlora.core.errors import ConfigError
from agentlora.core.grammar import OPEN
from agentlora.core.schema import is_valid
from agentlora.eval.metrics import wilson
from agentlora.eval.probes import ANYTHING_ELSE, AREAS, Probe, all_probes, digest, take
from agentlora.eval.probes.language import ARTICLES, LANGUAGES
from agentlora.eval.probes.making import apart, like, table

PROBES = all_probes()


def of(area: str, *families: str) -> list[Probe]:
    found = [p for p in PROBES if p.area == area and (not families or p.family in families)]
    assert found
    return found


def said(probe: Probe) -> str:
    return str(probe.messages[0]["content"])


def right(probe: Probe) -> str:
    return probe.choices[probe.right]


# --- all of them --------------------------------------------------------------------------------


def test_there_are_enough_of_every_area() -> None:
    assert len(PROBES) >= 1500
    counts = Counter(p.area for p in PROBES)
    assert list(counts) == list(AREAS)
    assert min(counts.values()) >= 140
    assert len({p.id for p in PROBES}) == len(PROBES)
    assert len({p.group for p in PROBES}) >= 1500  # so that an interval may be narrow enough to decide


def test_every_probe_is_one_question_with_choices_that_can_be_told_apart() -> None:
    for probe in PROBES:
        assert 2 <= len(probe.choices) <= 5, probe.id
        assert apart(probe.choices), probe.id
        assert all(choice.strip() == choice for choice in probe.choices), probe.id
        assert (ANYTHING_ELSE in probe.choices) == (probe.area == "refusal"), probe.id
        assert said(probe).strip(), probe.id
    asked = Counter((said(p), json.dumps(p.tools), frozenset(p.choices)) for p in PROBES)
    assert [key[0] for key, times in asked.items() if times > 1] == []


def test_the_same_probes_in_every_process() -> None:
    code = "from agentlora.eval.probes import *; print(digest(all_probes()))"
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == digest(PROBES)


Scorer = Callable[[Probe], Sequence[float]]
BLIND: dict[str, Scorer] = {
    "longest": lambda p: [len(c) for c in p.choices],
    "shortest": lambda p: [-len(c) for c in p.choices],
    "most bytes": lambda p: [len(c.encode()) for c in p.choices],
    "fewest bytes": lambda p: [-len(c.encode()) for c in p.choices],
    "first": lambda p: [-i for i, _ in enumerate(p.choices)],
    "last": lambda p: [i for i, _ in enumerate(p.choices)],
}


@pytest.mark.parametrize("area", [*AREAS, "all"])
@pytest.mark.parametrize("name", [*BLIND])
def test_who_does_not_read_is_at_chance(name: str, area: str) -> None:
    """Of several that a scorer finds equal it takes one at random: each counts as its share."""
    probes = PROBES if area == "all" else of(area)
    chance = sum(1 / len(p.choices) for p in probes) / len(probes)
    found = 0.0
    for probe in probes:
        scores = BLIND[name](probe)
        if ANYTHING_ELSE in probe.choices and name not in ("first", "last"):
            scores = [0] * len(scores)  # it has no length
        best = max(scores)
        found += (scores[probe.right] == best) / list(scores).count(best)
    low, high = wilson(found, len(probes))
    assert low <= chance <= high


def test_a_part_is_spread_over_areas_and_families() -> None:
    assert take() == take(10**6) == list(PROBES)
    assert take(0) == []
    some = take(300)
    assert len(some) == 300
    assert [p.id for p in some] == [p.id for p in PROBES if p in some]
    everywhere, here = (Counter(p.area for p in probes) for probes in (PROBES, some))
    for area, count in everywhere.items():
        assert abs(here[area] - 300 * count / len(PROBES)) <= 1
    assert {(p.area, p.family) for p in some} == {(p.area, p.family) for p in PROBES}
    assert [len(take(n)) for n in (1, 2, 7, 8, 99)] == [1, 2, 7, 8, 99]


def test_wrong_answers_that_are_not_there_are_an_error() -> None:
    from random import Random

    with pytest.raises(ValueError, match="no 3 wrong answers for 'a'"):
        like("a", ["a", "b", "ab"], Random(0))


# --- what is right ------------------------------------------------------------------------------


def reckoned(question: str) -> int:
    """The result, read from the question anew."""
    numbers = [int(n) for n in re.findall(r"\d+", question)]
    for pattern, result in (
        (r"is \d+ \+ \d+", lambda a, b: a + b),
        (r"is \d+ - \d+", lambda a, b: a - b),
        (r"\d+ times \d+", lambda a, b: a * b),
        (r"\d+ divided by \d+", lambda a, b: a // b),
        (r"gets \d+ more", lambda a, b: a + b),
        (r"gives \d+ away", lambda a, b: a - b),
        (r"boxes with \d+", lambda a, b: a * b),
        (r"shares \d+", lambda a, b: a // b),
        (r"half of", lambda a: a // 2),
        (r"twice", lambda a: 2 * a),
        (r"percent of", lambda share, a: a * share // 100),
        (r"minutes are", lambda a: a * 60),
        (r"largest", max),
        (r"smallest", min),
        (r"comes next", following),
    ):
        if re.search(pattern, question):
            return int(result(*numbers))
    raise AssertionError(question)


def following(*row: int) -> int:
    steps = {b - a for a, b in pairwise(row)}
    if len(steps) == 1:
        return row[-1] + steps.pop()
    [factor] = {b / a for a, b in pairwise(row)}
    return int(row[-1] * factor)


def test_results_are_what_the_questions_say() -> None:
    for probe in of("arithmetic"):
        assert right(probe) == str(reckoned(said(probe))), said(probe)
        if "divided" in said(probe) or "shares" in said(probe):
            a, b = (int(n) for n in re.findall(r"\d+", said(probe)))
            assert a % b == 0


def test_programs_print_what_is_right() -> None:
    programs = [p for p in of("code") if "```python" in said(p)]
    assert len(programs) >= 120
    for probe in programs:
        code = said(probe).partition("```python\n")[2].removesuffix("\n```")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, {})
        assert printed.getvalue() == f"{right(probe)}\n", code


def test_the_capitals_and_other_tables_name_nothing_twice() -> None:
    for name in ("knowledge", "language", "code", "chat", "tools"):
        for section, rows in table(name).items():
            asked = [tuple(row[:2]) if section == "reply" or name == "tools" else row[0] for row in rows]
            if section != "verb":
                assert [a for a, times in Counter(asked).items() if times > 1] == [], (name, section)
    capitals = [row[1] for row in table("knowledge")["capital"]]
    assert len(set(capitals)) == len(capitals)


def test_formats_are_what_is_asked_for() -> None:
    for probe in of("format", "json"):
        parsed = json.loads(right(probe))
        assert list(parsed) == ["name", "city", "age"]
        assert said(probe).endswith(f"{parsed['name']} lives in {parsed['city']} and is {parsed['age']}.")
        for i, choice in enumerate(probe.choices):
            if i != probe.right:
                with pytest.raises(json.JSONDecodeError):
                    json.loads(choice)
    for probe in of("format", "case"):
        word = re.findall(r'"(\w+)"', said(probe))[0]
        change = (
            str.upper if "upper" in said(probe) else str.lower if "lower" in said(probe) else str.capitalize
        )
        assert right(probe) == change(word)
    for probe in of("format", "date"):
        day, month, year = re.findall(r"date (\d+) (\w+) (\d+)", said(probe))[0]
        form = said(probe).removesuffix(".").rpartition(" ")[2]
        pattern = form.replace("YYYY", "%Y").replace("MM", "%m").replace("DD", "%d")
        assert right(probe) == datetime.strptime(f"{day} {month} {year}", "%d %B %Y").strftime(pattern)
    for probe in of("format", "order"):
        words = said(probe).rpartition(": ")[2].split()
        assert right(probe) == ", ".join(sorted(words, reverse="Z to A" in said(probe)))
    for probe in of("format", "one word"):
        word, letter = re.findall(r'"(\w+)" contain the letter (\w)', said(probe))[0]
        assert right(probe) == ("Yes" if letter in word else "No")


def test_marks_of_formats_are_those_that_are_named() -> None:
    marks = {"with commas": ",", "with semicolons": ";", "with vertical bars": "|", "with slashes": "/",
             "with hyphens": "-", "with blanks": " ", "with dots": ".", "with stars": "*", "quotation marks": '"',
             "round brackets": "(", "square brackets": "[", "curly brackets": "{",
             "kebab-case": "-",
             "bold in Markdown": "**", "code in Markdown": "`", "bold in HTML": "<b>",
             "heading in Markdown": "# ", "a hyphen before": "- ", "a numbered": "1. ", "a star before": "* ",
             "separated by commas": ", "}  # fmt: skip
    seen = set()
    for probe in of("format", "joined", "spelled", "quoted", "identifier", "marked", "list"):
        named = [mark for name, mark in marks.items() if name in said(probe)]
        seen.update(named)
        others = [c for i, c in enumerate(probe.choices) if i != probe.right]
        assert all(mark in right(probe) for mark in named), said(probe)
        assert not any(mark in other for mark in named for other in others), said(probe)
    assert seen == set(marks.values())
    forms = {"snake_case": "[a-z]+_[a-z]+", "camelCase": "[a-z]+[A-Z][a-z]+", "UPPER_CASE": "[A-Z]+_[A-Z]+"}
    for probe in of("format", "identifier"):
        for name, form in forms.items():
            fits = [i for i, choice in enumerate(probe.choices) if re.fullmatch(form, choice)]
            assert name not in said(probe) or fits == [probe.right]


def test_no_double_negation_is_miscounted() -> None:
    for probe in of("logic", "double"):
        claim = said(probe).partition("rightly says: ")[2].partition(".")[0]
        thing, one, other = re.findall(r"The (\w+) is either (\w+) or (\w+)\.", said(probe))[0]
        assert thing in claim
        truth = claim.count("not") % 2 == 0  # of "it is <one>"
        assert right(probe) == (one if truth else other).capitalize()


def test_orders_are_read_from_their_facts() -> None:
    for probe in of("logic", "order"):
        facts = re.findall(r"(\w+) is \w+ than (\w+)\.", said(probe))
        above = {a for a, _ in facts} - {b for _, b in facts}
        below = {b for _, b in facts} - {a for a, _ in facts}
        least = any(word in said(probe) for word in ("shortest", "youngest", "slowest", "poorest"))
        assert {right(probe)} == (below if least else above)


def test_what_is_left_over_is_where_it_is() -> None:
    for probe in of("logic", "either"):
        no = re.findall(r"not in the (\w+)", said(probe))
        assert len(set(no)) == 2
        assert right(probe) not in [f"In the {place}." for place in no]
        assert {f"In the {place}." for place in no} | {right(probe)} == set(probe.choices)


def test_answers_in_texts_are_in_the_texts() -> None:
    for probe in of("reading"):
        if probe.family != "text":  # those are written by hand, partly in other words
            text = said(probe).partition("\n\n")[0].lower()
            core = right(probe).lower().removeprefix("in ").removeprefix("the ")
            assert core in text, probe.id
    for probe in of("reading", "prices"):
        prices = {name: int(price) for name, price in re.findall(r"(\w+): (\d) euros", said(probe))}
        asked = re.search(r"What do the (\w+) cost", said(probe))
        cheapest = min(prices, key=lambda name: prices[name])
        assert right(probe) == (f"{prices[asked[1]]} euros" if asked else cheapest.capitalize())


def test_articles_are_their_languages() -> None:
    nouns = table("language")["noun"]
    for row in nouns:
        assert len(row) == 6
        for language, word in zip(LANGUAGES, row[1:], strict=True):
            assert word.split(" ")[0] in ARTICLES[language], word
    for row in table("language")["sentence"]:
        assert len(row) == 6
        assert len(set(row)) == 6
    assert {p.family for p in of("language")} >= {
        "word",
        "article",
        "translate",
        "understand",
        "verb",
        "plural",
        "past",
    }


def test_no_tool_is_called_and_the_tools_are_real() -> None:
    for probe in of("refusal"):
        wrong = [c for i, c in enumerate(probe.choices) if i != probe.right]
        assert wrong == [OPEN]
        assert 1 <= len(probe.tools) <= 5
        names = [tool["function"]["name"] for tool in probe.tools]
        assert len(set(names)) == len(names)
        for tool in probe.tools:
            parameters = tool["function"]["parameters"]
            [required] = parameters["required"]
            assert is_valid(parameters, {required: "x"})
            assert not is_valid(parameters, {required: 1})


def test_yes_is_right_about_as_often_as_no() -> None:
    """Else who always says no would seem to reason."""
    said_yes = [right(p).startswith("Yes") for p in PROBES if right(p).startswith(("Yes", "No"))]
    share = sum(said_yes) / len(said_yes)
    assert math.isclose(share, 0.5, abs_tol=0.1)


@pytest.mark.parametrize("value", [-1, "some", 2.5, True, None])
def test_what_is_no_number_of_probes_is_refused(value: object) -> None:
    from agentlora.core.config import EvalConfig, parse

    assert parse(EvalConfig, {"probes": 7}).probes == 7
    assert parse(EvalConfig, {}).probes == "all"
    with pytest.raises(ConfigError, match="probes: give a number of probes, all, or 0 for none"):
        parse(EvalConfig, {"probes": value})
