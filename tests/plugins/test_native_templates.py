"""The templates that models bring along, as TRL has them, and Mistral's, as its mistral_common writes them: what they
make of an example, with our tool calls around those of other formats, is what the example says.

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
from agentlora.core.pipeline import refuse_unfit_template
from agentlora.core.types import Base, BaseIdentity, Example, Expected, ToolCall
from agentlora.eval.calls import parse_answer
from agentlora.plugins.bases import templates as bases
from agentlora.plugins.bases.templates import with_hermes_calls
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
    return trl_template(name)


def trl_template(name: str) -> str:
    return files("trl").joinpath("chat_templates", f"{name}.jinja").read_text(encoding="utf-8")


def trained_with(name: str, folder: Path) -> str:
    """The template that a model directory with that template gets."""
    (folder / "chat_template.jinja").write_text(template_of(name), encoding="utf-8")
    return bases.template_of(folder)


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
def test_answers_in_words_and_values_come_back(name: str, tiny_model_dir: Path, tmp_path: Path) -> None:
    tokenizer, template = tokenizer_of(name, tiny_model_dir), trained_with(name, tmp_path)
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
def test_earlier_turns_are_not_trained_on(name: str, tiny_model_dir: Path, tmp_path: Path) -> None:
    tokenizer, template = tokenizer_of(name, tiny_model_dir), trained_with(name, tmp_path)
    between = ({"role": "assistant", "content": "Which one?"}, {"role": "user", "content": "The left one."})
    example = asked(name)
    longer = replace(example, messages=(*example.messages, *between))
    found = look(longer, tokenizer, template, 2000, parse_answer)
    assert found.problems == ()
    assert found.trained == look(example, tokenizer, template, 2000, parse_answer).trained


@pytest.mark.parametrize("name", NATIVE)
def test_calls_and_results_come_back(name: str, tiny_model_dir: Path, tmp_path: Path) -> None:
    tokenizer, template = tokenizer_of(name, tiny_model_dir), trained_with(name, tmp_path)
    one = ToolCall("set_light", {"room": 'the "small" kitchen </tool>', "level": 3})
    two = ToolCall("set_light", {"room": "hall"})
    for expected in (
        Expected(calls=(one,)),
        Expected(calls=(one, two)),
        Expected(text="At once.", calls=(two,)),
    ):
        found = look(asked(name, expected=expected, tools=(TOOL,)), tokenizer, template, 2000, parse_answer)
        assert found.problems == ()
    asks = asked(name, tools=(TOOL,), expected=Expected(text="Both are on."))
    turns = (
        {"role": "assistant", "content": "", "tool_calls": [CALL, CALL]},
        {"role": "tool", "content": '{"ok": true}'},
        {"role": "tool", "content": "again"},
        {"role": "assistant", "content": "On.", "tool_calls": [CALL]},
        {"role": "tool", "content": "done"},
    )
    after = replace(asks, messages=(*asks.messages, *turns))
    assert look(after, tokenizer, template, 2000, parse_answer).problems == ()
    pieces = pieces_of(after, tokenizer, template)
    said = "".join(p.text for p in pieces if p.role == "answer")
    assert "Both are on." in said
    assert "ok" not in said
    prompt = "".join(p.text for p in pieces if p.role != "answer")
    places = [
        prompt.index(text) for text in ("Switches a light.", "please", "<tool_response>", "again", "done")
    ]
    assert places == sorted(places)


@pytest.mark.parametrize("name", sorted(NATIVE.keys() - set(HERMES)))
def test_what_is_said_around_a_template_says_what_it_says_itself(
    name: str, tiny_model_dir: Path, tmp_path: Path
) -> None:
    tokenizer, own, template = (
        tokenizer_of(name, tiny_model_dir),
        template_of(name),
        trained_with(name, tmp_path),
    )
    assert template.endswith(own)
    talk = [
        *ASKED[not NATIVE[name][1] :],
        {"role": "assistant", "content": "Which?"},
        {"role": "user", "content": "It"},
    ]
    for begins in (True, False):
        theirs, ours = (
            tokenizer.apply_chat_template(talk, chat_template=t, tokenize=False, add_generation_prompt=begins)
            for t in (own, template)
        )
        assert theirs == ours


@pytest.mark.parametrize("name", NATIVE)
def test_a_server_renders_what_was_trained(name: str, tiny_model_dir: Path, tmp_path: Path) -> None:
    """Some templates are given contents as lists of parts by vLLM; the prompt has to be the same."""
    hf = pytest.importorskip("vllm.renderers.hf")
    tokenizer, template = tokenizer_of(name, tiny_model_dir), trained_with(name, tmp_path)
    kind = hf._detect_content_format(template, default="string")
    assert kind == hf._detect_content_format(template_of(name), default="string")
    talk: list[dict[str, Any]] = [
        *asked(name).messages,
        {"role": "assistant", "content": "At once.", "tool_calls": [CALL]},
        {"role": "tool", "content": "done"},
        {"role": "assistant", "content": "It is on."},
        {"role": "user", "content": "And off"},
    ]
    if kind == "openai":
        parted = [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in talk]
        said = [
            tokenizer.apply_chat_template(
                messages, chat_template=template, tools=[TOOL], tokenize=False, add_generation_prompt=True
            )
            for messages in (talk, parted)
        ]
        assert said[0] == said[1]


@pytest.mark.parametrize("name", sorted(NATIVE.keys() - set(HERMES)))
def test_a_template_of_another_format_is_refused_where_it_stands_alone(
    name: str, tiny_model_dir: Path, tmp_path: Path
) -> None:
    tokenizer_of(name, tiny_model_dir).save_pretrained(tmp_path)
    base = Base(name, tmp_path, template_of(name), "hermes", BaseIdentity(*["x"] * 6))
    with pytest.raises(ConfigError, match="does not write a tool call as JSON between <tool_call>"):
        refuse_unfit_template(base)
    refuse_unfit_template(replace(base, chat_template=with_hermes_calls(base.chat_template)))


def test_a_template_without_system_turns_gets_the_system_message_in_the_first_turn(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    tokenizer, template = tokenizer_of("gemma", tiny_model_dir), trained_with("gemma", tmp_path)
    for tools in (None, [TOOL]):
        said = tokenizer.apply_chat_template(list(ASKED), chat_template=template, tools=tools, tokenize=False)
        assert said.startswith("<bos><start_of_turn>user\nBe brief.\n\n")
        assert said.index("Be brief.") < said.index("Light in the")
        assert said.count("<start_of_turn>") == 1
        assert ("Switches a light." in said) == bool(tools)
    alone = tokenizer.apply_chat_template(list(ASKED[:1]), chat_template=template, tokenize=False)
    assert alone == "<bos><start_of_turn>user\nBe brief.<end_of_turn>\n"


def test_thoughts_of_a_turn_that_calls_are_kept(tiny_model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text(trl_template("qwen3_5_think"))
    template = bases.template_of(tmp_path)
    tokenizer = tokenizer_of("qwen3", tiny_model_dir)
    talk: list[dict[str, Any]] = [
        *ASKED,
        {"role": "assistant", "content": "", "reasoning_content": "The hall.", "tool_calls": [CALL]},
        {"role": "tool", "content": "done"},
    ]
    said = str(tokenizer.apply_chat_template(talk, chat_template=template, tools=[TOOL], tokenize=False))
    assert "<think>\nThe hall.\n</think>\n\n<tool_call>" in said


@pytest.mark.parametrize("name", ["llama3_1", "mistral_v3", "gemma3"])
def test_odd_messages_are_said(name: str, tiny_model_dir: Path, tmp_path: Path) -> None:
    tokenizer, template = tokenizer_of(name, tiny_model_dir), trained_with(name, tmp_path)

    def rendered(*turns: dict[str, Any]) -> str:
        talk = [ASKED[1], *turns]
        said = tokenizer.apply_chat_template(talk, chat_template=template, tools=[TOOL], tokenize=False)
        return str(said).partition("ünï")[2]

    bare = {"role": "assistant", "tool_calls": [{"function": {"name": "set_light"}}]}
    assert '<tool_call>\n{"name": "set_light", "arguments": {}}\n</tool_call>' in rendered(bare)
    for said, shown in (
        ({"ok": 1}, '{"ok": 1}'),
        ([1, 2], "[1, 2]"),
        ([], "[]"),
        ([{"name": "x"}], '[{"name": "x"}]'),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a\nb"),
        (None, ""),
    ):
        result = rendered(bare, {"role": "tool", "content": said})
        assert f"<tool_response>\n{shown}\n</tool_response>" in result
    for none in ([], None):
        said = rendered({"role": "assistant", "content": "Done.", "tool_calls": none})
        assert "Done." in said
        assert "tool_call" not in said


# what the model is to begin with (a thought) is not how an answer without one is rendered
UNFIT = {"deepseek_r1_distill", "deepseekv3", "nemotron_3_5_lightning", "nemotron_3_nano", "nemotron_3_super",
         "nemotron_3_ultra"}  # fmt: skip
PICTURES = ("idefics3", "llava_next")  # take no plain text
OTHERS = sorted(
    path.name.removesuffix(".jinja")
    for path in files("trl").joinpath("chat_templates").iterdir()
    if path.name.endswith(".jinja") and not path.name.startswith(PICTURES) and "_training" not in path.name
)


@pytest.mark.parametrize("name", OTHERS)
def test_every_template_that_trl_has_can_call_or_is_refused(
    name: str, tiny_model_dir: Path, tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    tokenizer.bos_token = "<|begin|>"
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").write_text(trl_template(name), encoding="utf-8")
    base = Base(name, tmp_path, bases.template_of(tmp_path), "hermes", BaseIdentity(*["x"] * 6))
    for calls in (True, False):
        if name in UNFIT:
            with pytest.raises(ConfigError, match="as a continuation of what it has the model begin with"):
                refuse_unfit_template(base, calls)
        else:
            refuse_unfit_template(base, calls)


def test_a_picture_beside_tools_is_refused_and_not_lost(tiny_model_dir: Path, tmp_path: Path) -> None:
    tokenizer, template = tokenizer_of("gemma3", tiny_model_dir), trained_with("gemma3", tmp_path)
    parts = [{"type": "image"}, {"type": "text", "text": "What is it?"}]
    talk = [{"role": "user", "content": parts}]
    assert "<start_of_image>" in tokenizer.apply_chat_template(talk, chat_template=template, tokenize=False)
    with pytest.raises(Exception, match="only text can be said"):
        tokenizer.apply_chat_template(talk, chat_template=template, tools=[TOOL], tokenize=False)
