"""``agentlora serve``: vLLM, the published skills, and one OpenAI-compatible address in front."""

from __future__ import annotations

import errno
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from agentlora.core.types import Base
    from agentlora.registry.store import Registry, Version
    from agentlora.runtime.shelf import Shelf


@click.command()
@click.option("--model", help="Base model. Default: the base of the published skills.")
@click.option("--skill", "skills", multiple=True, metavar="NAME", help="Serve only this skill (repeatable).")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0: a free one.")
@click.option("--attach", metavar="URL", help="Use a vLLM that runs already; its key is in VLLM_API_KEY.")
@click.option(
    "--backend-port",
    type=click.IntRange(1, 65535),
    help="Port of the vLLM that is started, for `agentlora eval --url`. Default: a free one.",
)
@click.option(
    "--max-loras", default=4, show_default=True, type=click.IntRange(1), help="Adapters in one batch."
)
@click.option(
    "--max-lora-rank",
    type=click.IntRange(1, 512),
    help="Largest rank of an adapter. Default: that of the published skills, at least 16.",
)
@click.option(
    "--max-len", default=2048, show_default=True, type=click.IntRange(64), help="Tokens of context."
)
def serve(
    model: str | None,
    skills: tuple[str, ...],
    host: str,
    port: int,
    attach: str | None,
    backend_port: int | None,
    max_loras: int,
    max_lora_rank: int | None,
    max_len: int,
) -> None:
    """Serve every published skill behind one OpenAI-compatible address.

    Clients choose with "model": auto (a router decides), base, SKILL, SKILL@ALIAS, SKILL@v2. A version that
    is published later gets its traffic without a restart. Ctrl-C ends everything.
    """
    from agentlora.core.errors import needs_extra
    from agentlora.core.home import home
    from agentlora.core.manager import default_plugins
    from agentlora.registry.store import open_registry

    with needs_extra("gateway", "serving"):
        from agentlora.runtime import gateway as gateways
    from agentlora.runtime.backend import lora_rank_limit
    from agentlora.runtime.client import VllmClient, attached_key
    from agentlora.runtime.shelf import Pool, Shelf

    registry, plugins = open_registry(), default_plugins()
    versions = wanted(registry, skills, model)
    with _ends_quietly(), _reserved(host, port) as sock:
        base = base_for(model, versions, plugins, home())
        if not attach:  # whose template is what it is
            base = with_stored_template(base, versions, registry)
        rank = lora_rank_limit(max_lora_rank or max([16, *(version.card.rank or 0 for version in versions)]))
        with _backend(base, attach, backend_port, max_loras, max_len, rank) as (url, alive):
            key = attached_key() if attach else ""
            client = VllmClient(url, key=key)
            pool = Pool.of(base, rank)
            router = plugins.get("routers", "tfidf")
            shelf = Shelf(
                registry, client, pool, router, list(skills) or None, str(client.base_model()["id"])
            )
            failed = shelf.load()
            shown = "127.0.0.1" if host == "0.0.0.0" else f"[{host}]" if ":" in host else host
            address = f"http://{shown}:{sock.getsockname()[1]}"
            gateway = gateways.Gateway(shelf, url, key)
            gateways.run(gateway, sock, lambda: _say_ready(address, base, shelf, failed), alive)


def wanted(registry: Registry, skills: Sequence[str], model: str | None) -> list[Version]:
    """The default versions of `skills` (none: of all that are made for vLLM, which may be none when a base `model` is
    named).

    Raises:
        NotFound: there is no such skill.
        ConfigError: what is no skill's name, or a skill that vLLM cannot serve; or no published one can be.
    """
    from agentlora.core.errors import ConfigError
    from agentlora.runtime.shelf import not_for_vllm

    for skill in skills:
        if "@" in skill:
            raise ConfigError(
                f"--skill {skill!r} names a version, and a skill is served in all of its versions: clients choose "
                f'one by "model": {skill!r}. Write --skill {skill.split("@")[0]}.'
            )
    versions = [registry.resolve(skill) for skill in (skills or registry.skills())]
    left_out = {version.name: why for version in versions if (why := not_for_vllm(version))}
    if skills and left_out:
        name, why = next(iter(left_out.items()))
        raise ConfigError(f"--skill {name}: it is {why}")
    if left_out and len(left_out) == len(versions) and model is None:
        reasons = "".join(f"\n  - {name} is {why}" for name, why in left_out.items())
        raise ConfigError(f"nothing that is published can be served (--model serves a base alone):{reasons}")
    return [version for version in versions if version.name not in left_out]


def base_for(model: str | None, versions: Sequence[Version], plugins: Any, home: Path) -> Base:
    """The named base model, or else the one that all of `versions` belong to.

    Raises:
        ConfigError: nothing says which, the skills have different bases, or the base is not to be had here.
    """
    from agentlora.core.errors import ConfigError
    from agentlora.plugins.bases.resolve import resolve_base

    if model is None:
        names = sorted({str(version.card.base["name"]) for version in versions})
        if not names:
            raise ConfigError("nothing is published yet. Publish a run first, or name a base with --model.")
        if len(names) > 1:
            raise ConfigError(
                f"the published skills have different bases: {', '.join(names)}. One server runs one base: "
                "choose with --model, or with --skill."
            )
        model = names[0]
    try:
        return resolve_base(model, plugins, home)
    except ConfigError as exc:
        raise ConfigError(f"{exc} Say where the base model lies with --model.") from exc


def with_stored_template(base: Base, versions: Sequence[Version], registry: Registry) -> Base:
    """`base` with the chat template that the newest of `versions` was trained with, where it is the same model and its
    own template belongs to none of them: what is published outlives a change of the template here.
    """
    from dataclasses import replace

    from agentlora.core.errors import RegistryError
    from agentlora.plugins.bases.identity import identify

    digests = {version.card.base.get("digest") for version in versions}
    if base.identity.digest in digests:
        return base
    for version in sorted(versions, key=lambda version: version.created_at, reverse=True):
        parts = ("weights", "config", "tokenizer")
        if any(version.card.base.get(part) != getattr(base.identity, part) for part in parts):
            continue
        try:
            stored = registry.materialise(version) / "chat_template.jinja"
            template = stored.read_text(encoding="utf-8")
        except (OSError, RegistryError):  # what is wrong with it is told when it is to be loaded
            continue
        identity = identify(base.name, base.model_dir, template)
        if identity.digest == version.card.base.get("digest"):
            return replace(base, chat_template=template, identity=identity)
    return base


@contextmanager
def _reserved(host: str, port: int) -> Iterator[socket.socket]:
    """A bound socket, taken before the minute that vLLM needs to start; nobody can connect to it yet."""
    from agentlora.core.errors import ConfigError

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError as exc:
            another = (
                "Choose another with --port (0 takes a free one), or end what is using it."
                if exc.errno in (errno.EADDRINUSE, errno.EACCES)
                else "Give an address of this machine with --host: 127.0.0.1 for itself alone, 0.0.0.0 for all."
            )
            raise ConfigError(f"cannot listen on {host}:{port}: {exc.strerror or exc}. {another}") from exc
        yield sock


@contextmanager
def _backend(
    base: Base, attach: str | None, port: int | None, max_loras: int, max_len: int, rank: int
) -> Iterator[Any]:
    """(URL, whether it still lives) of the vLLM to use; one that we started ends with the block."""
    from agentlora.runtime.backend import ServerSettings, VllmServer

    if attach:
        yield attach, lambda: True
        return
    settings = ServerSettings(
        base.model_dir,
        base.chat_template,
        base.tool_call_parser,
        max_len_tokens=max_len,
        max_loras=max_loras,
        max_cpu_loras=max(8, max_loras),
        max_lora_rank=rank,
    )
    click.echo(f"Starting vLLM with {base.name} (under a minute for a small model) …", err=True)
    with VllmServer(settings, port=port) as server:
        yield server.url, server.alive
        if not server.alive():
            raise server.died("while serving")


@contextmanager
def _ends_quietly() -> Iterator[None]:
    """SIGINT and SIGTERM end the block in order, and the program with exit code 0."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        click.echo("Stopped.", err=True)
    finally:
        signal.signal(signal.SIGTERM, before)


def _say_ready(address: str, base: Base, shelf: Shelf, failed: Mapping[str, str]) -> None:
    view = shelf.view()
    lines = [f"Ready: {address}/v1 (OpenAI-compatible)", f"  base   {base.name}"]
    lines += [
        f"  skill  {name}  ->  {v.served_name}" for name, v in view.default.items() if name not in failed
    ]
    lines += [f"  not served: {reason}" for reason in (*view.refused.values(), *failed.values())]
    body = '{"model": "auto", "messages": [{"role": "user", "content": "Hello!"}]}'
    lines.append(
        f"Try: curl -si {address}/v1/chat/completions -H 'content-type: application/json' -d '{body}'"
    )
    lines.append("Ctrl-C ends everything.")
    click.echo("\n".join(lines))
    sys.stdout.flush()
