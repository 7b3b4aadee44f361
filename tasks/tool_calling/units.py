"""Amounts said in another unit than a parameter takes: "two hours" for ``timeout_seconds`` is 7200.

Only what is exact is said: no miles for kilometres, no months for days; and no megabytes for bytes, which are 1,000 or
1,024 kilobytes each: mebibytes are said for them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from agentlora.core.types import JSON
from agentlora.tasks.tool_calling.api_sources import Param, split_words
from agentlora.tasks.wording import Pair

OWN = 0.2  # of the sayings: in the parameter's own unit, which is no reason to convert
SPELT = 0.35  # of the whole amounts up to twelve: in words
DECIMALS = 3  # that a value may have
COMPOUNDS = 8  # "2 minutes and 30 seconds" of each two units
SMALL = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
BOUNDS = ("max", "min", "maximum", "minimum", "total", "default", "initial")


@dataclass(frozen=True, slots=True)
class Unit:
    """`names`: words of parameters and descriptions. `size` and `zero`: in the first unit of its quantity. `said`: as
    ``one|many``, the second for dev and test beside the first. `amounts` that somebody says of it; `words` for some.
    """

    names: str
    size: str
    said: Pair
    amounts: str
    words: Mapping[str, str] = field(default_factory=dict)
    zero: str = "0"


@dataclass(frozen=True, slots=True)
class Quantity:
    """What units measure. `units`: the smaller first. `letters`: what units are called that one letter is not enough
    for, behind these words only (``distance_m``, not ``plan_m``). `joined`: two units say one amount.
    """

    noun: str
    units: tuple[Unit, ...]
    letters: Mapping[str, int] = field(default_factory=dict)
    behind: tuple[str, ...] = ()
    joined: bool = False


_TIME = Quantity(
    "duration",
    (
        Unit("ms millis milliseconds millisecs msec", "1", (("millisecond|milliseconds", "ms"), ("msec",)),
             "100 200 250 300 500 750 1500"),
        Unit("seconds secs sec", "1000", (("second|seconds", "s"), ("sec|secs",)),
             "1 2 3 5 10 15 20 30 45 60 90 120 0.5 1.5 2.5", {"0.5": "half a second", "1": "a second"}),
        Unit("minutes mins", "60000", (("minute|minutes", "min"), ("min|mins",)),
             "1 2 3 4 5 10 15 20 30 45 60 90 0.5 1.5 2.5", {"0.5": "half a minute", "1": "a minute"}),
        Unit("hours hrs", "3600000", (("hour|hours", "h"), ("hr|hrs",)), "1 2 3 4 6 8 12 24 36 48 0.5 0.25 1.5 2.5",
             {"0.5": "half an hour", "0.25": "a quarter of an hour", "1": "an hour", "1.5": "an hour and a half"}),
        Unit("days", "86400000", (("day|days",), ()), "1 2 3 4 5 7 10 14 21 28 30", {"1": "a day"}),
        Unit("weeks", "604800000", (("week|weeks",), ("wk|wks",)), "1 2 3 4 5 6 8", {"1": "a week"}),
    ),
    {"s": 1, "min": 2, "h": 3, "d": 4},  # "m" may be months
    ("timeout", "delay", "duration", "interval", "ttl", "wait", "period"),
    joined=True,
)  # fmt: skip
_METRIC = Quantity(
    "length",
    (
        Unit("mm millimeters millimetres", "1", (("millimetre|millimetres", "mm"), ("millimeter|millimeters",)),
             "5 8 10 15 20 25 50 80 120"),
        Unit("cm centimeters centimetres", "10", (("centimetre|centimetres", "cm"), ("centimeter|centimeters",)),
             "5 10 15 20 30 50 80 120 150 180 250"),
        Unit("meters metres", "1000", (("metre|metres", "m"), ("meter|meters",)),
             "1 2 3 5 10 50 100 200 300 500 800 1200 5000 0.5 1.5 2.5 1.8", {"0.5": "half a metre"}),
        Unit("km kilometers kilometres", "1000000", (("kilometre|kilometres", "km"), ("kilometer|kilometers",)),
             "1 2 3 5 10 20 0.5 1.5 2.5 0.8", {"0.5": "half a kilometre"}),
    ),
    {"m": 2},
    ("distance", "length", "height", "width", "depth", "radius", "altitude", "elevation", "range"),
)  # fmt: skip
_IMPERIAL = Quantity(
    "length",
    (
        Unit("inches", "1", (("inch|inches",), ()), "6 12 18 24 36 48 72"),
        Unit("feet ft", "12", (("foot|feet", "ft"), ()), "1 2 3 4 5 6 8 10 30 60 0.5 1.5 2.5"),
        Unit("yards", "36", (("yard|yards",), ()), "1 2 5 10 50 100"),
        Unit(
            "miles", "63360", (("mile|miles",), ()), "1 2 3 5 10 0.5", {"0.5": "half a mile", "1": "a mile"}
        ),
    ),
)
_MASS = Quantity(
    "weight",
    (
        Unit("mg milligrams", "1", (("milligram|milligrams", "mg"), ()), "50 100 200 250 400 500 800"),
        Unit("grams grammes", "1000", (("gram|grams", "g"), ("gramme|grammes",)), "50 100 200 250 500 750 1500 1 2 5"),
        Unit("kg kilos kilograms", "1000000", (("kilogram|kilograms", "kg", "kilo|kilos"), ("kilogramme|kilogrammes",)),
             "1 2 3 5 10 12 20 25 0.5 1.5 2.5 0.75", {"0.5": "half a kilo", "1": "a kilo"}),
        Unit("tonnes", "1000000000", (("tonne|tonnes", "t"), ("metric ton|metric tons",)), "1 2 3 5 0.5 1.5",
             {"0.5": "half a tonne"}),
    ),
    {"g": 1},
    ("weight", "mass"),
)  # fmt: skip
_VOLUME = Quantity(
    "volume",
    (
        Unit("ml milliliters millilitres", "1", (("millilitre|millilitres", "ml"), ("milliliter|milliliters",)),
             "50 100 250 330 500 750 1500"),
        Unit("liters litres", "1000", (("litre|litres", "l"), ("liter|liters",)), "1 2 3 5 10 0.5 1.5 0.75 0.25",
             {"0.5": "half a litre", "0.25": "a quarter of a litre"}),
    ),
)  # fmt: skip
_BYTES = Quantity(
    "size",
    (
        Unit("bytes", "1", (("byte|bytes",), ()), "256 512 1024 2048 4096"),
        Unit(
            "kib kibibytes", "1024", (("KiB",), ("kibibyte|kibibytes",)), "1 2 4 8 16 32 64 128 256 512 1024"
        ),
        Unit(
            "mib mebibytes", "1048576", (("MiB",), ("mebibyte|mebibytes",)), "1 2 4 5 8 10 16 50 100 512 1024"
        ),
        Unit("gib gibibytes", "1073741824", (("GiB",), ("gibibyte|gibibytes",)), "1 2 4 8 16 32 64 0.5 1.5"),
    ),
)
_SPEED = Quantity(
    "rate",
    (
        Unit("kbps", "1", (("kbps", "kbit/s"), ("kilobit per second|kilobits per second",)), "64 128 256 500 1000"),
        Unit("mbps", "1000", (("Mbps", "Mbit/s"), ("megabit per second|megabits per second",)),
             "1 2 5 10 20 50 100 1000 0.5 1.5"),
        Unit("gbps", "1000000", (("Gbps", "Gbit/s"), ("gigabit per second|gigabits per second",)), "1 2 5 10 0.5 2.5"),
    ),
)  # fmt: skip
_SUMS = "1 2 5 10 12 20 25 50 80 100 250 0.5 1.5 2.5 4.99 9.99 12.5 19.95 49.9"
_CENTS = "50 75 80 99 150 200 250"
_EUROS = Quantity(
    "amount",
    (
        Unit("cents", "1", (("cent|cents",), ()), _CENTS),
        Unit("euros eur", "100", (("euro|euros", "EUR"), ("€",)), _SUMS),
    ),
)
_DOLLARS = Quantity(
    "amount",
    (
        Unit("cents", "1", (("cent|cents",), ()), _CENTS),
        Unit("dollars usd", "100", (("dollar|dollars", "USD"), ("buck|bucks",)), _SUMS),
    ),
)
_PARTS = Quantity(
    "share",
    (
        Unit("percent percentage pct", "1", (("%", "percent"), ("per cent",)), "5 10 15 20 25 30 40 50 60 75 80 90 95"),
        Unit("fraction", "100", ((), ()), "0.5 0.25 0.75 0.1 0.2",
             {"0.5": "half", "0.25": "a quarter", "0.75": "three quarters", "0.1": "a tenth", "0.2": "a fifth"}),
    ),
)  # fmt: skip
_HEAT = Quantity(
    "temperature",
    (
        Unit("celsius centigrade", "1", (("degrees Celsius", "°C"), ("degrees centigrade",)),
             "-10 -5 0 5 10 15 20 25 30 35 40"),
        Unit("fahrenheit", "5/9", (("degrees Fahrenheit", "°F"), ("Fahrenheit",)), "14 23 32 41 50 59 68 77 86 95 104",
             zero="-160/9"),
    ),
    {"c": 0, "f": 1},
    ("temperature", "temp"),
)  # fmt: skip
QUANTITIES = (_TIME, _METRIC, _IMPERIAL, _MASS, _VOLUME, _BYTES, _SPEED, _EUROS, _DOLLARS, _PARTS, _HEAT)
# what has the words of units and is no amount of them: moments, rates, areas; days that make up no week
_MOMENTS = frozenset(
    ["start", "end", "begin", "from", "until", "at", "since", "epoch", "unix", "timestamp", "date", "clock", "business",
     "working", "trading", "deadline", "expiry", "seen", "created", "updated", "modified"]
)  # fmt: skip
_OTHERWISE = frozenset(("per", "square", "sq", "cubic"))
_DIFFERENCES = frozenset(
    ("delta", "difference", "diff", "change", "offset")
)  # of temperatures: no zero to count from
_MOMENT = re.compile(
    r"\b(epoch|unix|timestamp|since|1970|square|cubic|business days|working days"
    r"|per (milli)?second|of the (day|week|hour|month))\b",
    re.IGNORECASE,
)
_FRACTION = re.compile(r"\bfraction\b|\b0(\.0)?( and | ?[-–] ?| to )1(\.0)?\b(?![\d.,]*\d)", re.IGNORECASE)
_FRACTIONS = frozenset(
    ["share", "fraction", "ratio", "volume", "opacity", "brightness", "threshold", "confidence", "probability",
     "discount", "level", "coverage", "tolerance", "progress", "quality", "similarity"]
)  # fmt: skip
Place = tuple[Quantity, int]  # a quantity and the number of one of its units


@dataclass(frozen=True, slots=True)
class Measured:
    """What a parameter's values are amounts of. `words`: what it is called without its unit. `places`: its unit, in
    each of the quantities that have it.
    """

    words: tuple[str, ...]
    places: tuple[Place, ...]

    @property
    def lasts(self) -> bool:
        """Whether "for two hours" says it."""
        return self.places[0][0] is _TIME and self.words in (("duration",), ("length",))


def measured(param: Param) -> Measured | None:
    """The unit that a number's name or description says, or None: there is none, or more than one."""
    if (
        param.schema["type"] not in ("integer", "number")
        or "enum" in param.schema
        or _OTHERWISE & set(param.words)
    ):
        return None
    if _MOMENT.search(param.description) or _EITHER.search(param.description):
        return None
    named, rest = _by_name(param.words)
    described = _by_description(param)
    if named and described and _names(named) != _names(described):
        return None
    if named and named[0][0] is _PARTS and _FRACTION.search(param.description):
        return None
    places = described if named and described and len(described) < len(named) else named or described
    if places and places[0][0] is _HEAT and _DIFFERENCES & set(param.words):
        return None
    if not places or (places[0][0] is _TIME and _MOMENTS & set(param.words)):
        return None
    if places[0][0] in (_EUROS, _DOLLARS) and len(places) > 1:
        places = _in_currency(places, param)
    noun = places[0][0].noun
    words = rest if named else param.words
    if not words or words[-1] in BOUNDS:
        words = (*words, noun)
    return Measured(words, tuple(places))


def names_unit(name: str) -> bool:
    """Whether a parameter says in which unit, or in which currency, others are."""
    return bool({"unit", "units", "uom", "currency"} & set(split_words(name)))


def _by_name(words: tuple[str, ...]) -> tuple[list[Place], tuple[str, ...]]:
    """(the unit that is the last word of a name, the words before it)"""
    last, rest = words[-1], words[:-1]
    places = [(q, i) for q in QUANTITIES for i, unit in enumerate(q.units) if last in unit.names.split()]
    if not places and rest:
        places = [(q, q.letters[last]) for q in QUANTITIES if last in q.letters and rest[-1] in q.behind]
    if places and places[0][0] is _PARTS and places[0][1] == 1:
        return [], words
    return places, rest[:-1] if rest[-1:] == ("in",) else rest


def _by_description(param: Param) -> list[Place]:
    found = {
        name.lower()
        for pattern in _DESCRIBED
        for match in pattern.finditer(param.description)
        for name in match.groups()
    }
    places = [(q, i) for q in QUANTITIES for i, unit in enumerate(q.units) if found & set(unit.names.split())]
    if len(_names(places)) > 1:
        return []
    bounds = param.schema["type"] == "number" and (
        _FRACTION.search(param.description)
        or (param.schema.get("minimum"), param.schema.get("maximum")) == (0, 1)
    )
    if not places and bounds and _FRACTIONS & set(param.words):
        return [(_PARTS, 1)]
    return places


def _names(places: Sequence[Place]) -> set[str]:
    return {quantity.units[index].names for quantity, index in places}


def _in_currency(places: list[Place], param: Param) -> list[Place]:
    """Of cents in both currencies those that a name or a description says."""
    words = {word.rstrip("s") for word in (*param.words, *re.findall("[a-z]+", param.description.lower()))}
    said = [(q, i) for q, i in places if words & {name.rstrip("s") for name in q.units[1].names.split()}]
    return said or places


_UNITS = "|".join(
    sorted(
        {name for q in QUANTITIES for unit in q.units for name in unit.names.split()}, key=len, reverse=True
    )
)
_NO_MORE = rf"(?!\w)(?! ?/)(?! (?:per|since|ago|of|{_UNITS})\b)"  # "in EUR cents"
_EITHER = re.compile(rf"\b({_UNITS})\W+(?:or|and)\W+(?:in )?({_UNITS})\b", re.IGNORECASE)
_DESCRIBED = (
    re.compile(rf"\b(?:in|of|as an?|as) (?:whole |full |degrees )?({_UNITS}){_NO_MORE}", re.IGNORECASE),
    re.compile(rf"\((?:in )?({_UNITS})\)", re.IGNORECASE),
    re.compile(rf"^({_UNITS}) (?:to|until|before|between|after|that|for)\b", re.IGNORECASE),
)


# --- what is said ---------------------------------------------------------------------------------


def amounts(wanted: Measured, whole: bool, held_out: bool, rng: random.Random) -> list[JSON]:
    """What is said and the value in the parameter's unit, exactly.

    Args:
        whole: the parameter takes integers only.
    """
    own: list[JSON] = []
    others: list[JSON] = []
    for quantity, at in wanted.places:
        for index in (at - 1, at, at + 1, at + 2):
            if 0 <= index < len(quantity.units):
                entries = list(_of_unit(quantity, at, index, whole, held_out, rng))
                (own if index == at else others).extend(entries)
        if quantity.joined:
            others += _compounds(quantity, at, whole, rng)
    if not others:
        return []
    rng.shuffle(own)
    return [*others, *own[: round(OWN * len(others))]]


def _of_unit(
    quantity: Quantity, at: int, index: int, whole: bool, held_out: bool, rng: random.Random
) -> Iterator[JSON]:
    unit = quantity.units[index]
    forms = (*unit.said[0], *unit.said[1]) if held_out else unit.said[0]
    for amount in unit.amounts.split():
        value = _value(_base(unit, amount), quantity.units[at], whole)
        if value is None:
            continue
        said = unit.words.get(amount)
        if forms and (not said or rng.random() < 0.5):
            said = _said(amount, rng.choice(forms), rng)
        if said:
            yield {"say": said, "value": value}


def _said(amount: str, form: str, rng: random.Random) -> str:
    one, _, many = form.partition("|")
    name = many or one if amount != "1" else one
    number = Fraction(amount)
    if many and number.denominator == 1 and 1 <= number <= len(SMALL) and rng.random() < SPELT:
        return f"{SMALL[int(number) - 1]} {name}"
    if form == "€":
        return f"€{amount}" if number.denominator == 1 else f"€{float(number):.2f}"
    money = form.split("|")[0] in ("euro", "EUR", "dollar", "USD", "buck") and number.denominator > 1
    close = name == "%" or (
        name in ("h", "s", "min", "ms", "km", "kg", "g", "cm", "mm") and rng.random() < 0.3
    )
    return f"{f'{float(number):.2f}' if money else amount}{'' if close else ' '}{name}"


def _compounds(quantity: Quantity, at: int, whole: bool, rng: random.Random) -> Iterator[JSON]:
    """Two neighbouring units, none of them much smaller or larger than the parameter's."""
    for upper in range(max(1, at), min(at + 3, len(quantity.units))):
        small, large = quantity.units[upper - 1], quantity.units[upper]
        ratio = int(Fraction(large.size) / Fraction(small.size))
        if ratio not in (24, 60):
            continue
        for _ in range(COMPOUNDS):
            more = rng.randint(1, 3)
            less = rng.randrange(5, ratio, 5) if ratio == 60 else rng.choice((2, 4, 6, 8, 12, 18))
            base = Fraction(large.size) * more + Fraction(small.size) * less
            value = _value(base, quantity.units[at], whole)
            if value is not None:
                parts = [_plain(number, unit) for number, unit in ((more, large), (less, small))]
                yield {"say": f"{parts[0]} {rng.choice(('and ', ''))}{parts[1]}", "value": value}


def _plain(number: int, unit: Unit) -> str:
    one, _, many = unit.said[0][0].partition("|")
    return f"{number} {one if number == 1 else many}"


def _base(unit: Unit, amount: str) -> Fraction:
    return Fraction(amount) * Fraction(unit.size) + Fraction(unit.zero)


def _value(base: Fraction, unit: Unit, whole: bool) -> Any:
    """The amount in `unit` as JSON has it; None where that is not exact."""
    value = (base - Fraction(unit.zero)) / Fraction(unit.size)
    if value.denominator == 1:
        return int(value)
    return float(value) if not whole and 10**DECIMALS % value.denominator == 0 else None
