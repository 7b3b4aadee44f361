"""The gate reads records that the real evaluation made; only their figures are varied here."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentlora.core.types import MethodCard, Task
from agentlora.eval.record import ConditionRecord, DifferenceRecord, Figure, Record
from agentlora.registry.gate import Verdict, judge
from agentlora.registry.servable import tensor_names, tensor_problems, vllm_problems

ADAPTER = "ad" * 32
TASK = Task(
    name="calls",
    summary="",
    dataset_builder="b",
    evaluator="e",
    headline="exact",
    floor={"exact": 0.3, "false_calls": 0.1},
    lower_is_better=frozenset({"false_calls"}),
)
LORA = MethodCard(serve_on=("vllm", "transformers"))
CONFIG: dict[str, Any] = {  # what PEFT writes for a plain LoRA
    **{"peft_type": "LORA", "task_type": "CAUSAL_LM", "peft_version": "0.21.2", "inference_mode": True},
    **{"r": 16, "lora_alpha": 32, "lora_dropout": 0.0, "target_modules": ["q_proj"], "bias": "none"},
    **{"init_lora_weights": True, "use_dora": False, "use_rslora": False, "modules_to_save": None},
    **{"rank_pattern": {}, "alpha_pattern": {}, "megatron_core": "megatron.core", "qalora_group_size": 16},
    **{"loftq_config": {}, "arrow_config": None, "fan_in_fan_out": False, "lora_bias": False},
}


def figure(mean: float | None, **fields: Any) -> Figure:
    values: dict[str, Any] = {
        "n": 100,
        "scored": 100,
        "unscored": 0,
        "errored": 0,
        "mean": mean,
        "low": 0,
        "high": 1,
    }
    return Figure(**(values | fields))


def condition(
    name: str, adapter: str | None, exact: float | None, false_calls: float | None, **fields: Any
) -> Any:
    return ConditionRecord(
        name=name,
        kind="plain",
        adapter=adapter,
        metrics={"exact": figure(exact, **fields), "false_calls": figure(false_calls)},
        slices={},
        prompt_tokens=1,
        output_tokens=1,
        truncated=0,
        cached=0,
    )


def difference(baseline: str, metric: str, mean: float | None, low: float | None, high: float | None) -> Any:
    return DifferenceRecord(
        metric=metric,
        system="adapter",
        baseline=baseline,
        n=100,
        groups=12,
        mean=mean,
        low=low,
        high=high,
        higher=1,
        lower=1,
    )


def record(adapter: Any = None, **fields: Any) -> dict[str, Any]:
    """base 0.1, few-shot 0.2, adapter 0.6; the differences are those of a clear gain."""
    values: dict[str, Any] = {
        "format": "agentlora.record/1",
        "task": "calls",
        "headline": "exact",
        "metrics": ("exact", "false_calls"),
        "lower_is_better": ("false_calls",),
        "base": {},
        "adapter": ADAPTER,
        "engine": "vllm",
        "data": {"split": "test"},
        "n": 100,
        "n_all": 100,
        "groups": 12,
        "max_tokens": 64,
        "conditions": (
            condition("base", None, 0.1, 0.5),
            condition("few-shot", None, 0.2, 0.4),
            adapter or condition("adapter", "skill", 0.6, 0.05),
        ),
        "skipped": {"schema": "cannot constrain"},
        "differences": (
            difference("base", "exact", 0.5, 0.4, 0.6),
            difference("few-shot", "exact", 0.4, 0.3, 0.5),
            difference("few-shot", "false_calls", -0.35, -0.4, -0.3),
        ),
        "best_baseline": "few-shot",
        "created_at": "2026-01-01T00:00:00+00:00",
    }
    return Record(**(values | fields)).to_dict()


def verdict(raw: Mapping[str, Any] | None = None, **arguments: Any) -> Verdict:
    defaults: dict[str, Any] = {
        "task": TASK,
        "card": LORA,
        "serve_on": "vllm",
        "adapter_config": CONFIG,
    }
    raw = record() if raw is None else raw
    return judge(raw, **(defaults | {"adapter_digest": ADAPTER} | arguments))


def only_reason(found: Verdict) -> str:
    assert not found.passed
    assert len(found.reasons) == 1, found.reasons
    return found.reasons[0]


def test_a_record_of_other_examples_or_another_base_proves_nothing() -> None:
    raw = record(base={"digest": "b" * 64}, data={"split": "test", "test_digest": "d" * 64})
    assert verdict(raw, base_digest="b" * 64, test_digest="d" * 64).passed
    assert "other base model" in only_reason(verdict(raw, base_digest="c" * 64, test_digest="d" * 64))
    assert "other test examples" in only_reason(verdict(raw, base_digest="b" * 64, test_digest="e" * 64))


def test_an_engine_without_a_model_proves_nothing() -> None:
    assert "asks no model" in only_reason(verdict(record(engine="echo")))


def test_a_proven_servable_version_passes_with_the_facts_for_its_card() -> None:
    found = verdict()
    assert (found.passed, found.reasons) == (True, [])
    assert found.facts["headline"] == {
        **{"metric": "exact", "value": 0.6, "low": 0, "high": 1, "best_baseline": "few-shot"},
        **{"baseline_value": 0.2, "difference": 0.4, "diff_low": 0.3, "diff_high": 0.5},
    }
    assert found.facts["floor"]["false_calls"] == {"value": 0.05, "bound": 0.1, "met": True}
    assert found.facts["skipped"] == {"schema": "cannot constrain"}
    assert found.facts["rank"] == 16


@pytest.mark.parametrize(
    ("problems", "refused"),
    [
        ({"": {"problems": 2, "first": ["x"], "examples": 2, "asked": 100, "why": "g0: exact 0"}}, False),
        ({"": {"problems": 3, "first": ["x"], "examples": 3, "asked": 100, "why": "g0: exact 0"}}, True),
        (
            {"": {"problems": 99, "first": ["x"], "examples": 0, "asked": 100, "why": ""}},
            False,
        ),  # corruptions
        ({"": {"problems": 99, "first": ["x"]}}, False),  # of before
        ({"regex": {"problems": 9, "first": ["x"], "examples": 100, "asked": 100, "why": "x"}}, False),
    ],
)
def test_expected_answers_that_the_tasks_own_evaluator_calls_wrong_prove_nothing(
    problems: dict[str, Any], refused: bool
) -> None:
    found = verdict(record(provenance={"evaluator_problems": problems}))
    assert found.passed is not refused
    if refused:
        assert "of 3 of 100 examples is not right, and of at most 2%" in only_reason(found)
        assert "(g0: exact 0)" in only_reason(found)


def test_only_enough_of_test_decides() -> None:
    assert "only test decides" in only_reason(verdict(record(data={"split": "dev"})))
    few = condition("adapter", "skill", 0.6, 0.05, scored=49, not_applicable=51)
    reason = only_reason(verdict(record(few)))
    assert "has 49 examples that decide, and 'calls' needs 50" in reason


def test_no_record_another_adapters_and_another_tasks_are_refused() -> None:
    missing = judge(
        None, task=TASK, card=LORA, serve_on="vllm", adapter_config=CONFIG, adapter_digest=ADAPTER
    )
    assert "no evaluation record" in only_reason(missing)
    reason = only_reason(verdict(adapter_digest="0b" * 32))
    assert "adadadadadad" in reason
    assert "0b0b0b0b0b0b" in reason
    assert "none" in only_reason(verdict(record(adapter=None) | {"adapter": None}))
    assert "'other'" in only_reason(verdict(record(task="other")))
    assert "agentlora.record/0" in only_reason(verdict(record() | {"format": "agentlora.record/0"}))
    assert verdict(record() | {"format": "agentlora.record/2"}).passed
    assert "not whole" in only_reason(
        verdict({"format": "agentlora.record/1", "task": "calls", "adapter": ADAPTER})
    )


@pytest.mark.parametrize("low", [0.0, -0.01])
def test_a_gain_whose_interval_reaches_zero_is_refused_with_the_figures(low: float) -> None:
    raw = record(differences=(difference("few-shot", "exact", 0.1, low, 0.2),))
    reason = only_reason(verdict(raw))
    for part in ("0.600", "0.200", "'few-shot'", "+0.100", f"{low:+.3f}", "n = 100"):
        assert part in reason


def test_a_figure_that_is_no_number_is_no_proof() -> None:
    for end in ("low", "high"):
        raw = record()
        raw["differences"][1][end] = float("nan")
        assert "no finite number" in only_reason(verdict(raw))


def test_it_is_the_best_baseline_that_counts() -> None:
    raw = record(
        differences=(
            difference("base", "exact", 0.5, 0.4, 0.6),
            difference("few-shot", "exact", 0, -0.1, 0.1),
        )
    )
    assert "'few-shot'" in only_reason(verdict(raw))


def test_a_headline_where_less_is_better_is_compared_the_other_way_round() -> None:
    task = replace(TASK, headline="false_calls", floor={})
    assert verdict(task=task).passed
    worse = record(differences=(difference("few-shot", "false_calls", 0.35, 0.3, 0.4),))
    assert "the paired gain is -0.350" in only_reason(verdict(worse, task=task))


def test_a_record_without_baseline_value_or_interval_is_refused() -> None:
    alone = (condition("adapter", "skill", 0.6, 0.05),)
    assert "no baseline" in only_reason(verdict(record(conditions=alone)))
    assert "no example was scored on both" in only_reason(verdict(record(differences=())))
    one_group = (difference("few-shot", "exact", 0.4, None, None),)
    assert "no interval" in only_reason(verdict(record(differences=one_group)))
    two = (condition("a", "x", 0.6, 0.05), condition("b", "y", 0.6, 0.05))
    assert "exactly one adapter" in only_reason(verdict(record(conditions=two)))
    aside = condition("adapter + schema", "skill", 0.1, 0.9).model_copy(update={"aside": True})
    assert verdict(record(conditions=(*record()["conditions"], aside))).passed  # it decides nothing
    reasons = verdict(record(condition("adapter", "skill", None, 0.05))).reasons
    assert any("no value of exact" in reason for reason in reasons)


def test_the_absolute_floor_holds_in_both_directions() -> None:
    assert "at most 0.1" in only_reason(verdict(record(condition("adapter", "skill", 0.6, 0.11))))
    assert "at least 0.3" in only_reason(verdict(record(condition("adapter", "skill", 0.29, 0.05))))
    assert verdict(record(condition("adapter", "skill", 0.3, 0.1))).passed
    task = replace(TASK, floor={"other": 0.5})
    assert "floor for other" in only_reason(verdict(task=task))


def test_a_floor_for_which_the_test_split_has_no_example_is_passed_over() -> None:
    """As with rows of one's own that all need a call."""
    adapter = condition("adapter", "skill", 0.6, 0.05)
    nothing = figure(None, scored=0, not_applicable=100)
    adapter = adapter.model_copy(update={"metrics": {**adapter.metrics, "false_calls": nothing}})
    assert verdict(record(adapter)).passed


def test_too_many_unjudged_answers_are_refused() -> None:
    few = condition("adapter", "skill", 0.6, 0.05, scored=90, errored=6, unscored=4)
    assert verdict(record(few)).passed
    many = condition("adapter", "skill", 0.6, 0.05, scored=89, errored=7, unscored=4)
    assert "11 of the adapter's 100" in only_reason(verdict(record(many)))


def test_a_baseline_that_never_answered_is_no_baseline_that_was_beaten() -> None:
    lost = condition("schema", None, None, 0.5, scored=5, errored=95).model_copy(
        update={"first_error": "no grammar"}
    )
    raw = record(conditions=(*record()["conditions"], lost))
    assert "95 of the 100 answers of the baseline 'schema'" in only_reason(verdict(raw))
    assert "no grammar" in only_reason(verdict(raw))
    teacher = lost.model_copy(update={"kind": "given"})
    assert verdict(record(conditions=(*record()["conditions"], teacher))).passed


def test_few_groups_show_nothing() -> None:
    few, enough = (
        difference("few-shot", "exact", 0.4, 0.3, 0.5).model_copy(update={"groups": n}) for n in (5, 6)
    )
    assert "5 groups, and fewer than 6" in only_reason(verdict(record(differences=(few,))))
    assert verdict(record(differences=(enough,))).passed


def test_serving_where_the_method_does_not_run_is_refused() -> None:
    prompts = MethodCard(serve_on=("transformers",), to_lora="never")
    reason = only_reason(verdict(card=prompts, adapter_config={"peft_type": "PROMPT_TUNING"}))
    assert "--serve-on transformers" in reason
    assert verdict(
        card=prompts, serve_on="transformers", adapter_config={"peft_type": "PROMPT_TUNING"}
    ).passed
    assert verdict(card=MethodCard(serve_on=()), serve_on="none", adapter_config=None).passed
    assert "no adapter_config.json" in only_reason(verdict(adapter_config=None))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"bias": "all"}, "'all'"),
        ({"lora_bias": True}, "lora_bias"),
        ({"modules_to_save": ["lm_head"]}, "lm_head"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4"),
        ({"init_lora_weights": "olora"}, "olora"),
        ({"alora_invocation_tokens": [1, 2]}, "activated"),
        ({"layer_replication": [[0, 4]]}, "layer_replication"),
        ({"use_qalora": True}, "QA-LoRA"),
        ({"use_bdlora": {"nblocks": 2}}, "block-diagonal"),
        ({"trainable_token_indices": [3]}, "tokens"),
        ({"kasa_config": {"beta": 0.1}}, "kasa_config"),
        ({"arrow_config": {"top_k": 2}}, "arrow_config"),
        ({"peft_type": "LOHA"}, "LOHA"),
        ({"r": 513}, "512"),
        ({"rank_pattern": {"q_proj": 1024}}, "1024"),
        ({"r": 0}, "r=0"),
        ({"r": None}, "r=None"),
    ],
)
def test_what_vllm_refuses_or_would_get_wrong(change: dict[str, Any], said: str) -> None:
    reasons = vllm_problems(CONFIG | change)
    assert len(reasons) == 1
    assert said in reasons[0]
    assert not verdict(adapter_config=CONFIG | change).passed


@pytest.mark.parametrize(
    "change",
    [
        {"use_rslora": True},
        {"rank_pattern": {"q": 64}, "alpha_pattern": {"q": 8}},
        {"init_lora_weights": "gaussian"},
    ],
)
def test_what_vllm_serves_passes(change: dict[str, Any]) -> None:
    assert vllm_problems(CONFIG | change) == []


def test_what_a_conversion_lost_is_judged() -> None:
    assert verdict(conversion={"rank": 64, "weight_error": 0.01, "divergence": 0.001}).passed
    reason = only_reason(verdict(conversion={"rank": 4, "weight_error": 0.4, "divergence": 0.31}))
    assert "As LoRA of rank 4 it answers 0.310 nats a token away" in reason


def test_rank_is_checked_against_the_server() -> None:
    assert "above the 8" in only_reason(verdict(max_rank=8))


def write_safetensors(path: Path, *names: str) -> Path:
    header = {
        name: {"dtype": "F32", "shape": [1], "data_offsets": [4 * i, 4 * i + 4]}
        for i, name in enumerate(names)
    }
    raw = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + b"\0" * 4 * len(names))
    return path


def test_tensors_that_are_not_loras_are_named(tmp_path: Path) -> None:
    stem = "base_model.model.model.layers.0.self_attn.q_proj"
    good = write_safetensors(
        tmp_path / "good", f"{stem}.lora_A.weight", f"{stem}.lora_B.weight", "x.lora_embedding_A"
    )
    assert len(tensor_names(good)) == 3
    assert tensor_problems(good) == []
    assert verdict(weights=[good]).passed
    bad = write_safetensors(tmp_path / "bad", f"{stem}.lora_A.weight", f"{stem}.lora_magnitude_vector")
    assert "1 of 2" in only_reason(verdict(weights=[bad]))
    assert "lora_magnitude_vector" in tensor_problems(bad)[0]
    assert "no tensors" in tensor_problems(write_safetensors(tmp_path / "empty"))[0]


@pytest.mark.parametrize(
    ("dtype", "bits", "finite"),
    [
        ("F32", struct.pack("<f", 3.4e38), True),
        ("F32", struct.pack("<f", float("nan")), False),
        ("F16", struct.pack("<e", float("inf")), False),
        ("F16", struct.pack("<e", 65504), True),
        ("BF16", b"\x80\xff", False),  # minus infinity
        ("BF16", b"\x7f\xff", True),
        ("F64", struct.pack("<d", float("-inf")), False),
        ("I64", b"\xff" * 8, True),
    ],
)
def test_weights_that_are_not_finite_are_refused(
    dtype: str, bits: bytes, finite: bool, tmp_path: Path
) -> None:
    zeros = bytes(len(bits))
    header = {
        f"{letter}.lora_{letter}.weight": {
            "dtype": dtype,
            "shape": [1],
            "data_offsets": [i * len(bits), (i + 1) * len(bits)],
        }
        for i, letter in enumerate("AB")
    }
    raw = json.dumps(header).encode()
    path = tmp_path / "adapter_model.safetensors"
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + zeros + bits)
    if finite:
        assert verdict(weights=[path]).passed
    else:
        assert "1 of 2 tensors" in only_reason(verdict(weights=[path]))
        assert "'B.lora_B.weight'" in only_reason(verdict(weights=[path]))


def test_a_model_of_its_own_is_judged_as_one(tmp_path: Path) -> None:
    full = MethodCard(serve_on=("transformers",), to_lora="approximate")
    weights = [write_safetensors(tmp_path / f"model-{i}", "model.norm.weight") for i in (1, 2)]
    model: dict[str, Any] = {"card": full, "kind": "model", "adapter_config": None, "weights": weights}
    for place in ("transformers", "none"):
        found = verdict(serve_on=place, **model)
        assert (found.passed, found.facts["rank"]) == (True, None)
    assert "agentlora serve" in only_reason(verdict(serve_on="vllm", **model))
    assert "changed after the evaluation" in only_reason(
        verdict(serve_on="none", adapter_digest="0b" * 32, **model)
    )
    assert "no safetensors file" in only_reason(verdict(serve_on="none", **(model | {"weights": []})))
    weights[1].write_bytes(weights[1].read_bytes()[:-1])
    assert "model-2 is not a whole safetensors file" in only_reason(verdict(serve_on="none", **model))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 100,
        struct.pack("<Q", 50) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 7) + b'{"a":1}',
        struct.pack("<Q", 8) + b"not json",
    ],
)
def test_a_broken_weights_file_is_a_reason_not_a_crash(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "adapter_model.safetensors"
    path.write_bytes(content)
    assert "not a whole safetensors file" in only_reason(verdict(weights=[path]))


def test_a_cut_or_missing_weights_file_is_a_reason(tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "w", "a.lora_A.weight")
    path.write_bytes(path.read_bytes()[:-1])
    assert "not a whole" in tensor_problems(path)[0]
    assert "not a whole" in tensor_problems(tmp_path / "absent")[0]


@pytest.mark.slow
def test_our_rules_agree_with_vllms_own_check() -> None:
    pytest.importorskip("vllm")
    from vllm.config.lora import LoRAConfig
    from vllm.lora.peft_helper import PEFTHelper

    def vllm_takes(config: dict[str, Any]) -> bool:
        try:
            PEFTHelper.from_dict(dict(config)).validate_legal(LoRAConfig(max_lora_rank=512))
        except ValueError:
            return False
        return True

    changes: list[dict[str, Any]] = [
        *({}, {"use_dora": True}, {"bias": "all"}, {"lora_bias": True}, {"modules_to_save": ["lm_head"]}),
        *({"alora_invocation_tokens": [1]}, {"layer_replication": [[0, 4]]}, {"use_qalora": True}),
        *({"use_bdlora": {"nblocks": 2}}, {"use_rslora": True}, {"r": 512}, {"r": 513}, {"r": 0}),
        *({"rank_pattern": {"q": 1024}}, {"rank_pattern": {"q": 64}}),
        *(
            {"init_lora_weights": kind}
            for kind in ("gaussian", "eva", "orthogonal", "lora_ga", "pissa", "olora")
        ),
        *({"init_lora_weights": kind} for kind in ("corda", "loftq", "pissa_niter_4", False)),
    ]
    for change in changes:
        assert vllm_takes(CONFIG | change) == (vllm_problems(CONFIG | change) == []), change


@pytest.mark.slow
def test_what_peft_writes_for_plain_lora_passes() -> None:
    peft = pytest.importorskip("peft")
    written = peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"]).to_dict()
    assert vllm_problems(json.loads(json.dumps(written, default=str))) == []
