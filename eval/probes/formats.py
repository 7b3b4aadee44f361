"""Doing what is said about the form of an answer: the same content in the form asked for, and in others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random

from agentlora.eval.probes.making import Item, apart, deal, first_upper

WORDS = ("river", "garden", "winter", "silver", "market", "bridge", "candle", "forest", "island", "mirror", "pocket",
         "rocket", "school", "tunnel", "velvet", "window")  # fmt: skip
NAMES = ("Ana", "Bert", "Cleo", "Dora", "Egon", "Fay", "Gus", "Hana", "Ivo", "Jana", "Kai", "Lea")
CITIES = ("Oslo", "Rome", "Lima", "Cairo", "Paris", "Quito", "Tokyo", "Delhi")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
          "November", "December")  # fmt: skip
EACH = 16


def items() -> Iterator[Item]:
    rng = Random("format")
    families = (
        _case,
        _json,
        _list,
        _joined,
        _date,
        _identifier,
        _marked,
        _quoted,
        _spelled,
        _one_word,
        _table,
        _order,
    )
    for family in families:
        yield from family(rng)


def _case(rng: Random) -> Iterator[Item]:
    for number, word in enumerate(deal(rng, WORDS, EACH)):
        forms = {
            "upper case (capital letters)": word.upper(),
            "lower case (small letters)": word,
            "title case (only the first letter large)": first_upper(word),
        }
        mixed = word[0] + word[1:].upper()
        asked = [*forms][number % 3]
        shown = mixed if asked.startswith("lower") else word
        others = tuple(form for name, form in forms.items() if name != asked)
        yield Item("case", f'Write the word "{shown}" in {asked}.', forms[asked], (*others, mixed))


def _json(rng: Random) -> Iterator[Item]:
    for name, city in zip(deal(rng, NAMES, EACH), deal(rng, CITIES, EACH), strict=True):
        age = rng.randint(18, 79)
        said = f"Write this as a JSON object with the keys name, city and age: {name} lives in {city} and is {age}."
        right = json.dumps({"name": name, "city": city, "age": age})
        wrong = (
            f"name: {name}; the city is {city}; age: {age}",
            f"{{'name': '{name}', 'city': '{city}', 'age': {age}}}",
            f"<name>{name}</name><city>{city}</city><age>{age}</age>",
        )
        yield Item("json", said, right, wrong)


def _list(rng: Random) -> Iterator[Item]:
    for number in range(EACH):
        words = rng.sample(WORDS, 3)
        forms = {
            "a list with a hyphen before every item, one a line": "\n".join(f"- {w}" for w in words),
            "a numbered list, one item a line": "\n".join(f"{i}. {w}" for i, w in enumerate(words, 1)),
            "a list in one line, separated by commas": ", ".join(words),
            "a list with a star before every item, one a line": "\n".join(f"* {w}" for w in words),
        }
        yield _asked("list", f"Write {words[0]} and {words[1]} and {words[2]} as {{0}}.", forms, number)


def _joined(rng: Random) -> Iterator[Item]:
    marks = {"commas": ",", "semicolons": ";", "vertical bars": "|", "slashes": "/"}
    for number in range(EACH):
        found = [str(n) for n in rng.sample(range(10, 100), 4)]
        forms = {name: mark.join(found) for name, mark in marks.items()}
        shown = " ".join(found)
        said = f"Write the numbers {shown} in one line with {{0}} between them and no blanks."
        yield _asked("joined", said, forms, number)


def _date(rng: Random) -> Iterator[Item]:
    for number in range(EACH):
        year, month, day = rng.randint(1950, 2049), rng.randint(1, 9), rng.randint(13, 28)
        forms = {
            "YYYY-MM-DD": f"{year}-{month:02}-{day}",
            "DD.MM.YYYY": f"{day}.{month:02}.{year}",
            "MM/DD/YYYY": f"{month:02}/{day}/{year}",
            "YYYYMMDD": f"{year}{month:02}{day}",
        }
        said = f"Write the date {day} {MONTHS[month - 1]} {year} in the form {{0}}."
        yield _asked("date", said, forms, number)


def _identifier(rng: Random) -> Iterator[Item]:
    for number in range(EACH):
        a, b = rng.sample(WORDS, 2)
        forms = {
            "snake_case": f"{a}_{b}",
            "camelCase": a + first_upper(b),
            "kebab-case": f"{a}-{b}",
            "UPPER_CASE": f"{a}_{b}".upper(),
        }
        yield _asked("identifier", f'Write "{a} {b}" as a name in {{0}}.', forms, number)


def _marked(rng: Random) -> Iterator[Item]:
    for number, word in enumerate(deal(rng, WORDS, EACH)):
        forms = {
            "bold in Markdown": f"**{word}**",
            "code in Markdown": f"`{word}`",
            "bold in HTML": f"<b>{word}</b>",
            "a heading in Markdown": f"# {word}",
        }
        yield _asked("marked", f'Write the word "{word}" as {{0}}.', forms, number)


def _quoted(rng: Random) -> Iterator[Item]:
    for number, word in enumerate(deal(rng, WORDS, EACH)):
        forms = {
            "double quotation marks": f'"{word}"',
            "round brackets": f"({word})",
            "square brackets": f"[{word}]",
            "curly brackets": f"{{{word}}}",
        }
        yield _asked("quoted", f"Write the word {word} in {{0}} and nothing else.", forms, number)


def _spelled(rng: Random) -> Iterator[Item]:
    for number, word in enumerate(deal(rng, WORDS, EACH)):
        forms = {
            "hyphens": "-".join(word),
            "blanks": " ".join(word),
            "dots": ".".join(word),
            "stars": "*".join(word),
        }
        yield _asked("spelled", f'Spell the word "{word}" with {{0}} between the letters.', forms, number)


def _one_word(rng: Random) -> Iterator[Item]:
    """Yes or no alone, where more would be natural."""
    for number, word in enumerate(deal(rng, WORDS, EACH)):
        has = number % 2 == 0
        letter = rng.choice(word) if has else rng.choice([c for c in "abcdefghijkz" if c not in word])
        said = f'Does the word "{word}" contain the letter {letter}? Answer with exactly one word, yes or no.'
        yield Item("one word", said, *(("Yes", ("No",)) if has else ("No", ("Yes",))))


def _table(rng: Random) -> Iterator[Item]:
    for number, (name, city) in enumerate(zip(deal(rng, NAMES, EACH), deal(rng, CITIES, EACH), strict=True)):
        age = rng.randint(18, 79)
        forms = {
            "row of a Markdown table": f"| {name} | {city} | {age} |",
            "row of a CSV file": f"{name},{city},{age}",
            "list in Python": f'["{name}", "{city}", {age}]',
            "row of an HTML table": f"<tr><td>{name}</td><td>{city}</td><td>{age}</td></tr>",
        }
        yield _asked("table", f"Write the values {name} and {city} and {age} as a {{0}}.", forms, number)


def _order(rng: Random) -> Iterator[Item]:
    for number in range(EACH):
        words = rng.sample(WORDS, 3)
        right = sorted(words, reverse=number % 2 == 1)
        wrong = [list(o) for o in _orders(words) if list(o) != right]
        shown = " ".join(words)
        how = "from Z to A" if number % 2 else "from A to Z"
        said = f"Sort these words by the alphabet, {how}, separated by commas: {shown}"
        yield Item("order", said, ", ".join(right), tuple(", ".join(w) for w in rng.sample(wrong, 3)))


def _orders(words: list[str]) -> Iterator[tuple[str, str, str]]:
    a, b, c = words
    yield from ((a, b, c), (a, c, b), (b, a, c), (b, c, a), (c, a, b), (c, b, a))


def _asked(family: str, said: str, forms: dict[str, str], number: int) -> Item:
    """One of the forms is asked for, in turn, and the others are wrong."""
    asked = [*forms][number % len(forms)]
    assert apart([*forms.values()])
    others = tuple(form for name, form in forms.items() if name != asked)
    return Item(family, said.replace("{0}", asked), forms[asked], others)
