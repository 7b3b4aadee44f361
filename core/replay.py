"""Rehearsal: general requests with the base's own answers, mixed into what is trained on, so that a skill unlearns
less of what its base can do beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from hashlib import sha256
from importlib.resources import files
from importlib.util import find_spec
from itertools import chain
from random import Random
from statistics import fmean

from agentlora.core.config import RunConfig
from agentlora.core.data import Splits, leak_keys
from agentlora.core.errors import ConfigError, EvalError
from agentlora.core.examples import kept
from agentlora.core.manager import Plugins
from agentlora.core.run import Run
from agentlora.core.teacher import asked_base
from agentlora.core.types import JSON, Example, Expected, Output, Split

CASE = "replay"
SOURCE = "the base's own answer"
HELD_OUT: tuple[Split, ...] = ("dev", "test")
MAX_NEW_TOKENS = 96
USUAL_TOKENS = 40  # of an answer that is not cut off, by the starter model
ASKED_TOO_MANY = 1.3  # some answers cannot be learnt
FEW = 16
LEARNT_LEAST = 0.1  # of the answers: where fewer can be learnt, no more are asked


def wanted(config: RunConfig, examples: int) -> int:
    """How many general requests `data.replay` adds to so many examples."""
    share = config.data.replay
    return round(examples * share / (1 - share))


def check_replay(config: RunConfig, plugins: Plugins) -> None:
    """Raises ConfigError where `data.replay` cannot be: the trainer does not imitate answers."""
    if config.data.replay and not getattr(plugins.get("trainers", config.trainer.name), "imitates", False):
        raise ConfigError(
            f"data.replay: the trainer {config.trainer.name!r} does not learn to say what others have said. Leave it "
            "out, or choose --trainer sft."
        )


@cache
def requests() -> tuple[str, ...]:
    """The general requests that there are."""
    text = files("agentlora.core").joinpath("replay.txt").read_text(encoding="utf-8")
    return tuple(chain.from_iterable(_block(block) for block in text.split("\n\n")))


def _block(text: str) -> Iterator[str]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    parts = " ".join(line for line in lines if not line.startswith("? ")).split("; ")
    for way in (line.removeprefix("? ") for line in lines if line.startswith("? ")):
        yield from (way.replace("{}", part.strip().rstrip(";")) for part in parts)


def replayed(run: Run, plugins: Plugins, splits: Splits) -> tuple[Splits, JSON]:
    """`splits` with general requests after the training examples, and what the data card says of them.

    A request is asked once, greedily; what is in dev or test is not asked, and what is cut off is not learnt. There may
    be fewer than `data.replay` wants: the card and the journal say so, and why. Each weighs as much as a training
    example does on the mean.

    Raises:
        EvalError: the engine answers nothing.
    """
    held_out = {leak_keys(e)[-1] for split in HELD_OUT for e in splits.get(split, ())}
    left = [e for e in map(_example, requests()) if leak_keys(e)[-1] not in held_out]
    Random(run.config.seed).shuffle(left)
    count, found = wanted(run.config, len(splits["train"])), list[Example]()
    weight = fmean(e.weight for e in splits["train"]) if count else 1.0
    engine = _engine(run.config, plugins)
    how: JSON = {"engine": engine, "max_new_tokens": MAX_NEW_TOKENS, "temperature": 0.0}
    outputs: list[Output] = []
    with asked_base(run, plugins, "replay", **how) as ask:
        while left and len(found) < count and len(found) >= LEARNT_LEAST * len(outputs):
            usual = len(outputs) / len(found) if found else 1.0  # answers for one that can be learnt
            more = max(FEW, round(max(ASKED_TOO_MANY, usual) * (count - len(found))))
            asked, left = left[:more], left[more:]
            answers = ask(asked)
            outputs += chain.from_iterable(answers.values())
            found += [
                replace(e, expected=Expected(text=text), weight=weight)
                for e in asked
                if (text := _answer(answers[e.id]))
            ]
            _refuse_silence(outputs)
    found = found[:count]
    facts: JSON = {"added": len(found), "wanted": count}
    message = f"{len(found):,} general requests with the base's own answers"
    if len(found) < count:
        message += f"; {count:,} are wanted by data.replay{_why_few(outputs)}"
    run.note("data", "replay", message=message, **facts)
    return {**splits, "train": kept(chain(splits["train"], found))}, {"replay": facts}


def _refuse_silence(outputs: Sequence[Output]) -> None:
    if outputs and all(output.error is not None for output in outputs):
        raise EvalError(
            f"data.replay: the base model answers none of {len(outputs):,} general requests. The first time because: "
            f"{outputs[0].error}. Mend that, or leave data.replay out."
        )


def _why_few(outputs: Sequence[Output]) -> str:
    errors = [output.error for output in outputs if output.error is not None]
    cut = sum(output.error is None and output.finish_reason == "length" for output in outputs)
    told = f"; {cut:,} of {len(outputs):,} answers were cut off at {MAX_NEW_TOKENS} tokens" if cut else ""
    return told + (f"; {len(errors):,} failed, the first because: {errors[0]}" if errors else "")


def of_the_task(examples: Iterable[Example]) -> list[Example]:
    """Without what was added: to show a task by examples, or to tell its requests from others."""
    return [example for example in examples if example.source != SOURCE]


def foreseen(config: RunConfig, examples: int) -> list[Example]:
    """What `replayed` will add to so many examples, with answers of a usual length, for a plan."""
    answer = Expected(text="so " * USUAL_TOKENS)
    return [replace(_example(text), expected=answer) for text in requests()[: wanted(config, examples)]]


def _engine(config: RunConfig, plugins: Plugins) -> str:
    """The evaluation's; transformers in place of a vLLM that is not installed: nobody needs it to train."""
    from agentlora.core.evaluating import engine_for

    engine = config.eval.engine or engine_for(config, plugins.get("peft_methods", config.method.name))
    return "transformers" if engine == "vllm" and find_spec("vllm") is None else engine


def _example(request: str) -> Example:
    name = f"{CASE}-{sha256(request.encode()).hexdigest()[:12]}"
    return Example(
        id=name,
        messages=({"role": "user", "content": request},),
        expected=Expected(),
        source=SOURCE,
        group=name,
        tags={"case": CASE, "slice": CASE},
    )


def _answer(outputs: Sequence[Output]) -> str:
    """What can be learnt of them; empty if nothing."""
    whole = (o.text.strip() for o in outputs if o.error is None and o.finish_reason != "length")
    return next((text for text in whole if text and "<tool_call>" not in text), "")
