"""Learning from a better and a worse answer to the same prompt: DPO and KTO.

Both compare how far the model has moved towards an answer: ``log π(answer | prompt) - log π₀(answer | prompt)``, where
π₀ is the base before the method changed it. It is asked once, before training.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import Field

from agentlora.core.config import Strict
from agentlora.core.run import Run
from agentlora.core.types import Example, Split
from agentlora.plugins.trainers.layout import IGNORE, lay_out, pad
from agentlora.plugins.trainers.loss import sequence_log_probs
from agentlora.plugins.trainers.objectives import Objective
from agentlora.plugins.trainers.reference import reference_log_probs
from agentlora.plugins.trainers.rows import Encoded, Item, Pair, encode_pairs
from agentlora.plugins.trainers.sft import SFT


class DPOParams(Strict):
    beta: float = Field(0.1, gt=0)
    """How dear it is to move away from the base; smaller values let the model move further."""
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    """Share of pairs that are taken to be the wrong way round."""
    sft_weight: float = Field(0.0, ge=0)
    """Of the better answer's cross-entropy a token, added to the loss: without it that answer can become less likely,
    if only the worse one does more so."""


class KTOParams(Strict):
    beta: float = Field(0.1, gt=0)
    """How dear it is to move away from the base; smaller values let the model move further."""
    desirable_weight: float = Field(1.0, ge=0)
    """What the better answers count."""
    undesirable_weight: float = Field(1.0, ge=0)
    """What the worse ones count."""


class Preference(ABC):
    """What the objectives over pairs have in common. Shapes below: n pairs a forward pass."""

    unit = "nats a pair"
    mismatched = False

    def __init__(self, params: Any) -> None:
        self.params = params

    def encode(
        self, examples: Sequence[Example], tokenizer: Any, chat_template: str, max_len: int
    ) -> Encoded[Any]:
        """See `Objective`."""
        return encode_pairs(examples, tokenizer, chat_template, max_len, self.mismatched)

    def usable(self, example: Example) -> bool:
        """See `Objective`."""
        return example.rejected is not None

    def ready(self, run: Run, model: Any, split: Split, pairs: Sequence[Pair], pad_id: int) -> Sequence[Pair]:
        """See `Objective`: with the log-probabilities before training."""
        rows = [row for pair in pairs for row in pair.computed]
        values = iter(reference_log_probs(run, model, split, rows, pad_id))
        return [replace(pair, reference=tuple(next(values) for _ in pair.computed)) for pair in pairs]

    def tensors(self, pairs: Sequence[Pair], sharing: bool, pad_id: int) -> dict[str, Any]:
        """See `Objective`. Of ``labels`` each pair has one, behind the first place; ``targets`` are the tokens."""
        import torch

        def laid(parts: Sequence[Item]) -> dict[str, Any]:
            tensors = lay_out(parts) if sharing else pad(parts, pad_id)
            return {**tensors, "targets": tensors.pop("labels")}

        tensors = {
            **laid(pairs),
            "labels": torch.tensor([[IGNORE, 0]]).repeat(len(pairs), 1),
            "pair_weights": torch.tensor([pair.weight for pair in pairs]),
            "reference": torch.tensor([pair.reference[:2] for pair in pairs]),
        }
        if others := [row for pair in pairs for row in pair.mismatched]:
            reference = torch.tensor([value for pair in pairs for value in pair.reference[2:]])
            tensors["mismatched"] = {**laid(others), "reference": reference}
        return tensors

    def loss(
        self, model: Any, batch: Mapping[str, Any], count: Any, within: Any = None
    ) -> tuple[Any, dict[str, Any]]:
        """See `Objective`."""
        told = self.before(model, batch, within)
        log_probs, lengths = sequence_log_probs(model, batch, 2 * len(batch["labels"]), within)
        moved = log_probs.view(-1, 2) - batch["reference"]
        losses = self.pair_losses(moved, log_probs[::2] / lengths[::2], **told)
        real = batch["labels"][:, 1] != IGNORE  # a pass that is only there to be there has none
        chosen, rejected = moved.detach().unbind(1)
        margin = self.params.beta * (chosen - rejected)
        told |= {"margin": margin, "accuracy": (margin > 0).float(), "items": real.float()}
        total = (real * batch["pair_weights"] * losses).sum()
        return total / (len(real) if count is None else count), {
            name: (real * values).sum() for name, values in told.items()
        }

    def before(self, model: Any, batch: Mapping[str, Any], within: Any) -> dict[str, Any]:
        """What `pair_losses` needs beside, before anything is kept for a backward pass."""
        return {}

    @abstractmethod
    def pair_losses(self, moved: Any, likely: Any, **beside: Any) -> Any:
        """The losses [n].

        Args:
            moved: [n, 2], towards the better and the worse answer. likely: [n], log-probability a token of the better
                one. beside: what `before` gave.
        """


class DPOLoss(Preference):
    """``-log σ(β (moved towards the better - moved towards the worse))``: Rafailov et al. 2023, equation 7; smoothed as
    in Mitchell 2023, "A note on DPO with noisy preferences". With `sft_weight`, Pang et al. 2024 (Iterative Reasoning
    Preference Optimization), equation 1.
    """

    def pair_losses(self, moved: Any, likely: Any, **beside: Any) -> Any:
        from torch.nn.functional import logsigmoid

        margin = self.params.beta * (moved[:, 0] - moved[:, 1])
        wrong = self.params.label_smoothing
        preferred = -(1 - wrong) * logsigmoid(margin) - wrong * logsigmoid(-margin)
        return preferred - self.params.sft_weight * likely


class KTOLoss(Preference):
    """``1 - σ(β (moved - z))`` for better answers and ``1 - σ(β (z - moved))`` for worse ones, half of each a pair,
    where z is how far the model has moved on the mean towards answers that belong to other prompts, and at least 0:
    Ethayarajh et al. 2024, equation 7. z is estimated in every forward pass.
    """

    unit = "a pair"
    mismatched = True

    def before(self, model: Any, batch: Mapping[str, Any], within: Any) -> dict[str, Any]:
        import torch

        pairs = batch["reference"].shape[0]
        if not (others := batch.get("mismatched")):  # none that fits
            return {"kl": batch["reference"].new_zeros(pairs)}
        with torch.no_grad():
            log_probs, _ = sequence_log_probs(model, others, len(others["reference"]), within)
        return {"kl": (log_probs - others["reference"]).mean().clamp(min=0).expand(pairs)}

    def pair_losses(self, moved: Any, likely: Any, **beside: Any) -> Any:
        import torch

        beta, z = self.params.beta, beside["kl"]
        better = self.params.desirable_weight * (1 - torch.sigmoid(beta * (moved[:, 0] - z)))
        worse = self.params.undesirable_weight * (1 - torch.sigmoid(beta * (z - moved[:, 1])))
        return (better + worse) / 2


class DPO(SFT):
    """Direct preference optimization."""

    Params: Any = DPOParams
    imitates: ClassVar[bool] = False

    def objective(self, params: Any) -> Objective:
        return DPOLoss(params)


class KTO(SFT):
    """Kahneman-Tversky optimization, on both answers of every pair."""

    Params: Any = KTOParams
    imitates: ClassVar[bool] = False

    def objective(self, params: Any) -> Objective:
        return KTOLoss(params)
