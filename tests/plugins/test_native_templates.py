"""The templates that models bring along, as TRL has them, and Mistral's, as its mistral_common writes them: what they
make of an example is what the example says, or is refused.

Read from the installed packages; the tiny model's tokenizer stands in for the models', with their special tokens added.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from agentlora.core.errors import ConfigError
from agentlora.core.pipeline import refuse_foreign_calls
from agentlora.core.types import Base, BaseIdentity, Example, Expected, ToolCall
from agentlora.eval.calls import parse_answer
from agentlora.plugins.trainers.xray import look, pieces_of

CHATML = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
LLAMA = (
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|python_tag|>",
)
GEMMA = ("<bos>", "<start_of_turn>", "<end_of_turn>")
PHI = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>")
MISTRAL = ("<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]",
           "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[ARGS]")  # fmt: skip
# template → its special tokens, whether it takes a system message
NATIVE = {
    "qwen2_5": (CHATML, True), "qwen3": (CHATML, True), "qwen3_instruct_2507": (CHATML, True),
    "llama3": (LLAMA, True), "llama3_1": (LLAMA, True), "llama3_2": (LLAMA, True),
    "gemma": (GEMMA, False), "gemma3": (GEMMA, True), "phi3": (PHI, True), "phi3_5": (PHI, True),
    "mistral_v1_spm": (MISTRAL, True), "mistral_v2_spm": (MISTRAL, True), "mistral_v3_spm": (MISTRAL, True),
    "mistral_v3": (MISTRAL, True), "mistral_v7_spm": (MISTRAL, True), "mistral_v7": (MISTRAL, True),
    "mistral_v11": (MISTRAL, True), "mistral_v13": (MISTRAL, True),
}  # fmt: skip
ENDS = {CHATML: "<|im_end|>", LLAMA: "<|eot_id|>", GEMMA: "<end_of_turn>", PHI: "<|end|>", MISTRAL: "</s>"}
HERMES = ("qwen2_5", "qwen3", "qwen3_instruct_2507")
TOOL = {
    "type": "function",
    "function": {
        "name": "set_light",
        "description": "Switches a light.",
        "parameters": {"type": "object", "properties": {"room": {"type": "string"}, "level": {"type": "integer"}},
                       "required": ["room"]},
    },
}  # fmt: skip
CALL = {"type": "function", "function": {"name": "set_light", "arguments": {"room": "hall", "level": 3}}}
ASKED: tuple[dict[str, Any], ...] = (
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": 'Light in the "hall", please: ünï 🛋️'},
)


def template_of(name: str) -> str:
    family, _, rest = name.partition("_")
    if family == "mistral":
        generator = pytest.importorskip("mistral_common.integrations.chat_templates.template_generator")
        base = pytest.importorskip("mistral_common.tokens.tokenizers.base")
        version, _, kind = rest.partition("_")
        config = generator.TemplateConfig(version=base.TokenizerVersion(version), spm=kind == "spm")
        return str(generator.build_chat_template(config))
    return files("trl").joinpath("chat_templates", f"{name}.jinja").read_text(encoding="utf-8")


def tokenizer_of(name: str, tiny_model_dir: Path) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    special, _ = NATIVE[name]
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    if special in (LLAMA, GEMMA, MISTRAL):
        tokenizer.bos_token = special[0]
    tokenizer.eos_token = ENDS[special]
    return tokenizer


def asked(name: str, **changes: Any) -> Example:
    messages = ASKED if NATIVE[name][1] else ASKED[1:]
    return replace(Example("one", messages, Expected(text="Done, it is on."), group="g"), **changes)


@pytest.mark.parametrize("name", NATIVE)
def test_answers_in_words_and_values_come_back(name: str, tiny_model_dir: Path) -> None:
    tokenizer, template = tokenizer_of(name, tiny_model_dir), template_of(name)
    example = asked(name)
    for expected in (example.expected, Expected(value={"rooms": ["hall", "küche"], "level": None})):
        found = look(replace(example, expected=expected), tokenizer, template, 2000, parse_answer)
        assert found.problems == ()
        assert 0 < found.trained < found.length
    pieces = pieces_of(example, tokenizer, template)
    said = "".join(piece.text for piece in pieces if piece.role == "answer")
    assert said.removeprefix("<think>\n\n</think>\n\n").lstrip(" ").startswith("Done, it is on.")
    assert "please" in "".join(piece.text for piece in pieces if piece.role == "user")


@pytest.mark.parametrize("name", NATIVE)
def test_earlier_turns_are_not_trained_on(name: str, tiny_model_dir: Path) -> None:
    tokenizer, template = tokenizer_of(name, tiny_model_dir), template_of(name)
    between = ({"role": "assistant", "content": "Which one?"}, {"role": "user", "content": "The left one."})
    example = asked(name)
    longer = replace(example, messages=(*example.messages, *between))
    found = look(longer, tokenizer, template, 2000, parse_answer)
    assert found.problems == ()
    assert found.trained == look(example, tokenizer, template, 2000, parse_answer).trained


@pytest.mark.parametrize("name", HERMES)
def test_calls_and_results_come_back_where_the_format_is_hermes(name: str, tiny_model_dir: Path) -> None:
    tokenizer, template = tokenizer_of(name, tiny_model_dir), template_of(name)
    one = ToolCall("set_light", {"room": 'the "small" kitchen', "level": 3})
    calls = asked(
        name, expected=Expected(calls=(one, ToolCall("set_light", {"room": "hall"}))), tools=(TOOL,)
    )
    assert look(calls, tokenizer, template, 2000, parse_answer).problems == ()
    turns = (
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": '{"ok": true}'},
    )
    after = replace(calls, messages=(*calls.messages, *turns), expected=Expected(text="It is on."))
    found = look(after, tokenizer, template, 2000, parse_answer)
    assert found.problems == ()
    assert "ok" not in "".join(p.text for p in pieces_of(after, tokenizer, template) if p.role == "answer")


@pytest.mark.parametrize("name", sorted(NATIVE.keys() - set(HERMES)))
def test_a_format_that_nobody_reads_back_is_refused_before_training(
    name: str, tiny_model_dir: Path, tmp_path: Path
) -> None:
    tokenizer_of(name, tiny_model_dir).save_pretrained(tmp_path)
    base = Base(name, tmp_path, template_of(name), "hermes", BaseIdentity(*["x"] * 6))
    with pytest.raises(ConfigError, match="does not write a tool call as JSON between <tool_call>"):
        refuse_foreign_calls(base)
    for hermes in HERMES:
        refuse_foreign_calls(replace(base, chat_template=template_of(hermes)))
