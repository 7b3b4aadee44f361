"""What an engine refuses in an adapter, and what it would load without a word and get wrong.

The rules for vLLM 0.32: some it enforces itself (dora, bias, modules_to_save, base-changing initialisations,
rank), the rest it does not look at: another `peft_type` or an unknown setting loads as plain LoRA and
answers wrongly. Both are reasons here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentlora.core.errors import RegistryError, needs_extra
from agentlora.core.files import safetensors_header

MAX_RANK = 512  # the largest --max-lora-rank that vLLM takes

# Initialisations that leave the base's weights as they were, so that the saved adapter is plain LoRA.
_PLAIN_INITS = frozenset({"gaussian", "eva", "orthogonal", "mica", "lora_ga"})

# Settings that change nothing in how a saved adapter is applied, or that vLLM reads.
_HARMLESS = frozenset(
    {
        *(
            "r",
            "lora_alpha",
            "use_rslora",
            "rank_pattern",
            "alpha_pattern",
            "target_modules",
            "exclude_modules",
        ),
        *("target_parameters", "layers_to_transform", "layers_pattern", "lora_dropout", "inference_mode"),
        *("peft_type", "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision"),
        *(
            "init_lora_weights",
            "loftq_config",
            "eva_config",
            "corda_config",
            "lora_ga_config",
            "runtime_config",
        ),
        *("megatron_config", "megatron_core", "qalora_group_size", "fan_in_fan_out", "ensure_weight_tying"),
    }
)

_NO_DORA = (
    "DoRA cannot be served by vLLM: train with another method, merge it, or choose --serve-on transformers"
)
_REFUSED: dict[str, str] = {
    "use_dora": _NO_DORA,
    "lora_bias": "vLLM has no LoRA bias: train with lora_bias off",
    "modules_to_save": "vLLM serves no whole modules beside an adapter: train without modules_to_save",
    "alora_invocation_tokens": "vLLM does not serve activated LoRA: choose --serve-on transformers",
    "layer_replication": "vLLM does not replicate layers: train without layer_replication",
    "use_qalora": "vLLM does not serve QA-LoRA: choose another method",
    "use_bdlora": "vLLM does not serve block-diagonal LoRA: choose another method",
    "trainable_token_indices": "vLLM would ignore the trained tokens: train without trainable_token_indices",
}
# safetensors' dtype → its bits as an integer, and those of the exponent
_EXPONENTS = {
    "F64": ("<u8", 0x7FF0000000000000),
    "F32": ("<u4", 0x7F800000),
    "BF16": ("<u2", 0x7F80),
    "F16": ("<u2", 0x7C00),
}
_BLOCK_BYTES = 1 << 26
_TENSOR = re.compile(r".+\.(lora_[AB]\.weight|lora_embedding_[AB])")


def vllm_problems(config: Mapping[str, Any], *, max_rank: int = MAX_RANK) -> list[str]:
    """Why vLLM cannot serve an adapter with this ``adapter_config.json``; empty when it can."""
    kind = config.get("peft_type")
    if kind != "LORA":
        problem = (
            f"vLLM serves LoRA and the adapter's peft_type is {kind!r}, which it would load as LoRA and "
            "answer wrongly: convert it to LoRA, merge it, or choose --serve-on transformers."
        )
        return [problem]
    found = [
        f"adapter_config.json sets {key}={config[key]!r}; {why}."
        for key, why in _REFUSED.items()
        if config.get(key)
    ]
    known = {*_HARMLESS, *_REFUSED, "bias"}
    found += [
        f"adapter_config.json sets {key}={value!r}, which vLLM does not look at, so that it would answer "
        "wrongly: train without it or choose --serve-on transformers."
        for key, value in sorted(config.items())
        if key not in known and value
    ]
    if config.get("bias", "none") != "none":
        found.append(
            f"adapter_config.json sets bias={config['bias']!r}; vLLM takes only 'none': train without bias."
        )
    init = config.get("init_lora_weights", True)
    if isinstance(init, str) and init.lower() not in _PLAIN_INITS:
        found.append(
            f"init_lora_weights={init!r} changes the base's weights, which vLLM cannot do: convert the "
            "adapter with PEFT's path_initial_model_for_weight_conversion, or train with "
            "init_lora_weights=true."
        )
    return found + _rank_problems(config, max_rank)


def rank_of(config: Mapping[str, Any]) -> int | None:
    """The largest rank of any layer, or None when the configuration has none."""
    patterns = config.get("rank_pattern") or {}
    ranks = [rank for rank in (config.get("r"), *patterns.values()) if isinstance(rank, int)]
    return max(ranks, default=None)


def tensor_problems(path: Path) -> list[str]:
    """Tensors in a safetensors file that vLLM does not take for LoRA. Reads only the header."""
    try:
        names = tensor_names(path)
    except RegistryError as exc:
        return [str(exc)]
    if not names:
        return [f"{path.name} holds no tensors, so that the base would answer: look at the run's export."]
    odd = sorted(name for name in names if not _TENSOR.fullmatch(name))
    if not odd:
        return []
    problem = (
        f"{len(odd)} of {len(names)} tensors in {path.name} are not LoRA's (the first is {odd[0]!r}); vLLM "
        "takes only lora_A, lora_B and lora_embedding_*: convert the adapter to LoRA, or choose --serve-on "
        "transformers."
    )
    return [problem]


def tensor_names(path: Path) -> list[str]:
    """The names in a safetensors file: an 8-byte little-endian length, then that much JSON.

    Raises:
        RegistryError: the file cannot be read, is cut short, or is no safetensors file.
    """
    return list(_header(path)[0])


def value_problems(path: Path) -> list[str]:
    """Tensors in a safetensors file with values that are not finite, or why it is none. Reads every byte."""
    with needs_extra("train", "looking at weights"):
        import numpy as np
    try:
        tensors, start = _header(path)
    except RegistryError as exc:
        return [str(exc)]
    content = np.memmap(path, mode="r")
    odd = [
        name
        for name, entry in tensors.items()
        if not _is_finite(content, entry["dtype"], *(start + offset for offset in entry["data_offsets"]))
    ]
    if not odd:
        return []
    problem = (
        f"{len(odd)} of {len(tensors)} tensors in {path.name} have values that are not finite (the first is "
        f"{odd[0]!r}): train again with a lower --lr."
    )
    return [problem]


def _is_finite(content: Any, dtype: str, begin: int, end: int) -> bool:
    """An exponent of ones is infinity or NaN; integers and 8-bit floats count as finite."""
    view, exponent = _EXPONENTS.get(dtype, ("", 0))
    if not view:
        return True
    blocks = (content[at : min(at + _BLOCK_BYTES, end)].view(view) for at in range(begin, end, _BLOCK_BYTES))
    return not any(((block & exponent) == exponent).any() for block in blocks)


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The tensors' entries by name, and where in the file their bytes begin. Raises RegistryError as `tensor_names`."""
    try:
        return safetensors_header(path)
    except (OSError, ValueError) as exc:
        raise RegistryError(
            f"{path.name} is not a whole safetensors file ({exc}): look at the run's export."
        ) from exc


def _rank_problems(config: Mapping[str, Any], max_rank: int) -> list[str]:
    rank = rank_of(config)
    if rank is None or rank < 1:
        return [f"adapter_config.json gives r={config.get('r')!r}; a LoRA adapter has a rank of at least 1."]
    if rank > max_rank:
        return [
            f"rank {rank} is above the {max_rank} that vLLM serves: train with --rank {max_rank} or less."
        ]
    return []
