"""Model directories with damaged files: refused by name, never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentlora.core.errors import ConfigError
from agentlora.core.home import home
from agentlora.core.manager import load_plugins
from agentlora.plugins.bases.resolve import resolve_base
from agentlora.plugins.bases.templates import chatml_tools

FILES = {
    "config.json": "{}",
    "model.safetensors": "\x02" + 7 * "\0" + "{}",  # a whole file without tensors
    "tokenizer_config.json": "{}",
    "tokenizer.json": '{"added_tokens": [{"content": "<|im_start|>"}, "odd"]}',
}


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "model"
    directory.mkdir()
    for name, text in FILES.items():
        (directory / name).write_text(text)
    return directory


def test_a_whole_directory_is_a_base(model_dir: Path) -> None:
    base = resolve_base(str(model_dir), load_plugins(), home())
    assert base.chat_template == chatml_tools()


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json"])
@pytest.mark.parametrize("damage", [b"{bad", b"[1]", b"\xff", b"", b"[" * 100_000])
def test_a_damaged_file_is_named(name: str, damage: bytes, model_dir: Path) -> None:
    (model_dir / name).write_bytes(damage)
    with pytest.raises(ConfigError, match=rf"/{name}' is damaged .*: mend the file or fetch the model again"):
        resolve_base(str(model_dir), load_plugins(), home())


def test_a_template_that_is_no_text_is_named(model_dir: Path) -> None:
    (model_dir / "chat_template.jinja").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match=r"chat_template\.jinja' is damaged"):
        resolve_base(str(model_dir), load_plugins(), home())


@pytest.mark.parametrize("text", ["{bad", "[1]"])
def test_a_damaged_cache_of_digests_is_made_again(text: str, model_dir: Path) -> None:
    first = resolve_base(str(model_dir), load_plugins(), home()).identity
    (home() / "cache" / "weights.json").write_text(text)
    assert resolve_base(str(model_dir), load_plugins(), home()).identity == first


def test_weights_that_are_cut_off_are_named(model_dir: Path) -> None:
    for damage in (b"", b"weights", b"\xff" * 20, b"\x40" + 7 * b"\0" + b"{}"):
        (model_dir / "model.safetensors").write_bytes(damage)
        with pytest.raises(ConfigError, match=r"model\.safetensors' is not a whole safetensors file"):
            resolve_base(str(model_dir), load_plugins(), home())
