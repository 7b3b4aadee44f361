"""Whether a model can compute shared prefixes once: asked of the model itself, not of a list of names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentlora.plugins.trainers.attention import use_tree_attention
from agentlora.plugins.trainers.layout import IGNORE, lay_out
from agentlora.plugins.trainers.loss import model_inputs
from agentlora.plugins.trainers.rows import Row


def group_size(rows: Sequence[Row]) -> int:
    """The most rows that any group has."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.group] = counts.get(row.group, 0) + 1
    return max(counts.values())


def shares_prefixes(model: Any, rows: Sequence[Row]) -> bool:
    """Make `model` ready for the shared-prefix layout, with the fastest attention that is exact for it; False
    where none is.
    """
    before = model.config.get_text_config()._attn_implementation
    try:
        use_tree_attention(model)
        if shares_prefixes_exactly(model, rows):
            return True
        model.set_attn_implementation(before)
    except (ValueError, AttributeError):
        pass  # the model has an attention of its own
    return shares_prefixes_exactly(model, rows)


def shares_prefixes_exactly(model: Any, rows: Sequence[Row]) -> bool:
    """Whether this model computes the same next-token logits in the shared-prefix layout as row by row.

    Sliding windows, recurrent layers and attention that ignores a given mask show here, whatever their name.
    """
    import torch

    longest = max(rows, key=lambda row: len(row.ids))  # a window that is narrower would show
    members = [longest, *(row for row in rows if row.group == longest.group and row is not longest)][:2]
    batch = {k: v.to(model.device) if k != "spans" else v for k, v in lay_out(members).items()}
    labels = batch["labels"]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            shared = model(**model_inputs(model, batch), use_cache=False).logits[0][
                (labels[0] != IGNORE).roll(-1)
            ]
            plain = torch.cat(
                [
                    model(torch.tensor([row.ids], device=model.device), use_cache=False).logits[0][
                        row.start - 1 : -1
                    ]
                    for row in members
                ]
            )
    except (RuntimeError, ValueError, TypeError, IndexError):
        return False  # the model cannot take a 4-D mask at all
    finally:
        model.train(was_training)
    tolerance = 1e-4 if shared.dtype == torch.float32 else 0.05
    shared, plain = shared.float(), plain.float()
    return bool((shared - plain).square().mean() <= tolerance**2 * plain.var())
