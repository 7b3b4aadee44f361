"""An answer that goes on for ever: one call begun thousands of times is read once, and told as if each had been."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from eval_examples import example, light

from agentlora.core.types import Output
from agentlora.eval import compliance
from agentlora.eval.calls import OPEN, parse_answer, render_block, split
from agentlora.eval.compliance import Call, judge

PIECES = (
    OPEN,
    f"{OPEN}{{",
    f"{OPEN}{{}}</tool_call> and",
    f"{OPEN}[1, 2]</tool_call>",
    f"{OPEN}</tool_call>",
    f"{OPEN}so be it",
    f"{OPEN}so be it</tool_call>",
    render_block("unknown", {"a": 1}),
    render_block("set_light", {"room": "hall"}),
    render_block("set_light", {"room": 3, "level": "x"}),
    render_block("set_light", '"{}"'),
)


def one_by_one(self: Any) -> Iterator[tuple[Call, int]]:
    yield from ((call, 1) for call in self.calls)


def read_apart(output: Output) -> Any:
    """Every block by itself, whatever else is written."""
    blocks, around = split(output.text)
    cut = output.finish_reason == "length"
    return compliance._Written([compliance._of_block(*block, cut) for block in blocks], around)


@pytest.mark.parametrize("finish_reason", ["stop", "length"])
@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("most", [200, 3])  # problems that are kept
def test_it_is_told_as_if_each_call_had_been_read_by_itself(
    finish_reason: Any, wanted: bool, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = example("x", "?", *([light("hall")] if wanted else []))
    monkeypatch.setattr(compliance, "MOST_PROBLEMS", most)
    rng = random.Random(f"{finish_reason}/{wanted}")
    for _ in range(40):
        text = "".join(rng.choices(rng.sample(PIECES, rng.randint(1, 5)), k=rng.randint(1, 30)))
        output = Output("x", text, finish_reason)
        found = judge(asked, output)
        assert found is not None
        with monkeypatch.context() as apart:
            apart.setattr(compliance, "_written_blocks", read_apart)
            apart.setattr(compliance._Written, "counted", one_by_one)
            expected = judge(asked, output)
        assert expected == found
        assert [p.to_dict() for p in expected.problems] == [p.to_dict() for p in found.problems]


@pytest.mark.parametrize("piece", PIECES)
def test_work_does_not_grow_with_how_often_a_call_is_begun(
    piece: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def counting(name: str) -> Any:
        really = getattr(compliance, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            done.append(name)
            return really(*args, **kwargs)

        return counted

    for name in ("json_form", "_of_call", "_of_fault", "replace"):
        monkeypatch.setattr(compliance, name, counting(name))
    asked = example("x", "?", light("hall"))
    of_some = judge(asked, Output("x", 3 * piece))
    few = len(done)
    done.clear()
    of_many = judge(asked, Output("x", 3000 * piece))
    assert len(done) == few < 20
    assert of_some is not None
    assert of_many is not None
    for some, many in zip(of_some.problems, of_many.problems, strict=True):
        assert many.key == some.key
        assert many.times == (1 if some.keyword == "extra_text" else some.times * 1000)
    assert parse_answer(3000 * piece).attempted == 3000
