"""Supervised fine-tuning with TRL's SFTTrainer: loss on the answer only, logits at trained positions only."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from agentlora.core.config import TrainingConfig, parse
from agentlora.core.errors import ConfigError, TrainError, needs_extra
from agentlora.core.files import directory_atomic, read_json, write_json
from agentlora.core.libraries import best_dtype, prepare_libraries
from agentlora.core.run import Run
from agentlora.core.types import METHOD_FILE, Base, Example, Method
from agentlora.plugins.trainers.attention import NAME as TREE_ATTENTION
from agentlora.plugins.trainers.attention import use_tree_attention
from agentlora.plugins.trainers.checkpoints import Prover, last_whole
from agentlora.plugins.trainers.layout import IGNORE, computed_tokens, forward_passes, lay_out
from agentlora.plugins.trainers.memory import choose_micro_batch
from agentlora.plugins.trainers.progress import StepLog
from agentlora.plugins.trainers.rows import Encoded, Row, encode

CONVERSION_PROMPTS = 16
METHOD_STATE = "method.safetensors"  # what a method keeps beside its weights, in a checkpoint


class SFT:
    """Trains a method's parameters and exports them into ``run.adapter_dir``."""

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
            import torch
            import trl  # noqa: F401
            from transformers import AutoTokenizer, set_seed

        set_seed(run.config.seed)
        training = run.config.training
        tokenizer = AutoTokenizer.from_pretrained(base.model_dir)
        encoded = encode(examples, tokenizer, base.chat_template, training.max_len)
        run.note("train", "data", message=encoded.summary(), too_long=encoded.too_long)
        params = parse(method.Params, run.config.method.params, "method.params")
        model = load_model(base, method, params, training)
        model = method.apply(model, params)
        trainable, total = count_parameters(model)
        checkpoint = last_whole(run.checkpoints_dir)
        done = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
        if checkpoint:
            run.note("train", "resumed", message=f"going on after update {done}", step=done)
        elif run.metrics_file.is_file():
            run.note("train", "anew", message="no whole checkpoint is left; training from the beginning")
        log = StepLog(run, run.config.method.name, trainable, total, resumed_at=done)
        trainer = _make_trainer(run, model, tokenizer, encoded, log, Prover(checkpoint), method, params)
        from agentlora.plugins.trainers.fused import fused_lora

        try:
            with casting_left_to_autocast(model), fused_lora(model):
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except (torch.OutOfMemoryError, MemoryError) as exc:
            raise TrainError(
                f"memory ran out during training: {exc}. Lower --batch-size or --max-len, "
                "or set --gradient-checkpointing."
            ) from exc
        model.eval()
        if run.config.convert:
            export(run, base, run.directory / "adapter-as-trained", partial(method.export, model))
            has_dev = (run.directory / "data" / "dev.jsonl").is_file()
            asked = (run.examples("dev") if has_dev else []) or examples
            rows = encode(asked, tokenizer, base.chat_template, training.max_len).rows
            export(run, base, run.adapter_dir, partial(convert, run, base, model, rows))
        else:
            export(run, base, run.adapter_dir, partial(method.export, model))
        return run.adapter_dir


def export(run: Run, base: Base, directory: Path, write: Callable[[Path], Any]) -> None:
    """Make the directory of an adapter from what `write` puts there."""
    with directory_atomic(directory) as temporary:
        write(temporary)
        if not (temporary / "adapter_config.json").is_file():  # whoever loads it has to ask the method
            write_json(temporary / METHOD_FILE, {"name": run.config.method.name})
        if (temporary / "config.json").is_file():  # a model of its own goes without its base
            from agentlora.plugins.methods.merged import save_tokenizer

            save_tokenizer(base, temporary)
        # PEFT writes a README of its own; the skill's card is written when it is published
        (temporary / "README.md").unlink(missing_ok=True)
        (temporary / "chat_template.jinja").write_text(base.chat_template, encoding="utf-8")
    run.note("train", "exported", directory=directory.name)


def convert(run: Run, base: Base, model: Any, rows: Sequence[Row], directory: Path) -> None:
    """Write what was trained as plain LoRA, and into ``run.json`` how far that answers from what was trained.

    `rows` are asked, an even sample of them; `model` is a base model without adapter afterwards.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from agentlora.plugins.methods.convert import divergence, merged_updates, to_lora, weight_updates

    def logits(model: Any) -> Any:
        model.eval()
        with torch.no_grad():
            passes = [
                model(torch.tensor([row.ids], device=model.device)).logits[0, row.start - 1 :]
                for row in asked
            ]
        return torch.cat(passes).float()

    asked = rows[:: max(1, len(rows) // CONVERSION_PROMPTS)][:CONVERSION_PROMPTS]
    before = logits(model)
    if isinstance(model, PeftModel):
        converted = to_lora(merged_updates(model), directory, run.config.convert_rank)
        of_base = model.unload()
    else:
        of_base = AutoModelForCausalLM.from_pretrained(base.model_dir, dtype=torch.float32).to(model.device)
        converted = to_lora(weight_updates(model, of_base), directory, run.config.convert_rank)
    after = logits(PeftModel.from_pretrained(of_base, directory))
    facts = {**asdict(converted), "divergence": divergence(before, after)}
    run.add_facts(conversion=facts)
    run.note(
        "train",
        "converted",
        message=f"as LoRA of rank {converted.rank}; {facts['divergence']:.2g} nats a token from what was trained",
    )


def load_model(base: Base, method: Method, params: Any, training: TrainingConfig) -> Any:
    """The base as a causal LM in the dtype of the configuration, frozen by the method later.

    Raises:
        ConfigError: the method quantizes a base that is quantized already.
    """
    import torch
    from transformers import AutoModelForCausalLM, logging

    logging.disable_progress_bar()
    dtype = getattr(torch, best_dtype() if training.dtype == "auto" else training.dtype)
    of_method = method.load_kwargs(params)
    if "quantization_config" in of_method and "quantization_config" in read_json(
        base.model_dir / "config.json"
    ):
        raise ConfigError(
            f"base model {base.name!r} is quantized already, and the method would quantize it again: train with "
            "--method lora, or on the base in full precision."
        )
    kwargs = {"dtype": dtype, "attn_implementation": "sdpa", "use_safetensors": True}
    if torch.cuda.is_available():
        kwargs["device_map"] = {"": 0}
    return AutoModelForCausalLM.from_pretrained(base.model_dir, **{**kwargs, **of_method})


def casting_left_to_autocast(model: Any) -> AbstractContextManager[None]:
    """Keep PEFT from casting every input of an adapter to float32 where autocast would cast it back.

    A fifth of a training step on a CPU with bfloat16 units (docs/experiments.md).
    """
    import torch
    from peft import PeftModel
    from peft.helpers import disable_input_dtype_casting
    from peft.tuners.tuners_utils import BaseTunerLayer

    if model.dtype != torch.bfloat16 or not isinstance(model, PeftModel):
        return nullcontext()
    layers = (module for module in model.modules() if isinstance(module, BaseTunerLayer))
    if not all(hasattr(layer, "cast_input_dtype_enabled") for layer in layers):
        return nullcontext()  # IA3 and VeRA lack what PEFT's switch turns
    return disable_input_dtype_casting(model)  # type: ignore[no-any-return]


def count_parameters(model: Any) -> tuple[int, int]:
    """(trainable, all) parameters."""
    if hasattr(model, "get_nb_trainable_parameters"):  # PEFT's knows how many a quantized tensor stands for
        trainable, every = model.get_nb_trainable_parameters()
        return int(trainable), int(every)
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, trained in sizes if trained), sum(n for n, _ in sizes)


def group_size(rows: Sequence[Row]) -> int:
    """The most rows that any group has."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.group] = counts.get(row.group, 0) + 1
    return max(counts.values())


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


def _make_trainer(
    run: Run,
    model: Any,
    tokenizer: Any,
    encoded: Encoded,
    log: StepLog,
    prover: Prover,
    method: Any,
    params: Any,
) -> Any:
    import torch
    from datasets import Dataset
    from safetensors.torch import load_file, save_file
    from transformers import PrinterCallback, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    training, rows = run.config.training, encoded.rows
    sharing = training.shared_prefix and shares_prefixes(model, rows)
    if training.shared_prefix and not sharing:
        run.note(
            "train", "plain", message="this model cannot share prefixes; training every example on its own"
        )
    micro = training.micro_batch_size or prover.micro_batch_size
    if micro is None and training.grad_accum is not None:
        micro = training.batch_size // training.grad_accum
    if micro is None:
        micro = choose_micro_batch(
            rows,
            model.config.get_text_config(),
            training.batch_size,
            group_size(rows) if sharing else training.batch_size,
            torch.finfo(model.dtype).bits // 8,
            training.gradient_checkpointing,
            sharing,
        )
    prover.micro_batch_size = micro
    accumulate = training.batch_size // micro
    passes = forward_passes(rows, micro, run.config.seed)
    plain_tokens = sum(len(row.ids) for row in rows)
    computed = sum(computed_tokens([rows[i] for i in members]) for members in passes)
    run.note(
        "train",
        "layout",
        message=f"{micro} examples a forward pass, {accumulate} passes an update"
        + (
            f"; shared prefixes leave {computed / plain_tokens:.0%} of the tokens to compute"
            if sharing
            else ""
        ),
        micro_batch_size=micro,
        grad_accum=accumulate,
        shared=sharing,
    )
    on_cpu = not torch.cuda.is_available()
    autocast = partial(
        torch.autocast, model.device.type, torch.bfloat16, enabled=model.dtype == torch.bfloat16
    )
    total_steps = training.max_steps or math.ceil(len(passes) / accumulate * training.epochs)
    args = SFTConfig(
        output_dir=str(run.checkpoints_dir),
        per_device_train_batch_size=1,  # an item of the data set is a whole forward pass
        gradient_accumulation_steps=accumulate,
        max_steps=total_steps,
        learning_rate=training.lr,
        lr_scheduler_type=training.schedule,
        warmup_steps=round(training.warmup_ratio * total_steps),
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        gradient_checkpointing=training.gradient_checkpointing,
        use_cpu=on_cpu,
        bf16=False,  # autocast is ours: accelerate's would copy all logits to float32
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
        """SFTTrainer with a loss that never builds logits nobody looks at."""

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            log.batch(*inputs.pop("token_counts"))
            # adapters compute in bfloat16 like their base and are stored in float32
            with autocast():
                loss = trained_positions_loss(model, inputs, num_items_in_batch)
            penalty = method.penalty(model) if hasattr(method, "penalty") else None
            if penalty is None:
                return loss
            # its gradient and not its value: what is logged stays nats a token. Without a number of items the trainer
            # divides the whole by the passes itself.
            return loss + (penalty - penalty.detach()) / (1 if num_items_in_batch is None else accumulate)

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
                raise TrainError(
                    f"the loss became {loss.item()} at update {self.state.global_step + 1}. Lower --lr "
                    f"(now {training.lr:g}) or raise --set training.warmup_ratio."
                )
            return loss

        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            if self.lr_scheduler is None:
                begin_with_second(super().create_scheduler(num_training_steps + 1, optimizer))
            return self.lr_scheduler

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            super()._save_checkpoint(model, trial)
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

    def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
        batch = [rows[i] for item in items for i in item["rows"]]
        tokens = sum(len(row.ids) for row in batch)
        tensors = lay_out(batch) if sharing else pad(batch, tokenizer.pad_token_id or 0)
        return {**tensors, "token_counts": (tokens, tensors["input_ids"].numel())}

    dataset = Dataset.from_dict({"rows": passes, "labels": [[0]] * len(passes)})
    log.start(total_steps)
    trainer = Trainer(
        model=model,
        args=args,
        train_dataset=dataset,
        processing_class=tokenizer,
        data_collator=collate,
        callbacks=[log.callback(), AfterStep()],
    )
    # in bfloat16 small updates would vanish: of a method that trains weights, or of TRL's adapters for quantized bases
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype == torch.bfloat16:
            parameter.data = parameter.data.float()
    trainer.remove_callback(PrinterCallback)  # prints every log as a dict; the run's events say it better
    return trainer


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


def model_inputs(model: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
    """What the forward of `model` takes of a batch: ids, mask, and where prefixes are shared, positions and spans."""
    keys = ["input_ids", "attention_mask", "position_ids"]
    if model.config.get_text_config()._attn_implementation == TREE_ATTENTION:
        keys.append("spans")
    return {key: batch[key] for key in keys if key in batch}


def trained_positions_loss(model: Any, batch: Mapping[str, Any], num_items_in_batch: Any) -> Any:
    """Cross-entropy summed with the tokens' weights, over the number of trained tokens (of the whole update
    when `num_items_in_batch` is given). With weights of 1 that is TRL's loss.

    The model's own forward scores only the positions before a trained token, of any row in the plain layout, so
    scaling and soft-capping of logits stay the model's business and the [rows, length, vocab] logits are never built.
    """
    from agentlora.plugins.trainers.fused import weighted_cross_entropy

    at = (batch["labels"] != IGNORE).any(0).nonzero().squeeze(1)
    labels, weights = batch["labels"][:, at], batch["weights"][:, at]
    inputs = model_inputs(model, batch)
    before = at - 1 + virtual_tokens(model)
    if takes_positions(model):
        logits = model(**inputs, logits_to_keep=before, use_cache=False).logits
    else:
        logits = model(**inputs, use_cache=False).logits[:, before]
    trained = labels != IGNORE
    if trained.all():
        total = weighted_cross_entropy(logits.flatten(0, 1), labels.flatten(), weights.flatten())
    else:
        total = weighted_cross_entropy(logits[trained], labels[trained], weights[trained])
    return total / (trained.sum() if num_items_in_batch is None else num_items_in_batch)


def virtual_tokens(model: Any) -> int:
    """How many positions a PEFT method puts before the prompt's own."""
    from peft import PeftModel, PeftType

    config = model.active_peft_config if isinstance(model, PeftModel) else None
    if config is None or config.peft_type not in (PeftType.PROMPT_TUNING, PeftType.P_TUNING):
        return 0
    return int(config.num_virtual_tokens)


def takes_positions(model: Any) -> bool:
    """Whether the model's forward can be told at which positions logits are wanted."""
    base = getattr(model, "get_base_model", lambda: model)()
    return "logits_to_keep" in inspect.signature(base.forward).parameters


def pad(batch: Sequence[Row], pad_id: int) -> dict[str, Any]:
    """The plain layout: input_ids, attention_mask, labels, weights, each [rows, longest], padded on the right."""
    import torch

    shape = len(batch), max(len(row.ids) for row in batch)
    ids = torch.full(shape, pad_id, dtype=torch.long)
    labels = torch.full(shape, IGNORE, dtype=torch.long)
    weights = torch.zeros(shape)
    mask = torch.zeros(shape, dtype=torch.long)
    for i, row in enumerate(batch):
        end = len(row.ids)
        ids[i, :end] = torch.tensor(row.ids)
        labels[i, row.start : end] = ids[i, row.start : end]
        weights[i, row.start : end] = row.weight
        mask[i, :end] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": labels, "weights": weights}
