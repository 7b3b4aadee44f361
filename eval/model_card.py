"""The README of what is exported: a pure rendering of what the run's files say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from agentlora.core.types import Task
from agentlora.eval.record import Record
from agentlora.eval.report import markdown

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@.*)?", re.ASCII)

_LOAD_ADAPTER = """from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{base}")
model = PeftModel.from_pretrained(model, "{name}")
tokenizer = AutoTokenizer.from_pretrained("{base}")
"""
_LOAD_MODEL = """from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{name}")
tokenizer = AutoTokenizer.from_pretrained("{name}")
"""


def model_card(
    name: str,
    form: str,
    task: Task,
    method: str,
    facts: Mapping[str, Any],
    data: Mapping[str, Any],
    record: Record | None,
) -> str:
    """Markdown with the hub's YAML head.

    Args:
        form: ``peft`` or ``merged``.
        name: under which it is loaded: a repository, or a directory's name.
        facts: of the run (`Run.facts`): base, and composition where it was composed.
        data: the run's data card.
        record: of the exported adapter on test; None when it was not evaluated.
    """
    base = facts["base"]
    what = "An adapter for" if form == "peft" else "A model that began as"
    intro = (
        f"{what} `{base['name']}` (sha256 `{base['digest'][:12]}`), trained with agentlora by the method `{method}` on "
        f"the task `{task.name}`: {task.summary.rstrip('.')}."
    )
    parts = [_head(form, task, method, base), f"# {name}", intro, *_composed(facts.get("composition"))]
    parts += ["## Evaluation", "It was not evaluated."] if record is None else [_nested(markdown(record))]
    if form == "merged" and record is not None:
        parts.append("The figures are of what was trained, before it was merged and rounded.")
    parts += ["## Data", "\n".join(_data(data))]
    code = (_LOAD_ADAPTER if form == "peft" else _LOAD_MODEL).format(
        base=base["name"].partition("@")[0], name=name
    )
    parts += ["## Loading", f"```python\n{code}```"]
    parts.append(
        "It was trained under the chat template in `chat_template.jinja` (sha256 "
        f"`{base['template_digest'][:12]}`), and answers worse under another; its tool calls are read by the parser "
        f"`{base['tool_call_parser']}`."
    )
    return "\n\n".join(parts) + "\n"


def _head(form: str, task: Task, method: str, base: Mapping[str, Any]) -> str:
    import yaml

    head: dict[str, Any] = {"library_name": "peft" if form == "peft" else "transformers"}
    if _HUB_ID.fullmatch(base["name"]):
        head["base_model"] = base["name"].partition("@")[0]
    head["tags"] = ["agentlora", method, task.name]
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---"


def _composed(composition: Mapping[str, Any] | None) -> Iterator[str]:
    if composition:
        shares = " and ".join(
            f"{parent['weight']:g} × `{parent['adapter'][:12]}`" for parent in composition["parents"]
        )
        yield f"It was composed of other adapters: {shares} ({composition['how']})."


def _nested(report: str) -> str:
    """A report as a section: every heading one level down."""
    return re.sub(r"^(#+ )", r"#\1", report, flags=re.MULTILINE).strip()


def _data(data: Mapping[str, Any]) -> Iterator[str]:
    for source in data.get("sources") or []:
        version, licence = source.get("version", "–"), source.get("licence", "not said")
        yield f"- {source.get('name')}, version {version}, licence: {licence}"
    counts = data.get("counts") or {}
    if counts:
        yield "- " + ", ".join(f"{split}: {n} examples" for split, n in counts.items())
    if not data.get("sources") and not counts:
        yield "Its data card names no source."
