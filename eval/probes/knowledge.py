"""Everyday knowledge and common sense, from ``knowledge.txt``."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from agentlora.eval.probes.making import Item, first_upper, like, table, with_article

BRIEFLY = "Answer in a few words."
# table → how its facts are asked for; the wrong answers are others of the same table
ASKED = {
    "capital": "What is the capital of {0}?",
    "use": "What do people use to {0}?",
    "made": "What is the main thing that {0} can be made of?",
    "young": "What is a young {0} called?",
    "symbol": "What is the chemical symbol of {0}?",
}


def items() -> Iterator[Item]:
    rng = Random("knowledge")
    tables = table("knowledge")
    for family, question in ASKED.items():
        answers = [right for _, right in tables[family]]
        for about, right in tables[family]:
            wrong = like(right, answers, rng)
            yield Item(family, f"{question.format(about)} {BRIEFLY}", right, wrong, f"{family}/{about}")
    kinds = {kind for _, kind in tables["kind"]}
    for thing, kind in tables["kind"]:
        said = f'What kind of thing does the word "{thing}" name? {BRIEFLY}'
        wrong = like(kind, kinds, rng)
        yield Item("kind", said, *_named(kind, wrong))
    for animal, sound in tables["sound"]:
        wrong = like(sound, (other for _, other in tables["sound"]), rng)
        yield Item("sound", f'Which sound does it make? Finish with one word: "{animal} …"', sound, wrong)
    for family in ("number", "fact"):
        for question, right, *others in tables[family]:
            yield Item(family, f"{question} {BRIEFLY}", right, tuple(others))
    for begin, right, *others in tables["ends"]:
        yield Item(
            "ends",
            f'How does this sentence go on? "{begin} …"',
            first_upper(right),
            tuple(map(first_upper, others)),
        )


def _named(kind: str, wrong: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    return first_upper(with_article(kind)), tuple(first_upper(with_article(other)) for other in wrong)
