"""``agentlora convert RUN``: a finished run's adapter as plain LoRA, as ``--convert`` makes it after a training.
``agentlora publish RUN`` does so too, where what was trained cannot be served as it is.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from agentlora.core.config import RunConfig
from agentlora.core.errors import ConfigError
from agentlora.core.evaluating import adapter_digest
from agentlora.core.files import read_json, write_json
from agentlora.core.home import home
from agentlora.core.manager import Plugins
from agentlora.core.pipeline import directory_digest, refuse_another_base
from agentlora.core.resolving import check_serving, served_places
from agentlora.core.run import Run
from agentlora.core.types import JSON, ServeOn

MAKING = ".convert."  # what the folder begins with in which a conversion is made


def convert_run(run: Run, plugins: Plugins, *, rank: int | None = None, serve_on: ServeOn = "vllm") -> JSON:
    """Turn the run's adapter into plain LoRA in its place; what was trained stays in ``adapter-as-trained``. What is
    known of the adapter that was, its evaluation first, is not of this one.

    Args:
        rank: of every layer; None: of each the least that is exact.
        serve_on: what the run is meant for from now on.

    Returns:
        ``rank``, ``weight_error`` and ``divergence`` (nats a token from what was trained), as in ``run.json``.

    Raises:
        ConfigError: there is no adapter, it is LoRA already or has no such form, the base is another or quantized, or
            more than 0.02 nats a token would be lost. Nothing is changed then. One that was killed is made anew.
    """
    from agentlora.core.libraries import prepare_libraries
    from agentlora.plugins.bases.resolve import resolve_base
    from agentlora.plugins.methods.merged import load_trained
    from agentlora.plugins.trainers.exporting import as_lora, export, rows_to_ask
    from agentlora.plugins.trainers.loading import refuse_impossible
    from agentlora.registry.gate import MAX_DIVERGENCE

    with run.alone():
        kept = run.as_trained_dir
        _undo(run)
        adapter_digest(run)
        if run.config.convert:
            raise ConfigError(f"run {run.id!r} is plain LoRA already: it was converted.")
        config = run.config.model_copy(update={"convert": True, "convert_rank": rank, "serve_on": serve_on})
        check_serving(plugins, config)
        if kept.exists():
            raise ConfigError(f"{str(kept)!r} is in the way of what was trained. Move it away.")
        prepare_libraries()
        from transformers import AutoTokenizer

        with run.stage("convert"), TemporaryDirectory(prefix=MAKING, dir=run.directory) as folder:
            base = resolve_base(config.model, plugins, home())
            refuse_another_base(run, base)
            method = plugins.get("peft_methods", config.method.name)
            refuse_impossible(base.model_dir, config, method, {})
            rows = rows_to_ask(run, base, AutoTokenizer.from_pretrained(base.model_dir))
            model = load_trained(method, base, run.adapter_dir)
            found: JSON = {}
            made = Path(folder) / "adapter"
            export(
                run, base, made, lambda directory: found.update(as_lora(base, model, rows, directory, rank))
            )
            if found["divergence"] > MAX_DIVERGENCE:
                advice = "choose a higher --rank" if rank else "leave it as it is (--serve-on transformers)"
                raise ConfigError(
                    f"as LoRA of rank {found['rank']} it would answer {found['divergence']:.3f} nats a token away from "
                    f"what was trained, and at most {MAX_DIVERGENCE} may be lost: {advice}. Nothing was changed."
                )
            digest = directory_digest(made)
            run.adapter_dir.rename(kept)
            made.rename(run.adapter_dir)
            _store(run, config, conversion=found, adapter_digest=digest)
            message = (
                f"LoRA of rank {found['rank']}; {found['divergence']:.2g} nats a token from what was trained"
            )
            run.note("convert", "converted", message=message)
    return found


def meet_serving(
    run: Run, plugins: Plugins, serve_on: ServeOn | None = None, rank: int | None = None
) -> bool:
    """Let the run be meant for `serve_on` (None: for what it is meant for already) from now on: where what it exports
    does not run there, and its method says that it has a form as LoRA, that takes its place. Returns whether it did.

    Raises:
        ConfigError: it cannot be served there; there is a `rank` and nothing to convert; or as `convert_run`. Nothing
            is changed then.
    """
    card = plugins.get("peft_methods", run.config.method.name).card
    place = serve_on or run.config.serve_on
    served = place == "none" or place in served_places(run.config, card)
    if not served and card.to_lora in ("exact", "approximate"):
        convert_run(run, plugins, rank=rank, serve_on=place)
        return True
    if serve_on is not None:
        adapter_digest(run)
        check_serving(plugins, run.config.model_copy(update={"serve_on": serve_on}))
    if rank is not None and not (run.config.convert and rank == run.config.convert_rank):
        was = "was converted already" if run.config.convert else f"needs no conversion for {place!r}"
        raise ConfigError(f"--rank is of what is converted to LoRA, and run {run.id!r} {was}. Leave it out.")
    if place != run.config.serve_on:
        with run.alone():
            _store(run, run.config.model_copy(update={"serve_on": place}))
    return False


def _undo(run: Run) -> None:
    """Bring back what was trained where a conversion was killed before ``run.json`` said that it was done."""
    for left in run.directory.glob(f"{MAKING}*"):
        shutil.rmtree(left, ignore_errors=True)
    kept, trained = run.as_trained_dir, run.facts().get("adapter_digest")
    if not run.config.convert and trained and kept.is_dir() and directory_digest(kept) == trained:
        shutil.rmtree(run.adapter_dir, ignore_errors=True)
        kept.rename(run.adapter_dir)


def _store(run: Run, config: RunConfig, **facts: Any) -> None:
    """Let ``run.json`` say what the run has become, all at once."""
    file = run.directory / "run.json"
    raw = read_json(file)
    now = {name: getattr(config, name) for name in ("convert", "convert_rank", "serve_on")}
    write_json(file, {**raw, **facts, "config": {**raw["config"], **now}})
    run.config = config
