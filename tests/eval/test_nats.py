"""How unlikely a model finds the expected answer: as one forward pass over one row says, however it is batched."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from eval_examples import TOOLS, example, light, make_examples
from eval_runs import SHOTS, Counting, run

from agentlora.core.messages import answer_message
from agentlora.core.types import EngineSpec, Example, Expected
from agentlora.eval.conditions import Condition, to_request
from agentlora.eval.engines.hf import TransformersEngine, TransformersFactory
from agentlora.eval.nats import with_nats
from agentlora.eval.scorers import ToolCallEvaluator
from agentlora.eval.scorers.resources import Perplexity
from agentlora.eval.scorers.several import Several
from agentlora.plugins.bases.templates import chatml_tools

PLAIN = Condition("base")


@pytest.fixture(scope="module")
def engine(tiny_model_dir: Path) -> Iterator[TransformersEngine]:
    spec = EngineSpec(
        tiny_model_dir, chatml_tools(), max_len_tokens=2048, options={"device": "cpu", "batch_size": 4}
    )
    with TransformersFactory().open(spec) as opened:
        yield opened


def by_hand(directory: Path, asked: Example) -> float:
    """The whole conversation in one row; of it the tokens from the answer's first to the end of the turn."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()

    def text(messages: list[object], open_: bool) -> str:
        return str(
            tokenizer.apply_chat_template(
                messages, tools=list(asked.tools) or None, add_generation_prompt=open_, tokenize=False
            )
        )

    prompt = text(list(asked.messages), True)
    whole = text([*asked.messages, answer_message(asked.expected)], False)
    answer = whole[len(prompt) :].partition("<|im_end|>")[0] + "<|im_end|>"
    before, behind = (tokenizer(part, add_special_tokens=False)["input_ids"] for part in (prompt, answer))
    with torch.no_grad():
        logits = model(torch.tensor([before + behind])).logits[0].log_softmax(-1)
    picked = [float(logits[len(before) + i - 1, token]) for i, token in enumerate(behind)]
    return -sum(picked) / len(picked)


def test_it_is_what_one_row_alone_gives(engine: TransformersEngine, tiny_model_dir: Path) -> None:
    examples = [
        *make_examples(1),
        dataclasses.replace(example("long", "Dim " * 40, light("attic " * 20)), tools=TOOLS[:1]),
        Example("text", ({"role": "user", "content": "Hi"},), Expected(text="Hello there")),
        Example("value", ({"role": "user", "content": "As JSON"},), Expected(value={"a": [1, 2]})),
    ]
    requests = [to_request(e, PLAIN) for e in examples]
    found = engine.answer_nats(requests, [answer_message(e.expected) for e in examples])
    assert found == pytest.approx([by_hand(tiny_model_dir, e) for e in examples], rel=1e-4)


def test_what_a_model_has_learnt_is_less_unlikely(engine: TransformersEngine) -> None:
    """The answer that the model gives is likelier to it than another one."""
    asked = Example("x", ({"role": "user", "content": "Hi"},), Expected(text=""))
    (own,) = engine.generate([dataclasses.replace(to_request(asked, PLAIN), max_tokens=4)])
    texts = [own.text, "zzzz qqqq"]
    request = to_request(asked, PLAIN)
    mine, other = engine.answer_nats(
        [request] * 2, [{"role": "assistant", "content": text} for text in texts]
    )
    assert isinstance(mine, float)
    assert isinstance(other, float)
    assert mine < other


def test_one_that_cannot_be_scored_does_not_spoil_the_others(engine: TransformersEngine) -> None:
    good = Example("good", ({"role": "user", "content": "Hi"},), Expected(text="Hello"))
    long = Example("long", ({"role": "user", "content": "light " * 3000},), Expected(text="Hello"))
    wizard = Example("role", ({"role": "wizard", "content": "Hi"},), Expected(text="Hello"))
    requests = [to_request(e, PLAIN) for e in (good, long, wizard)]
    stranger = dataclasses.replace(requests[0], adapter="nobody")
    answers = [answer_message(good.expected)] * 4
    first, *others = engine.answer_nats([*requests, stranger], answers)
    assert isinstance(first, float)
    assert "max_len_tokens" in str(others[0])
    assert "unknown adapter 'nobody'" in str(others[2])


def test_an_engine_that_cannot_say_leaves_it_unscored_with_what_to_do(tmp_path: Path) -> None:
    examples = make_examples(2)
    both = Several(ToolCallEvaluator(), {"perplexity": Perplexity()})
    record, samples = run(Counting(), examples, tmp_path, evaluator=both)
    figure = record.condition("base").metrics["perplexity.nats_per_token"]
    assert (figure.scored, figure.unscored) == (0, 8)
    assert "--engine transformers" in samples[0]["unscored_metrics"]["perplexity.nats_per_token"]


def test_every_condition_that_is_not_held_to_a_grammar_has_it(engine: TransformersEngine) -> None:
    asked = make_examples(1)
    outputs = Counting().generate([to_request(e, PLAIN) for e in asked])
    plain, shots, held = (
        with_nats(engine, asked, c, [to_request(e, c, SHOTS) for e in asked], outputs)
        for c in (PLAIN, Condition("shots", "few_shot"), Condition("held", "constrained"))
    )
    assert all(o.nats is not None for o in (*plain, *shots))
    assert [o.nats for o in plain] != [o.nats for o in shots]
    assert all(o.nats is None and "grammar" in o.no_nats for o in held)
