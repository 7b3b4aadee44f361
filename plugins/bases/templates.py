"""Chat templates: ours for ChatML models, ours around a model's own, and which one a model directory gets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from agentlora.core.errors import ConfigError, needs_extra
from agentlora.core.files import loads_strict, read_json
from agentlora.core.grammar import CLOSE, OPEN
from agentlora.core.libraries import prepare_libraries
from agentlora.core.messages import answer_message
from agentlora.core.types import JSON, Expected, ToolCall
from agentlora.plugins.bases.identity import MEND

_INCLUDE = re.compile(r"\{# include (\w+\.jinja) #\}\n")
# a conversation that tells what a template makes of calls
CALL = ToolCall("look_up", {"word": "sea"})
TOOL: JSON = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Looks a word up.",
        "parameters": {
            "type": "object",
            "properties": {"word": {"type": "string"}},
            "required": ["word"],
        },
    },
}
ASKED: JSON = {"role": "user", "content": "What is the sea?"}
_TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}


def chatml_tools() -> str:
    """The source of our ChatML template with Hermes tool calls."""
    return _source("chatml_tools.jinja")


@lru_cache
def with_hermes_calls(template: str) -> str:
    """The source of a template that says everything as `template` does, and tools, calls and their results as text:
    tools in the first turn of the user, calls in Hermes' format, results in a turn of the user. So is a system message
    that `template` refuses or leaves out.
    """
    refuses = "<<sea>>" not in _rendered(template, [{"role": "system", "content": "<<sea>>"}, ASKED])
    # ends in a block and a newline, which is lost: `template` begins a line, as it does alone
    return _source("hermes_over.jinja").replace("{# no system turn #}", str(refuses).lower()) + template


@lru_cache
def writes_hermes(template: str) -> bool:
    """Whether a template says tools and results, and calls in Hermes' format, by what it makes of one of each."""
    said: list[JSON] = [ASKED, answer_message(Expected(calls=(CALL,)))]
    prompt = _rendered(template, [ASKED], [TOOL], begins=True)
    answer = _rendered(template, said, [TOOL])
    whole = _rendered(template, [*said, {"role": "tool", "content": "<<wet>>"}], [TOOL])
    if "look_up" not in prompt or "<<wet>>" not in whole:
        return False
    call = answer.removeprefix(prompt).partition(OPEN)[2].partition(CLOSE)[0]
    with suppress(ValueError):
        return bool(loads_strict(call) == {"name": CALL.name, "arguments": CALL.arguments})
    return False


def template_of(model_dir: Path) -> str:
    """The template to train and serve a model directory with.

    Its own when that writes Hermes tool calls; ours when it is ChatML without tools; its own with ours around it
    (`with_hermes_calls`) when it is any other.

    Raises:
        ConfigError: the model has no template and is not ChatML either, or one of its files is damaged.
        MissingExtra: transformers is not installed, which renders templates.
    """
    own = _own_template(model_dir)
    if own and writes_hermes(own):
        return own
    if own and ("<|im_start|>" not in own or "look_up" in _rendered(own, [ASKED], [TOOL])):
        return with_hermes_calls(own)
    if own or _has_token(model_dir, "<|im_start|>"):
        return chatml_tools()
    raise ConfigError(
        f"{str(model_dir)!r} has no chat template (a base model, not one that was taught to chat?). "
        "Put a chat_template.jinja into the directory: one with turns is enough, tools are added to it."
    )


def _rendered(
    template: str, messages: Sequence[JSON], tools: Sequence[JSON] | None = None, *, begins: bool = False
) -> str:
    """`messages` as transformers and vLLM render them; nothing where the template refuses them."""
    prepare_libraries()
    with needs_extra("train", "rendering chat templates"):
        from transformers.utils.chat_template_utils import render_jinja_template
    with suppress(Exception):
        found, _ = render_jinja_template(
            [list(messages)],
            tools=list(tools) if tools else None,
            chat_template=template,
            add_generation_prompt=begins,
            **_TOKENS,
        )
        return str(found[0])
    return ""


def _source(name: str) -> str:
    text = files("agentlora.plugins.bases").joinpath(name).read_text(encoding="utf-8")
    return _INCLUDE.sub(lambda found: _source(found[1]), text)


def _own_template(model_dir: Path) -> str | None:
    jinja = model_dir / "chat_template.jinja"
    if jinja.is_file():
        try:
            return jinja.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(f"{str(jinja)!r} is damaged ({exc}): {MEND}.") from exc
    config = model_dir / "tokenizer_config.json"
    template = read_json(config, MEND).get("chat_template") if config.is_file() else None
    if isinstance(template, list):  # several, by name
        named = {one.get("name"): one.get("template") for one in template if isinstance(one, dict)}
        template = named.get("default") or named.get("tool_use")
    return template if isinstance(template, str) else None


def _has_token(model_dir: Path, token: str) -> bool:
    tokenizer = model_dir / "tokenizer.json"
    if not tokenizer.is_file():
        return False
    added = read_json(tokenizer, MEND).get("added_tokens")
    entries = added if isinstance(added, list) else []
    return any(isinstance(entry, dict) and entry.get("content") == token for entry in entries)
