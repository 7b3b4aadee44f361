"""A training that goes on from what another run has learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agentlora.core.config import RunConfig, parse
from agentlora.core.errors import ConfigError
from agentlora.core.files import read_json
from agentlora.core.pipeline import changed_parts
from agentlora.core.run import open_run
from agentlora.core.types import Base, Method

ADAPTER_WEIGHTS = "adapter_model.safetensors"


def weights_to_start_from(config: RunConfig, method: Method, base: Base) -> Path:
    """The file with the weights of the adapter of run `training.start_from`.

    Raises:
        ConfigError: there is no such run, it has no adapter, or one of another base (by name or by content), method or
            rank.
    """
    run = open_run(config.training.start_from)
    file = run.adapter_dir / ADAPTER_WEIGHTS
    if not file.is_file():
        raise ConfigError(f"training.start_from: run {run.id!r} has no adapter that can be trained on.")
    for what, theirs, ours in (
        ("base model", run.config.model, config.model),
        ("method", run.config.method.name, config.method.name),
    ):
        if theirs != ours:
            raise ConfigError(
                f"training.start_from: the {what} of run {run.id!r} is {theirs!r}, and this one's is {ours!r}."
            )
    trained_on = run.facts().get("base") or {}
    # what a run of an older version does not say is not held against it
    changed = [part for part in changed_parts(trained_on, base) if part in trained_on]
    if changed:  # the same name or directory, and another model in it
        raise ConfigError(
            f"training.start_from: base model {base.name!r} is not what run {run.id!r} was trained on: its "
            f"{' and '.join(changed)} changed since. Bring the old state back, or start from another run."
        )
    rank = read_json(file.with_name("adapter_config.json")).get("r")
    trained, wanted = (
        getattr(parse(method.Params, one.method.params, "method.params"), "r", rank)
        for one in (run.config, config)
    )
    if rank != trained:
        raise ConfigError(
            f"training.start_from: the adapter of run {run.id!r} is of method {run.config.method.name!r}, which "
            "writes it otherwise than it trains it. Start from a run of another method."
        )
    if rank != wanted:
        raise ConfigError(
            f"training.start_from: the adapter of run {run.id!r} has rank {rank}, and this one {wanted}. Choose "
            f"--rank {rank}."
        )
    return file


def start(model: Any, config: RunConfig, method: Method, base: Base) -> None:
    """Load the weights of the adapter that a training starts from, where its configuration names one.

    Raises:
        ConfigError: there is none, or it is of another base, method, rank or shape.
    """
    if not config.training.start_from:
        return
    from peft import PeftModel, set_peft_model_state_dict
    from safetensors.torch import load_file

    if not isinstance(model, PeftModel):
        raise ConfigError("training.start_from: the method is none of PEFT's. Choose --method lora.")
    file = weights_to_start_from(config, method, base)
    theirs, ours = read_json(file.with_name("adapter_config.json")), model.peft_config["default"].to_dict()
    for name in ("lora_alpha", "use_rslora", "use_dora"):
        if name in ours and theirs.get(name) != ours[name]:
            raise ConfigError(
                f"training.start_from: its adapter has {name}={theirs.get(name)}, and this one {ours[name]}."
            )
    try:
        result = set_peft_model_state_dict(model, load_file(file))
    except RuntimeError as exc:
        raise ConfigError(f"training.start_from: its adapter has another shape: {exc}") from exc
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    lacking = [name for name in result.missing_keys if name in trained]
    if lacking or result.unexpected_keys:
        raise ConfigError(
            f"training.start_from: its adapter is of other layers ({(*lacking, *result.unexpected_keys)[0]}). "
            "Train with the same --target."
        )
