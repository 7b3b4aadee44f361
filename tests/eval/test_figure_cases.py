"""Cases of evaluators whose figures are no shares: what answers took, cost, and how unlikely the expected ones were.

Each goes the way of an evaluation: answers are judged one by one, and summed up.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from test_evaluator_cases import Case, cases, sheet, written

from agentlora.core.config import parse
from agentlora.core.errors import ConfigError
from agentlora.core.manager import default_plugins
from agentlora.core.types import EngineSpec, Evaluator, Example, Expected, Output
from agentlora.eval.aggregating import condition_record
from agentlora.eval.asking import Digests
from agentlora.eval.cache import AnswerCache
from agentlora.eval.conditions import Condition, to_request
from agentlora.eval.engines.echo import EchoEngine
from agentlora.eval.engines.hf import TransformersEngine, TransformersFactory
from agentlora.eval.judging import Judged, judge, kept
from agentlora.eval.nats import with_nats

BASE = Condition("base")
ASKED = Example("x", ({"role": "user", "content": "a"},), Expected(text="a"))


def evaluator_of(name: str, case: Case) -> Evaluator:
    thing = default_plugins().get("evaluators", name)
    if "settings" not in case:
        found: Evaluator = thing
        return found
    configured: Evaluator = thing.configured(parse(thing.Params, case["settings"], "settings"))
    return configured


def output_of(raw: Case, folder: Path) -> tuple[Output, bool]:
    """(an engine's output, whether it was known from before)"""
    text = written(raw.get("text", "" if "error" in raw else "Paris"))
    found = Output(
        "x",
        text,
        finish_reason="error" if "error" in raw else raw.get("ended", "stop"),
        prompt_tokens=number(raw.get("asked", 0)),
        output_tokens=number(raw.get("tokens", 0)),
        error=raw.get("error"),
        latency_s=raw.get("took"),
        nats=raw.get("nats"),
        no_nats=raw.get("no_nats", ""),
    )
    if raw.get("from") == "cache":  # as an evaluation of before has left it
        cache = AnswerCache(folder)
        cache.put({"key": found})
        return replace(cache.get(["key"])["key"], id="x"), True
    return found, False


def number(raw: Any) -> Any:
    """As it is, or ten to a power that is too long for a sheet."""
    return 10 ** raw["power"] if isinstance(raw, dict) else raw


def judged(evaluator: Evaluator, output: Output, cached: bool, raw: Case) -> Judged:
    found = judge(evaluator, ASKED, BASE, output, Digests("0" * 64, "0" * 64), cached)
    if raw.get("from") == "killed":  # from the file that an evaluation which was ended has left
        return kept(json.loads(json.dumps(found.sample)), ASKED, BASE)
    return found


def check(name: str, case: Case, found: list[Judged]) -> None:
    """Of one answer what is said of it, and of all of them the mean and who is in it."""
    evaluator = evaluator_of(name, case)
    unbounded = set(getattr(evaluator, "unbounded", ()))
    of_all = condition_record(
        BASE, found, found, [], evaluator.metrics, evaluator.metrics[0], unbounded, seed=0
    )
    for metric in evaluator.metrics:
        if metric in case:
            figure, wanted = of_all.metrics[metric], case[metric]
            wanted = float(Fraction(wanted)) if isinstance(wanted, str) else wanted
            assert figure.mean == (wanted if wanted is None else pytest.approx(wanted, rel=1e-4, abs=1e-6)), (
                metric
            )
            assert figure.unbounded
    for status in ("unscored", "errored"):
        lost = [j for j in found if j.sample["status"] == status]
        assert len(lost) == (1 if isinstance(case.get(status), str) else case.get(status, 0)), found
        if isinstance(case.get(status), str):
            assert case[status] in lost[0].sample[status if status == "unscored" else "error"]


def check_outputs(name: str, case: Case, folder: Path) -> None:
    if "refused" in case:
        with pytest.raises(ConfigError, match=case["refused"]):
            evaluator_of(name, case)
        return
    evaluator = evaluator_of(name, case)
    answers = case.get("answers", [case])
    check(
        name,
        case,
        [judged(evaluator, *output_of(raw, folder / str(i)), raw) for i, raw in enumerate(answers)],
    )


@pytest.mark.parametrize("case", cases("latency"))
def test_latency(case: Case, tmp_path: Path) -> None:
    check_outputs("latency", case, tmp_path)


@pytest.mark.parametrize("case", cases("cost"))
def test_cost(case: Case, tmp_path: Path) -> None:
    check_outputs("cost", case, tmp_path)


# --- how unlikely the expected answer is --------------------------------------------------------


@pytest.fixture(scope="module")
def bigrams(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TransformersEngine]:
    """A Llama of one layer that adds nothing, so that the table of the sheet is what it says: the next word hangs on
    the last one. A word that the table leaves out is e^-100 likely.
    """
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    found = sheet("perplexity")
    words = ["<pad>", "<unk>", "<user>", "<system>", *found["table"]]
    words = list(
        dict.fromkeys([*words, *(["<odd>"] if len(set(words)) % 2 else [])])
    )  # rotations come in pairs
    folder, size = tmp_path_factory.mktemp("bigrams"), len(words)
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=size,
        intermediate_size=4,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=2048,
        rms_norm_eps=1e-12,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=words.index("<end>"),
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config)
    head = torch.full((size, size), -100.0)  # [next, last]
    for last, row in found["table"].items():
        assert sum(map(Fraction, row.values())) == 1, last
        for word, share in row.items():
            head[words.index(word), words.index(last)] = math.log(Fraction(share))
    with torch.no_grad():
        layer = model.model.layers[0]
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(size))
        model.lm_head.weight.copy_(head / math.sqrt(size))  # the norm makes √size of a one
    model.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>", eos_token="<end>"
    ).save_pretrained(folder)
    template = (
        "{% for m in messages %}{{ '<' + m.role + '> ' + m.content + ' <end> ' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<assistant> ' }}{% endif %}"
    )
    spec = EngineSpec(folder, template, max_len_tokens=300, options={"device": "cpu", "batch_size": 8})
    with TransformersFactory().open(spec) as engine:
        yield engine


def example_of(raw: Case) -> Example:
    turns = raw.get("turns") or [{"user": written(raw.get("said", "a"))}]
    messages = tuple({"role": role, "content": text} for turn in turns for role, text in turn.items())
    text = None if raw.get("wanted") is None else written(raw["wanted"])
    return Example("x", messages, Expected(text=text, value=raw.get("value")), accepts=raw.get("accepts"))


def by_hand(odds: list[Any]) -> float:
    """The mean of -log of what the table says of each token: a share, or `never`."""
    nats = [
        100.0 if one == "never" else -math.log(Fraction(one))
        for entry in odds
        for one in ([entry[0]] * entry[1] if isinstance(entry, list) else [entry])
    ]
    return sum(nats) / len(nats)


@pytest.mark.parametrize("case", cases("perplexity"))
def test_perplexity(case: Case, bigrams: TransformersEngine, tmp_path: Path) -> None:
    if "wanted" not in case and "value" not in case and "answers" not in case:
        check_outputs("perplexity", case, tmp_path)
        return
    answers = case.get("answers", [case])
    examples = [example_of(raw) for raw in answers]
    condition = Condition("base", case.get("kind", "plain"))
    engine: Any = EchoEngine({}, {}) if case.get("engine") == "echo" else bigrams
    outputs = [Output("x", str(raw.get("text", "a"))) for raw in answers]
    requests = [to_request(e, condition) for e in examples]
    found = with_nats(engine, examples, condition, requests, outputs)
    odds = [by_hand(raw["odds"]) for raw in answers if "odds" in raw]
    if odds:
        case = {**case, "nats_per_token": math.fsum(odds) / len(odds)}
    evaluator = evaluator_of("perplexity", case)
    check("perplexity", case, [judged(evaluator, output, False, {}) for output in found])
