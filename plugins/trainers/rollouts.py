"""Trainers that learn from what the model itself writes: what GRPO and on-policy distillation have in common.

The loops are TRL's. Prompts are rendered and tokenized here, by the template that will serve; checkpoints prove
themselves as those of the other trainers, so that what was interrupted goes on exactly.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from agentlora.core.config import RunConfig, Strict, parse
from agentlora.core.errors import ConfigError, DataError, TrainError, needs_extra
from agentlora.core.libraries import prepare_libraries, stop_ids
from agentlora.core.processes import process_count
from agentlora.core.run import Run
from agentlora.core.types import Base, Example, Expected, Method
from agentlora.plugins.trainers.checkpoints import Prover, last_whole, made_of, refuse_changed
from agentlora.plugins.trainers.difficulty import difficulty
from agentlora.plugins.trainers.exporting import export_trained
from agentlora.plugins.trainers.loading import (
    autocast_of,
    casting_left_to_autocast,
    count_parameters,
    load_model,
    train_in_float32,
)
from agentlora.plugins.trainers.progress import StepLog
from agentlora.plugins.trainers.rows import row_of
from agentlora.plugins.trainers.sft import OPTIMIZERS, SFT, begin_with_second
from agentlora.plugins.trainers.starting import start
from agentlora.plugins.trainers.watch import broken_loss

HOOKS = ("optimizer", "penalty", "on_optimizer_step", "state")  # of a method, in an update


class RolloutParams(Strict):
    temperature: float = Field(1.0, gt=0)
    """At which answers are written."""
    max_new_tokens: int = Field(128, ge=1)
    """Of an answer; a longer one is cut off. `training.max_len` is of prompts here."""


@dataclass(frozen=True)
class Session:
    """A training that is about to begin. `prompts`: token ids by the number of the example. `beside`: what `Rollouts.
    beside` gave. `per_prompt`: how many answers a prompt gets.
    """

    run: Run
    model: Any
    tokenizer: Any
    examples: Sequence[Example]
    prompts: Mapping[int, tuple[int, ...]]
    params: Any
    beside: Any
    log: StepLog
    prover: Prover
    per_prompt: int

    @property
    def updates(self) -> int:
        training = self.run.config.training
        return training.max_steps or math.ceil(len(self.prompts) * training.epochs / training.batch_size)

    def dataset(self) -> Any:
        """The prompts of every update, in order: each once before any is there again, in another order every time, or
        from easy to hard ones. A prompt is the number of its example: what it says is tokenized already.
        """
        from datasets import Dataset

        rng, wanted = random.Random(self.run.config.seed), self.updates * self.run.config.training.batch_size
        order: list[int] = []
        while len(order) < wanted:
            drawn = rng.sample(list(self.prompts), len(self.prompts))
            if self.run.config.training.order == "easy-first":
                drawn.sort(key=lambda number: difficulty(self.examples[number]))
            order += drawn
        return Dataset.from_list([{"prompt": str(n), "example": n} for n in order[:wanted]])

    def arguments(self) -> dict[str, Any]:
        """What TRL's configurations have in common."""
        import torch

        training, micro = self.run.config.training, self.prover.micro_batch_size or 1
        return {
            "output_dir": str(self.run.checkpoints_dir),
            "per_device_train_batch_size": micro * self.per_prompt,
            "gradient_accumulation_steps": training.batch_size // micro,
            "max_completion_length": self.params.max_new_tokens,
            "temperature": self.params.temperature,
            "max_steps": self.updates,
            "learning_rate": training.lr,
            "lr_scheduler_type": training.schedule,
            "warmup_steps": round(training.warmup_ratio * self.updates),
            "weight_decay": training.weight_decay,
            "max_grad_norm": training.max_grad_norm,
            "gradient_checkpointing": training.gradient_checkpointing,
            "disable_dropout": True,  # it would be in the answers too
            "shuffle_dataset": False,  # the order is ours
            **({} if training.optimizer == "auto" else {"optim": OPTIMIZERS[training.optimizer]}),
            "use_cpu": not torch.cuda.is_available(),
            "bf16": False,  # autocast is ours
            "seed": self.run.config.seed,
            "save_strategy": "steps",
            "save_steps": training.save_steps,
            "save_total_limit": 2,
            "logging_steps": 1,
            "logging_nan_inf_filter": False,
            "disable_tqdm": True,
            "report_to": [],
            "dataloader_pin_memory": False,
        }

    def own(self, trl_trainer: Any) -> Any:
        """A class of TRL's trainers with our prompts, precision and checkpoints."""
        import torch

        prompts, prover, run, autocast = self.prompts, self.prover, self.run, autocast_of(self.model)

        class Trainer(trl_trainer):  # type: ignore[misc]
            def _tokenize_prompts(self, numbers: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
                return [list(prompts[int(number)]) for number in numbers], None, {}

            def _prepare_inputs(self, generation_batch: Any) -> Any:
                # adapters compute in bfloat16 like their base and are stored in float32
                with autocast():
                    return super()._prepare_inputs(generation_batch)

            def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
                with autocast():
                    return super().compute_loss(*args, **kwargs)

            def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
                if self.lr_scheduler is None:
                    begin_with_second(super().create_scheduler(num_training_steps + 1, optimizer))
                return self.lr_scheduler

            def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
                asked = torch.tensor([row["example"] for row in inputs])
                prover.before_pass(model, self.optimizer)
                loss = super().training_step(model, inputs, *args, **kwargs)
                prover.after_pass(asked.to(loss.device), loss)
                if not torch.isfinite(loss):
                    raise broken_loss(run.config, loss.item(), self.state.global_step + 1)
                return loss

            def _save_checkpoint(self, model: Any, trial: Any) -> None:
                super()._save_checkpoint(model, trial)
                checkpoint = run.checkpoints_dir / f"checkpoint-{self.state.global_step}"
                prover.saved(checkpoint, model, self.optimizer)

        return Trainer


class Rollouts(ABC):
    """See `agentlora.core.types.Trainer`."""

    Params: Any = RolloutParams
    answers: ClassVar[bool] = True

    def check(self, config: RunConfig, base: Base, method: Method) -> None:
        """See `agentlora.core.types.Trainer`. Raises ConfigError also for a method or a setting that TRL's loops do not
        have, and for a run to start from that does not fit.
        """
        name = config.trainer.name
        if hooks := [hook for hook in HOOKS if hasattr(method, hook)]:
            raise ConfigError(
                f"trainer {name!r} has no place for what method {config.method.name!r} does in an update "
                f"({hooks[0]}). Choose --method lora, or --trainer sft."
            )
        for setting in ("activation_offloading", "eval_steps"):
            if getattr(config.training, setting):
                raise ConfigError(f"training.{setting}: trainer {name!r} does not do that. Leave it out.")
        of_sft = config.trainer.model_copy(update={"params": {}})
        SFT().check(config.model_copy(update={"trainer": of_sft}), base, method)
        if process_count() > 1:
            raise ConfigError(f"trainer {name!r} trains in one process. Start it without torchrun.")

    @abstractmethod
    def beside(self, run: Run, base: Base, params: Any) -> Any:
        """What is needed beside the model: made before it is loaded."""

    @abstractmethod
    def trainer(self, session: Session) -> Any:
        """TRL's trainer for a session."""

    def per_prompt(self, params: Any) -> int:
        """How many answers a prompt gets."""
        return 1

    def fit(self, run: Run, base: Base, method: Method, examples: Sequence[Example]) -> Path:
        """See `agentlora.core.types.Trainer`. Goes on from the run's last whole checkpoint where there is one.

        Raises:
            TrainError: the loss is not finite, memory ran out, or an interrupted training cannot be resumed exactly.
            DataError: every prompt is too long.
        """
        prepare_libraries()
        with needs_extra("train", "training"):
            import accelerate  # noqa: F401 - all that training needs, so that what is missing is told at once
            import peft  # noqa: F401
            import torch
            import trl  # noqa: F401
            from transformers import AutoTokenizer, PrinterCallback, set_seed

        config, training = run.config, run.config.training
        set_seed(config.seed)
        parts, checkpoint = made_of(run), last_whole(run.checkpoints_dir)
        if checkpoint:
            refuse_changed(checkpoint, parts)
        params = parse(self.Params, config.trainer.params, "trainer.params")
        beside = self.beside(run, base, params)
        tokenizer = AutoTokenizer.from_pretrained(base.model_dir)
        prompts = _prompts(run, examples, tokenizer, base)
        method_params = parse(method.Params, config.method.params, "method.params")
        loaded = load_model(base, method, method_params, training, config.method.name)
        model = method.apply(loaded, method_params)
        # an answer ends where the engines end it
        model.generation_config.eos_token_id = stop_ids(model, tokenizer)
        if not checkpoint:
            start(model, config, method, base)
        done = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
        if checkpoint:
            run.note("train", "resumed", message=f"going on after update {done}", step=done)
        log = StepLog(run, config.method.name, *count_parameters(model), done)
        prover = Prover(checkpoint, parts)
        passes = training.grad_accum or training.batch_size // (training.micro_batch_size or 1)
        prover.micro_batch_size = training.batch_size // passes
        session = Session(
            run, model, tokenizer, examples, prompts, params, beside, log, prover, self.per_prompt(params)
        )
        run.note(
            "train",
            "layout",
            message=f"{training.batch_size} prompts an update, {prover.micro_batch_size} a forward pass"
            + (f", {session.per_prompt} answers to each" if session.per_prompt > 1 else ""),
            micro_batch_size=prover.micro_batch_size,
        )
        log.start(session.updates)
        trainer = self.trainer(session)
        trainer.remove_callback(PrinterCallback)
        train_in_float32(model)
        try:
            with casting_left_to_autocast(model):
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except torch.OutOfMemoryError as exc:
            fewer = ", trainer.params.answers" if session.per_prompt > 1 else ""
            raise TrainError(
                f"memory ran out: {exc}. All answers of an update are written at once. Lower --batch-size{fewer} or "
                "trainer.params.max_new_tokens."
            ) from exc
        finally:
            with suppress(OSError):  # a full disk, perhaps, which is told already
                log.plot()
        model.eval()
        export_trained(run, base, method, model, tokenizer)
        return run.adapter_dir


def _prompts(run: Run, examples: Sequence[Example], tokenizer: Any, base: Base) -> dict[int, tuple[int, ...]]:
    """Token ids of the prompts of at most ``max_len`` tokens, by the number of the example."""
    limit, found = run.config.training.max_len, {}
    for number, example in enumerate(examples):
        row = row_of(replace(example, expected=Expected(text="-")), tokenizer, base.chat_template)
        if row.start <= limit:
            found[number] = row.ids[: row.start]
    left_out = len(examples) - len(found)
    if not found:
        raise DataError(
            f"all {len(examples)} prompts are longer than training.max_len ({limit} tokens). Raise --max-len."
        )
    told = f"; {left_out} whose prompts are longer than {limit} tokens are left out" if left_out else ""
    run.note("train", "data", message=f"{len(found)} prompts{told}", too_long=left_out)
    return found
