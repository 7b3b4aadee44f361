"""The request builder: groups, cases, held-out tools and wordings, no leaks."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from agentlora.core import schema
from agentlora.core.config import parse
from agentlora.core.data import refuse_leaks
from agentlora.core.errors import ConfigError
from agentlora.core.manager import default_plugins
from agentlora.core.resolving import resolve_config
from agentlora.core.types import Example, Split
from agentlora.tasks.tool_calling.builder import ToolRequestParams, ToolRequests
from agentlora.tasks.tool_calling.styles import words_of

SPLITS: tuple[Split, ...] = ("train", "dev", "test")


def build(split: Split, seed: int = 0, **settings: object) -> list[Example]:
    params = ToolRequestParams(**{"real_tools": 0, "examples": 800, **settings})  # type: ignore[arg-type]
    return list(ToolRequests().build(split, params, seed))


def test_the_same_arguments_give_the_same_examples() -> None:
    assert build("train") == build("train")
    assert build("train") != build("train", seed=1)


@pytest.mark.parametrize("preset", [None, "demo", "starter"])
def test_no_seed_leaks_between_splits(preset: str | None) -> None:
    layer = {"data": {"params": {"real_tools": 0}}}
    config = resolve_config(default_plugins(), "tool-calling", {"preset": preset} if preset else {}, layer)
    params = parse(ToolRequestParams, config.data.params)
    for seed in range(4):
        splits = {split: list(ToolRequests().build(split, params, seed)) for split in SPLITS}
        refuse_leaks(splits)
        seen = {e.messages[-1]["content"] for e in splits["train"]}
        for split in ("dev", "test"):
            unseen = [e for e in splits[split] if e.tags["slice"] == "new-phrasings"]
            # a request of held-out wording stands in no training request
            assert not [
                e.id for e in unseen if e.tags["case"] != "none_fits" and e.messages[-1]["content"] in seen
            ]


def test_held_out_tools_are_never_trained_on() -> None:
    trained = {
        json.dumps(tool["function"]["parameters"], sort_keys=True) for e in build("train") for tool in e.tools
    }
    for split in ("dev", "test"):
        new = [e for e in build(split) if e.tags["tools"] == "new"]
        assert new
        for example in new:
            for tool in example.tools:
                assert json.dumps(tool["function"]["parameters"], sort_keys=True) not in trained


def test_no_held_out_tool_has_the_name_of_a_trained_one() -> None:
    def names(examples: list[Example]) -> set[tuple[str, ...]]:
        return {tuple(sorted(words_of(tool["function"]["name"]))) for e in examples for tool in e.tools}

    apis = {"real_tools": 300}
    trained = names(build("train", examples=8000, **apis))
    for split in ("dev", "test"):
        new = names([e for e in build(split, **apis) if e.tags["tools"] == "new"])
        assert len(new) > 40
        assert not new & trained


def test_a_group_shares_its_tools_and_mixes_cases() -> None:
    examples = build("train")
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(example.group, []).append(example)
    assert Counter(len(members) for members in groups.values()) == {8: 100}
    for members in groups.values():
        assert len({json.dumps(m.tools) for m in members}) == 1
        assert len({json.dumps(m.messages[:-1]) for m in members}) == 1
    assert sum(len({m.tags["case"] for m in members}) > 1 for members in groups.values()) > 90
    assert {e.tags["case"] for e in examples} == {"single", "choice", "none_fits", "missing", "two_calls"}


def test_every_expected_call_fits_an_offered_tool() -> None:
    for split in SPLITS:
        for example in build(split):
            tools = {tool["function"]["name"]: tool["function"]["parameters"] for tool in example.tools}
            assert len(tools) == len(example.tools)
            for call in example.expected.calls:
                assert schema.errors(tools[call.name], dict(call.arguments)) == []
            assert bool(example.expected.calls) != bool(example.expected.text)


def test_shares_of_more_than_all_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"catalogue_share \(0.9\) and composed_share \(0.2\)"):
        parse(ToolRequestParams, {"catalogue_share": 0.9})
    with pytest.raises(
        ConfigError, match=r"none_fits_share \(0.9\) and missing_share \(0.08\) and two_calls"
    ):
        parse(ToolRequestParams, {"none_fits_share": 0.9})
    assert {e.source for e in build("train", catalogue_share=0, composed_share=1)} == {"composed"}


@pytest.mark.parametrize(
    ("shares", "cases"),
    [
        ((1, 0, 0), {"none_fits"}),
        ((0, 0, 1), {"two_calls", "single", "choice"}),  # a tool without parameters cannot be called twice
        ((0, 0, 0), {"single", "choice"}),
    ],
)
def test_the_shares_of_cases_are_settings(shares: tuple[float, float, float], cases: set[str]) -> None:
    names = ("none_fits_share", "missing_share", "two_calls_share")
    counts = Counter(e.tags["case"] for e in build("train", **dict(zip(names, shares, strict=True))))
    assert counts.keys() <= cases
    assert counts.most_common(1)[0][0] in cases


def test_requests_that_nothing_fits_can_weigh_more_in_training() -> None:
    heavy = {e.tags["case"] == "none_fits": e.weight for e in build("train", none_fits_weight=2.5)}
    assert heavy == {True: 2.5, False: 1.0}
    assert {e.weight for e in build("dev", none_fits_weight=2.5)} == {1.0}


def test_answers_without_a_call_begin_alike() -> None:
    firsts = {e.expected.text.split()[0] for e in build("train") if e.expected.text}
    assert firsts == {"I"}


def test_the_test_split_has_fifty_handwritten_requests() -> None:
    slices = Counter(e.tags["slice"] for e in build("test"))
    assert slices["handwritten"] >= 50
    assert {"new-tools", "handwritten", "new-phrasings"} <= set(slices)
    cases = Counter(
        e.tags["case"] for e in build("test", test_handwritten=35) if e.tags["slice"] == "handwritten"
    )
    assert sum(cases.values()) == 35
    assert len(cases) == 5  # fewer of them keep the mix


def test_the_starter_set_is_large_and_distinct() -> None:
    examples = build("train", examples=4400)
    distinct = {(e.messages[-1]["content"], json.dumps(e.tools)) for e in examples}
    assert len(distinct) >= 4000


def test_an_example_fits_the_evaluator() -> None:
    """Gold answers score 1 and every corruption less, on real examples."""
    plugins = default_plugins()
    evaluator = plugins.get("evaluators", "tool-calls")
    assert evaluator.validate(build("test")[:60]) == []
