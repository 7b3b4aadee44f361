"""Values that people would say for an API's parameters, by name and type: one pool for each parameter."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

from agentlora.core.types import JSON
from agentlora.tasks.tool_calling import api_words
from agentlora.tasks.tool_calling.api_kinds import about, kind_of, spoken
from agentlora.tasks.tool_calling.api_sources import Param, singular, split_words

Pool = Any
POOL_SIZE = 12


def pool_for(param: Param, noun: tuple[str, ...], service: str, rng: random.Random) -> Pool:
    """The pool of values for `param` (see `ToolSpec`), or a pool without a value where none fits."""
    kind, words = kind_of(param), " ".join(param.words)
    if kind == "bool":
        return _booleans(param.words, rng)
    if kind == "enum":
        return _enum(param.schema.get("enum") or list(param.choices), rng)
    if kind == "list":
        return _list(param, noun, service, rng)
    if kind == "struct":
        return _structs(param, noun, service, rng)
    if kind in ("start", "end", "date"):
        return _dates(kind, param.schema["format"], rng)
    if kind in ("number", "limit"):
        return _numbers(words, param.schema, kind)
    if kind == "resource":
        return _unique(lambda: _from_pattern(param.pattern, rng))
    thing = about(param.words) or noun
    return _strings(kind, words, thing, service, rng)


def _unique(draw: Callable[[], Any], n: int = POOL_SIZE) -> list[Any]:
    found: list[Any] = []
    for _ in range(n * 4):
        value = draw()
        if value not in found:
            found.append(value)
        if len(found) == n:
            break
    return found


# --- strings --------------------------------------------------------------------------------------


def _strings(kind: str, words: str, thing: tuple[str, ...], service: str, rng: random.Random) -> list[Any]:
    if kind == "region" and words.split()[-1] == "location" and rng.random() < 0.5:
        kind = "google region"
    if kind in api_words.LISTS:
        return list(api_words.LISTS[kind])
    if kind == "word":
        last = words.split()[-1]
        return list(
            api_words.WORDS.get(
                last, ("standard", "custom", "basic", "internal", "advanced", "default", "external")
            )
        )
    people = _unique(lambda: (rng.choice(api_words.PEOPLE), rng.choice(api_words.SURNAMES)))
    if kind == "email":
        return [
            rng.choice((f"{a}.{b}", a, f"{a}{b[0]}")) + "@" + rng.choice(api_words.HOSTS) for a, b in people
        ]
    if kind == "user":
        style = rng.choice(("{a}.{b}", "{a}", "{a}_{b}", "{a}{b[0]}"))
        return list(dict.fromkeys(style.format(a=a, b=b) for a, b in people))
    if kind == "person":
        return [f"{a.title()} {b.title()}" for a, b in people]
    draws: dict[str, Callable[[], str]] = {
        "phone": lambda: f"+{rng.choice((1, 44, 49, 81))}{rng.randint(200, 999)}555{rng.randint(1000, 9999)}",
        "url": lambda: (
            f"https://{rng.choice(api_words.HOSTS)}/{rng.choice(api_words.HEADS)}"
            + rng.choice(("", "/index.html", f"/{rng.choice(api_words.TAILS)}"))
        ),
        "ip": lambda: ".".join(str(rng.randint(1, 254)) for _ in range(4)),
        "account": lambda: str(rng.randint(10**11, 10**12 - 1)),
        "text": lambda: rng.choice(api_words.TEXTS),
        "title": lambda: rng.choice(api_words.TITLES),
        "query": lambda: rng.choice(api_words.QUERIES),
        "domain": lambda: rng.choice(api_words.HOSTS),
        "path": _paths(words, rng),
        "arn": lambda: _arn(thing, service, rng),
    }
    if kind in draws:
        return _unique(draws[kind])
    return _unique(_ids(words, thing, rng) if kind == "id" else _names(rng))


def _names(rng: random.Random) -> Callable[[], str]:
    style = rng.choice(("kebab", "kebab", "kebab", "snake", "camel", "one", "title", "mixed"))

    def draw() -> str:
        head, tail, way = rng.choice(api_words.HEADS), rng.choice(api_words.TAILS), style
        if way == "mixed":
            way = rng.choice(("kebab", "snake", "one", "camel"))
        return {
            "kebab": f"{head}-{tail}", "snake": f"{head}_{tail}", "camel": head.title() + tail.title(),
            "one": head, "title": f"{head.title()} {tail}",
        }[way]  # fmt: skip

    return draw


def _ids(words: str, thing: tuple[str, ...], rng: random.Random) -> Callable[[], str]:
    last = singular(thing)[-1] if thing else "id"
    prefix = api_words.PREFIXES.get(last, last[: rng.choice((2, 3, 4))].rstrip("-"))
    style = rng.choice(("hex", "hex", "hex", "digits", "upper", "slug", "slug", "short", "uuid"))
    if "number" in words:
        style = "digits"
    length = rng.choice((8, 8, 10, 17)) if style == "hex" else rng.choice((5, 7, 9))
    slug = _names(rng)

    def draw() -> str:
        if style == "hex":
            return f"{prefix}-{rng.getrandbits(4 * length):0{length}x}"
        if style == "digits":
            return str(rng.randint(10 ** (length - 1), 10**length - 1))
        if style == "upper":
            return "".join(rng.choice("ABCDEFGHJKLMNPQRSTUVWXYZ23456789") for _ in range(10))
        if style == "short":
            return f"{prefix.upper()}{rng.randint(100, 9999)}"
        if style == "uuid":
            bits = f"{rng.getrandbits(128):032x}"
            return f"{bits[:8]}-{bits[8:12]}-4{bits[13:16]}-a{bits[17:20]}-{bits[20:]}"
        return slug()

    return draw


def _paths(words: str, rng: random.Random) -> Callable[[], str]:
    ends = (
        ("/",)
        if "prefix" in words or "folder" in words or "director" in words
        else (".csv", ".json", ".pdf", ".png", ".txt")
    )
    folders = ("2025", "2026", "q1", "q3", "raw", "march", "inbox")
    return lambda: f"{rng.choice(api_words.HEADS)}/{rng.choice(folders)}{rng.choice(ends)}"


def _arn(owner: tuple[str, ...], service: str, rng: random.Random) -> str:
    region, account = rng.choice(api_words.LISTS["region"]), rng.randint(10**11, 10**12 - 1)
    thing = "-".join(singular(owner[-2:])) or "resource"
    name = f"{rng.choice(api_words.HEADS)}-{rng.choice(api_words.TAILS)}"
    if thing in ("role", "policy", "execution-role", "service-role", "user"):
        return f"arn:aws:iam::{account}:{thing.split('-')[-1]}/{name}"
    return f"arn:aws:{service}:{region}:{account}:{thing}/{name}"


def _from_pattern(pattern: str, rng: random.Random) -> str:
    """A Google resource name for ``^projects/[^/]+/zones/[^/]+$``."""
    places = {"locations": "google region", "regions": "google region", "zones": "google zone"}
    parts: list[str] = []
    for part in pattern.strip("^$").replace("[^/]+", "*").split("/"):
        place = places.get(parts[-1]) if parts else None
        name = f"{rng.choice(api_words.HEADS)}-{rng.choice(api_words.TAILS)}"
        parts.append(part if part != "*" else rng.choice(api_words.LISTS[place]) if place else name)
    return "/".join(parts)


# --- numbers, dates, lists, enumerations, booleans, objects -----------------------------------------


def _numbers(words: str, schema: JSON, kind: str) -> Pool:
    low, high = (5, 100) if kind == "limit" else (1, 50)
    for pattern, least, most in api_words.RANGES if kind != "limit" else ():
        if re.search(rf"\b({pattern})\b", words):
            low, high = least, most
            break
    least, most = schema.get("minimum", low), schema.get("maximum", high)
    low, high = max(low, least), min(high, most)
    if low > high:
        low, high = least, most
        high = min(high, low + 200)
    if schema["type"] == "integer":
        return {"integers": [int(low), max(int(low), int(high))]}
    return {"numbers": [low, high], "decimals": 1 if high > low + 1 else 2}


def _dates(kind: str, layout: str, rng: random.Random) -> Pool:
    """Starts lie in the first half of 2026, ends in the second, so that both in one request make sense."""
    first, last = {"start": (1, 6), "end": (7, 12), "date": (1, 12)}[kind]
    style, moments = rng.choice(("iso", "iso", "words")), []
    for _ in range(POOL_SIZE):
        month, day, hour = rng.randint(first, last), rng.randint(1, 28), rng.randint(6, 21)
        minute = rng.choice(("00", "00", "30", "15"))
        value, words = f"2026-{month:02}-{day:02}", f"{api_words.MONTHS[month - 1]} {day}, 2026"
        if layout == "date-time":
            value, words = f"{value}T{hour:02}:{minute}:00Z", f"{words} at {hour:02}:{minute} UTC"
        moments.append({"say": words, "value": value} if style == "words" else value)
    return moments


def _list(param: Param, noun: tuple[str, ...], service: str, rng: random.Random) -> Pool:
    items = param.schema["items"]
    one = Param(param.name, singular(param.words), items, True, "", "", param.choices)
    entries = pool_for(one, noun, service, rng)
    if not isinstance(entries, list):
        return {"list_of": []}
    return {"list_of": entries, "min": 1, "max": min(rng.choice((2, 3, 3)), len(entries))}


def enum_words(value: str) -> str:
    """``INFREQUENT_ACCESS`` → ``infrequent access``; values with digits or marks stay as they are."""
    if not re.fullmatch(r"[A-Za-z]+([_\- ][A-Za-z]+)*", value):
        return value
    words = [
        w
        for part in re.split(r"[_\- ]", value)
        for w in (split_words(part) if not part.isupper() else (part.lower(),))
    ]
    return spoken(tuple(words))


def _without_prefix(said: list[str]) -> list[str]:
    """Without the leading words that all have in common: ``management mode system`` → ``system``."""
    split = [phrase.split() for phrase in said]
    while len(split) > 1 and all(len(words) > 1 and words[0] == split[0][0] for words in split):
        split = [words[1:] for words in split]
    return [" ".join(words) for words in split]


def _enum(values: list[str], rng: random.Random) -> list[Any]:
    values = [v for v in values if v and len(v) < 40][:40]
    said = _without_prefix([enum_words(v) for v in values])
    if rng.random() < 0.35 or len({s.lower() for s in said}) < len(values):
        return values
    return [
        value if word == value else {"say": word, "value": value}
        for word, value in zip(said, values, strict=True)
    ]


def _booleans(words: tuple[str, ...], rng: random.Random) -> list[Any]:
    """Adverbial phrases for true and false, such as ``with deletion protection on``."""
    rest = words[1:]
    thing = spoken(rest)
    if words[0] in ("include", "enable", "enabled", "with", "is", "has", "auto") and not rest:
        thing = ""
    if words[0] == "include" and rest:
        yes, no = (
            [f"including {thing}", f"with {thing} included"],
            [f"without {thing}", f"leaving out {thing}"],
        )
    elif words[0] in ("enable", "enabled") and rest:
        yes, no = (
            [f"with {thing} enabled", f"with {thing} switched on"],
            [f"with {thing} disabled", f"with {thing} off"],
        )
    elif words[-1] in ("enabled", "enable") and len(words) > 1:
        thing = spoken(words[:-1])
        yes, no = (
            [f"with {thing} on", f"with {thing} enabled"],
            [f"with {thing} off", f"with {thing} disabled"],
        )
    elif words[0] == "is" and rest:
        yes, no = (
            [f"and mark it as {thing}", f"and it is {thing}"],
            [f"and mark it as not {thing}", f"and it is not {thing}"],
        )
    elif words == ("force",):
        yes, no = ["and force it", "forcing it"], ["without forcing it", "and do not force it"]
    elif words[0] in api_words.ACTS and rest:
        whole = spoken(words)
        yes, no = [f"and {whole}", f"and yes, {whole}"], [f"and do not {whole}", f"and don't {whole}"]
    elif words[-1].endswith(("able", "ible", "ed", "only", "al")):
        yes, no = [f"and make it {spoken(words)}", f"and it has to be {spoken(words)}"], [
            f"and not {spoken(words)}", f"and it must not be {spoken(words)}"]  # fmt: skip
    else:
        whole = spoken(words)
        yes, no = (
            [f"with {whole} on", f"with {whole} turned on"],
            [f"with {whole} off", f"with {whole} turned off"],
        )
    pairs = [{"say": s, "value": True} for s in yes] + [{"say": s, "value": False} for s in no]
    rng.shuffle(pairs)
    return pairs


def _structs(param: Param, noun: tuple[str, ...], service: str, rng: random.Random) -> list[Any]:
    """Objects said as ``min size 2 and max size 5``: the required members and some of the others."""
    members = param.schema["properties"]
    required = param.schema.get("required", ())
    pools: dict[str, Pool] = {}
    for name, schema in members.items():
        one = Param(name, split_words(name), schema, True, "")
        pools[name] = [{"say": f"{spoken(one.words)} {word}", "value": flag} for word, flag in (("on", True),
        ("off", False))] if (
            schema["type"] == "boolean") else pool_for(one, noun, service, rng)  # fmt: skip
    entries: list[Any] = []
    for _ in range(8):
        chosen = [n for n in members if n in required or rng.random() < 0.6] or list(members)[:1]
        said, value = [], {}
        for name in chosen:
            words, value[name] = one_of(pools[name], rng)
            flag = members[name]["type"] == "boolean"
            said.append(words if flag else f"{spoken(split_words(name))} {words}")
        entry = {
            "say": f"{', '.join(said[:-1])} and {said[-1]}" if len(said) > 1 else said[0],
            "value": value,
        }
        if entry not in entries:
            entries.append(entry)
    return entries


def one_of(pool: Pool, rng: random.Random) -> tuple[str, Any]:
    """(what is said, the value) of one entry of a list, or of one number of a range."""
    if isinstance(pool, dict):
        low, high = pool.get("integers") or pool["numbers"]
        number = (
            rng.randint(low, high) if "integers" in pool else round(rng.uniform(low, high), pool["decimals"])
        )
        return str(number), number
    entry = rng.choice(pool)
    return (entry["say"], entry["value"]) if isinstance(entry, dict) else (str(entry), entry)
