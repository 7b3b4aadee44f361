"""Chat templates: ours for ChatML models, ours around a model's own, and which one a model directory gets."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from agentlora.core.errors import ConfigError
from agentlora.core.files import read_json
from agentlora.plugins.bases.identity import MEND

_INCLUDE = re.compile(r"\{# include (\w+\.jinja) #\}\n")
# what stands in <tool_call> where it is no JSON: Qwen3-Coder's and GLM's tags, MiniCPM's and Granite's beside them
_OTHER_CALLS = ("<function=", "<arg_key>", "<parameter=")


def chatml_tools() -> str:
    """The source of our ChatML template with Hermes tool calls."""
    return _source("chatml_tools.jinja")


def with_hermes_calls(template: str) -> str:
    """The source of a template that says everything as `template` does, and tools, calls and their results as text:
    tools in the first turn of the user, calls in Hermes' format, results in a turn of the user. So is the system
    message where `template` refuses one.
    """
    refuses = re.search("system role not supported", template, re.IGNORECASE) is not None
    around = _source("hermes_over.jinja").replace("{# no system turn #}", str(refuses).lower())
    return f"{around}{{{{- '' }}}}{template}"  # a newline after {% … %} would be lost


def writes_hermes(template: str) -> bool:
    """Whether a template knows tools and writes calls in Hermes' format, as far as its source tells."""
    return "tools" in template and "<tool_call>" in template and not any(m in template for m in _OTHER_CALLS)


def template_of(model_dir: Path) -> str:
    """The template to train and serve a model directory with.

    Its own when that writes Hermes tool calls; ours when it is ChatML without tools; its own with ours around it
    (`with_hermes_calls`) when it is any other.

    Raises:
        ConfigError: the model has no template and is not ChatML either, or one of its files is damaged.
    """
    own = _own_template(model_dir)
    if own and writes_hermes(own):
        return own
    if own and ("tools" in own or "<|im_start|>" not in own):
        return with_hermes_calls(own)
    if own or _has_token(model_dir, "<|im_start|>"):
        return chatml_tools()
    raise ConfigError(
        f"{str(model_dir)!r} has no chat template (a base model, not one that was taught to chat?). "
        "Put a chat_template.jinja into the directory: one with turns is enough, tools are added to it."
    )


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
        template = named.get("tool_use") or named.get("default")
    return template if isinstance(template, str) else None


def _has_token(model_dir: Path, token: str) -> bool:
    tokenizer = model_dir / "tokenizer.json"
    if not tokenizer.is_file():
        return False
    added = read_json(tokenizer, MEND).get("added_tokens")
    entries = added if isinstance(added, list) else []
    return any(isinstance(entry, dict) and entry.get("content") == token for entry in entries)
