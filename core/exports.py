"""What a run trained, for other programs: merged, PEFT's files, GGUF."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from agentlora.core.errors import ConfigError, unknown
from agentlora.core.home import home
from agentlora.core.manager import Plugins
from agentlora.core.pipeline import adapter_digest, refuse_another_base, take
from agentlora.core.run import Run
from agentlora.core.types import METHOD_FILE

EXPORT_FORMS = ("peft", "merged", "gguf", "gguf-merged")
MERGE_PROMPTS = 8


def merge_adapter(run: Run, plugins: Plugins, output: Path) -> tuple[Path, float]:
    """Write the run's base with its adapter merged into it; returns the directory, and how far that answers from base
    and adapter, in nats a token.

    Raises:
        ConfigError: `output` exists, the run has no adapter or another base than it was trained on, or what was trained
            cannot be merged.
    """
    from agentlora.core.libraries import prepare_libraries
    from agentlora.plugins.bases.resolve import resolve_base
    from agentlora.plugins.methods.merged import write_merged
    from agentlora.plugins.trainers.rows import encode

    directory = output.expanduser().absolute()
    if directory.exists():
        raise ConfigError(f"--output {str(directory)!r} exists already. Choose another one.")
    adapter_digest(run)
    prepare_libraries()
    with run.stage("merge"):
        from transformers import AutoTokenizer

        base = resolve_base(run.config.model, plugins, home())
        refuse_another_base(run, base)
        examples = take(run.examples("dev") or run.examples("train"), MERGE_PROMPTS)
        tokenizer = AutoTokenizer.from_pretrained(base.model_dir)
        rows = encode(examples, tokenizer, base.chat_template, max_len=sys.maxsize).rows
        method = plugins.get("peft_methods", run.config.method.name)
        lost = write_merged(method, base, run.adapter_dir, directory, [(row.ids, row.start) for row in rows])
        run.note("merge", "merged", directory=str(directory), divergence=lost)
    return directory, lost


def export_run(run: Run, plugins: Plugins, form: str, output: Path) -> Path:
    """Write what the run trained into `output`, whole or not at all.

    Args:
        form: ``peft`` (a directory: adapter and chat template), ``merged`` (a directory: a whole model), ``gguf`` (a
            file: the LoRA adapter), ``gguf-merged`` (a file: a whole model).

    Raises:
        ConfigError: `output` exists, or there is no such form of this adapter.
    """
    from agentlora.core.libraries import prepare_libraries
    from agentlora.plugins.bases.resolve import resolve_base
    from agentlora.plugins.methods.gguf_files import write_adapter, write_model

    if form == "merged":
        return merge_adapter(run, plugins, output)[0]
    target = output.expanduser().absolute()
    if target.exists():
        raise ConfigError(f"--output {str(target)!r} exists already. Choose another one.")
    adapter_digest(run)
    prepare_libraries()
    target.parent.mkdir(parents=True, exist_ok=True)
    with run.stage("export"), TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as name:
        temporary = Path(name)
        made = temporary / "made"
        base = resolve_base(run.config.model, plugins, home())
        refuse_another_base(run, base)
        if form in ("peft", "gguf") and (run.adapter_dir / METHOD_FILE).is_file():
            raise ConfigError(
                f"what method {run.config.method.name!r} trains is no PEFT adapter, and has no --format {form}. "
                "Another one: merged, gguf-merged."
            )
        if form == "peft":
            shutil.copytree(run.adapter_dir, made)
        elif form == "gguf":
            write_adapter(run.adapter_dir, base.model_dir, made)
        elif form == "gguf-merged":
            whole, _ = merge_adapter(run, plugins, temporary / run.id)
            write_model(whole, made, base.chat_template)
        else:
            raise ConfigError(unknown("form", form, EXPORT_FORMS))
        made.replace(target)
    return target
