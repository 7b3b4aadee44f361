"""Keys of any name: what objects are filled with whose schema names no properties, or takes others beside them."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Any

from agentlora.core import schema as json_schema
from agentlora.tasks.structured_output.names import named, named_like
from agentlora.tasks.tool_calling.invention import invent
from agentlora.tasks.tool_calling.patterns import matching

INVENTED = 0.4  # of the keys that can be anything: what was never seen can only be copied
TRIES = 12
LONGEST = 60

ATTRIBUTES = (
    "warranty", "finish", "shoe_size", "batch-no", "Shelf life", "screenSize", "voltage", "thread_count", "Care",
    "season", "rack", "powerSource", "Lead time", "grade", "fit", "X-Team", "cost_centre", "Door code", "allergen",
    "max-load", "refresh_rate", "lining", "Vehicle", "mount", "bestBefore", "pin_count", "Legal form", "dialect",
)  # fmt: skip
SETTINGS = (
    "log_level", "TIMEOUT", "max-retries", "darkMode", "cache_dir", "LANG", "X-Request-Id", "poll_interval",
    "proxyHost", "font-size", "AUTO_SAVE", "theme", "batchSize", "retry.after", "Accept", "editor.tabs", "DB_HOST",
    "beta_features",
)  # fmt: skip
DAYS = (
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
    "weekend",
    "mon",
    "tue",
    "fri",
)
LANGUAGES = (
    "en",
    "de",
    "fr",
    "es",
    "nb",
    "it",
    "pt-BR",
    "ja",
    "nl",
    "en-GB",
    "sv",
    "pl",
    "German",
    "French",
    "Dutch",
)
# what an object's words end in → what its keys are: some words, or a kind of text of `names`
_KEYS: tuple[tuple[str, tuple[str, ...] | str], ...] = (
    ("translations?|locali[sz]ations?|languages?|locales?|i18n", LANGUAGES),
    ("hours|schedule|timetable|shifts?|availability|days?|weekdays?|menus?", DAYS),
    (("scores?|grades?|marks|votes?|points|salary|salaries|wages?|attendance|seats?|players?|members?|contacts?|people|"
     "guests?|students?|teams?"), "person"),
    ("stock|inventory|prices?|quantity|quantities|products?|ingredients?|basket|cart|items?|goods|parts", "good"),
    ("population|temperatures?|distances?|offices?|branches|city|cities|locations?|regions?|routes?", "city"),
    ("budgets?|expenses?|costs?|spending|revenues?|sales|category|categories|totals?|shares?|tags?", "tag"),
    ("skills?|proficiency|proficiencies|ratings?|levels?", "skill"),
    (("settings?|options?|config|configuration|flags?|features?|env|environment|variables?|parameters?|params|headers?|"
     "preferences"), SETTINGS),
)  # fmt: skip


class Key(str):
    """A name in a path that was drawn and that no schema has: a text has it letter for letter."""

    __slots__ = ()


def keys_for(words: tuple[str, ...], rng: random.Random) -> list[str]:
    """Keys that an object called `words` may have: ``price by city`` has cities, ``scores`` people."""
    said = " ".join(words)
    by = re.fullmatch(r".*\b(?:by|per|for each) (.+)", said)
    if by and (kind := named(tuple(by[1].split()), ())):
        return _of_kind(kind, rng)
    for pattern, of in _KEYS:
        if re.fullmatch(rf"(.*\b)?({pattern})", by[1] if by else said):
            return list(of) if isinstance(of, tuple) else _of_kind(of, rng)
    return list(ATTRIBUTES)


def _of_kind(kind: str, rng: random.Random) -> list[str]:
    examples = {
        "person": ("customer",),
        "good": ("product",),
        "tag": ("tag",),
        "city": ("city",),
        "skill": ("skill",),
    }
    return named_like(examples.get(kind, (kind,)), (), rng) or list(ATTRIBUTES)


def draw_key(
    pool: list[str], names: Any, pattern: str, taken: Mapping[str, Any], rng: random.Random
) -> Key | None:
    """A key that is not among `taken`, or None where none was found.

    Args:
        pool: what such keys are like.
        names: the schema that keys have to fit (``propertyNames``), if any.
        pattern: what a key has to match; empty where that is nothing.
    """
    names = names if isinstance(names, Mapping) else {}
    fitting = names.get("pattern") if isinstance(names.get("pattern"), str) else ""
    asked = pattern or str(fitting)
    known = {_plain(name) for name in taken}
    for attempt in range(TRIES):
        if isinstance(names.get("enum"), list):
            key = str(rng.choice(names["enum"])) if names["enum"] else ""
        elif asked and attempt >= TRIES // 3:  # what is known does not match
            key = matching(asked, rng) or ""
            key += "" if asked.endswith("$") else _plain(rng.choice(pool))  # it may go on as it likes
        else:
            key = rng.choice(pool)
            key = invent(key, rng) if rng.random() < INVENTED else key
        if not key or key != " ".join(key.split()) or len(key) > LONGEST or set("<>{}") & set(key):
            continue
        if _plain(key) in known or not json_schema.is_valid({"type": "string", **names}, key):
            continue
        if not pattern or json_schema.is_valid({"type": "string", "pattern": pattern}, key):
            return Key(key)
    return None


def _plain(name: str) -> str:
    """A name without case and marks: keys that differ in them only are one to a reader."""
    return re.sub(r"[\W_]+", "", name.lower())
