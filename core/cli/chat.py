"""``agentlora chat``: the base and a skill answer the same prompt, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

# prompt → (the base's answer, the skill's answer)
Ask = Callable[[str], tuple[str, str]]


@click.command()
@click.argument("skill")
@click.option("--prompt", help="Ask this and end. Without it: one prompt after another until an empty line.")
@click.option(
    "--tools", "tools_file", type=click.Path(path_type=Path), help="JSON or YAML file: tools on offer."
)
@click.option("--url", help="Ask a running `agentlora serve` at this address.")
@click.option(
    "--engine", help="Engine to start when there is no --url; default: the one that SKILL is made for."
)
@click.option("--model", help="Base model. Default: the skill's own.")
@click.option(
    "--max-tokens", default=256, show_default=True, type=click.IntRange(1), help="Length of an answer."
)
def chat(
    skill: str,
    prompt: str | None,
    tools_file: Path | None,
    url: str | None,
    engine: str | None,
    model: str | None,
    max_tokens: int,
) -> None:
    """Show what the base and SKILL (or SKILL@ALIAS, SKILL@v2) answer to the same prompt."""
    from agentlora.runtime.toolsfile import read_tools

    tools = read_tools(tools_file) if tools_file else []
    asking = (
        _over_http(url, skill, tools, max_tokens)
        if url
        else _in_engine(engine, model, skill, tools, max_tokens)
    )
    with asking as ask:
        for text in [prompt] if prompt is not None else _prompts():
            _show(skill, *ask(text))


def _prompts() -> Iterator[str]:
    click.echo("Type a prompt; an empty line or Ctrl-D ends.", err=True)
    while True:
        try:
            text = click.prompt("", prompt_suffix="> ", default="", show_default=False)
        except click.Abort:
            return
        if not text.strip():
            return
        yield text


@contextmanager
def _in_engine(
    engine_name: str | None, model: str | None, skill: str, tools: list[Any], max_tokens: int
) -> Iterator[Ask]:
    from agentlora.core.cli.serve import base_for, with_stored_template
    from agentlora.core.errors import ConfigError, RuntimeFault
    from agentlora.core.files import sha256_bytes
    from agentlora.core.home import home
    from agentlora.core.manager import default_plugins
    from agentlora.core.types import EngineSpec, GenerateRequest
    from agentlora.registry.store import open_registry

    plugins, registry = default_plugins(), open_registry()
    version = registry.resolve(skill)
    name = engine_name or ("vllm" if version.card.serve_on == "vllm" else "transformers")
    factory = plugins.get("engines", name)
    base = with_stored_template(base_for(model, [version], plugins, home()), [version], registry)
    theirs, template = version.card.base.get("digest"), sha256_bytes(base.chat_template.encode())
    if theirs != base.identity.digest or version.card.template_digest != template:
        raise ConfigError(
            f"{version.served_name} belongs to the base sha256:{str(theirs)[:12]} with the template "
            f"sha256:{version.card.template_digest[:12]}, but {base.name} here is "
            f"sha256:{base.identity.digest[:12]} with sha256:{template[:12]}. Name the right one by --model."
        )
    spec = EngineSpec(
        base.model_dir, base.chat_template, base.tool_call_parser, max_lora_rank=version.card.rank or 16
    )
    with factory.open(spec) as engine:
        engine.add_adapter(version.served_name, registry.materialise(version))

        def ask(text: str) -> tuple[str, str]:
            system = version.card.system
            head = ({"role": "system", "content": system},) if system else ()
            messages = (*head, {"role": "user", "content": text})
            asked = [
                GenerateRequest(
                    str(number), messages, tuple(tools), adapter, max_tokens, strict_calls=adapter is not None
                )
                for number, adapter in enumerate((None, version.served_name))
            ]
            ours, skills = engine.generate(asked)
            for answer in (ours, skills):
                if answer.error:
                    raise RuntimeFault(f"{name!r} did not answer: {answer.error}")
            return ours.text, skills.text

        yield ask


@contextmanager
def _over_http(url: str, skill: str, tools: list[Any], max_tokens: int) -> Iterator[Ask]:
    from agentlora.runtime.client import VllmClient

    client = VllmClient(url)

    def one(model: str, text: str) -> str:
        body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": max_tokens}
        answer = client.chat(body | {"temperature": 0} | ({"tools": tools} if tools else {}))
        return _text(answer["choices"][0]["message"])

    try:
        yield lambda text: (one("base", text), one(skill, text))
    finally:
        client.close()


def _text(message: dict[str, Any]) -> str:
    calls = [
        f"{c['function']['name']}({c['function']['arguments']})" for c in message.get("tool_calls") or []
    ]
    return "\n".join([*([message["content"]] if message.get("content") else []), *calls])


def _show(skill: str, base_text: str, skill_text: str) -> None:
    from rich.console import Console
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(expand=True, padding=(0, 1))
    table.add_column(ratio=1)
    table.add_column(ratio=1)
    # Text, not markup: a model may write anything in square brackets
    left, right = Panel(Text(base_text), title="base"), Panel(Text(skill_text), title=Text(skill))
    table.add_row(left, right)
    Console().print(table)
