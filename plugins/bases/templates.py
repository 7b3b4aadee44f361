"""Chat templates: ours for ChatML models, and which template a model directory brings itself."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from agentlora.core.errors import ConfigError
from agentlora.core.files import read_json
from agentlora.plugins.bases.identity import MEND


def chatml_tools() -> str:
    """The source of our ChatML template with Hermes tool calls."""
    return files("agentlora.plugins.bases").joinpath("chatml_tools.jinja").read_text(encoding="utf-8")


def template_of(model_dir: Path) -> str:
    """The template to train and serve a model directory with.

    Its own when that knows tools; ours when it is ChatML without tools.

    Raises:
        ConfigError: the model has no template that knows tools and is not ChatML either, or one of its files
            is damaged.
    """
    own = _own_template(model_dir)
    if own and "tools" in own:
        return own
    if (own and "<|im_start|>" in own) or _has_token(model_dir, "<|im_start|>"):
        return chatml_tools()
    raise ConfigError(
        f"the chat template of {str(model_dir)!r} knows no tools and is not ChatML. "
        "Put a chat_template.jinja that renders tools into the directory."
    )


def _own_template(model_dir: Path) -> str | None:
    jinja = model_dir / "chat_template.jinja"
    if jinja.is_file():
        try:
            return jinja.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(f"{str(jinja)!r} is damaged ({exc}): {MEND}.") from exc
    config = model_dir / "tokenizer_config.json"
    template = read_json(config, MEND).get("chat_template") if config.is_file() else None
    return template if isinstance(template, str) else None


def _has_token(model_dir: Path, token: str) -> bool:
    tokenizer = model_dir / "tokenizer.json"
    if not tokenizer.is_file():
        return False
    added = read_json(tokenizer, MEND).get("added_tokens")
    entries = added if isinstance(added, list) else []
    return any(isinstance(entry, dict) and entry.get("content") == token for entry in entries)
