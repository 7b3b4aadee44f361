"""``--model``: a registered base model, a local directory, or a hub id, with ``@`` and a revision if one is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agentlora.core.errors import ConfigError, needs_extra, unknown
from agentlora.core.manager import Plugins
from agentlora.core.types import Base
from agentlora.plugins.bases.identity import identify
from agentlora.plugins.bases.templates import template_of

# of a repository, these and no other types: no pickle ever comes along (design, decision 10)
FILES = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt")


def resolve_base(model: str, plugins: Plugins, home: Path) -> Base:
    """Make `model` ready on this machine.

    Raises:
        ConfigError: it is neither registered nor a model directory nor to be had from the hub.
        MissingExtra: its package is not installed.
    """
    if model in plugins.catalog.names("base_models"):
        base = plugins.get("base_models", model).materialise(home)
        assert isinstance(base, Base)
        return base
    check_model(model, plugins)
    path = Path(model).expanduser()
    if path.exists() or model.startswith((".", "/", "~")):
        return _local(path.name or model, path)
    return _local(model, _from_hub(model))


def outline(model: str, plugins: Plugins, home: Path) -> tuple[Path, str]:
    """A directory with the configuration and the tokenizer of `model`, and its chat template; weights are not needed,
    and none are fetched.

    Raises:
        ConfigError: as `resolve_base`.
    """
    if model in plugins.catalog.names("base_models"):
        base: Base = plugins.get("base_models", model).materialise(home)
        return base.model_dir, base.chat_template
    check_model(model, plugins)
    path = Path(model).expanduser()
    if not (path.exists() or model.startswith((".", "/", "~"))):
        path = _from_hub(model, [kind for kind in FILES if kind != "*.safetensors"])
    if not (path / "config.json").is_file():
        raise ConfigError(
            f"{str(path)!r} is not a model directory: it has no config.json. Give one that save_pretrained wrote."
        )
    return path, template_of(path)


def check_model(model: str, plugins: Plugins) -> None:
    """Raises ConfigError when `model` cannot be the name of any; nothing is fetched."""
    if (
        model in plugins.catalog.names("base_models")
        or model.count("/") == 1
        or model.startswith((".", "/", "~"))
    ):
        return
    if Path(model).exists():
        return
    choices = plugins.catalog.names("base_models")
    raise ConfigError(
        unknown("model", model, choices)
        + " A local directory or a hub id (owner/name or owner/name@revision) also works."
    )


def _local(name: str, path: Path) -> Base:
    if not path.is_dir():
        raise ConfigError(
            f"model directory {str(path)!r} does not exist or is not a directory. Give one that save_pretrained wrote, "
            "a hub id (owner/name), or a registered base model (agentlora plugins list)."
        )
    model_dir = path.resolve()
    identify(name, model_dir, "")  # refuses what is no model before anything is read from it
    template = template_of(model_dir)
    return Base(name, model_dir, template, "hermes", identify(name, model_dir, template))


def _from_hub(model: str, patterns: Sequence[str] = FILES) -> Path:
    name, _, revision = model.partition("@")
    with needs_extra("train", f"fetching {model!r}"):
        from huggingface_hub import snapshot_download
    try:
        return Path(
            snapshot_download(
                name,
                revision=revision or None,
                allow_patterns=list(patterns),
            )
        )
    except Exception as exc:
        raise ConfigError(
            f"model {model!r} is not a directory here and could not be fetched from the hub "
            f"({type(exc).__name__}: {str(exc).splitlines()[0]}). Give a local directory, or check id and network."
        ) from exc
