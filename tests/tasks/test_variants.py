"""Variants of training tools: sound, exact, and with nothing in them that is held out."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from agentlora.core import schema
from agentlora.core.types import Example
from agentlora.tasks.tool_calling.builder import ToolRequestParams, ToolRequests
from agentlora.tasks.tool_calling.styles import words_of
from agentlora.tasks.tool_calling.toolspec import Phrasing, ToolSpec, load_catalogue, problems, render
from agentlora.tasks.tool_calling.variants import load_options, variant

TRAINED = [tool for tool in load_catalogue() if tool.split == "train"]
HELD_OUT = [tool for tool in load_catalogue() if tool.split != "train"]
UNUSED = ("no phrasing has this slot", "no such property")  # pools that a variant no longer needs


def variants(seed: int) -> Iterator[tuple[ToolSpec, ToolSpec]]:
    rng = random.Random(seed)
    return ((tool, variant(tool, rng)) for tool in TRAINED)


@pytest.mark.parametrize("seed", range(3))
def test_every_request_to_a_variant_has_a_call_that_its_schema_takes(seed: int) -> None:
    rng = random.Random(seed)
    for tool, varied in variants(seed):
        assert not [p for p in problems(varied) if not p.endswith(UNUSED) and UNUSED[1] not in p], tool.name
        for phrasing in varied.phrasings:
            _, arguments = render(varied, phrasing, rng, invented=0.5)
            assert schema.errors(varied.parameters, arguments) == [], (tool.name, phrasing)


def test_options_come_and_go_and_names_change_their_style() -> None:
    fewer, more, respelt, spoken = 0, 0, 0, 0
    options = {" ".join(words_of(name)) for o in load_options().values() for name in o["names"]}
    for tool, varied in variants(0):
        before, after = ([*t.parameters.get("properties", {})] for t in (tool, varied))
        had, has = ({" ".join(words_of(name)) for name in names} for names in (before, after))
        assert set(tool.parameters.get("required", ())) <= {*before}
        fewer += bool(had - has)
        more += bool(has - had)
        respelt += bool({n for n in after if " ".join(words_of(n)) in had} - set(before))
        assert has - had <= options
        said = [{" ".join(words_of(n)) for n in (*p.slots, *p.set)} for p in varied.phrasings]
        spoken += any(names & (has - had) for names in said)
        required = {" ".join(words_of(name)) for name in tool.parameters.get("required", ())}
        assert {" ".join(words_of(name)) for name in varied.parameters.get("required", ())} == required
        assert len(varied.phrasings) >= min(3, len(tool.phrasings))
    for count in (fewer, more, respelt, spoken):
        assert 0.1 * len(TRAINED) < count < 0.9 * len(TRAINED)


def test_no_option_is_taken_from_a_held_out_tool() -> None:
    held_out = {
        " ".join(words_of(name)) for tool in HELD_OUT for name in tool.parameters.get("properties", {})
    }
    written = "\n".join(p.text for tool in HELD_OUT for p in (*tool.phrasings, *tool.missing)).lower()
    for key, option in load_options().items():
        assert not {" ".join(words_of(name)) for name in option["names"]} & held_out, key
        assert not [s for s in (*option.get("said", ()), *option.get("say", ())) if s.lower() in written], key


def test_a_sentence_is_not_put_behind_a_text_that_would_go_on_in_it() -> None:
    note = ToolSpec(
        domain="notes",
        name="add_note",
        description="Adds one.",
        parameters={"type": "object", "properties": {"words": {"type": "string"}}, "required": ["words"]},
        values={"words": ["buy milk"]},
        phrasings=(Phrasing("Write down {words}"),),
        missing=(),
        split="train",
        source="catalogue",
    )
    longer = {variant(note, random.Random(seed)).phrasings[0].text for seed in range(200)} - {
        "Write down {words}",
        "Write down {Words}",
    }
    assert len(longer) > 20
    assert all(text.endswith("Write down {words}") or text.endswith("Write down {Words}") for text in longer)


def build(share: float) -> list[Example]:
    params = ToolRequestParams(real_tools=0, examples=800, variants_share=share)
    return list(ToolRequests().build("train", params, 0))


def test_a_builder_without_variants_offers_only_the_catalogue_s_own_parameters() -> None:
    known = {" ".join(words_of(name)) for tool in TRAINED for name in tool.parameters.get("properties", {})}

    def strange(examples: list[Example]) -> set[str]:
        return {
            name
            for e in examples
            if e.tags["slice"] == "catalogue"
            for tool in e.tools
            for name in tool["function"]["parameters"].get("properties", {})
            if " ".join(words_of(name)) not in known
        }

    assert not strange(build(0))
    assert strange(build(0.6))
