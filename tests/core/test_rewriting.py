"""A rewriter says training requests in other words: once, within its budget, and only what asks for the same stays."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from agentlora.core.cli import cli
from agentlora.core.errors import ConfigError, DataError, EvalError
from agentlora.core.examples import read_examples
from agentlora.core.manager import load_plugins
from agentlora.core.pipeline import build
from agentlora.core.resolving import resolve_config
from agentlora.core.rewriting import ROLE, as_teacher
from agentlora.core.run import create_run
from agentlora.core.teacher import find_teacher
from agentlora.core.types import Example

sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))
from teacher_server import FakeTeacher, fake_teacher

CODE = '''
import datetime
from typing import Literal

def cancel_order(order_id: str, reason: str | None = None):
    """Cancels an order."""

def list_orders(status: Literal["open", "shipped", "cancelled"] | None = None, since: datetime.date | None = None):
    """Lists the orders of the shop, newest first."""

def track_parcel(parcel_code: str):
    """Tells where a parcel is."""

def book_table(guests: int, day: datetime.date):
    """Books a table in the canteen."""
'''


@pytest.fixture
def tools(tmp_path: Path) -> str:
    (tmp_path / "shop.py").write_text(CODE)
    return str(tmp_path / "shop.py")


def request_in(prompt: str) -> str:
    (found,) = re.findall(r"^Request: (.*)$", prompt, re.MULTILINE)
    return str(found)


def small(text: str) -> str:
    first = text.split()[0]
    return (
        text if first in ("I", "I'm", "I'd") or first != first.capitalize() else text[:1].lower() + text[1:]
    )


def well(prompt: str) -> str:
    """As people might say it, all of it; what a model says around it, too."""
    text = small(request_in(prompt))
    ways = [
        f'1. "Could somebody around here look after this for me, whenever it suits: {text}"',
        f"2. hiya! {text}",
    ]
    return "\n".join(ways[: 2 if "2 different ways" in prompt else 1])


def without_values(prompt: str) -> str:
    words = small(request_in(prompt)).split()
    return " ".join(["oh hello,", *(word for word in words if not re.search(r"\d", word))])


def command(tools: str, teacher: FakeTeacher, output: Path, *sets: str) -> list[str]:
    settings = [
        "data.params.examples=96",
        "data.params.dev_examples=12",
        "data.params.test_examples=16",
        *sets,
    ]
    words = ["data", "build", "tool-calling", "--tools", tools, "--output", str(output), "--json"]
    words += ["--rewriter", f"{teacher.url}#big"] if teacher.url else []
    return [*words, *(word for part in settings for word in ("--set", part))]


def built(tools: str, teacher: FakeTeacher, output: Path, *sets: str) -> tuple[list[Example], dict[str, Any]]:
    """The training examples, and what the data card says of the rewriter."""
    done = CliRunner().invoke(cli, command(tools, teacher, output, *sets), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    card = json.loads((output / "card.json").read_text())
    told = card.get("rewriter", {})
    assert json.loads(done.stdout).get("rewriter", {}) == told
    return list(read_examples(output / "train.jsonl")), told


def asked_of(example: Example) -> str:
    return str(example.messages[-1]["content"])


def test_training_requests_are_said_otherwise_and_ask_for_the_same(tools: str, tmp_path: Path) -> None:
    generated, _ = built(tools, FakeTeacher(), tmp_path / "generated", "rewriter.share=1")
    with fake_teacher() as teacher:
        teacher.says = well
        examples, told = built(tools, teacher, tmp_path / "one", "rewriter.share=1")
        asked = len(teacher.asked)
        assert asked == told["asked"] > 60
        changed = [(a, b) for a, b in zip(generated, examples, strict=True) if a != b]
        assert len(changed) == told["rewritten"] == told["kept"] > 60
        for before, after in changed:
            assert small(asked_of(before)) in asked_of(after) != asked_of(before)
            assert (before.expected, before.tools, before.group) == (after.expected, after.tools, after.group)
            assert before.messages[:-1] == after.messages[:-1]
        cases = {after.tags["case"] for _, after in changed}
        assert {"choice", "none_fits", "missing"} <= cases
        for split in ("dev", "test"):
            assert (tmp_path / f"one/{split}.jsonl").read_bytes() == (
                tmp_path / f"generated/{split}.jsonl"
            ).read_bytes()
        built(tools, teacher, tmp_path / "two", "rewriter.share=1")
        assert len(teacher.asked) == asked
        assert (tmp_path / "one/train.jsonl").read_bytes() == (tmp_path / "two/train.jsonl").read_bytes()
    assert "in other words" in (tmp_path / "one" / "report.html").read_text()


def test_a_training_says_what_was_rewritten_and_several_ways_stay_in_their_group(
    tools: str, tmp_path: Path
) -> None:
    with fake_teacher() as teacher:
        teacher.says = well
        data = {
            "data": {
                "builder": "user-tools",
                "replay": 0,
                "params": {"tools": tools, "examples": 96, "dev_examples": 4, "test_examples": 4},
            }
        }
        more = {"rewriter": {"source": f"{teacher.url}#big", "share": 0.5, "ways": 2}}
        config = resolve_config(load_plugins(), "tool-calling", data, more)
        lines: list[str] = []
        run = create_run(config, tmp_path / "run", lambda event: lines.append(str(event.data.get("message"))))
        card = build(run, load_plugins())
    examples, told = run.examples("train"), card["rewriter"]
    assert 0 < told["requests"] < 80
    assert told["rewritten"] < told["kept"] <= 2 * told["rewritten"]
    assert len(examples) == 96 + told["kept"] - told["rewritten"] == card["counts"]["train"]
    assert any(f"{told['kept']} ways" in line and line.startswith("rewriter big at") for line in lines)
    groups = [e.group for e in examples]
    assert groups == sorted(groups)
    assert len({e.id for e in examples}) == len(examples)
    assert all(len({str(e.tools) for e in examples if e.group == group}) == 1 for group in set(groups))


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (without_values, "a value is not said"),
        (lambda prompt: f"<html>{request_in(prompt)}</html>", "no request, or one that speaks of tools"),
        (lambda prompt: "I am sorry, but that is nothing I can help with.", "a value is not said"),
        (lambda prompt: request_in(prompt), "no other words"),
        (lambda prompt: "", "an empty answer"),
        (lambda prompt: f"{well(prompt)} {'and so on ' * 100}", "too long"),
        (lambda prompt: f"{well(prompt)} before Friday", "a name or number that was not said"),
        (lambda prompt: f"{well(prompt)} with track_parcel or cancel_order", "the name of a tool or parameter"),
    ],
)  # fmt: skip
def test_what_does_not_ask_for_the_same_stays_as_it_was(
    tools: str, tmp_path: Path, says: Callable[[str], str], reason: str
) -> None:
    generated, _ = built(tools, FakeTeacher(), tmp_path / "generated")
    with fake_teacher() as teacher:
        teacher.says = says
        examples, told = built(tools, teacher, tmp_path / "out")
    assert told["dropped"][reason] > 10
    if says is not without_values:
        assert told["kept"] == 0
    for before, after in zip(generated, examples, strict=True):
        if before != after:  # what has nothing to lose
            assert not re.search(r"\d", asked_of(before))


def test_no_two_requests_become_nearly_one(tools: str, tmp_path: Path) -> None:
    """What is alike but for a word is kept once, also where no tool fits."""
    with fake_teacher() as teacher:
        teacher.says = lambda prompt: (
            "show the whole list of orders, please"
            if "list_orders (" in prompt and "with {}" in prompt
            else ""
        )
        examples, told = built(
            tools, teacher, tmp_path / "out", "rewriter.share=1", "data.params.examples=400"
        )
    assert sum(asked_of(e) == "show the whole list of orders, please" for e in examples) == told["kept"] == 1
    assert told["dropped"]["the same as another request"] > 2


def test_a_rewriter_that_dies_is_gone_on_with(tools: str, tmp_path: Path) -> None:
    words = ("rewriter.share=1", "rewriter.options.retries=0", "rewriter.options.concurrency=4")
    with fake_teacher() as teacher:
        teacher.says = well
        whole, told = built(tools, teacher, tmp_path / "whole", *words)
    with fake_teacher(*[200] * 32, *[500] * 1000) as teacher:
        teacher.says = well
        with pytest.raises(EvalError, match=r"rewriter fails again and again.*What it answered is kept"):
            built(tools, teacher, tmp_path / "out", *words)
        answered = 32
        teacher.plans.clear()
        before = len(teacher.asked)
        examples, again = built(tools, teacher, tmp_path / "out", *words)
        assert len(teacher.asked) - before == told["asked"] - answered == again["asked"]
    assert examples == whole


def test_a_budget_ends_asking_and_some_failures_cost_themselves(tools: str, tmp_path: Path) -> None:
    with fake_teacher() as teacher:
        teacher.says = well
        examples, told = built(tools, teacher, tmp_path / "a", "rewriter.share=1", "rewriter.max_requests=20")
        assert (len(teacher.asked), told["asked"]) == (20, 20)
        assert told["dropped"]["not asked: the budget is spent"] == told["not_asked"] > 20
        assert len({e.group for e in examples if e.tags.get("words") == "rewriter"}) > 2  # from everywhere
    with fake_teacher(*[500] * 5) as teacher:
        teacher.says = well
        _, told = built(tools, teacher, tmp_path / "b", "rewriter.options.retries=0")
        assert told["dropped"]["no answer"] == told["failed"] == 5
    with fake_teacher(*[500] * 1000) as teacher, pytest.raises((EvalError, DataError), match="HTTP 500"):
        built(tools, teacher, tmp_path / "c", "rewriter.options.retries=0")


def test_the_tasks_own_tools_are_asked_for_otherwise_too(tmp_path: Path) -> None:
    with fake_teacher() as teacher:
        teacher.says = well
        params = {"examples": 64, "dev_examples": 4, "test_examples": 4, "real_tools": 0}
        more = {"rewriter": {"source": f"{teacher.url}#big", "share": 1}}
        config = resolve_config(load_plugins(), "tool-calling", {"data": {"params": params}}, more)
        card = build(create_run(config, tmp_path / "run"), load_plugins())
    assert card["rewriter"]["kept"] > 20
    assert card["counts"]["train"] == 64


def test_who_rewrites_what_is_looked_at_first(tools: str) -> None:
    plugins = load_plugins()
    source = {"rewriter": {"source": "http://127.0.0.1:9/v1#big"}}
    with pytest.raises(ConfigError, match=r"'jsonl'.*Leave --rewriter out"):
        resolve_config(
            plugins, "tool-calling", {"data": {"builder": "jsonl", "params": {"path": "x"}}}, source
        )
    data = {"data": {"builder": "user-tools", "params": {"tools": tools}}}
    config = resolve_config(
        plugins,
        "tool-calling",
        data,
        {"rewriter": {"source": "http://127.0.0.1:9/v1"}},
    )
    with pytest.raises(ConfigError, match=r"--rewriter http.*which model of the endpoint"):
        find_teacher(as_teacher(config), plugins, ROLE)
    with pytest.raises(ConfigError, match="price_in"):
        resolve_config(plugins, "tool-calling", data, {"rewriter": {"max_cost": 1}})
    looked = CliRunner().invoke(
        cli, ["data", "xray", "tool-calling", "--tools", tools, "--rewriter", "http://h/v1#m"]
    )
    assert "look at the run" in str(looked.exception)
