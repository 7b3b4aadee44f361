"""What the model says of answers before it is trained, asked once in a run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from agentlora.core.config import TrainingConfig
from agentlora.core.errors import TrainError
from agentlora.core.files import read_json, write_json
from agentlora.core.oom import ran_out
from agentlora.core.processes import from_first, process_index
from agentlora.core.run import Run
from agentlora.core.types import JSON, Split
from agentlora.plugins.trainers.layout import forward_passes, lay_out, pad
from agentlora.plugins.trainers.loading import autocast_of
from agentlora.plugins.trainers.loss import sequence_log_probs
from agentlora.plugins.trainers.memory import answered_at_once
from agentlora.plugins.trainers.rows import Row
from agentlora.plugins.trainers.sharing import shares_prefixes


def reference_log_probs(run: Run, model: Any, split: Split, rows: Sequence[Row], pad_id: int) -> list[float]:
    """The log-probability of every row's answer, in nats; kept in the run's ``reference.json`` for a resumption.

    Of several processes the first asks, and all have what it found.
    """
    found = None if process_index() else _kept_or_asked(run, model, split, rows, pad_id)
    return [float(value) for value in from_first(found)]


def _kept_or_asked(run: Run, model: Any, split: Split, rows: Sequence[Row], pad_id: int) -> list[float]:
    file = run.directory / "reference.json"
    kept: JSON = read_json(file) if file.is_file() else {}
    digest = hashlib.sha256(repr([(row.ids, row.start) for row in rows]).encode()).hexdigest()
    if kept.get(split, {}).get("rows") == digest:
        return list(kept[split]["log_probs"])
    training = run.config.training
    asked = "the base" if not training.start_from else "what training starts from"
    run.note("train", "reference", message=f"asking {asked} about {len(rows)} answers of {split}")
    try:
        found = _ask(model, rows, training, pad_id)
    except Exception as exc:
        if not ran_out(exc):
            raise
        raise TrainError(
            f"memory ran out while {asked} was asked about {len(rows)} answers of {split}: {exc}. Change "
            f"training.max_len={training.max_len // 2} (now {training.max_len}), or choose a smaller --model."
        ) from exc
    write_json(file, {**kept, split: {"rows": digest, "log_probs": found}})
    return found


def _ask(model: Any, rows: Sequence[Row], training: TrainingConfig, pad_id: int) -> list[float]:
    import torch
    from accelerate.utils import send_to_device

    of_model = model.config.get_text_config()
    own, was_training = of_model._attn_implementation, model.training
    sharing = training.shared_prefix and shares_prefixes(model, rows, training.attention)
    most = answered_at_once(rows, of_model, torch.finfo(model.dtype).bits // 8, sharing)
    found = [0.0] * len(rows)
    model.eval()
    try:
        with torch.no_grad(), autocast_of(model)():
            for members in forward_passes(rows, most):
                part = [rows[i] for i in members]
                batch = send_to_device(lay_out(part) if sharing else pad(part, pad_id), model.device)
                batch["targets"] = batch.pop("labels")
                log_probs, _ = sequence_log_probs(model, batch, len(part))
                for i, value in zip(members, log_probs.tolist(), strict=True):
                    found[i] = value
    finally:
        model.train(was_training)
        model.set_attn_implementation(own)
    return found
