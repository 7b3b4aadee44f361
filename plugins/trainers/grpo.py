"""Group relative policy optimization: the model writes several answers to a prompt, the task's evaluator scores them,
and those that are better than the others of their prompt become likelier (TRL's GRPOTrainer).

Nothing is learnt where all answers to a prompt are as good as each other: begin with a run that is right now and then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from pydantic import Field

from agentlora.core.config import RunConfig, Strict, parse
from agentlora.core.errors import ConfigError, DataError, TrainError, needs_extra
from agentlora.core.files import read_json
from agentlora.core.libraries import prepare_libraries
from agentlora.core.manager import Plugins, default_plugins
from agentlora.core.processes import process_count
from agentlora.core.run import Run, open_run
from agentlora.core.types import Base, Evaluator, Example, Method, Output
from agentlora.plugins.trainers.checkpoints import Prover, last_whole
from agentlora.plugins.trainers.exporting import export_trained
from agentlora.plugins.trainers.loading import (
    autocast_of,
    casting_left_to_autocast,
    count_parameters,
    load_model,
)
from agentlora.plugins.trainers.progress import StepLog
from agentlora.plugins.trainers.rows import row_of
from agentlora.plugins.trainers.sft import SFT

ADAPTER_WEIGHTS = "adapter_model.safetensors"


class GRPOParams(Strict):
    start_from: str = ""
    """A run whose adapter is trained on (id, directory, or ``last``): same base, method, rank and layers. Empty: from
    the base model."""
    answers: int = Field(8, ge=2)
    """Answers to each prompt; an update has `training.batch_size` prompts."""
    temperature: float = Field(1.0, gt=0)
    """At which answers are written."""
    max_new_tokens: int = Field(128, ge=1)
    """Of an answer; a longer one is cut off and scored as it is."""
    beta: float = Field(0.0, ge=0)
    """Weight of the divergence from the model that training began with; 0 as in TRL: none."""
    reward: tuple[str, ...] = ()
    """The evaluator's metrics whose mean is an answer's reward; none: all that apply to the example. Of one that is
    better when lower, 1 minus its value counts."""


class GRPO:
    """See `agentlora.core.types.Trainer`."""

    Params: Any = GRPOParams

    def check(self, config: RunConfig, base: Base, method: Method) -> None:
        """See `agentlora.core.types.Trainer`. Raises ConfigError also for a metric that the evaluator does not have,
        and for a run to start from whose adapter is another kind.
        """
        params = parse(GRPOParams, config.trainer.params, "trainer.params")
        SFT().check(
            config.model_copy(update={"trainer": config.trainer.model_copy(update={"params": {}})}),
            base,
            method,
        )
        reward_of(config, params, default_plugins())
        if process_count() > 1:
            raise ConfigError("trainer 'grpo' trains in one process. Start it without torchrun.")
        if params.start_from:
            weights_to_start_from(config, params.start_from)

    def fit(self, run: Run, base: Base, method: Method, examples: Sequence[Example]) -> Path:
        """See `agentlora.core.types.Trainer`. Goes on from the run's last whole checkpoint where there is one.

        Raises:
            TrainError: the loss is not finite, memory ran out, or an interrupted training cannot be resumed exactly.
            DataError: no prompt leaves room for an answer.
        """
        prepare_libraries()
        with needs_extra("train", "training"):
            import accelerate  # noqa: F401
            import peft  # noqa: F401
            import torch  # noqa: F401
            import trl  # noqa: F401
            from transformers import AutoTokenizer, set_seed

        config, training = run.config, run.config.training
        set_seed(config.seed)
        params = parse(GRPOParams, config.trainer.params, "trainer.params")
        reward = reward_of(config, params, default_plugins())
        tokenizer = AutoTokenizer.from_pretrained(base.model_dir)
        prompts = _prompts(run, examples, tokenizer, base, params.max_new_tokens)
        method_params = parse(method.Params, config.method.params, "method.params")
        model = method.apply(load_model(base, method, method_params, training), method_params)
        if params.start_from:
            _start(model, weights_to_start_from(config, params.start_from))
        checkpoint = last_whole(run.checkpoints_dir)
        done = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
        if checkpoint:
            run.note("train", "resumed", message=f"going on after update {done}", step=done)
        log = StepLog(run, config.method.name, *count_parameters(model), done)
        trainer = _make_trainer(
            run, model, tokenizer, examples, prompts, reward, params, log, Prover(checkpoint)
        )
        try:
            with casting_left_to_autocast(model):
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        finally:
            with suppress(OSError):  # a full disk, perhaps, which is told already
                log.plot()
        model.eval()
        export_trained(run, base, method, model, tokenizer, examples)
        return run.adapter_dir


# --- the reward ---------------------------------------------------------------------------------

Reward = Callable[[Example, Output], float]


def reward_of(config: RunConfig, params: GRPOParams, plugins: Plugins) -> Reward:
    """What an answer is worth: the mean of the evaluator's metrics that apply, from 0 to 1; an answer that cannot be
    judged is worth nothing.

    Raises:
        ConfigError: a metric that the evaluator does not have.
    """
    task = plugins.get("tasks", config.task)
    evaluator = cast(Evaluator, plugins.get("evaluators", task.evaluator))
    if unknown := [name for name in params.reward if name not in evaluator.metrics]:
        raise ConfigError(
            f"trainer.params.reward: {task.evaluator!r} has no metric {unknown[0]!r}. It has: "
            f"{', '.join(evaluator.metrics)}"
        )
    wanted = params.reward or tuple(evaluator.metrics)

    def reward(example: Example, output: Output) -> float:
        metrics: Mapping[str, float | None] = evaluator.score(example, output).metrics
        found = [
            1 - value if name in task.lower_is_better else value
            for name in wanted
            if (value := metrics.get(name)) is not None
        ]
        return sum(found) / len(found) if found else 0.0

    return reward


# --- prompts and weights ------------------------------------------------------------------------


def _prompts(
    run: Run, examples: Sequence[Example], tokenizer: Any, base: Base, room: int
) -> list[tuple[int, tuple[int, ...]]]:
    """(number of the example, token ids of its prompt) of those that leave `room` for an answer within ``max_len``."""
    limit = run.config.training.max_len - room
    found = []
    for number, example in enumerate(examples):
        row = row_of(example, tokenizer, base.chat_template)
        if row.start <= limit:
            found.append((number, row.ids[: row.start]))
    left_out = len(examples) - len(found)
    if not found:
        raise DataError(
            f"no prompt of {len(examples)} leaves room for an answer of {room} tokens within training.max_len "
            f"({run.config.training.max_len}). Raise --max-len, or lower trainer.params.max_new_tokens."
        )
    told = f"; {left_out} whose prompts are longer than {limit} tokens are left out" if left_out else ""
    run.note("train", "data", message=f"{len(found)} prompts{told}", too_long=left_out)
    return found


def weights_to_start_from(config: RunConfig, name: str) -> Path:
    """The file with the weights of a run's adapter.

    Raises:
        ConfigError: there is no such run, it has no adapter, or one of another base, method or shape.
    """
    run = open_run(name)
    file = run.adapter_dir / ADAPTER_WEIGHTS
    if not file.is_file():
        raise ConfigError(f"trainer.params.start_from: run {run.id!r} has no adapter that can be trained on.")
    for what, theirs, ours in (
        ("base model", run.config.model, config.model),
        ("method", run.config.method.name, config.method.name),
    ):
        if theirs != ours:
            raise ConfigError(
                f"trainer.params.start_from: the {what} of run {run.id!r} is {theirs!r}, and this one's is {ours!r}."
            )
    return file


def _start(model: Any, file: Path) -> None:
    """Load the weights of another run's adapter. Raises ConfigError where they are of another shape."""
    from peft import PeftModel, set_peft_model_state_dict
    from safetensors.torch import load_file

    if not isinstance(model, PeftModel):
        raise ConfigError("trainer.params.start_from: the method is none of PEFT's. Choose --method lora.")
    theirs, ours = read_json(file.with_name("adapter_config.json")), model.peft_config["default"].to_dict()
    for name in ("r", "lora_alpha", "use_rslora", "use_dora"):
        if name in ours and theirs.get(name) != ours[name]:
            raise ConfigError(
                f"trainer.params.start_from: its adapter has {name}={theirs.get(name)}, and this one {ours[name]}."
            )
    try:
        result = set_peft_model_state_dict(model, load_file(file))
    except RuntimeError as exc:
        raise ConfigError(f"trainer.params.start_from: its adapter has another shape: {exc}") from exc
    lacking = [name for name in result.missing_keys if "lora_" in name]
    if lacking or result.unexpected_keys:
        raise ConfigError(
            f"trainer.params.start_from: its adapter is of other layers ({(*lacking, *result.unexpected_keys)[0]}). "
            "Train with the same --target."
        )


# --- training -----------------------------------------------------------------------------------


def _make_trainer(
    run: Run,
    model: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    prompts: Sequence[tuple[int, tuple[int, ...]]],
    reward: Reward,
    params: GRPOParams,
    log: StepLog,
    prover: Prover,
) -> Any:
    import torch
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import GRPOConfig, GRPOTrainer

    training = run.config.training
    accumulate = training.grad_accum or training.batch_size // (training.micro_batch_size or 1)
    micro = prover.micro_batch_size = training.batch_size // accumulate
    updates = training.max_steps or math.ceil(len(prompts) * training.epochs / training.batch_size)
    ids_of = dict(prompts)
    autocast = autocast_of(model)
    args = GRPOConfig(
        output_dir=str(run.checkpoints_dir),
        per_device_train_batch_size=micro * params.answers,
        gradient_accumulation_steps=accumulate,
        num_generations=params.answers,
        max_completion_length=params.max_new_tokens,
        temperature=params.temperature,
        beta=params.beta,
        max_steps=updates,
        learning_rate=training.lr,
        lr_scheduler_type=training.schedule,
        warmup_steps=round(training.warmup_ratio * updates),
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        gradient_checkpointing=training.gradient_checkpointing,
        use_cpu=not torch.cuda.is_available(),
        bf16=False,  # autocast is ours
        seed=run.config.seed,
        save_strategy="steps",
        save_steps=training.save_steps,
        save_total_limit=2,
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to=[],
        dataloader_pin_memory=False,
    )

    def rewards(completion_ids: Sequence[Sequence[int]], example: Sequence[int], **_: Any) -> list[float]:
        found = []
        for ids, number in zip(completion_ids, example, strict=True):
            ended = bool(ids) and ids[-1] in trainer.eos_token_ids
            text = tokenizer.decode(list(ids[:-1] if ended else ids))
            output = Output(examples[number].id, text, "stop" if ended else "length")
            try:
                found.append(reward(examples[number], output))
            except Exception as exc:
                raise TrainError(f"the evaluator failed on {examples[number].id!r}: {exc}") from exc
        tokens = sum(
            len(ids) + len(ids_of[number]) for ids, number in zip(completion_ids, example, strict=True)
        )
        log.batch(tokens, tokens, {"items": len(found), "reward": sum(found)})
        return found

    class Trainer(GRPOTrainer):  # type: ignore[misc]
        """GRPOTrainer on prompts that our template rendered."""

        def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
            return [list(ids_of[int(prompt)]) for prompt in prompts], None, {}

        def _prepare_inputs(self, generation_batch: Any) -> Any:
            # adapters compute in bfloat16 like their base and are stored in float32
            with autocast():
                return super()._prepare_inputs(generation_batch)

        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            with autocast():
                return super().compute_loss(*args, **kwargs)

        def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            asked = torch.tensor([row["example"] for row in inputs])
            prover.before_pass(model, self.optimizer)
            loss = super().training_step(model, inputs, *args, **kwargs)
            prover.after_pass(asked, loss)
            if not torch.isfinite(loss):
                raise TrainError(
                    f"the loss became {loss.item()} at update {self.state.global_step + 1}. Lower --lr "
                    f"(now {training.lr:g})."
                )
            return loss

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            super()._save_checkpoint(model, trial)
            checkpoint = run.checkpoints_dir / f"checkpoint-{self.state.global_step}"
            prover.saved(checkpoint, model, self.optimizer)

    log.start(updates)
    trainer = Trainer(
        model=model,
        reward_funcs=rewards,
        args=args,
        # a prompt is the number of its example: what it says is tokenized already
        train_dataset=Dataset.from_list([{"prompt": str(n), "example": n} for n, _ in prompts]),
        processing_class=tokenizer,
        callbacks=[log.callback()],
    )
    trainer.remove_callback(PrinterCallback)
    run.note(
        "train",
        "layout",
        message=f"{training.batch_size} prompts an update, {micro} a forward pass, {params.answers} answers to each",
        micro_batch_size=micro,
    )
    return trainer
