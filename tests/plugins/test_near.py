"""Training rows that ask nearly what is evaluated, and have its answer, are left out; all others stay."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from agentlora.core.config import parse
from agentlora.core.errors import DataError
from agentlora.core.types import Example, Expected, ToolCall
from agentlora.plugins.datasets.jsonl import Jsonl, JsonlParams
from agentlora.plugins.datasets.near import near, said, similarity

DONE = Expected(text="Done.")
TEXT = "Please book me a table for two people at the corner bistro on Friday evening at half past seven"


def row(text: str, expected: Expected = DONE, name: str = "e") -> Example:
    return Example(
        name, ({"role": "system", "content": "Help."}, {"role": "user", "content": text}), expected
    )


def test_what_asks_the_same_in_nearly_the_same_words_is_found() -> None:
    evaluated = [row(TEXT)]
    rows = [row(TEXT + ", thanks"), row("please " + TEXT.lower() + "!"), row("What is the sea?"), row("")]
    assert near(rows, evaluated, 0.85) == {0, 1}
    assert near(rows, evaluated, 0.99) == set()
    assert near(rows, [], 0.85) == set()


def test_another_answer_makes_another_row() -> None:
    def call(city: str) -> Expected:
        return Expected(calls=(ToolCall("book", {"city": city}),))

    one, other = TEXT + " in Oslo", TEXT + " in Bern"
    assert similarity(said(row(one)), said(row(other))) > 0.85
    assert near([row(one, call("Oslo"))], [row(other, call("Bern"))], 0.85) == set()
    assert near([row(one, call("Bern"))], [row(other, call("Bern"))], 0.85) == {0}
    values = [row(one, Expected(value={"city": "Oslo"})), row(other, Expected(value={"city": "Bern"}))]
    assert near(values[:1], values[1:], 0.85) == set()
    assert near([row(one, Expected())], [row(other, Expected())], 0.85) == set()  # nobody knows yet


def test_nearly_all_pairs_that_are_alike_enough_are_found() -> None:
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(2000)]
    evaluated, rows = [], []
    for n in range(300):
        text = rng.sample(words, 30)
        evaluated.append(row(" ".join(text), name=f"e{n}"))
        changed = list(text)
        changed[rng.randrange(30)] = "other"
        rows.append(row(" ".join(changed), name=f"r{n}"))
    alike = {n for n in range(300) if similarity(said(rows[n]), said(evaluated[n])) >= 0.8}
    found = near(rows, evaluated, 0.8)
    assert len(alike) > 250
    assert found <= alike  # compared exactly
    assert len(found) > 0.95 * len(alike)


def one(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}]}


def test_what_all_rows_share_says_nothing() -> None:
    """A long instruction before every request makes no two of them alike."""
    rng = random.Random(3)
    instruction = " ".join(f"i{rng.randrange(9999)}" for _ in range(300))
    reviews = [" ".join(f"w{rng.randrange(3000)}" for _ in range(12)) for _ in range(80)]
    rows = [row(f"{instruction} {review}", Expected(text="positive")) for review in reviews]
    assert similarity(said(rows[0]), said(rows[1])) > 0.85
    assert near(rows[:60], rows[60:], 0.85) == set()
    assert near(
        [*rows[:60], row(f"{instruction} {reviews[70]}", Expected(text="positive"))], rows[60:], 0.85
    ) == {60}


def test_answers_that_differ_in_a_number_are_others() -> None:
    one, other = (
        row(TEXT, Expected(text=f"The table by the window is booked, its number is {n}.")) for n in (12, 13)
    )
    assert near([one], [other], 0.85) == set()
    assert near([one], [one], 0.85) == {0}


def test_files_lose_such_training_rows_and_the_card_says_how_many(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rng = random.Random(1)
    texts = [" ".join(f"w{rng.randrange(1000)}" for _ in range(25)) for _ in range(60)]
    texts += [f"{text} please" for text in texts]
    path.write_text("".join(json.dumps(one(text)) + "\n" for text in texts))

    def built(**settings: Any) -> tuple[int, str]:
        params = parse(JsonlParams, {"path": str(path), **settings})
        builder = Jsonl()
        return len(list(builder.build("train", params, 0))), str(builder.card(params)["notes"])

    kept, notes = built()
    assert 70 < kept < 85  # a fifth is held out, and most of it had its double in training
    assert f"{96 - kept} training rows that are nearly one of dev or test are left out." in notes
    assert built(near_duplicates=1) == (
        96,
        "The tools of the test rows were trained on; their requests were not.",
    )
    alike = [TEXT + "!" * n + f" {n}" for n in range(30)]
    path.write_text("".join(json.dumps(one(text)) + "\n" for text in alike))
    with pytest.raises(DataError, match="ask nearly what rows of dev or test ask"):
        built()
