"""Five languages beside English, and English itself, from ``language.txt``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from agentlora.eval.probes.making import Item, first_upper, like, table

LANGUAGES = ("German", "French", "Spanish", "Italian", "Portuguese")
ARTICLES = {
    "German": ("der", "die", "das"),
    "French": ("le", "la"),
    "Spanish": ("el", "la"),
    "Italian": ("il", "la"),
    "Portuguese": ("o", "a"),
}


def items() -> Iterator[Item]:
    rng = Random("language")
    tables = table("language")
    for place, language in enumerate(LANGUAGES, 1):
        # of the nouns one in two is translated in a language, and the others take an article
        yield from _words(rng, language, place, tables["noun"])
        yield from _sentences(rng, language, place, tables["sentence"])
    for language, gap, right, *wrong in tables["verb"]:
        said = f'Which {language} sentence is right? Fill the gap: "{gap}"'
        yield Item("verb", said, _filled(gap, right), tuple(_filled(gap, other) for other in wrong))
    for gap, right, *wrong in tables["english"]:
        said = f'Write this English sentence with the gap filled: "{gap}"'
        yield Item("english", said, _filled(gap, right), tuple(_filled(gap, other) for other in wrong))
    for family, question in (
        ("plural", 'What is the plural of the English word "{0}"?'),
        ("past", 'What is the past tense of the English verb "{0}"?'),
        ("meaning", 'What does the English word "{0}" mean?'),
    ):
        for word, right, *wrong in tables[family]:
            choices = (first_upper(f"{choice}.") for choice in (right, *wrong))
            first, *others = choices
            yield Item(family, question.format(word), first, tuple(others))


def _words(rng: Random, language: str, place: int, rows: Sequence[Sequence[str]]) -> Iterator[Item]:
    theirs = [row[place] for row in rows]
    for number, row in enumerate(rows):
        english, word = row[0], row[place]
        noun = word.split(" ", 1)[1]
        group = f"{language}/{english}"
        if (number + place) % 2:
            said = f'How do you say "{english}" in {language}?'
            yield Item(
                "word", said, first_upper(word), tuple(map(first_upper, like(word, theirs, rng))), group
            )
        else:
            said = (
                f'Which article has the {language} noun "{noun}" ({english})? Answer with article and noun.'
            )
            right, *wrong = (word, *(f"{a} {noun}" for a in ARTICLES[language] if f"{a} {noun}" != word))
            yield Item("article", said, right, tuple(wrong), group)


def _sentences(rng: Random, language: str, place: int, rows: Sequence[Sequence[str]]) -> Iterator[Item]:
    """Into the language (with the same in another one among the choices), and out of it."""
    theirs = [row[place] for row in rows]
    for number, row in enumerate(rows):
        group = f"{language}/{row[0]}"
        if (number + place) % 2:
            other = row[1 + (place + number // 2 % 4) % 5]
            wrong = (*like(row[place], theirs, rng, 2), other)
            yield Item("translate", f"Translate into {language}: {row[0]}", row[place], wrong, group)
        else:
            wrong = like(row[0], (english for english, *_ in rows), rng)
            said = f"What does this {language} sentence mean in English? {row[place]}"
            yield Item("understand", said, row[0], wrong, group)


def _filled(gap: str, word: str) -> str:
    return gap.replace("J'…", f"J'{word}").replace("…", word).replace(" .", ".").replace(" ?", "?")
