"""On-policy distillation: the student answers, and learns of each token that it wrote what the teacher would have
written there (TRL's DistillationTrainer). The teacher is a model on this machine; where its vocabulary is not the
student's, the two are compared as `across` has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import Field

from agentlora.core.config import RunConfig
from agentlora.core.errors import ConfigError
from agentlora.core.files import read_json, sha256_json
from agentlora.core.manager import default_plugins
from agentlora.core.run import Run
from agentlora.core.types import METHOD_FILE, Base, Method
from agentlora.plugins.trainers.loading import attention_for
from agentlora.plugins.trainers.rollouts import RolloutParams, Rollouts, Session


class OnPolicyParams(RolloutParams):
    beta: float = Field(1.0, ge=0, le=1)
    """Which divergence between the two distributions is made smaller: 1 the reverse Kullback-Leibler divergence, 0 the
    forward one, between them the generalized Jensen-Shannon divergence (Agarwal et al. 2024, equation 1)."""


@dataclass(frozen=True)
class Teacher:
    """`base`: the teacher's, where its words are not the student's."""

    model: Any
    base: Base | None


class OnPolicy(Rollouts):
    """See `agentlora.core.types.Trainer`. ``--teacher`` says who the teacher is."""

    Params: Any = OnPolicyParams
    answers: ClassVar[bool] = False

    def check(self, config: RunConfig, base: Base, method: Method) -> None:
        """See `Rollouts`. Raises ConfigError also where there is no teacher, or one that cannot say what it would have
        said: an endpoint, or a model with other words whose text, or whose calls, are not comparable.
        """
        super().check(config, base, method)
        if not method.card.mergeable:
            raise ConfigError(
                f"trainer 'on-policy' trains weights, and method {config.method.name!r} trains what stands beside "
                "them. Choose --method lora."
            )
        theirs = _teachers_base(config, base)
        if _words(theirs) != _words(base):
            _refuse_incomparable(config, base, theirs)

    def beside(self, run: Run, base: Base, params: Any) -> Teacher:
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        from agentlora.core.libraries import best_dtype
        from agentlora.core.run import open_run
        from agentlora.core.teacher import find_teacher
        from agentlora.plugins.methods.merged import load_trained

        config, plugins = run.config, default_plugins()
        theirs, teacher = _teachers_base(config, base), find_teacher(config, plugins)
        dtype = getattr(torch, best_dtype() if config.training.dtype == "auto" else config.training.dtype)
        attention = attention_for(theirs.model_dir, config.training)
        if teacher.adapter is not None and (teacher.adapter / METHOD_FILE).is_file():
            name = open_run(config.teacher.source or "").config.method.name
            model = load_trained(plugins.get("peft_methods", name), theirs, teacher.adapter)
        else:
            # merged in float32: rounding to bfloat16 comes once, at the end
            model = AutoModelForCausalLM.from_pretrained(
                theirs.model_dir, dtype=torch.float32, attn_implementation=attention
            )
            if teacher.adapter is not None:
                model = PeftModel.from_pretrained(model, teacher.adapter).merge_and_unload()
        model = model.to(dtype).eval().requires_grad_(False)
        model = model.to("cuda" if torch.cuda.is_available() else "cpu")
        return Teacher(model, None if _words(theirs) == _words(base) else theirs)

    def trainer(self, session: Session) -> Any:
        from trl import DistillationConfig, DistillationTrainer

        log, teacher = session.log, session.beside
        kind = _across(session) if teacher.base else DistillationTrainer

        class Counting(kind):  # type: ignore[misc, valid-type]
            def _prepare_inputs(self, generation_batch: Any) -> Any:
                inputs = super()._prepare_inputs(generation_batch)
                written = int(inputs["completion_mask"].sum())
                tokens = int(inputs["prompt_mask"].sum()) + written
                computed = inputs["prompt_ids"].numel() + inputs["completion_ids"].numel()
                log.batch(tokens, computed, {"items": len(inputs["prompt_ids"]), "answer_tokens": written})
                return inputs

        return session.own(Counting)(
            model=session.model,
            teacher_model=None if teacher.base else teacher.model,
            args=DistillationConfig(**session.arguments(), beta=session.params.beta),
            train_dataset=session.dataset(),
            processing_class=session.tokenizer,
            callbacks=[log.callback()],
        )


def _across(session: Session) -> Any:
    """TRL's trainer with the loss of `across`."""
    import torch
    from trl import DistillationTrainer

    from agentlora.plugins.trainers.across import Comparison, answers_of

    comparison = Comparison.of(session)

    class Across(DistillationTrainer):  # type: ignore[misc]
        def _generate_and_score_completions(self, inputs: Any) -> Any:
            made = super()._generate_and_score_completions(inputs)
            compared = sum(comparison.align(answer)[2] for answer in answers_of(made))
            session.log.batch(0, 0, {"compared_tokens": compared})
            numbers = torch.tensor([row["example"] for row in inputs])
            # the loss is a mean over what is compared
            return {**made, "example": numbers, "num_items_in_batch": torch.tensor(float(compared))}

        def _compute_loss(self, student: Any, inputs: Any, num_items_in_batch: Any) -> Any:
            total = comparison.loss(student, inputs)
            # TRL reports an entropy, which nobody reads here
            return (
                total / num_items_in_batch.to(total.device),
                total.detach().new_zeros(()),
                num_items_in_batch,
            )

    return Across


def _teachers_base(config: RunConfig, base: Base) -> Base:
    """The teacher's base model. Raises ConfigError as `OnPolicy.check`."""
    from agentlora.core.home import home
    from agentlora.core.run import open_run
    from agentlora.plugins.bases.resolve import resolve_base

    source = config.teacher.source
    if not source:
        raise ConfigError(
            "trainer 'on-policy' learns from a teacher. Name it with --teacher: a run or a model."
        )
    if "://" in source:
        raise ConfigError(
            "trainer 'on-policy' has to know what else the teacher could have said, which an endpoint does not tell. "
            "Give --teacher a run or a model on this machine, or train with --trainer sft on its answers."
        )
    plugins = default_plugins()
    try:
        run = open_run(source)
    except ConfigError:
        model = source
    else:
        model, name = run.config.model, run.config.method.name
        if not plugins.get("peft_methods", name).card.mergeable:
            raise ConfigError(
                f"trainer 'on-policy' merges its teacher, and method {name!r} of run {run.id!r} cannot be merged. "
                "Train with --trainer sft on its answers."
            )
    return resolve_base(model, plugins, home())


def _refuse_incomparable(config: RunConfig, base: Base, theirs: Base) -> None:
    """Raises ConfigError as `OnPolicy.check`."""
    from agentlora.core.libraries import tokenizer_of
    from agentlora.core.pipeline import refuse_unfit_template
    from agentlora.plugins.trainers.across import spelling_of

    for one in (base, theirs):
        spelling_of(tokenizer_of(one), one.name)
    if default_plugins().get("tasks", config.task).needs_tools:
        refuse_unfit_template(theirs)


def _words(base: Base) -> str:
    """Of a model's vocabulary: what each token is, and how many the model knows."""
    file, config = base.model_dir / "tokenizer.json", read_json(base.model_dir / "config.json")
    if not file.is_file():
        return f"only {base.model_dir}"
    found = read_json(file)
    tokens = [
        found.get("model", {}).get("vocab"),
        [[t.get("id"), t.get("content")] for t in found["added_tokens"]],
    ]
    size = config.get("vocab_size") or (config.get("text_config") or {}).get("vocab_size")
    return sha256_json([tokens, size])
