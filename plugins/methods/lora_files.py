"""Plain LoRA from matrices: what another method learnt, as files that PEFT loads and vLLM serves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def write_lora(directory: Path, factors: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """Write ``adapter_model.safetensors`` and ``adapter_config.json`` of a LoRA whose updates are ``B·A``.

    Args:
        directory: exists.
        factors: by the layer's full name in the base model: A [rank, in] and B [out, rank]. Ranks may differ.
    """
    import torch
    from peft import LoraConfig
    from safetensors.torch import save_file

    tensors = {}
    for name, (down, up) in factors.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = down.detach().to(torch.float32).contiguous().cpu()
        tensors[f"base_model.model.{name}.lora_B.weight"] = up.detach().to(torch.float32).contiguous().cpu()
    ranks = {name: len(down) for name, (down, _) in factors.items()}
    most = max(ranks.values())
    others = {name: rank for name, rank in ranks.items() if rank != most}
    config = LoraConfig(
        r=most,
        lora_alpha=most,
        rank_pattern=others,
        alpha_pattern=others,  # alpha = r everywhere: a scale of 1
        target_modules=sorted(factors),
        task_type="CAUSAL_LM",
        inference_mode=True,
    )
    save_file(tensors, directory / "adapter_model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(str(directory))
