"""QLoRA: LoRA on a base that is kept in four or eight bits (Dettmers et al. 2023, arXiv 2305.14314)."""

from __future__ import annotations

from typing import Any, Literal

from agentlora.core.errors import needs_extra
from agentlora.core.libraries import best_dtype
from agentlora.core.types import JSON, MethodCard
from agentlora.plugins.methods.lora import Lora, LoraParams


class QloraParams(LoraParams):
    """LoRA's, and how the base is quantized."""

    bits: Literal[4, 8] = 4
    """4: NF4; 8: LLM.int8()."""
    double_quant: bool = True
    """Quantize the quantization's constants too (4 bits only)."""


class Qlora(Lora):
    """LoRA on a quantized base. The adapter is plain LoRA, served on the base in full precision."""

    card = MethodCard(serve_on=("vllm", "transformers"), mergeable=True, to_lora="is", quantized_base=True)
    Params = QloraParams

    def load_kwargs(self, params: Any) -> JSON:
        with needs_extra("train", "QLoRA"):
            import bitsandbytes  # noqa: F401
            import torch
            from transformers import BitsAndBytesConfig

        if params.bits == 8:
            config = BitsAndBytesConfig(load_in_8bit=True)
        else:
            config = BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=params.double_quant,
                bnb_4bit_compute_dtype=getattr(torch, best_dtype()),
            )
        return {"quantization_config": config}

    def apply(self, model: Any, params: Any) -> Any:
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        return super().apply(model, params)
