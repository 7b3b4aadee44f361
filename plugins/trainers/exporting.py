"""From a trained model to the directory of an adapter, as it was trained or as plain LoRA."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from agentlora.core.files import directory_atomic, write_json
from agentlora.core.run import Run
from agentlora.core.types import JSON, METHOD_FILE, Base, Method
from agentlora.plugins.trainers.rows import Row, encode

CONVERSION_PROMPTS = 16


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


def export_trained(run: Run, base: Base, method: Method, model: Any, tokenizer: Any) -> None:
    """The adapter of a run from its trained model, turned into plain LoRA where the configuration says so."""
    if not run.config.convert:
        export(run, base, run.adapter_dir, partial(method.export, model))
        return
    export(run, base, run.as_trained_dir, partial(method.export, model))
    rows = rows_to_ask(run, base, tokenizer)
    export(run, base, run.adapter_dir, partial(convert, run, base, model, rows))


def rows_to_ask(run: Run, base: Base, tokenizer: Any) -> Sequence[Row]:
    """What tells how far a conversion answers from what was trained: dev's rows, or train's where there is no dev."""
    has_dev = (run.directory / "data" / "dev.jsonl").is_file()
    asked = (run.examples("dev") if has_dev else []) or run.examples("train")
    return encode(asked, tokenizer, base.chat_template, run.config.training.max_len).items


def convert(run: Run, base: Base, model: Any, rows: Sequence[Row], directory: Path) -> None:
    """Write what was trained as plain LoRA, and into ``run.json`` how far that answers from what was trained. See
    `as_lora`.
    """
    facts = as_lora(base, model, rows, directory, run.config.convert_rank)
    run.add_facts(conversion=facts)
    run.note(
        "train",
        "converted",
        message=f"as LoRA of rank {facts['rank']}; {facts['divergence']:.2g} nats a token from what was trained",
    )


def as_lora(base: Base, model: Any, rows: Sequence[Row], directory: Path, rank: int | None) -> JSON:
    """Write what was trained as plain LoRA of `rank` (None: the least that is exact); returns the `Conversion` and the
    ``divergence`` of its answers.

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
        converted = to_lora(merged_updates(model), directory, rank)
        of_base = model.unload()
    else:
        of_base = AutoModelForCausalLM.from_pretrained(base.model_dir, dtype=torch.float32).to(model.device)
        converted = to_lora(weight_updates(model, of_base), directory, rank)
    after = logits(PeftModel.from_pretrained(of_base, directory))
    return {**asdict(converted), "divergence": divergence(before, after)}
