"""The micro-batch: as many examples a forward pass as fit into free memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agentlora.core.config import TrainingConfig
from agentlora.plugins.trainers.layout import computed_tokens, rows_at_once
from agentlora.plugins.trainers.rows import Row

# Values kept for the backward pass for a token and layer, in units of the hidden and of the intermediate
# size: inputs of the projections, norms, attention's q, k, v and output, and the same again for adapters.
# Checked against peak RSS in docs/experiments.md.
HIDDEN_VALUES = 18
INTERMEDIATE_VALUES = 6
SAFETY = 0.6


def activation_bytes(config: Any, tokens: int, trained: int, value_bytes: int, checkpointing: bool) -> int:
    """Bytes kept for the backward pass over one sequence of `tokens` with logits at `trained` of them."""
    hidden, layers = config.hidden_size, config.num_hidden_layers
    intermediate = getattr(config, "intermediate_size", 4 * hidden)
    layer = tokens * (HIDDEN_VALUES * hidden + INTERMEDIATE_VALUES * intermediate) * value_bytes
    kept = layers * tokens * hidden * value_bytes + layer if checkpointing else layers * layer
    logits = 3 * 4 * trained * config.vocab_size  # logits, log-softmax and its gradient, in float32
    return int(kept + logits)


def micro_batch_of(
    training: TrainingConfig,
    rows: Sequence[Row],
    config: Any,
    value_bytes: int,
    sharing: bool,
    processes: int = 1,
) -> int:
    """Examples a forward pass: as the configuration says, or as many as fit."""
    if training.micro_batch_size is not None:
        return training.micro_batch_size
    if training.grad_accum is not None:
        return training.batch_size // training.grad_accum
    of_process = training.batch_size // processes
    at_once = rows_at_once(rows) if sharing else of_process
    return choose_micro_batch(
        rows, config, of_process, at_once, value_bytes, training.gradient_checkpointing, sharing
    )


def choose_micro_batch(
    rows: Sequence[Row],
    config: Any,
    batch_size: int,
    at_once: int,
    value_bytes: int,
    checkpointing: bool,
    sharing: bool,
) -> int:
    """The largest divisor of `batch_size`, up to `at_once`, whose heaviest forward pass fits into free memory.

    Without sharing, rows are padded to the longest, and a position that is trained in one
    has logits in all.
    """
    budget = int(SAFETY * free_memory_bytes())
    candidates = [m for m in range(min(batch_size, at_once), 0, -1) if batch_size % m == 0]
    for micro in candidates:
        parts = [rows[i : i + micro] for i in range(0, len(rows), micro)]
        if max(_pass_bytes(part, config, value_bytes, checkpointing, sharing) for part in parts) <= budget:
            return micro
    return 1


def heaviest(
    parts: Sequence[Sequence[Row]], config: Any, value_bytes: int, checkpointing: bool, sharing: bool
) -> Sequence[Row]:
    """The forward pass that needs the most."""
    return max(parts, key=lambda part: _pass_bytes(part, config, value_bytes, checkpointing, sharing))


def _pass_bytes(
    part: Sequence[Row], config: Any, value_bytes: int, checkpointing: bool, sharing: bool
) -> int:
    if sharing:
        tokens, scored = computed_tokens(part), sum(len(row.ids) - row.start for row in part)
    else:
        longest = max(len(row.ids) for row in part)
        tokens = len(part) * longest
        scored = len(part) * (longest - min(row.start for row in part))
    return activation_bytes(config, tokens, scored, value_bytes, checkpointing)


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
