"""A base model's identity: sha256 over content, never a path or a hub id (design, decision 3)."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from agentlora.core.errors import ConfigError
from agentlora.core.files import (
    read_json,
    safetensors_header,
    sha256_bytes,
    sha256_file,
    sha256_json,
    write_json,
)
from agentlora.core.home import home
from agentlora.core.types import BaseIdentity

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "added_tokens.json")
# Written by whoever saved the model last; they say nothing about what it computes.
VOLATILE = ("transformers_version", "_name_or_path", "torch_dtype")

MEND = "mend the file or fetch the model again"


def identify(name: str, model_dir: Path, chat_template: str) -> BaseIdentity:
    """Hash a model directory's content.

    Weights are hashed once: the digests are kept by path, size, mtime and inode in the home's cache.

    Raises:
        ConfigError: the directory holds no ``config.json`` or no ``*.safetensors``, or one of them is damaged.
    """
    weights = sorted(model_dir.glob("*.safetensors"))
    config = model_dir / "config.json"
    if not config.is_file() or not weights:
        lacks = "config.json" if not config.is_file() else "*.safetensors file"
        raise ConfigError(
            f"{str(model_dir)!r} is not a model directory: it has no {lacks}. "
            "Give a directory that save_pretrained wrote, a hub id, or a registered base model."
        )
    for path in weights:
        try:
            safetensors_header(path)
        except (OSError, ValueError) as exc:
            raise ConfigError(f"{str(path)!r} is not a whole safetensors file ({exc}): {MEND}.") from exc
    parts = {
        "weights": sha256_json([[path.name, _cached_digest(path)] for path in weights]),
        "config": sha256_json(_without_volatile(config)),
        "tokenizer": sha256_json(
            [[f, sha256_file(model_dir / f)] for f in TOKENIZER_FILES if (model_dir / f).is_file()]
        ),
        "template": sha256_bytes(chat_template.encode()),
    }
    return BaseIdentity(name=name, digest=sha256_json(parts), **parts)


def _without_volatile(path: Path) -> Any:
    config = read_json(path, MEND)
    return {key: value for key, value in config.items() if key not in VOLATILE}


def _cached_digest(path: Path) -> str:
    cache_file = home() / "cache" / "weights.json"
    stat = path.stat()
    key = f"{path.resolve()}:{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ino}"
    try:
        cache = json.loads(cache_file.read_text())
    except (OSError, ValueError):
        cache = None
    if not isinstance(cache, dict):
        cache = {}
    if key not in cache:
        cache[key] = sha256_file(path)
        with suppress(OSError):  # it only saves time
            write_json(cache_file, cache)
    return str(cache[key])
