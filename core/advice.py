"""Advice about a configuration before it is trained: one rule a row, with its condition, its advice and its source."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agentlora.core.types import MethodCard

GB = 1e9
SHARE = 0.05  # of all parameters: above that an adapter costs nearly what it is meant to save


@dataclass(frozen=True, slots=True)
class Facts:
    """What rules look at. `method`: its settings; `memory`: bytes at the peak, by what holds them; `free`: bytes."""

    card: MethodCard
    method: Mapping[str, Any]
    training: Any
    examples: int
    too_long: int
    longest: int
    updates: int
    trainable: int
    parameters: int
    memory: Mapping[str, int]
    free: int
    micro_batch: int
    stored_dtype: str
    dtype: str
    fast_dtype: str
    by_root: bool = False  # updates are scaled by alpha / √r
    fitting: Callable[[], str] = lambda: "a smaller --model"  # what to change where memory is short

    @property
    def needed(self) -> int:
        """Bytes beside what the process has already."""
        return sum(size for what, size in self.memory.items() if what != "process")

    @property
    def full(self) -> int:
        """Bytes of full fine-tuning: float32 weights, gradients and two states, activations as now."""
        return 16 * self.parameters + self.memory.get("activations", 0) + self.memory.get("logits", 0)

    @property
    def scaled(self) -> float:
        """By what a method scales its low-rank products: alpha / r, or alpha / √r; 0 of any other."""
        alpha = self.method.get("alpha")
        return alpha / self.rank_unit if self.method.get("r") and alpha else 0.0

    @property
    def rank_unit(self) -> float:
        """The alpha whose scale is 1."""
        return self.unit_of(self.method.get("r") or 0)

    def unit_of(self, rank: int) -> float:
        return math.sqrt(rank) if self.by_root else rank

    @property
    def share(self) -> float:
        """Of all parameters that are trained."""
        return self.trainable / self.parameters

    @property
    def better_rank(self) -> int | None:
        """The rank for so much data that leaves an adapter one; None where it is well as it is."""
        rank = self.method.get("r") or 0
        if self.scaled == 0:
            return None
        most = int(rank * SHARE / self.share)  # parameters grow with the rank
        wanted = 8 if self.much_rank else 32 if self.little_rank else rank
        better = max(1, min(wanted, most))
        return None if better == rank else better

    @property
    def much_rank(self) -> bool:
        return self.scaled > 0 and self.method.get("r", 0) > 16 and self.examples < 1000

    @property
    def little_rank(self) -> bool:
        return self.scaled > 0 and self.method.get("r", 99) < 16 and self.examples >= 10_000

    @property
    def rank_and_alpha(self) -> str:
        """Both, since one alone would change the scale."""
        rank = self.better_rank or self.method["r"]
        return f"--rank {rank} --alpha {2 * self.unit_of(rank):.3g}"


@dataclass(frozen=True, slots=True)
class Advice:
    """`seen` is the evidence, `change` the setting and its new value, `why` what that is expected to do.

    `urgent`: the training is likely to fail or to leave something out.
    """

    about: str
    seen: str
    change: str
    why: str
    source: str
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """`seen` says in words that the condition holds, or is None; `change` and `why` may use the facts."""

    about: str
    seen: Callable[[Facts], str | None]
    change: Callable[[Facts], str]
    why: str
    source: str
    urgent: bool = False


def advice(facts: Facts) -> list[Advice]:
    """Every rule's advice whose condition holds, the urgent first."""
    found = [
        Advice(rule.about, seen, rule.change(facts), rule.why, rule.source, rule.urgent)
        for rule in RULES
        if (seen := rule.seen(facts)) is not None
    ]
    return sorted(found, key=lambda row: not row.urgent)


def _when(condition: bool, text: str) -> str | None:
    return text if condition else None


RULES: tuple[Rule, ...] = (
    Rule(
        "truncation",
        lambda f: _when(
            f.too_long > 0,
            f"{f.too_long:,} of {f.examples:,} examples exceed {f.training.max_len:,} tokens and are left out",
        ),
        lambda f: f"--max-len {-(-f.longest // 64) * 64}, or fewer tools a request",
        "what is left out is not learnt",
        "nothing is cut: a cut answer teaches broken JSON",
    ),
    Rule(
        "memory",
        lambda f: _when(
            f.needed > f.free, f"{f.needed / GB:.1f} GB are needed and {f.free / GB:.1f} GB are free"
        ),
        lambda f: f.fitting(),
        "the training would end for lack of memory",
        "the prediction above",
        urgent=True,
    ),
    Rule(
        "gradient checkpointing",
        lambda f: _when(
            f.training.gradient_checkpointing and f.needed < f.free / 4,
            f"{f.needed / GB:.1f} GB of {f.free / GB:.1f} GB free memory are needed, and layers are computed twice",
        ),
        lambda f: "leave --gradient-checkpointing out",
        "about a third of the time is saved",
        "Chen et al. 2016, arXiv 1604.06174: one more forward pass",
    ),
    Rule(
        "alpha / rank",
        lambda f: _when(f.scaled > 4 and not f.better_rank, f"the update is scaled by {f.scaled:.3g}"),
        lambda f: f"--alpha {2 * f.rank_unit:g}",
        "an update that is scaled that much tends to be unstable; 1 to 2 is usual",
        "common guidance",
    ),
    Rule(
        "alpha / rank",
        lambda f: _when(0 < f.scaled < 1 and not f.better_rank, f"the update is scaled by {f.scaled:.3g}"),
        lambda f: f"--alpha {2 * f.rank_unit:g}",
        "an update that is scaled down learns slowly at the usual rate; 1 and 2 are both usual, and 2 is the default",
        "Hu et al. 2021, section 4.1: alpha acts as the learning rate does",
    ),
    Rule(
        "rank",
        lambda f: _when(
            f.much_rank,
            f"rank {f.method.get('r')} for {f.examples:,} examples",
        ),
        lambda f: f.rank_and_alpha,
        "few examples hold too little to fill more, and less is left to overfit with",
        "LoRA Without Regret (2025): capacity by the information in the data",
    ),
    Rule(
        "rank",
        lambda f: _when(
            f.little_rank and (f.better_rank or 0) > f.method["r"],
            f"rank {f.method.get('r')} for {f.examples:,} examples",
        ),
        lambda f: f.rank_and_alpha,
        "that many examples can hold more than a small adapter learns",
        "LoRA Without Regret (2025): capacity by the information in the data",
    ),
    Rule(
        "trained share",
        lambda f: _when(
            f.scaled > 0 and f.share > SHARE and not f.much_rank,
            f"{100 * f.share:.1f} % of all parameters are trained",
        ),
        lambda f: f"{f.rank_and_alpha}, or --target attention" if f.better_rank else "--target attention",
        "above 5 % an adapter costs nearly what it is meant to save",
        "common guidance",
    ),
    Rule(
        "dropout",
        lambda f: _when(
            f.method.get("dropout") == 0
            and f.examples < 1000
            and f.updates * f.training.batch_size > f.examples,
            f"{f.examples:,} examples are seen more than once, without dropout",
        ),
        lambda f: "--dropout 0.1",
        "a small set is soon known by heart; dropout takes longer to",
        "common guidance: by the size of the data",
    ),
    Rule(
        "dropout",
        lambda f: _when(
            (f.method.get("dropout") or 0) > 0.1 and 1000 <= f.examples < 10_000,
            f"dropout {f.method.get('dropout')} with {f.examples:,} examples",
        ),
        lambda f: "--dropout 0.05",
        "between a thousand and ten thousand examples little of it is enough",
        "common guidance: by the size of the data",
    ),
    Rule(
        "dropout",
        lambda f: _when(
            (f.method.get("dropout") or 0) > 0.05 and f.examples >= 10_000,
            f"dropout {f.method.get('dropout')} with {f.examples:,} examples",
        ),
        lambda f: "--dropout 0",
        "what is seen once cannot be known by heart, and without dropout layers compute fused",
        "common guidance: by the size of the data; docs/experiments.md: fused layers",
    ),
    Rule(
        "learning rate",
        lambda f: _when(
            f.scaled > 0 and f.training.lr < 5e-5, f"{f.training.lr:g} is a rate of full fine-tuning"
        ),
        lambda f: f"--lr {10 * f.training.lr:.0e} or more",
        "LoRA takes about ten times the rate of full fine-tuning",
        "LoRA Without Regret (2025)",
    ),
    Rule(
        "learning rate",
        lambda f: _when(
            f.trainable == f.parameters and f.training.lr > 2e-4,
            f"{f.training.lr:g} is a rate of LoRA, and every weight learns",
        ),
        lambda f: f"--lr {f.training.lr / 10:.0e}",
        "full fine-tuning takes about a tenth of LoRA's rate",
        "LoRA Without Regret (2025)",
    ),
    Rule(
        "batch size",
        lambda f: _when(
            f.scaled > 0 and f.training.batch_size > 32 and f.updates < 500,
            f"{f.training.batch_size} examples an update leave {f.updates:,} updates",
        ),
        lambda f: "--batch-size 16 or 32",
        "LoRA loses more than full fine-tuning with large batches, and few updates are few steps",
        "LoRA Without Regret (2025)",
    ),
    Rule(
        "updates",
        lambda f: _when(f.updates < 30, f"{f.updates} updates in all"),
        lambda f: "more examples, more --epochs, or a smaller --batch-size",
        "so few barely move an adapter from where it began",
        "docs/experiments.md: what the demo's updates buy",
    ),
    Rule(
        "target",
        lambda f: _when(
            f.scaled > 0 and f.method.get("target") == "minimal",
            "only query and value projections are adapted",
        ),
        lambda f: "--target all-linear" + ("" if f.little_rank else " with a smaller --rank"),
        "the same number of parameters learns more in all layers than in attention alone",
        "LoRA Without Regret (2025); against it Hu et al. 2021, section 7.1",
    ),
    Rule(
        "full fine-tuning",
        lambda f: _when(
            f.parameters < 3e9
            and f.trainable < f.parameters
            and f.full < f.free / 2
            and f.examples >= 10_000,
            f"{f.parameters / 1e9:.2g} billion parameters, and full fine-tuning would need {f.full / GB:.1f} GB",
        ),
        lambda f: f"--method full --lr {f.training.lr / 10:.0e}, if a skill of its own model is no drawback",
        "below 3 billion parameters it fits, and much data can outgrow an adapter; it is served as a model of its own",
        "common guidance",
    ),
    Rule(
        "quantized base",
        lambda f: _when(
            f.card.quantized_base and 3 * f.parameters + f.needed < f.free / 2,
            "the base fits in full precision with room to spare",
        ),
        lambda f: "--method lora",
        "quantized layers are slower, and serving adds the adapter to a base that it was not trained on",
        "Dettmers et al. 2023; docs/methods.md",
    ),
    Rule(
        "dtype",
        lambda f: _when(
            f.dtype != f.fast_dtype and not (f.dtype == "float32" and f.stored_dtype != "bfloat16"),
            f"{f.dtype}, where {f.fast_dtype} is faster on this device (the base is stored in {f.stored_dtype})",
        ),
        lambda f: "--dtype auto",
        "the device has the instructions, and what is served is rounded as what was trained",
        "docs/experiments.md: which dtype is faster on which CPU",
    ),
    Rule(
        "dtype",
        lambda f: _when(
            f.stored_dtype == "bfloat16" and f.dtype == "float32" == f.fast_dtype and f.needed > f.free / 2,
            "the base is stored in bfloat16 and trained in float32, and memory is short",
        ),
        lambda f: "--dtype bfloat16",
        "half the bytes for the same weights; it takes longer on this device",
        "docs/experiments.md: which dtype is faster on which CPU",
    ),
    Rule(
        "adapter and base dtype",
        lambda f: _when(
            f.dtype == "bfloat16" and f.stored_dtype in ("float16", "float32") and f.trainable < f.parameters,
            f"the base is stored in {f.stored_dtype}, and the adapter learns beside weights rounded to bfloat16",
        ),
        lambda f: "--dtype float32",
        "it is served beside the stored weights, and answers a little otherwise than it learnt to; float32 holds them "
        "exactly, in more memory and time",
        "3 bits of float16 and 16 of float32 have no place in bfloat16",
    ),
)
