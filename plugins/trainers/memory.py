"""The micro-batch: as many examples a forward pass as fit into free memory."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from agentlora.core.config import TrainingConfig
from agentlora.plugins.trainers.attention import FLEX, NAME
from agentlora.plugins.trainers.layout import (
    PASS_TOKENS,
    computed_tokens,
    forward_passes,
    items_at_once,
    training_passes,
)
from agentlora.plugins.trainers.rows import Item, Row, flat

# Values kept for the backward pass for a token and layer, in units of the hidden and of the intermediate
# size: inputs of the projections, norms, attention's q, k, v and output, and the same again for adapters.
# Checked against peak RSS in docs/experiments.md.
HIDDEN_VALUES = 18
INTERMEDIATE_VALUES = 6
SAFETY = 0.6
PASS_TOKENS_OF_GPU = 16384  # with fewer it waits for Python to begin each operation


def activation_bytes(config: Any, tokens: int, trained: int, value_bytes: int, checkpointing: bool) -> int:
    """Bytes kept for the backward pass over one sequence of `tokens` with logits at `trained` of them."""
    hidden, layers = config.hidden_size, config.num_hidden_layers
    intermediate = getattr(config, "intermediate_size", 4 * hidden)
    layer = tokens * (HIDDEN_VALUES * hidden + INTERMEDIATE_VALUES * intermediate) * value_bytes
    kept = layers * tokens * hidden * value_bytes + layer if checkpointing else layers * layer
    logits = 3 * 4 * trained * config.vocab_size  # logits, log-softmax and its gradient, in float32
    return int(kept + logits)


def pass_tokens(attention: str) -> int:
    """Computed tokens that make up a forward pass: more on a GPU, unless `attention` (transformers' name) scores all
    pairs of them.
    """
    import torch

    return PASS_TOKENS_OF_GPU if torch.cuda.is_available() and attention in (NAME, FLEX) else PASS_TOKENS


def micro_batch_of(
    training: TrainingConfig,
    items: Sequence[Item],
    config: Any,
    value_bytes: int,
    sharing: bool,
    attention: str,
    processes: int = 1,
) -> int:
    """Examples a forward pass: as the configuration says, or as many as are worth it and fit into free memory.

    Without sharing, rows are padded to the longest, and a position that is trained in one has logits in all.
    """
    if training.micro_batch_size is not None:
        return training.micro_batch_size
    if training.grad_accum is not None:
        return training.batch_size // training.grad_accum
    of_process = training.batch_size // processes
    at_once = items_at_once(items, pass_tokens(attention)) if sharing else of_process
    budget = int(SAFETY * free_memory_bytes())
    for micro in range(min(of_process, at_once), 1, -1):
        if of_process % micro:
            continue
        passes = training_passes(items, training.batch_size, micro, 0, len(items), training.order)
        parts = ([items[i] for i in members] for members in passes)
        worst = heaviest(parts, config, value_bytes, training.gradient_checkpointing, sharing)
        if _pass_bytes(worst, config, value_bytes, training.gradient_checkpointing, sharing) <= budget:
            return micro
    return 1


def answered_at_once(rows: Sequence[Row], config: Any, value_bytes: int, sharing: bool) -> int:
    """How many rows a forward pass may have that keeps nothing for a backward pass."""
    budget = int(SAFETY * free_memory_bytes())
    most = items_at_once(rows, pass_tokens(config._attn_implementation))

    def fits() -> bool:
        passes = forward_passes(rows, most)
        parts = ([rows[i] for i in members] for members in passes)
        return all(_pass_bytes(part, config, value_bytes, True, sharing) <= budget for part in parts)

    while most > 1 and not fits():
        most //= 2
    return most


def heaviest(
    parts: Iterable[Sequence[Item]], config: Any, value_bytes: int, checkpointing: bool, sharing: bool
) -> Sequence[Item]:
    """The forward pass that needs the most."""
    return max(parts, key=lambda part: _pass_bytes(part, config, value_bytes, checkpointing, sharing))


def _pass_bytes(
    part: Sequence[Item], config: Any, value_bytes: int, checkpointing: bool, sharing: bool
) -> int:
    rows = flat(part)
    if sharing:
        tokens, scored = computed_tokens(part), sum(len(row.ids) - row.start for row in rows)
    else:
        longest = max(len(row.ids) for row in rows)
        tokens = len(rows) * longest
        scored = len(rows) * (longest - min(row.start for row in rows))
    return activation_bytes(config, tokens, scored, value_bytes, checkpointing)


def usable_memory_bytes() -> int:
    """What is free and what this process has of the device that trains."""
    import torch

    if torch.cuda.is_available():
        return free_memory_bytes() + int(torch.cuda.memory_reserved())
    status = Path("/proc/self/status")
    resident = re.search(r"VmRSS:\s+(\d+)", status.read_text()) if status.is_file() else None
    return free_memory_bytes() + (int(resident[1]) * 1024 if resident else 0)


def free_memory_bytes() -> int:
    """Free memory of the device that will train: the GPU's, or this process' share of what Linux calls available."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    meminfo = Path("/proc/meminfo")
    for line in meminfo.read_text().splitlines() if meminfo.is_file() else ():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024 // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return 4 << 30  # not Linux: a cautious guess
