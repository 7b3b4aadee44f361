"""GGUF, the format of llama.cpp: a whole model, or a LoRA adapter beside one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentlora.core.errors import ConfigError, needs_extra

if TYPE_CHECKING:
    import numpy as np

# model_type → (GGUF's name, whether rotary halves are interleaved there: rows of q and k are permuted)
ARCHITECTURES = {"llama": ("llama", True), "qwen2": ("qwen2", False), "qwen3": ("qwen3", False)}
QWEN2_SPLIT = (  # in the tokenizers of Qwen2 and Qwen3
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def write_model(model_dir: Path, target: Path, chat_template: str) -> None:
    """Write the transformers model in `model_dir` as one GGUF file: matrices in float16, vectors in float32.

    Raises:
        ConfigError: an architecture or a tokenizer that is not known here.
    """
    with needs_extra("train", "writing GGUF"):
        import gguf
        from safetensors.torch import load_file
    import torch

    config = _config(model_dir)
    writer = _writer(config, target)
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(model_dir.name)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    heads, kv_heads = _heads(config)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    size = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_dimension_count(size)
    writer.add_rope_freq_base(_rope_theta(config))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    _add_tokenizer(writer, model_dir, config["vocab_size"], chat_template)
    tensors: dict[str, Any] = {}
    for file in sorted(model_dir.glob("*.safetensors")):
        tensors |= load_file(file)
    if config.get("tie_word_embeddings"):
        tensors.pop("lm_head.weight", None)
    for name, tensor in tensors.items():
        array = _permuted(name, tensor.to(torch.float32).numpy(), config)
        writer.add_tensor(_gguf_name(name, config), array.astype("float16") if array.ndim > 1 else array)
    _close(writer)


def write_adapter(adapter: Path, model_dir: Path, target: Path) -> None:
    """Write a plain LoRA adapter as GGUF, for llama.cpp's ``--lora`` beside its base in GGUF: float32.

    Raises:
        ConfigError: the adapter is no plain LoRA with one scale, or its base's architecture is not known here.
    """
    with needs_extra("train", "writing GGUF"):
        import gguf
        from safetensors.torch import load_file

    settings = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    if not is_plain(settings):
        raise ConfigError("as a GGUF adapter there is only plain LoRA: export --format gguf-merged.")
    config = _config(model_dir)
    writer = _writer(config, target)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    rank, alpha = settings["r"], settings["lora_alpha"]
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(alpha))
    ranks, alphas = settings.get("rank_pattern") or {}, settings.get("alpha_pattern") or {}
    tensors = load_file(adapter / "adapter_model.safetensors")
    modules = {name.removeprefix("base_model.model.").rpartition(".lora_")[0] for name in tensors}
    if not {*ranks, *alphas} <= modules:
        raise ConfigError("its rank_pattern names layers by patterns: export --format gguf-merged.")
    for name, tensor in tensors.items():
        module, _, part = name.removeprefix("base_model.model.").rpartition(".lora_")
        array = tensor.float().numpy()
        if part.startswith("B"):
            # llama.cpp divides alpha by each tensor's own rank
            own = alphas.get(module, alpha) / ranks.get(module, rank)
            array = _permuted(f"{module}.weight", array, config) * (own * array.shape[1] / alpha)
        writer.add_tensor(f"{_gguf_name(f'{module}.weight', config)}.lora_{part[0].lower()}", array)
    _close(writer)


def is_plain(settings: Mapping[str, Any]) -> bool:
    """Whether an ``adapter_config.json`` is of plain LoRA, which llama.cpp applies."""
    return settings.get("peft_type") == "LORA" and not (
        settings.get("use_dora") or settings.get("use_rslora")
    )


def _config(model_dir: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((model_dir / "config.json").read_text(encoding="utf-8"))
    if config.get("model_type") not in ARCHITECTURES:
        raise ConfigError(
            f"GGUF is written for {', '.join(ARCHITECTURES)}; this model is a {config.get('model_type')!r}. Export it "
            "as --format merged, and use llama.cpp's own converter."
        )
    return config


def _writer(config: Mapping[str, Any], target: Path) -> Any:
    import gguf

    return gguf.GGUFWriter(target, ARCHITECTURES[config["model_type"]][0])


def _close(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _heads(config: Mapping[str, Any]) -> tuple[int, int]:
    heads = config["num_attention_heads"]
    return heads, config.get("num_key_value_heads") or heads


def _rope_theta(config: Mapping[str, Any]) -> float:
    """Raises ConfigError for a position encoding that is scaled: it would have to be told in ways of its own."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if rope.get("rope_type", rope.get("type", "default")) != "default":
        raise ConfigError(
            "GGUF is written for models whose rotary positions are not scaled. Export it as --format merged."
        )
    return float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0)


def _permuted(name: str, array: np.ndarray[Any, Any], config: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """Rows of q and k with the two halves of each head interleaved, where llama.cpp wants them so."""
    if not ARCHITECTURES[config["model_type"]][1]:
        return array
    heads, kv_heads = _heads(config)
    for part, n in (("q_proj", heads), ("k_proj", kv_heads)):
        if f".{part}." in name:
            rows = array.shape[0]
            return array.reshape(n, 2, rows // n // 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)
    return array


def _gguf_name(name: str, config: Mapping[str, Any]) -> str:
    import gguf

    by_name = {text: arch for arch, text in gguf.MODEL_ARCH_NAMES.items()}
    arch = by_name[ARCHITECTURES[config["model_type"]][0]]
    names = gguf.get_tensor_name_map(arch, config["num_hidden_layers"])
    found = names.get_name(name, try_suffixes=(".weight", ".bias"))
    if found is None:
        raise ConfigError(f"GGUF has no name for the tensor {name!r}. Export it as --format merged.")
    return str(found)


def _add_tokenizer(writer: Any, model_dir: Path, size: int, chat_template: str) -> None:
    import gguf
    from transformers import AutoTokenizer

    file = model_dir / "tokenizer.json"
    raw = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    model = raw.get("model", {})
    if model.get("type") != "BPE" or model.get("byte_fallback"):
        raise ConfigError(
            "GGUF is written for tokenizers that are byte-level BPE. Export it as --format merged."
        )
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    by_id = {index: token for token, index in tokenizer.get_vocab().items()}
    special = {entry["id"]: entry["special"] for entry in raw.get("added_tokens", ())}
    kinds = {True: gguf.TokenType.CONTROL, False: gguf.TokenType.USER_DEFINED, None: gguf.TokenType.NORMAL}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_pre_tokenizer(raw.get("pre_tokenizer") or {}))
    writer.add_token_list([by_id.get(i, f"[PAD{i}]") for i in range(size)])
    writer.add_token_types(
        [kinds[special.get(i)] if i in by_id else gguf.TokenType.UNUSED for i in range(size)]
    )
    merges = (pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"])
    writer.add_token_merges(list(merges))
    for token, add in (
        (tokenizer.bos_token_id, writer.add_bos_token_id),
        (tokenizer.eos_token_id, writer.add_eos_token_id),
        (tokenizer.unk_token_id, writer.add_unk_token_id),
        (tokenizer.pad_token_id, writer.add_pad_token_id),
    ):
        if token is not None:
            add(token)
    writer.add_add_bos_token(False)
    writer.add_chat_template(chat_template)


def _pre_tokenizer(found: Mapping[str, Any]) -> str:
    """llama.cpp's name for how text is divided before merges. Raises ConfigError when none is known here."""
    steps = found.get("pretokenizers") or [found]
    kinds = [step.get("type") for step in steps]
    if kinds == ["ByteLevel"] and steps[0].get("use_regex", True):
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits"):
        return "smollm"
    if kinds == ["Split", "ByteLevel"] and steps[0].get("pattern", {}).get("Regex") == QWEN2_SPLIT:
        return "qwen2"
    raise ConfigError(
        f"how this tokenizer divides text ({' and '.join(map(str, kinds))}) has no name in GGUF that is known here. "
        "Export it as --format merged."
    )
