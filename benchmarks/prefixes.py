"""How much faster the engine `transformers` answers prompts that share a prefix, because it computes it once.

A Llama with random weights answers groups of prompts with shared prefixes, in turn as the engine does and with every
prompt computed anew, on the same batches. Tokens are ids, no tokenizer is asked. Quote the ratio; the greedy answers of
both are compared, in float32 they have to be the same.

    .venv/bin/python benchmarks/prefixes.py [--groups 1 --sharers 8 --prefix 600 --own 30 --tokens 32] [--json]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from typing import Any

SIZES = {"hidden_size": 256, "intermediate_size": 768, "num_attention_heads": 8, "num_key_value_heads": 4}
VOCABULARY = 8192


def model_of(layers: int, device: str) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        num_hidden_layers=layers,
        max_position_embeddings=8192,
        initializer_range=0.05,
        bos_token_id=None,
        eos_token_id=None,
        **SIZES,
    )
    return LlamaForCausalLM(config).to(device).eval()


def prompts(options: argparse.Namespace) -> list[list[int]]:
    """Of `options.own` tokens behind the prefix, and up to half as many again."""
    rng = random.Random(0)

    def some(n: int) -> list[int]:
        return [rng.randrange(1, VOCABULARY) for _ in range(n)]

    made = []
    for _ in range(options.groups):
        prefix = some(options.prefix)
        lengths = [options.own + rng.randrange(options.own // 2 + 1) for _ in range(options.sharers)]
        made += [prefix + some(length) for length in lengths]
    return made


def answers(model: Any, rows: list[list[int]], tokens: int, *, shared: bool) -> tuple[list[list[int]], float]:
    """(new tokens of every row, seconds: on a CPU the cores' own, which what runs beside does not lengthen)."""
    import torch

    from agentlora.eval.engines import prefixes

    clock = time.process_time if model.device.type == "cpu" else time.perf_counter
    began = clock()
    with torch.inference_mode():
        begun = prefixes.begun(model, rows, 0) if shared else None
        if shared and begun is None:
            raise SystemExit("These prompts share too little, nothing is computed once.")
        ids, mask = prefixes.padded(rows, 0, model.device)
        found = model.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=tokens,
            do_sample=False,
            pad_token_id=0,
            **({"past_key_values": begun} if shared else {}),
        )
        new: list[list[int]] = found[:, ids.shape[1] :].tolist()  # waits for a GPU
    return new, clock() - began


def measure(options: argparse.Namespace) -> dict[str, Any]:
    model, rows = model_of(options.layers, options.device), prompts(options)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    said = {}
    for number in range(options.rounds + 1):
        for shared in (True, False):
            said[shared], took = answers(model, rows, options.tokens, shared=shared)
            if number:  # the first round warms up
                seconds[shared].append(took)
    ratios = [anew / once for once, anew in zip(seconds[True], seconds[False], strict=True)]
    return {
        "prompts": len(rows),
        "prompt_tokens": sum(map(len, rows)),
        "once_s": round(statistics.median(seconds[True]), 3),
        "anew_s": round(statistics.median(seconds[False]), 3),
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in ratios],
        "same_answers": sum(one == other for one, other in zip(said[True], said[False], strict=True)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--groups", type=int, default=1)
    parser.add_argument("--sharers", type=int, default=8, help="Prompts of a group.")
    parser.add_argument("--prefix", type=int, default=600, help="Tokens that a group shares.")
    parser.add_argument("--own", type=int, default=30, help="Tokens of a prompt behind them, at least.")
    parser.add_argument("--tokens", type=int, default=32, help="Of an answer.")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    from agentlora.core.provenance import this_machine

    print(this_machine(), file=sys.stderr, flush=True)
    found = measure(options)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{found['prompts']} prompts, {found['prompt_tokens']} tokens, {options.tokens} new ones each")
    print(f"prefix once  {found['once_s']:8.3f} s\nprompts anew {found['anew_s']:8.3f} s")
    print(f"ratio        {found['ratio']:8.2f}   ({', '.join(map(str, found['ratios']))})")
    print(f"same answers {found['same_answers']:>5} of {found['prompts']}")


if __name__ == "__main__":
    main()
