"""Whether a model can compute shared prefixes once: asked of the model itself, not of a list of names."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

from agentlora.core.errors import ConfigError
from agentlora.plugins.trainers.attention import NarrowWindow, flex_learns, use_tree_attention
from agentlora.plugins.trainers.layout import lay_out, trees
from agentlora.plugins.trainers.loss import model_inputs
from agentlora.plugins.trainers.rows import Item, Row

# Root mean square of the difference in logits, in units of their spread: over all tokens, and at the worst of them. A
# recurrent layer reaches a few tokens behind a suffix's begin: little on the mean, everything there.
TOLERANCE = {"float32": (1e-4, 1e-3), "bfloat16": (0.05, 0.3)}


def shares_prefixes(
    model: Any, items: Sequence[Item], attention: str = "auto", dev: Sequence[Item] = ()
) -> bool:
    """Make `model` ready for the shared-prefix layout, with the fastest attention that is exact for it, or the one that
    `attention` names (see `TrainingConfig`); False where none is. Some of `items` and `dev` are tried.

    Raises:
        ConfigError: FlexAttention was asked for and is not exact.
    """
    members = _sample(lambda: (row for item in chain(items, dev) for row in item.computed))
    own = model.config.get_text_config()._attn_implementation
    expected = _row_by_row(model, members)  # with its own attention: ours might leave out what that does
    if attention in ("eager", "sdpa"):
        return shares_prefixes_exactly(model, members, expected)
    flexible = attention == "flex" or flex_learns(model)
    for flex in (True, False) if flexible else (False,):
        try:
            use_tree_attention(model, flex)
            if shares_prefixes_exactly(model, members, expected):
                return True
            model.set_attn_implementation(own)
        except NarrowWindow:
            model.set_attn_implementation(own)
            return False
        except (ValueError, AttributeError):
            pass  # the model has an attention of its own
        if attention == "flex":
            raise ConfigError(
                "training.attention: 'flex' does not compute what this model's own attention does. Choose auto."
            )
    return shares_prefixes_exactly(model, members, expected)


def shares_prefixes_exactly(model: Any, members: Sequence[Row], expected: Any = None) -> bool:
    """Whether this model computes the same next-token logits for rows in the shared-prefix layout as row by row.

    Recurrent layers, and attention that ignores a given mask, show here, whatever their name.

    Args:
        members: rows, those of a group next to each other. expected: see `_row_by_row`.

    Raises:
        NarrowWindow: the model attends to fewer tokens than a row has.
    """
    import torch

    batch = {k: v.to(model.device) if k != "spans" else v for k, v in lay_out(members).items()}
    plain = _row_by_row(model, members) if expected is None else expected
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            logits = model(**model_inputs(model, batch), use_cache=False).logits[0]
            found = torch.cat([logits[at + n : at + n + sum(own)] for at, n, own in batch["spans"]]).float()
    except NarrowWindow:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError):
        return False  # the model cannot take a 4-D mask at all
    finally:
        model.train(was_training)
    if found.shape != plain.shape:
        return False  # a method puts tokens of its own before the prompt
    mean, worst = TOLERANCE["float32" if model.dtype == torch.float32 else "bfloat16"]
    error = (found - plain).square().mean(-1)
    return bool(error.mean() <= mean**2 * plain.var() and error.max() <= worst**2 * plain.var())


def _sample(rows: Callable[[], Iterator[Row]]) -> list[Row]:
    """The longest row, which shows a window that is narrower, and a short one of another group, each with one of its
    group where there is one: what shares a prefix, and what is packed.

    Args:
        rows: each time the same ones; they are gone through twice, and not kept.
    """
    groups: dict[str, int] = {}
    lengths, owners = array("q"), array("q")
    for row in rows():
        lengths.append(len(row.ids))
        owners.append(groups.setdefault(row.group, len(groups)))

    def pair(candidates: Iterable[int]) -> list[int]:
        numbers = iter(candidates)
        first = next(numbers)
        return [first, *islice((n for n in numbers if owners[n] == owners[first]), 1)]

    shortest = sorted(range(len(lengths)), key=lengths.__getitem__)
    longest = pair(reversed(shortest))
    others = [n for n in shortest if owners[n] != owners[longest[0]]]
    chosen = longest + (pair(others) if others else [])
    found = {number: row for number, row in enumerate(rows()) if number in chosen}
    return [found[number] for number in chosen]


def _row_by_row(model: Any, members: Sequence[Row]) -> Any:
    """Logits of every row behind its group's common prefix: float32 [tokens, vocabulary]."""
    import torch

    was_training = model.training
    model.eval()
    with torch.no_grad():
        parts = [
            model(torch.tensor([row.ids], device=model.device), use_cache=False).logits[0, len(tree.prefix) :]
            for tree in trees(members)
            for row in tree.rows
        ]
    model.train(was_training)
    return torch.cat(parts).float()
