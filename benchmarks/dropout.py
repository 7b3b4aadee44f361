"""What LoRA's dropout does to an update whose requests share their prefix, and with it the prefix' dropout masks.

The starter model learns a few updates without dropout, so that no matrix of its adapter is zero any more. Then the loss
and the gradient of one more update, eight requests on one list of tools, are computed under many draws of the masks: in
the shared layout, and with every request in a row of its own. Printed for every rate of dropout are

- the mean losses, with their standard errors;
- how far the two mean gradients are apart, squared, over what chance alone makes of it (1: nothing but chance; the
  gradients' means are equal by the linearity of expectation, for every request sees masks of the same distribution);
- the variance of the gradient over the masks, summed over all parameters, and by what factor sharing makes it larger;
- that variance over the one between updates of other requests, without dropout.

    .venv/bin/python benchmarks/dropout.py [--rates 0.05 0.1 --draws 16 --tools 2] [--json]
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Sequence
from typing import Any

from shared_prefix import examples

REQUESTS = 8  # of an update, all on one list
LEARNT, OTHERS = 8, 8  # updates before, and updates that the variance between updates is taken of


class Gradients:
    """Mean and variance of gradients that come one by one, the variance from pairs: each is an estimate of its own."""

    def __init__(self) -> None:
        self.sum: Any = 0
        self.losses: list[float] = []
        self.variances: list[float] = []
        self.before: Any = None

    def add(self, loss: float, gradient: Any) -> None:
        self.losses.append(loss)
        self.sum = self.sum + gradient
        if self.before is None:
            self.before = gradient
        else:
            self.variances.append(float((gradient - self.before).square().sum()) / 2)
            self.before = None

    @property
    def mean(self) -> Any:
        return self.sum / len(self.losses)

    @property
    def variance(self) -> float:
        return statistics.fmean(self.variances)

    @property
    def error(self) -> float:
        """The standard error of `variance`, over itself."""
        return statistics.stdev(self.variances) / math.sqrt(len(self.variances)) / self.variance


class Learner:
    """The starter model with a LoRA, and the passes over the same requests in both layouts."""

    def __init__(self, tools: int) -> None:
        import torch
        from transformers import AutoTokenizer

        from agentlora.core.config import TrainingConfig
        from agentlora.core.home import home
        from agentlora.core.manager import default_plugins
        from agentlora.plugins.bases.resolve import resolve_base
        from agentlora.plugins.trainers.loading import load_model
        from agentlora.plugins.trainers.rows import encode
        from agentlora.plugins.trainers.sharing import shares_prefixes

        plugins = default_plugins()
        base = resolve_base("smollm2-135m", plugins, home())
        method = plugins.get("peft_methods", "lora")
        params = method.Params(dropout=0.5)  # some, so that there are layers of it
        tokenizer = AutoTokenizer.from_pretrained(base.model_dir)
        made = examples(tools, REQUESTS, (LEARNT + 1 + OTHERS) * REQUESTS)
        rows = encode(made, tokenizer, base.chat_template, 4096).items
        torch.manual_seed(0)
        training = TrainingConfig(dtype="float32")
        self.model = method.apply(load_model(base, method, params, training), params).train()
        assert shares_prefixes(self.model, rows[:REQUESTS])
        updates = [rows[i : i + REQUESTS] for i in range(0, len(rows), REQUESTS)]
        self.first, self.asked, self.others = updates[:LEARNT], updates[LEARNT], updates[LEARNT + 1 :]
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.pad_id = tokenizer.pad_token_id or 0

    def drop(self, rate: float) -> None:
        import torch

        for module in self.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = rate

    def gradient(self, rows: Sequence[Any], shared: bool) -> tuple[float, Any]:
        """The update's loss in nats a token, and its gradient: [parameters]."""
        import torch

        from agentlora.plugins.trainers.layout import lay_out, pad
        from agentlora.plugins.trainers.loss import trained_positions_loss

        self.model.zero_grad()
        batch = lay_out(rows) if shared else pad(rows, self.pad_id)
        loss = trained_positions_loss(self.model, batch, None)
        loss.backward()
        return loss.item(), torch.cat([p.grad.flatten() for p in self.trained])

    def learn(self) -> None:
        import torch

        optimizer = torch.optim.AdamW(self.trained, lr=1e-3, weight_decay=0.0)
        self.drop(0.0)
        for rows in self.first:
            self.gradient(rows, shared=True)
            optimizer.step()


def measure(rates: Sequence[float], draws: int, tools: int) -> dict[str, Any]:
    import torch

    from agentlora.plugins.trainers.layout import common_prefix, computed_tokens

    learner = Learner(tools)
    learner.learn()
    asked = learner.asked
    loss, exact = learner.gradient(asked, shared=True)
    apart = float((learner.gradient(asked, shared=False)[1] - exact).norm() / exact.norm())
    between = Gradients()
    for rows in learner.others:
        between.add(*learner.gradient(rows, shared=True))
    found: dict[str, Any] = {
        "requests": len(asked),
        "tokens": sum(len(row.ids) for row in asked),
        "computed_when_shared": computed_tokens(asked),
        "tokens_of_prefix": len(common_prefix(asked)),
        "loss_without_dropout": loss,
        "gradients_apart_without_dropout": apart,
        "rates": [],
    }
    for rate in rates:
        learner.drop(rate)
        both = {True: Gradients(), False: Gradients()}
        for draw in range(2 * draws):
            torch.manual_seed(draw)
            shared = draw % 2 == 0
            both[shared].add(*learner.gradient(asked, shared))
            print(f"dropout {rate}: {draw + 1} of {2 * draws}", end="\r", file=sys.stderr)
        one, other = both[True], both[False]
        by_chance = (one.variance + other.variance) / draws
        found["rates"].append(
            {
                "dropout": rate,
                "draws": draws,
                **{
                    f"{name}_{what}": value
                    for name, of in (("shared", one), ("alone", other))
                    for what, value in {
                        "loss": statistics.fmean(of.losses),
                        "loss_error": statistics.stdev(of.losses) / math.sqrt(draws),
                        "loss_deviation": statistics.stdev(of.losses),
                        "variance": of.variance,
                        "mean_norm": float(of.mean.norm()),
                        "of_variance_between_updates": of.variance / between.variance,
                    }.items()
                },
                "means_apart_over_chance": float((one.mean - other.mean).square().sum()) / by_chance,
                "variance_factor": one.variance / other.variance,
                "variance_factor_error": one.variance / other.variance * math.hypot(one.error, other.error),
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rates", type=float, nargs="+", default=[0.05, 0.1])
    parser.add_argument("--draws", type=int, default=16, help="of the masks, for each layout; an even number")
    parser.add_argument("--tools", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    from agentlora.core.libraries import prepare_libraries
    from agentlora.core.provenance import this_machine

    prepare_libraries()
    print(this_machine(), file=sys.stderr, flush=True)
    found = measure(args.rates, args.draws, args.tools)
    if args.json:
        print(json.dumps(found, indent=2))
        return
    print(
        f"{found['requests']} requests, {found['tokens_of_prefix']} tokens in common; {found['tokens']} tokens alone, "
        f"{found['computed_when_shared']} shared; without dropout loss {found['loss_without_dropout']:.4f}, gradients "
        f"apart by {found['gradients_apart_without_dropout']:.1e}"
    )
    for row in found["rates"]:
        print(f"dropout {row['dropout']}, {row['draws']} draws of the masks each:")
        for layout in ("shared", "alone"):
            print(
                f"  {layout:6}  loss {row[f'{layout}_loss']:.4f} ± {row[f'{layout}_loss_error']:.4f}, variance of the "
                f"gradient {row[f'{layout}_of_variance_between_updates']:.2%} of that between updates"
            )
        print(
            f"  mean gradients apart {row['means_apart_over_chance']:.2f} times what chance makes of it; variance "
            f"{row['variance_factor']:.2f} ± {row['variance_factor_error']:.2f} times as large when shared"
        )


if __name__ == "__main__":
    main()
