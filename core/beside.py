"""Models of endpoints beside what is evaluated: what somebody uses today, put to the same examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from agentlora.core.config import BesideConfig, EvalConfig, RunConfig, all_at_once, parse, parse_yaml
from agentlora.core.errors import ConfigError, EvalError
from agentlora.core.home import home
from agentlora.core.run import Run
from agentlora.core.teacher import endpoint, telling
from agentlora.core.types import EngineSpec, Example, Output


@dataclass(frozen=True, slots=True)
class Beside:
    """An endpoint's model. `identity`: text that changes where its answers could."""

    endpoint: str
    identity: str
    spec: EngineSpec

    def check_key(self) -> None:
        """Raises ConfigError where the variable that holds its key is not set, or an option is none."""
        from agentlora.eval.engines.openai_compat import OpenAIFactory

        OpenAIFactory().open(self.spec).__exit__()


def with_beside(config: RunConfig, texts: Sequence[str]) -> RunConfig:
    """`config` with more endpoints, as people write them on a command line: ``http://host/v1#MODEL``, or YAML such as
    ``{endpoint: http://host/v1#MODEL, label: today}``. Raises ConfigError where one is neither.
    """
    if not texts:
        return config
    said = [parse_yaml(text, f"--beside {text!r}") for text in texts]
    before = [entry.model_dump() for entry in config.eval.beside]
    found = parse(EvalConfig, {**config.eval.model_dump(), "beside": [*before, *said]}, "eval")
    return config.model_copy(update={"eval": found})


def beside_of(entries: Sequence[BesideConfig]) -> dict[str, Beside]:
    """By the names of their conditions.

    Raises:
        ConfigError: an address is none, lacks its model or holds a secret, or two conditions would have one name.
    """
    from agentlora.eval.conditions import NAMES

    found: dict[str, Beside] = {}

    def add(number: int, entry: BesideConfig) -> None:
        where = f"eval.beside[{number}]"
        url, model, spec = endpoint(entry.endpoint, entry.options, where, f"{where}.options")
        name = entry.label or model.rpartition("/")[2] or model
        if name in found or name in NAMES:
            raise ConfigError(
                f"{where}: two conditions would be called {name!r}. Give this one another `label`: "
                f"{{endpoint: {entry.endpoint}, label: today}}."
            )
        found[name] = Beside(entry.endpoint, f"openai {url} {model} {telling(entry.options)}", spec)

    with all_at_once() as checking:
        for number, entry in enumerate(entries):
            checking(partial(add, number, entry))
    return found


def ask_beside(
    run: Run, beside: Mapping[str, Beside], examples: Sequence[Example], max_tokens: int
) -> tuple[dict[str, dict[str, Output]], dict[str, str]]:
    """What they say to the examples, greedily, each with its messages and tools; what was asked before is known.

    Returns:
        by name of the condition: the answers by example, and why there are none where an endpoint refuses or fails
        again and again, which is told.
    """
    from agentlora.eval.cache import AnswerCache
    from agentlora.eval.engines.openai_compat import OpenAIFactory
    from agentlora.eval.teaching import CHUNK, Account, ask, to_request

    requests = [to_request(example, adapter=None, max_tokens=max_tokens) for example in examples]
    answers: dict[str, dict[str, Output]] = {}
    without: dict[str, str] = {}
    for name, one in beside.items():

        def progress(done: int, total: int, name: str = name) -> None:
            run.tell("step", f"eval {name}", {"step": done, "total_steps": total})

        together: Any = one.spec.options.get("concurrency")
        try:
            with OpenAIFactory().open(one.spec) as engine:
                found = ask(
                    engine.generate,
                    requests,
                    teacher=one.identity,
                    cache=AnswerCache(home() / "cache" / "teachers"),
                    account=Account(),
                    chunk=max(CHUNK, together if isinstance(together, int) else 0),
                    on_progress=progress,
                    who=f"model {name!r}",
                )
            answers[name] = {example: outputs[0] for example, outputs in found.items()}
        except EvalError as exc:  # it is shown beside the others, and decides nothing
            without[name] = str(exc)
            run.note("eval", "not beside", message=f"warning: not compared with {name!r}: {exc}")
    return answers, without
