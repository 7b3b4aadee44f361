"""Values that nobody has seen before, in the shape of known ones: they can only be copied, never remembered."""

from __future__ import annotations

import random
import re
from typing import Any

_PART = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*|\d")
_KEPT = frozenset("a an and at by for from in of on or the to with".split())
_FIRST = "b bl br c ch cl cr d dr f fl g gl gr h j k l m n p pl pr qu r s sh sl sp st t th tr v w z".split()
_VOWEL = "a e i o u ai ea ee ie oa oo ou".split()
_LAST = "b ck d g l ll m n nd ng nt p r rd rn rt s sh sk st t th ve x".split()
_ENDING = "a el en er ern ham ia in is ley low mere o on or ton ville well wick y".split()
_WORDS = (
    "amber anchor apple arrow autumn badger bamboo barrel basket beacon berry birch blanket bottle branch breeze "
    "bridge bronze bucket butter cabin camel candle canyon carpet castle cedar chalk cherry cinder circle clay "
    "clover cobalt compass copper coral corner cotton crane crystal dancer desert diamond dolphin dragon drum "
    "eagle echo ember falcon feather fern fiddle field flame forest fountain fox garden ginger glacier glass "
    "granite harbour hazel heron hollow honey horizon island ivory jacket jungle kettle kingdom kite ladder "
    "lantern lemon lily linen lion maple marble meadow melon mirror monkey moon morning mountain needle nettle "
    "north oak ocean olive onion orchid otter owl paper parrot pebble pepper piano pine planet plum pocket poppy "
    "prairie puzzle quartz rabbit raven ribbon river rocket rose saddle salmon sand shadow shell silver snow "
    "sparrow spice spring stone storm summer sunset swan table tiger timber tower train tulip tunnel turtle "
    "valley velvet violet walnut water whale wheat whistle willow window winter wolf wonder yellow zebra"
).split()


def invent(value: str, rng: random.Random) -> str:
    """A new value like `value`: words for its words, digits for its digits, in the same case and order.

    Of a path, only the last part is new.
    """
    head, slash, tail = value.rpartition("/")
    code = any(c.isdigit() for c in tail)

    def other(found: re.Match[str]) -> str:
        part = found[0]
        if part.isdigit():
            return str(rng.randint(0 if found.start() else 1, 9))
        if part.lower() in _KEPT:
            return part
        if code and len(part) <= 3:
            letters = "".join(rng.choice("ABCDEFGHJKLMNPRSTUVWXYZ") for _ in part)
            return letters if part.isupper() else letters.lower() if part.islower() else letters.capitalize()
        word = rng.choice(_WORDS) if rng.random() < 0.5 else _name(rng)
        if part[0].isupper():
            return word.upper() if part.isupper() and len(part) > 1 else word.capitalize()
        return word

    return f"{head}{slash}{_PART.sub(other, tail)}"


def _name(rng: random.Random) -> str:
    """One or two syllables and an ending: something that a place or a person could be called."""
    syllables = (
        rng.choice(_FIRST) + rng.choice(_VOWEL) + rng.choice(_LAST) for _ in range(rng.choice((1, 1, 2)))
    )
    return "".join(syllables) + rng.choice(_ENDING)


def copied(schema: Any) -> bool:
    """Whether any text is a value under this schema, so that a new one is as right as a known one."""
    bound = {"enum", "format", "pattern", "const", "minLength", "maxLength"}
    return schema.get("type") == "string" and not bound & schema.keys()
