"""Supervised fine-tuning with TRL's SFTTrainer: loss on the answer only, logits at trained positions only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

from agentlora.core.config import RunConfig, Strict, TrainingConfig, parse
from agentlora.core.errors import ConfigError, needs_extra
from agentlora.core.libraries import prepare_libraries
from agentlora.core.oom import Setup, memory_explained
from agentlora.core.processes import from_first, process_count, process_index
from agentlora.core.run import Run
from agentlora.core.types import Base, Example, Method
from agentlora.plugins.trainers.account import accounted
from agentlora.plugins.trainers.checkpoints import Prover, last_whole, made_of, refuse_changed
from agentlora.plugins.trainers.dev_loss import DevLoss, dev_sample, steps_between
from agentlora.plugins.trainers.exporting import export_trained
from agentlora.plugins.trainers.layout import IGNORE, computed_tokens, items_in_all, training_passes
from agentlora.plugins.trainers.loading import (
    autocast_of,
    casting_left_to_autocast,
    count_parameters,
    drops_out,
    load_model,
    refuse_impossible,
    refuse_unknown_architecture,
    refuse_without_gpu,
    train_in_float32,
)
from agentlora.plugins.trainers.memory import micro_batch_of, usable_memory_bytes
from agentlora.plugins.trainers.objectives import Answers, Objective
from agentlora.plugins.trainers.prediction import (
    Prediction,
    meta_model,
    own_optimizer,
    predict,
    resident_bytes,
)
from agentlora.plugins.trainers.progress import StepLog
from agentlora.plugins.trainers.rows import Encoded, Item, flat, no_longer
from agentlora.plugins.trainers.sharing import shares_prefixes
from agentlora.plugins.trainers.starting import start, weights_to_start_from
from agentlora.plugins.trainers.watch import broken_loss

OPTIMIZERS = {  # by transformers' names
    "adamw-8bit": "adamw_8bit",
    "paged-adamw": "paged_adamw_32bit",
    "paged-adamw-8bit": "paged_adamw_8bit",
}
# a TrainingArguments would begin to talk to other processes
ANY_ARGUMENTS = SimpleNamespace(
    learning_rate=1e-3, adam_beta1=0.9, adam_beta2=0.999, adam_epsilon=1e-8, weight_decay=0.0, max_steps=100
)
METHOD_STATE = "method.safetensors"  # what a method keeps beside its weights, in a checkpoint


class SFTParams(Strict):
    """No settings."""


class SFT:
    """Trains a method's parameters and exports them into ``run.adapter_dir``. Trainers with another objective derive
    from it.
    """

    Params: Any = SFTParams
    imitates: ClassVar[bool] = True
    predict = staticmethod(predict)

    def objective(self, params: Any) -> Objective:
        """What is minimised; `params` is an instance of `Params`."""
        return Answers()

    def encode(
        self, examples: Sequence[Example], tokenizer: Any, chat_template: str, config: RunConfig
    ) -> Encoded[Any]:
        """What of `examples` would be trained on. Raises DataError when nothing is left."""
        objective = self.objective(parse(self.Params, config.trainer.params, "trainer.params"))
        return objective.encode(examples, tokenizer, chat_template, config.training.max_len)

    def check(self, config: RunConfig, base: Base, method: Method) -> None:
        """See `agentlora.core.types.Trainer`: the method is tried on the model's outline."""
        prepare_libraries()
        params = parse(method.Params, config.method.params, "method.params")
        with needs_extra("train", "training"):
            refuse_unknown_architecture(base)
            refuse_impossible(base.model_dir, config, method, method.load_kwargs(params))
            refuse_without_gpu(config.training)
            if config.training.start_from:
                weights_to_start_from(config, method, base)
            if config.training.optimizer != "auto":
                import bitsandbytes  # noqa: F401
            # torch's errors are of a method that has to see weights: it is tried on them later
            with suppress(RuntimeError):
                model = meta_model(base.model_dir, method, params, config.training)
                if config.training.optimizer != "auto" and own_optimizer(
                    method, params, model, ANY_ARGUMENTS
                ):
                    raise ConfigError(
                        f"training.optimizer: method {config.method.name!r} brings an optimizer of its own. Leave it "
                        "out, or choose another --method."
                    )

    def fit(self, run: Run, base: Base, method: Method, examples: Sequence[Example]) -> Path:
        """See `agentlora.core.types.Trainer`. Goes on from the run's last whole checkpoint where there is one.

        Raises:
            TrainError: the loss is not finite, memory ran out, or an interrupted training cannot be resumed exactly.
            DataError: no example is left to train on.
        """
        prepare_libraries()
        with needs_extra("train", "training"):
            import accelerate  # noqa: F401 - all that training needs, so that what is missing is told at once
            import datasets  # noqa: F401
            import peft  # noqa: F401
            import torch  # noqa: F401
            import trl  # noqa: F401
            from transformers import AutoTokenizer, set_seed

        set_seed(run.config.seed)
        training, parts = run.config.training, made_of(run)
        checkpoint = last_whole(run.checkpoints_dir)
        if checkpoint:
            refuse_changed(checkpoint, parts)
        tokenizer = AutoTokenizer.from_pretrained(base.model_dir)
        objective = self.objective(parse(self.Params, run.config.trainer.params, "trainer.params"))
        encoded = objective.encode(examples, tokenizer, base.chat_template, training.max_len)
        dev: Sequence[Item] = dev_sample(run, tokenizer, base, objective)
        told = {"too_long": encoded.too_long, "longest": encoded.longest}
        run.note("train", "data", message=encoded.summary(), **told)
        params = parse(method.Params, run.config.method.params, "method.params")
        process = resident_bytes()
        model = load_model(base, method, params, training, run.config.method.name)
        if training.start_from:  # what is compared with where a training starts is compared with that
            model = method.apply(model, params)
            start(model, run.config, method, base)
        pad_id = tokenizer.pad_token_id or 0
        items = objective.ready(run, model, "train", encoded.items, pad_id)
        dev = objective.ready(run, model, "dev", dev, pad_id) if dev else dev
        if not training.start_from:
            model = method.apply(model, params)
        trainable, total = count_parameters(model)
        done = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
        if checkpoint:
            run.note("train", "resumed", message=f"going on after update {done}", step=done)
        elif run.metrics_file.is_file():
            run.note("train", "anew", message="no whole checkpoint is left; training from the beginning")
        log = StepLog(run, run.config.method.name, trainable, total, done, objective.unit)
        prover = Prover(checkpoint, parts)
        trainer, sharing = _make_trainer(
            run, model, tokenizer, objective, items, dev, log, prover, method, params
        )
        from agentlora.plugins.trainers.fused import fused_lora

        def predicted(settings: TrainingConfig = training, micro_batch: int | None = None) -> Prediction:
            return predict(
                base.model_dir,
                run.config.model_copy(update={"training": settings}),
                method,
                params,
                items if settings.max_len == training.max_len else no_longer(items, settings.max_len),
                sharing=sharing,
                micro_batch=micro_batch or prover.micro_batch_size,
                process=process,
                arguments=trainer.args,
            )

        explained = memory_explained(
            lambda: Setup(
                training,
                prover.micro_batch_size or training.batch_size,
                min(encoded.longest, training.max_len),
                method.card.checkpointing,
            ),
            lambda settings, micro_batch: predicted(settings, micro_batch).memory,
            usable_memory_bytes,
        )
        try:
            with explained, accounted(run, predicted), casting_left_to_autocast(model), fused_lora(model):
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        finally:
            with suppress(OSError):  # a full disk, perhaps, which is told already
                log.plot()
        model.eval()
        export_trained(run, base, method, model, tokenizer)
        return run.adapter_dir


def _make_trainer(
    run: Run,
    model: Any,
    tokenizer: Any,
    objective: Objective,
    items: Sequence[Item],
    dev: Sequence[Item],
    log: StepLog,
    prover: Prover,
    method: Any,
    params: Any,
) -> tuple[Any, bool]:
    """The trainer, and whether it shares prefixes."""
    import torch
    from datasets import Dataset
    from safetensors.torch import load_file, save_file
    from transformers import PrinterCallback, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    training, processes, pad_id = run.config.training, process_count(), tokenizer.pad_token_id or 0
    sharing = training.shared_prefix and shares_prefixes(model, items, training.attention, dev)
    if training.shared_prefix and not sharing:
        run.note(
            "train", "plain", message="this model cannot share prefixes; training every example on its own"
        )
    micro = training.micro_batch_size or prover.micro_batch_size
    if micro is None:
        value_bytes = torch.finfo(model.dtype).bits // 8
        of_model = model.config.get_text_config()
        attention = of_model._attn_implementation
        micro = micro_batch_of(training, items, of_model, value_bytes, sharing, attention, processes)
    prover.micro_batch_size = micro = from_first(micro)
    accumulate = training.batch_size // micro
    in_all = items_in_all(training, len(items))
    total_steps = math.ceil(in_all / training.batch_size)
    passes = training_passes(items, training.batch_size, micro, run.config.seed, in_all, training.order)
    plain_tokens = computed = 0
    for members in passes:
        part = [items[i] for i in members]
        plain_tokens += sum(len(row.ids) for row in flat(part))
        computed += computed_tokens(part)
    run.note(
        "train",
        "layout",
        message=f"{micro} examples a forward pass, {accumulate} passes an update"
        + (f" over {processes} processes" if processes > 1 else "")
        + (
            f"; shared prefixes leave {computed / plain_tokens:.0%} of the tokens to compute"
            + (", and the examples of a group share its dropout" if drops_out(model) else "")
            if sharing
            else ""
        ),
        micro_batch_size=micro,
        grad_accum=accumulate,
        shared=sharing,
    )
    on_cpu = not torch.cuda.is_available()
    autocast = autocast_of(model)
    args = SFTConfig(
        output_dir=str(run.checkpoints_dir),
        per_device_train_batch_size=1,  # an item of the data set is a whole forward pass
        gradient_accumulation_steps=accumulate // processes,
        train_sampling_strategy="sequential",  # the order is ours
        max_steps=total_steps,
        learning_rate=training.lr,
        lr_scheduler_type=training.schedule,
        warmup_steps=round(training.warmup_ratio * total_steps),
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        gradient_checkpointing=training.gradient_checkpointing,
        activation_offloading=training.activation_offloading,
        **({} if training.optimizer == "auto" else {"optim": OPTIMIZERS[training.optimizer]}),
        use_cpu=on_cpu,
        bf16=False,  # autocast is ours
        seed=run.config.seed,
        save_strategy="steps",
        save_steps=training.save_steps,
        save_total_limit=2,
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to=[],
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        dataloader_pin_memory=False,
        max_length=None,
    )

    class Trainer(SFTTrainer):  # type: ignore[misc]
        """SFTTrainer with losses that never build logits nobody looks at."""

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            tokens = inputs.pop("token_counts")
            # adapters compute in bfloat16 like their base and are stored in float32
            with autocast():
                loss, told = objective.loss(model, inputs, num_items_in_batch, self.model)
            sums = self.accelerator.reduce(torch.stack([*tokens.float(), *told.values()])).tolist()
            log.batch(int(sums[0]), int(sums[1]), dict(zip(told, sums[2:], strict=True)))
            if num_items_in_batch is not None:
                loss = loss * processes  # the items are those of all, and gradients are averaged
            penalty = method.penalty(model) if hasattr(method, "penalty") else None
            if penalty is None:
                return loss
            # its gradient and not its value: what is logged stays nats a token. Without a number of items the trainer
            # divides the whole by the passes itself.
            return loss + (penalty - penalty.detach()) / (
                1 if num_items_in_batch is None else self.args.gradient_accumulation_steps
            )

        def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
            if getattr(self, "optimizer", None) is None and hasattr(method, "optimizer"):
                # where the method has none of its own, the usual one is made
                self.optimizer: Any = method.optimizer(self.model, params, self.args)
            return super().create_optimizer(*args, **kwargs)

        def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            ids = inputs["input_ids"]
            prover.before_pass(model, self.optimizer)
            loss = super().training_step(model, inputs, *args, **kwargs)
            prover.after_pass(ids, loss)
            if not torch.isfinite(loss):
                raise broken_loss(run.config, loss.item(), self.state.global_step + 1)
            return loss

        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            if self.lr_scheduler is None:
                begin_with_second(super().create_scheduler(num_training_steps + 1, optimizer))
            return self.lr_scheduler

        def create_model_card(self, *args: Any, **kwargs: Any) -> None:
            """Nothing: the skill's card is written when it is published."""

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()  # each has written its random state
            if process_index():
                return
            checkpoint = run.checkpoints_dir / f"checkpoint-{self.state.global_step}"
            if hasattr(method, "state"):
                save_file(
                    {k: v.contiguous() for k, v in method.state(model).items()}, checkpoint / METHOD_STATE
                )
            prover.saved(checkpoint, model, self.optimizer)

        def _load_optimizer_and_scheduler(self, checkpoint: Any) -> None:
            super()._load_optimizer_and_scheduler(checkpoint)
            if checkpoint is not None and hasattr(method, "restore"):
                kept = load_file(Path(checkpoint) / METHOD_STATE, device=str(self.model.device))
                method.restore(self.model, kept)

    class AfterStep(TrainerCallback):  # type: ignore[misc]
        """Gradients are still there."""

        def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if hasattr(method, "on_optimizer_step"):
                method.on_optimizer_step(model, state.global_step + 1)

    def collate(parts: list[dict[str, Any]]) -> dict[str, Any]:
        batch = [items[i] for part in parts for i in part["items"]]
        tensors = objective.tensors(batch or shortest, sharing, pad_id)
        if not batch:
            tensors["labels"].fill_(IGNORE)
        counts = sum(len(row.ids) for row in flat(batch)), tensors["input_ids"].numel() if batch else 0
        return {**tensors, "token_counts": torch.tensor(counts)}

    # a last update with fewer passes than processes: who has none computes one that trains nothing, to be there
    shortest = [min(items, key=lambda item: sum(len(row.ids) for row in item.rows))]
    passes += [[]] * (-len(passes) % processes)
    dataset = Dataset.from_dict({"items": passes, "labels": [[0]] * len(passes)})
    look = None
    if dev:
        every = steps_between(training, total_steps, len(dev))
        look = DevLoss(objective, dev, every, total_steps, micro, sharing, pad_id, autocast)
    log.start(total_steps)
    trainer = Trainer(
        model=model,
        args=args,
        train_dataset=dataset,
        processing_class=tokenizer,
        data_collator=collate,
        callbacks=[log.callback(model, look), AfterStep()],
    )
    train_in_float32(model)
    trainer.remove_callback(PrinterCallback)  # prints every log as a dict; the run's events say it better
    return trainer, sharing


def begin_with_second(scheduler: Any) -> None:
    """Let a LambdaLR skip its first rate, so that neither the first update nor the last has a rate of 0."""
    for group, initial, of_step in zip(
        scheduler.optimizer.param_groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True
    ):
        group["lr"] = initial * of_step(1)
    scheduler.lr_lambdas = [
        lambda step, of_step=of_step: of_step(step + 1) for of_step in scheduler.lr_lambdas
    ]
    scheduler._last_lr = [group["lr"] for group in scheduler.optimizer.param_groups]
