"""Texts agree by their words: what says something is a word, what only sets it out is none."""

from __future__ import annotations

import pytest

from agentlora.core.types import Example, Expected, Output
from agentlora.tasks.distillation.agreement import Agreement


def same(wanted: str, found: str) -> bool:
    score = Agreement().score(Example("x", (), Expected(text=wanted)), Output("x", found))
    return score.metrics["same"] == 1


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("5", "-5"),
        ("1.5", "1 5"),
        ("1.5", "1,5"),
        ("C", "C++"),
        ("C", "C#"),
        ("5", "5%"),
        ("5 €", "5 $"),
        ("v1.5", "v1 5"),
        ("a + b", "a b"),
        ("👍", "👎"),
        ("5", ".5"),
    ],
)
def test_what_says_another_thing_is_not_the_same(wanted: str, found: str) -> None:
    assert not same(wanted, found)
    assert not same(found, wanted)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("👍", " 👍\n"),
        ("?!", "?!"),
        ("It is -5.", "it is −5"),
        ("Yes, it is: well-known!", "yes it is well known"),
        ("Use C++, not C.", "use **C++** not C"),
        ("5 km", "5km."),
        ("Run `ls`.", "run ls"),
        ("1.5", "1.5."),
        ("3-5 days", "3 - 5 days"),
    ],
)
def test_what_is_set_out_otherwise_is_the_same(wanted: str, found: str) -> None:
    assert same(wanted, found)
    assert same(found, wanted)


def test_an_empty_answer_is_never_the_same() -> None:
    assert not same("👍", "")
    assert not same("👍", "...")
