from __future__ import annotations

from collections.abc import Callable

import pytest
from pydantic import ValidationError

from agentlora.core.errors import ConfigError
from agentlora.registry.card import SkillCard
from agentlora.registry.names import NotFound, check_alias, check_name, parse_ref


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("skill", ("skill", "default", "")),
        ("team/skill-2", ("team/skill-2", "default", "")),
        ("skill@prod", ("skill", "alias", "prod")),
        ("skill@v12", ("skill", "number", "12")),
        ("skill@sha256:0123abcd", ("skill", "digest", "0123abcd")),
        ("skill@0123abcdef45", ("skill", "digest", "0123abcdef45")),
        ("skill@0123abc", ("skill", "alias", "0123abc")),  # 7 digits are no digest
    ],
)
def test_references(text: str, expected: tuple[str, str, str]) -> None:
    ref = parse_ref(text)
    assert (ref.name, ref.selector, ref.value) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@prod",
        "Skill",
        "a b",
        "a/b/c",
        "a//b",
        "../a",
        "-a",
        "a-",
        "skill@",
        "skill@Prod",
        "skill@a@b",
        "a\n",
    ],
)
def test_what_is_no_reference_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(NotFound) as caught:
        parse_ref(text)
    assert "v3" in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["tool-calling", "a", "a.b_c-d9", "team/a"])
def test_names_that_are_valid(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "A", "a--b", ".a", "a/", "/a", "a/b/c", "a@b", "ä", "a" * 129, "a\n"])
def test_a_card_refuses_a_bad_name(name: str, card: Callable[..., SkillCard]) -> None:
    with pytest.raises(ValidationError, match="not a skill's name"):
        card(name)


@pytest.mark.parametrize("alias", ["v3", "deadbeef", "Prod", "a/b", "", "sha256:00000000", "a" * 65])
def test_an_alias_cannot_read_as_something_else(alias: str) -> None:
    with pytest.raises(ConfigError, match="cannot be an alias"):
        check_alias(alias)


def test_a_card_is_frozen_and_strict(card: Callable[..., SkillCard]) -> None:
    with pytest.raises(ValidationError):
        card(colour="red")
    with pytest.raises(ValidationError):
        card().name = "other"
