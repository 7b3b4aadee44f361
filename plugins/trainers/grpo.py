"""Group relative policy optimization: the model writes several answers to a prompt, the task's evaluator scores them,
and those that are better than the others of their prompt become likelier (TRL's GRPOTrainer).

Nothing is learnt where all answers to a prompt are as good as each other: begin with a run that is right now and then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from pydantic import Field

from agentlora.core.config import RunConfig, parse
from agentlora.core.errors import ConfigError, TrainError
from agentlora.core.evaluators import own_evaluator
from agentlora.core.manager import Plugins, default_plugins
from agentlora.core.run import Run
from agentlora.core.types import Base, Example, Method, Output
from agentlora.plugins.trainers.rollouts import RolloutParams, Rollouts, Session


class GRPOParams(RolloutParams):
    answers: int = Field(8, ge=2)
    """Answers to each prompt; an update has `training.batch_size` prompts."""
    reward: tuple[str, ...] = ()
    """The evaluator's metrics whose mean is an answer's reward; none: all that apply to the example. Of one that is
    better when lower, 1 minus its value counts."""


Reward: TypeAlias = Callable[[Example, Output], float]


class GRPO(Rollouts):
    """See `agentlora.core.types.Trainer`."""

    Params: Any = GRPOParams

    def check(self, config: RunConfig, base: Base, method: Method) -> None:
        """See `Rollouts`. Raises ConfigError also for a metric that the evaluator does not have."""
        super().check(config, base, method)
        reward_of(config, parse(GRPOParams, config.trainer.params, "trainer.params"), default_plugins())

    def beside(self, run: Run, base: Base, params: Any) -> Reward:
        return reward_of(run.config, params, default_plugins())

    def per_prompt(self, params: Any) -> int:
        return int(params.answers)

    def trainer(self, session: Session) -> Any:
        from trl import GRPOConfig, GRPOTrainer

        examples, reward, params = session.examples, session.beside, session.params

        def rewards(completion_ids: Sequence[Sequence[int]], example: Sequence[int], **_: Any) -> list[float]:
            found, tokens, written = [], 0, 0
            for ids, number in zip(completion_ids, example, strict=True):
                ended = bool(ids) and ids[-1] in trainer.eos_token_ids
                text = session.tokenizer.decode(
                    list(ids[:-1] if ended else ids), clean_up_tokenization_spaces=False
                )
                output = Output(examples[number].id, text, "stop" if ended else "length")
                try:
                    found.append(reward(examples[number], output))
                except Exception as exc:
                    raise TrainError(f"the evaluator failed on {examples[number].id!r}: {exc}") from exc
                tokens += len(ids) + len(session.prompts[number])
                written += len(ids)
            told = {"items": len(found), "reward": sum(found), "answer_tokens": written}
            session.log.batch(tokens, tokens, told)
            return found

        trainer = session.own(GRPOTrainer)(
            model=session.model,
            reward_funcs=rewards,
            args=GRPOConfig(**session.arguments(), num_generations=params.answers),
            train_dataset=session.dataset(),
            processing_class=session.tokenizer,
            callbacks=[session.log.callback()],
        )
        return trainer


def reward_of(config: RunConfig, params: GRPOParams, plugins: Plugins) -> Reward:
    """What an answer is worth: the mean of the evaluator's metrics that apply, from 0 to 1; an answer that cannot be
    judged is worth nothing.

    Raises:
        ConfigError: a metric that the evaluator does not have.
    """
    task = plugins.get("tasks", config.task)
    evaluator = own_evaluator(config, plugins)
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
