"""Each rule of advice speaks when it should, and what it advises helps."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from agentlora.core.advice import RULES, Advice, Facts, advice
from agentlora.core.config import RunConfig, TrainingConfig, parse
from agentlora.core.manager import default_plugins
from agentlora.core.planning import what_fits
from agentlora.core.types import MethodCard


def config(method: str = "lora") -> RunConfig:
    return parse(RunConfig, {"task": "x", "method": {"name": method}, "training": {"batch_size": 4}})


def facts(**changes: Any) -> Facts:
    training = changes.pop("training", {})
    base = Facts(
        card=MethodCard(serve_on=("vllm",)),
        method={"r": 16, "alpha": 32, "dropout": 0.0, "target": "all-linear"},
        training=parse(TrainingConfig, {"lr": 1e-3, **training}),
        examples=5000,
        too_long=0,
        longest=400,
        updates=300,
        trainable=4_000_000,
        parameters=135_000_000,
        memory={"process": 10**9, "weights": 270_000_000, "activations": 10**9},
        free=8 * 10**9,
        micro_batch=8,
        stored_dtype="bfloat16",
        dtype="bfloat16",
        fast_dtype="bfloat16",
    )
    return replace(base, **changes)


def method(**settings: Any) -> dict[str, Any]:
    return {"method": {**facts().method, **settings}}


def test_a_sound_configuration_gets_no_advice() -> None:
    assert advice(facts()) == []
    assert advice(facts(**method(alpha=8), by_root=True)) == []


SPEAKS: list[tuple[str, dict[str, Any], str]] = [
    ("truncation", {"too_long": 37, "examples": 4000, "longest": 1100}, "--max-len 1152"),
    ("memory", {"free": 10**9, "fitting": lambda: "--method qlora"}, "--method qlora"),
    ("gradient checkpointing", {"training": {"gradient_checkpointing": True}}, "leave"),
    ("alpha / rank", method(alpha=128), "--alpha 32"),
    ("alpha / rank", method(alpha=8), "--alpha 32"),
    ("alpha / rank", {**method(alpha=32), "by_root": True}, "--alpha 8"),
    ("rank", {**method(r=64, alpha=64), "examples": 500, "updates": 31}, "--rank 8 --alpha 16"),
    ("rank", {**method(r=512), "examples": 500, "updates": 31, "trainable": 99_000_000}, "--rank 8 --alpha 16"),
    ("rank", {**method(r=8, alpha=16), "examples": 20_000, "free": 4 * 10**9}, "--rank 13 --alpha 26"),
    ("rank", {**method(r=8, alpha=16), "examples": 20_000, "free": 10**10, "trainable": 10**6, "parameters": 10**9},
     "--rank 32 --alpha 64"),
    ("trained share", {"trainable": 10_000_000}, "--rank 10 --alpha 20, or --target attention"),
    ("trained share", {**method(r=512), "trainable": 99_000_000}, "--rank 34 --alpha 68"),
    ("dropout", {"examples": 500, "updates": 100}, "--dropout 0.1"),
    ("dropout", {**method(dropout=0.2), "examples": 5000}, "--dropout 0.05"),
    ("dropout", {**method(dropout=0.1), "examples": 20_000, "free": 4 * 10**9}, "--dropout 0"),
    ("learning rate", {"training": {"lr": 2e-5}}, "--lr 2e-04"),
    ("learning rate", {"method": {}, "trainable": 135_000_000, "training": {"lr": 1e-3}}, "--lr 1e-04"),
    ("batch size", {"training": {"batch_size": 64}}, "--batch-size 16"),
    ("updates", {"updates": 12}, "--epochs"),
    ("target", method(target="minimal"), "--target all-linear"),
    ("full fine-tuning", {"examples": 20_000}, "--method full"),
    ("quantized base", {"card": MethodCard(serve_on=("vllm",), quantized_base=True)}, "--method lora"),
    ("dtype", {"dtype": "float32"}, "--dtype auto"),
    ("adapter and base dtype", {"stored_dtype": "float16"}, "--dtype float32"),
    ("dtype", {"dtype": "float32", "fast_dtype": "float32", "free": 2 * 10**9}, "--dtype bfloat16"),
]  # fmt: skip


@pytest.mark.parametrize(("about", "changes", "change"), SPEAKS)
def test_each_rule_speaks_when_it_should(about: str, changes: dict[str, Any], change: str) -> None:
    found = advice(facts(**changes))
    assert [row.about for row in found] == [about]
    assert change in found[0].change
    assert found[0].why
    assert found[0].source


def test_following_an_advice_brings_no_other() -> None:
    """Nor the opposite one."""
    assert advice(facts(stored_dtype="float16", dtype="float32")) == []
    assert advice(facts(stored_dtype="float32", dtype="float32")) == []
    assert advice(facts(**method(r=8, alpha=16), examples=500, updates=31, trainable=1_500_000)) == []
    assert advice(facts(**method(r=34, alpha=68), trainable=6_700_000)) == []


def test_no_rule_is_without_a_case() -> None:
    speaking = {
        id(rule) for _, changes, _ in SPEAKS for rule in RULES if rule.seen(facts(**changes)) is not None
    }
    assert speaking == {id(rule) for rule in RULES}


def test_what_is_urgent_comes_first() -> None:
    found: list[Advice] = advice(facts(free=10**9, updates=5))
    assert [row.about for row in found] == ["memory", "updates"]


class Needs:
    """Of a model of 8 billion parameters, by formula; what was asked is kept."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def __call__(self, of: RunConfig, micro: int) -> dict[str, int]:
        self.asked.append((of.method.name, micro))
        fixed = {"full": 128, "qlora": 5, "lora": 17}[of.method.name] * 10**9
        return {
            "weights": fixed,
            "activations": micro * 10**9 // (8 if of.training.gradient_checkpointing else 1),
        }


@pytest.mark.parametrize(
    ("name", "free", "said"),
    [
        ("lora", 20, "training.micro_batch_size=2 (now 4), which is predicted to need 19.00 GB"),
        ("lora", 17.2, "training.micro_batch_size=1 (now 4) and --gradient-checkpointing, which is "),
        ("lora", 12, "--method qlora, which is predicted to need 9.00 GB"),
        ("lora", 5.2, "--method qlora and training.micro_batch_size=1 (now 4) and --gradient-checkpointing"),
        ("full", 30, "--method lora, which is predicted to need 21.00 GB"),
        (
            "full",
            2,
            "a --model of at most about 3.1 billion parameters: no setting and no method makes one of 8",
        ),
    ],
)
def test_memory_advice_is_what_the_plan_says_fits(name: str, free: float, said: str) -> None:
    pytest.importorskip("bitsandbytes")
    needs, memory = Needs(), Needs()(config(name), 4)
    found = SimpleNamespace(parameters=8 * 10**9, micro_batch=4, memory=memory)
    what = what_fits(config(name), default_plugins(), needs, found, int(free * 10**9), 220)
    assert said in what
    assert len(needs.asked) <= 7
    if (
        memory["weights"] > free * 10**9
    ):  # of its own method only what nothing can save, with the shortest examples
        assert (
            needs.asked.count((name, 1)) == len([method for method, _ in needs.asked if method == name]) == 1
        )


def test_a_quantized_base_is_not_told_to_be_quantized() -> None:
    found = SimpleNamespace(parameters=8 * 10**9, micro_batch=4, memory={})
    assert "qlora" not in what_fits(config(), default_plugins(), Needs(), found, 10**10, 220, quantized=True)
