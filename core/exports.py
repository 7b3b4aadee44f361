"""What a run trained, for other programs: merged, PEFT's files, GGUF, a repository on a hub."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from agentlora.core.data import card_of
from agentlora.core.errors import ConfigError, unknown
from agentlora.core.evaluating import adapter_digest, take
from agentlora.core.files import read_json, write_atomic, write_json
from agentlora.core.home import home
from agentlora.core.manager import Plugins
from agentlora.core.pipeline import refuse_another_base
from agentlora.core.run import Run
from agentlora.core.types import METHOD_FILE

EXPORT_FORMS = ("peft", "merged", "gguf", "gguf-merged")
DIRECTORIES = ("peft", "merged")
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
        rows = encode(examples, tokenizer, base.chat_template, max_len=sys.maxsize).items
        method = plugins.get("peft_methods", run.config.method.name)
        lost = write_merged(method, base, run.adapter_dir, directory, [(row.ids, row.start) for row in rows])
        run.note("merge", "merged", directory=str(directory), divergence=lost)
    return directory, lost


def export_run(run: Run, plugins: Plugins, form: str, output: Path, *, name: str | None = None) -> Path:
    """Write what the run trained into `output`, whole or not at all; a directory with a README of what is known of it.

    Args:
        form: ``peft`` (a directory: adapter and chat template), ``merged`` (a directory: a whole model), ``gguf`` (a
            file: the LoRA adapter), ``gguf-merged`` (a file: a whole model).
        name: what it will be called elsewhere: its README says so, and no path of this machine is left in it.

    Raises:
        ConfigError: `output` exists, or there is no such form of this adapter.
    """
    from agentlora.core.libraries import prepare_libraries
    from agentlora.plugins.bases.resolve import resolve_base
    from agentlora.plugins.methods.gguf_files import write_adapter, write_model

    target = output.expanduser().absolute()
    if target.exists():
        raise ConfigError(f"--output {str(target)!r} exists already. Choose another one.")
    adapter_digest(run)
    prepare_libraries()
    target.parent.mkdir(parents=True, exist_ok=True)
    with run.stage("export"), TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        temporary = Path(folder)
        made = temporary / "made"
        base = resolve_base(run.config.model, plugins, home())
        refuse_another_base(run, base)
        if form not in EXPORT_FORMS:
            raise ConfigError(unknown("form", form, EXPORT_FORMS))
        there_are = forms_of(run, plugins)
        if form not in there_are:
            others = f"Choose {' or '.join(there_are)}" if there_are else "Use it with its base, as it is"
            raise ConfigError(
                f"what method {run.config.method.name!r} trains has no --format {form}. {others}."
            )
        if form == "peft":
            shutil.copytree(run.adapter_dir, made)
        elif form == "merged":
            merge_adapter(run, plugins, made)
        elif form == "gguf":
            write_adapter(run.adapter_dir, base.model_dir, made)
        else:
            whole, _ = merge_adapter(run, plugins, temporary / run.id)
            write_model(whole, made, base.chat_template)
        if form in DIRECTORIES:
            write_atomic(made / "README.md", _readme(run, plugins, form, name or target.name))
        if name:
            _name_base(made, base.name)
        made.replace(target)
    return target


def forms_of(run: Run, plugins: Plugins) -> list[str]:
    """The forms that there are of what the run trained; whether GGUF has the base's architecture is told elsewhere."""
    from agentlora.plugins.methods.gguf_files import is_plain

    by_peft = not (run.adapter_dir / METHOD_FILE).is_file()
    found = ["peft"] if by_peft else []
    if plugins.get("peft_methods", run.config.method.name).card.mergeable:
        found += ["merged", "gguf-merged"]
    if by_peft and is_plain(read_json(run.adapter_dir / "adapter_config.json")):
        found.append("gguf")
    return found


def push_run(
    run: Run, plugins: Plugins, form: str, name: str, *, public: bool = False, output: Path | None = None
) -> str:
    """Export and upload it to the hub as `name` (OWNER/NAME); returns its address there. What was written to `output`
    stays, whatever becomes of the upload.

    Raises:
        ConfigError: as `export_run` and `agentlora.registry.hub.push`, or a form that is no directory.
        RegistryError: the hub cannot be reached, or the upload failed.
    """
    from agentlora.registry.hub import check_push, push

    if form not in DIRECTORIES:
        raise ConfigError(f"--push takes --format {' or '.join(DIRECTORIES)}, not {form!r}.")
    check_push(name)
    if output is not None:
        return push(export_run(run, plugins, form, output, name=name), name, public=public)
    with TemporaryDirectory(prefix=".push.", dir=run.directory) as temporary:
        return push(export_run(run, plugins, form, Path(temporary) / "made", name=name), name, public=public)


def _name_base(directory: Path, base: str) -> None:
    """Put the base's name where the libraries wrote the directory that it was loaded from."""
    for file in (
        directory / name for name in ("adapter_config.json", "config.json", "tokenizer_config.json")
    ):
        settings = read_json(file) if file.is_file() else {}
        found = {"base_model_name_or_path", "_name_or_path", "name_or_path"}.intersection(settings)
        if found:
            write_json(file, {**settings, **dict.fromkeys(found, base.partition("@")[0])})


def _readme(run: Run, plugins: Plugins, form: str, name: str) -> str:
    from agentlora.eval.model_card import model_card
    from agentlora.eval.record import Record

    file, data = run.eval_dir / "record.json", run.directory / "data" / "card.json"
    record = Record.load(file) if file.is_file() else None
    if record is not None and record.adapter != adapter_digest(run):
        record = None  # of weights that are no longer there
    task = plugins.get("tasks", run.config.task)
    card = card_of(run) if data.is_file() else {}
    return model_card(name, form, task, run.config.method.name, run.facts(), card, record)
