"""Names and references: what a skill, an alias and ``skill@selector`` may look like (design decision 11)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from agentlora.core.errors import ConfigError, RegistryError, nearest

_PART = r"[a-z0-9]+(?:[._-][a-z0-9]+)*"
_NAME = re.compile(rf"{_PART}(?:/{_PART})?")
_ALIAS = re.compile(_PART)
_NUMBER = re.compile(r"v([1-9][0-9]{0,8})")
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{8,64})")

Selector = Literal["default", "number", "digest", "alias"]


class NotFound(RegistryError):
    """A name, version or alias that the registry does not hold; the message lists what there is."""

    exit_code = 2

    @classmethod
    def among(cls, what: str, value: str, choices: Iterable[str]) -> NotFound:
        """`what` says it in words; the message lists at most 20 of `choices`, in their order."""
        names = list(choices)
        listed = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
        return cls(
            f"{what} {value!r} is not in the registry.{nearest(value, names)} There is: {listed or 'none'}."
        )


@dataclass(frozen=True, slots=True)
class Ref:
    """A parsed reference. `value` is the version's number, the digest's prefix (hex) or the alias."""

    name: str
    selector: Selector
    value: str = ""


def parse_ref(text: str) -> Ref:
    """``skill``, ``ns/skill``, ``skill@prod``, ``skill@v3``, ``skill@sha256:<hex>``, ``skill@<hex>``.

    Raises:
        NotFound: `text` has none of these forms.
    """
    name, at, selector = text.partition("@")
    if not _NAME.fullmatch(name) or (at and not selector):
        raise NotFound(
            f"{text!r} does not name a skill. Write skill, skill@alias, skill@v3 or skill@sha256:<digest>; "
            "a name has small letters and digits, joined by '.', '_' or '-', and at most one '/' (ns/skill)."
        )
    if not at:
        return Ref(name, "default")
    if match := _NUMBER.fullmatch(selector):
        return Ref(name, "number", match[1])
    if match := _DIGEST.fullmatch(selector):
        return Ref(name, "digest", match[1])
    if _ALIAS.fullmatch(selector):
        return Ref(name, "alias", selector)
    raise NotFound(
        f"{selector!r} in {text!r} is neither an alias, nor a version (v3), nor a digest (sha256: and at "
        "least 8 hex digits)."
    )


# what clients may say as "model" beside a skill
RESERVED = frozenset({"auto", "base"})


def check_name(name: str) -> str:
    """`name`, when it is a skill's name. Raises ValueError."""
    if not _NAME.fullmatch(name) or len(name) > 128:
        raise ValueError(
            f"{name!r} is not a skill's name: use small letters and digits, joined by '.', '_' or '-', "
            "at most one '/' (namespace/skill), and no more than 128 characters"
        )
    if name in RESERVED:
        raise ValueError(f"{name!r} cannot be a skill's name: clients already say it for something else")
    return name


def check_alias(alias: str) -> str:
    """`alias`, when it is one and cannot be mistaken for a version or a digest. Raises ConfigError."""
    if not _ALIAS.fullmatch(alias) or _NUMBER.fullmatch(alias) or _DIGEST.fullmatch(alias) or len(alias) > 64:
        raise ConfigError(
            f"{alias!r} cannot be an alias: use small letters and digits joined by '.', '_' or '-', such as "
            "'prod' or 'candidate', and nothing that reads as a version (v3) or a digest (8 or more hex "
            "digits)."
        )
    return alias
