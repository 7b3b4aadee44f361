"""``agentlora convert RUN``: a finished run's adapter as plain LoRA, as ``--convert`` makes it after a training."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from agentlora.core.config import RunConfig
from agentlora.core.errors import ConfigError
from agentlora.core.evaluating import adapter_digest
from agentlora.core.files import read_json, write_json
from agentlora.core.home import home
from agentlora.core.manager import Plugins
from agentlora.core.pipeline import directory_digest, refuse_another_base
from agentlora.core.resolving import check_serving
from agentlora.core.run import Run
from agentlora.core.types import JSON, ServeOn


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
            more than 0.02 nats a token would be lost. Nothing is changed then.
    """
    from agentlora.core.libraries import prepare_libraries
    from agentlora.plugins.bases.resolve import resolve_base
    from agentlora.plugins.methods.merged import load_trained
    from agentlora.plugins.trainers.exporting import as_lora, export
    from agentlora.plugins.trainers.loading import refuse_impossible
    from agentlora.plugins.trainers.rows import encode
    from agentlora.registry.gate import MAX_DIVERGENCE

    adapter_digest(run)
    if run.config.convert:
        raise ConfigError(f"run {run.id!r} is plain LoRA already: it was converted.")
    config = run.config.model_copy(update={"convert": True, "convert_rank": rank, "serve_on": serve_on})
    check_serving(plugins, config)
    kept = run.directory / "adapter-as-trained"
    if kept.exists():
        raise ConfigError(f"{str(kept)!r} is in the way of what was trained. Move it away.")
    prepare_libraries()
    from transformers import AutoTokenizer

    with run.alone(), run.stage("convert"):
        base = resolve_base(config.model, plugins, home())
        refuse_another_base(run, base)
        method = plugins.get("peft_methods", config.method.name)
        refuse_impossible(base.model_dir, config, method, {})
        has_dev = (run.directory / "data" / "dev.jsonl").is_file()
        asked = (run.examples("dev") if has_dev else []) or run.examples("train")
        tokenizer = AutoTokenizer.from_pretrained(base.model_dir)
        rows = encode(asked, tokenizer, base.chat_template, config.training.max_len).items
        model = load_trained(method, base, run.adapter_dir)
        found: JSON = {}
        with TemporaryDirectory(prefix=".convert.", dir=run.directory) as folder:
            made = Path(folder) / "adapter"
            export(
                run, base, made, lambda directory: found.update(as_lora(base, model, rows, directory, rank))
            )
            if found["divergence"] > MAX_DIVERGENCE:
                raise ConfigError(
                    f"as LoRA of rank {found['rank']} it would answer {found['divergence']:.3f} nats a token away from "
                    f"what was trained, and at most {MAX_DIVERGENCE} may be lost: choose a higher --rank. Nothing was "
                    "changed."
                )
            run.adapter_dir.rename(kept)
            made.rename(run.adapter_dir)
        _store(run, config)
        run.add_facts(conversion=found, adapter_digest=directory_digest(run.adapter_dir))
    return found


def _store(run: Run, config: RunConfig) -> None:
    """Let ``run.json`` say what the run has become."""
    file = run.directory / "run.json"
    raw = read_json(file)
    now = {"convert": True, "convert_rank": config.convert_rank, "serve_on": config.serve_on}
    write_json(file, {**raw, "config": {**raw["config"], **now}})
    run.config = config
