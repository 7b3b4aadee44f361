"""The built-in PEFT methods."""

from __future__ import annotations

from agentlora.core.hookspecs import Register, hookimpl

METHODS = {
    "lora": "lora:Lora",
    "rslora": "rslora:RsLora",
    "dora": "dora:Dora",
    "lora-plus": "lora_plus:LoraPlus",
    "pissa": "pissa:Pissa",
    "qlora": "qlora:Qlora",
    "adalora": "adalora:AdaLora",
    "ia3": "ia3:Ia3",
    "vera": "vera:Vera",
    "miss": "miss:Miss",
    "loha": "loha:Loha",
    "lokr": "lokr:Lokr",
    "prefix-tuning": "prompts:PrefixTuning",
    "prompt-tuning": "prompts:PromptTuning",
    "adaption-prompt": "prompts:AdaptionPrompt",
    "bottleneck": "bottleneck:Bottleneck",
    "galore": "galore:Galore",
    "full": "full:Full",
}


@hookimpl
def register_peft_methods(register: Register) -> None:
    for name, where in METHODS.items():
        register(name, f"agentlora.plugins.methods.{where}")
