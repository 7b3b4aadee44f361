"""Which evaluators judge a run: the task's own, which decides, and those that its configuration and its data name
beside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from agentlora.core.config import EvalConfig, EvaluatorConfig, RunConfig, all_at_once, parse, parse_yaml
from agentlora.core.errors import ConfigError, DataError, boundary
from agentlora.core.files import read_json, sha256_json, write_json
from agentlora.core.manager import Plugins
from agentlora.core.types import JSON, Evaluator

EVALUATORS_FILE = "evaluators.json"  # beside a run's splits
EVALUATORS_DIGEST = "evaluators_digest"  # of that, on the data's card


def evaluators_of(config: RunConfig, plugins: Plugins) -> tuple[Evaluator, dict[str, Evaluator]]:
    """(the task's own evaluator, the others by name), each with its settings. An entry that names the task's own sets
    that one.

    Raises:
        ConfigError: there is no such evaluator, it has no such setting, or two have one name.
    """
    own = plugins.get("tasks", config.task).evaluator
    refuse_twice(config.eval.evaluators)
    others = {
        entry.called: _made(entry, plugins) for entry in config.eval.evaluators if not _is_own(entry, own)
    }
    return own_evaluator(config, plugins), others


def refuse_twice(entries: Sequence[EvaluatorConfig]) -> None:
    """Raises ConfigError where two evaluators have one name: nobody could tell their metrics apart."""
    names = [entry.called for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"eval.evaluators: two are called {name!r}. Give one of them another `label`.")


def with_evaluators(config: RunConfig, texts: Sequence[str], plugins: Plugins) -> RunConfig:
    """`config` with more evaluators, as people write them on a command line: a name, or YAML such as
    ``{name: cost, params: {price_in: 0.5}}``.

    Raises:
        ConfigError: one is neither, there is no such evaluator, or it has no such setting.
    """
    if not texts:
        return config
    said = [parse_yaml(text, f"--evaluator {text!r}") for text in texts]
    before = [entry.model_dump() for entry in config.eval.evaluators]
    found = parse(EvalConfig, {**config.eval.model_dump(), "evaluators": [*before, *said]}, "eval")
    for entry in found.evaluators:
        plugins.check("evaluators", entry.name)
    with all_at_once() as checking:
        for check in check_evaluators(found.evaluators, plugins):
            checking(check)
    return config.model_copy(update={"eval": found})


def own_evaluator(config: RunConfig, plugins: Plugins) -> Evaluator:
    """The task's own, with its settings. Raises ConfigError as `evaluators_of`."""
    own = plugins.get("tasks", config.task).evaluator
    entry = next((e for e in config.eval.evaluators if _is_own(e, own)), EvaluatorConfig(name=own))
    return _made(entry, plugins)


def evaluator_settings(entries: Sequence[Mapping[str, Any]], own: str) -> Mapping[str, Any]:
    """The settings of the task's own evaluator among entries of `eval.evaluators`, as records have them."""
    found = (e for e in entries if e.get("name") == own and e.get("label") in (None, own))
    return next((e.get("params") or {} for e in found), {})


def check_evaluators(entries: Sequence[EvaluatorConfig], plugins: Plugins) -> Iterator[Callable[[], Any]]:
    """Checks of settings to be called, one an evaluator; each raises ConfigError. Names are looked up elsewhere."""
    yield partial(refuse_twice, entries)
    for entry in entries:
        if entry.name in plugins.catalog.names("evaluators"):
            yield partial(_params, entry, plugins.get("evaluators", entry.name))


def evaluator_names(raw: Any) -> Iterator[str]:
    """The names in a list of evaluators, which may be wrong elsewhere."""
    for entry in raw if isinstance(raw, list) else ():
        name = entry.get("name") if isinstance(entry, Mapping) else entry
        if isinstance(name, str):
            yield name


# --- those that data brings -----------------------------------------------------------------------


def wanted_by(builder: Any, params: Any, task: str, plugins: Plugins) -> list[EvaluatorConfig]:
    """Those that a dataset builder names for its examples (its `evaluators`).

    Raises:
        DataError: one is none, or the task's own, which is the run's to set.
    """
    if not hasattr(builder, "evaluators"):
        return []
    own = plugins.get("tasks", task).evaluator
    with boundary(DataError, "the evaluators that the dataset builder names"):
        entries = parse(EvalConfig, {"evaluators": list(builder.evaluators(params))}, "evaluators").evaluators
        for entry in entries:
            plugins.check("evaluators", entry.name)
            if _is_own(entry, own):
                raise DataError(
                    f"the dataset builder names the evaluator {entry.name!r}, which is the task's own. Its settings "
                    "are the run's to say: give the entry a `label`, or leave it out."
                )
        for check in check_evaluators(entries, plugins):
            check()
    return entries


def keep_evaluators(data: Path, entries: Sequence[EvaluatorConfig]) -> JSON:
    """Write them beside the splits in `data`; returns what the card says of that."""
    if not entries:
        return {}
    raw = {"evaluators": [entry.model_dump(mode="json") for entry in entries]}
    write_json(data / EVALUATORS_FILE, raw)
    return {EVALUATORS_DIGEST: sha256_json(raw)}


def kept_evaluators(data: Path, card: Mapping[str, Any]) -> list[EvaluatorConfig]:
    """Those that were written beside the splits in `data`, whose card is `card`; none of data that has none.

    Raises:
        ConfigError: the file is not what the card says that it was.
    """
    if EVALUATORS_DIGEST not in card:
        return []
    file, advice = data / EVALUATORS_FILE, "bring it back, or train again"
    raw = read_json(file, advice)
    if sha256_json(raw) != card[EVALUATORS_DIGEST]:
        raise ConfigError(f"{str(file)!r} is not what card.json beside it says that it was: {advice}.")
    return parse(EvalConfig, raw, str(file)).evaluators


def brought(config: RunConfig, kept: Sequence[EvaluatorConfig]) -> list[EvaluatorConfig]:
    """Of those that its data has `kept`, what judges beside those of `config`, which come first where two are called
    the same.
    """
    called = {entry.called for entry in config.eval.evaluators}
    return [entry for entry in kept if entry.called not in called]


def judging_too(config: RunConfig, entries: Sequence[EvaluatorConfig]) -> RunConfig:
    """`config` with `entries` behind its own."""
    both = config.eval.model_copy(update={"evaluators": [*config.eval.evaluators, *entries]})
    return config.model_copy(update={"eval": both})


def _is_own(entry: EvaluatorConfig, own: str) -> bool:
    return entry.name == own and entry.called == own


def _made(entry: EvaluatorConfig, plugins: Plugins) -> Evaluator:
    thing = plugins.get("evaluators", entry.name)
    params = _params(entry, thing)
    return cast(Evaluator, thing if params is None else thing.configured(params))


def _params(entry: EvaluatorConfig, thing: Any) -> Any:
    """Its settings; None where it takes none."""
    where = f"eval.evaluators.{entry.called}.params"
    if not hasattr(thing, "Params"):
        if entry.params:
            raise ConfigError(f"{where}: the evaluator {entry.name!r} has no settings.")
        return None
    return parse(thing.Params, entry.params, where)
