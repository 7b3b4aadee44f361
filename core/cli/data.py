"""``agentlora data import SOURCE``, ``agentlora data build TASK`` and ``agentlora data xray TARGET``."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import Any

import click

from agentlora.core.cli.options import config_options, layers_of, show_json, training_options
from agentlora.core.errors import ConfigError, DataError, nearest
from agentlora.core.types import Split

BUDGET = 250
SHOWN = 12  # lines of what was left out or pruned
COUNTED = 2000  # examples whose tokens are counted


@click.group()
def data() -> None:
    """Look at data: tools as they are imported, examples token by token."""


@data.command("import")
@click.argument("source")
@click.option(
    "--tool-tokens", default=BUDGET, show_default=True, help="Tokens that a tool may take in a prompt."
)
@click.option(
    "--only", multiple=True, metavar="NAME", help="Take these tools only; patterns such as issues_* too."
)
@click.option(
    "--mcp-header",
    "headers",
    multiple=True,
    metavar="'NAME: VALUE'",
    help="Of requests to an MCP server; ${NAME} is looked up in the environment.",
)
@click.option(
    "--mcp-env",
    "env",
    multiple=True,
    metavar="NAME=VALUE",
    help="Variables of an MCP server's command, likewise.",
)
@click.option("--output", type=click.Path(path_type=Path), help="Write the tools to a JSON file.")
@show_json
def import_(
    source: str,
    tool_tokens: int,
    only: tuple[str, ...],
    headers: tuple[str, ...],
    env: tuple[str, ...],
    output: Path | None,
    as_json: bool,
) -> None:
    """Show the tools of SOURCE as `train tool-calling --tools SOURCE` takes them, and what it cannot take.

    \b
    SOURCE is one of
      FILE.json, FILE.yaml     an OpenAPI 3 document, or functions in OpenAI's format;
                               a discovery document of Google, a service-2.json of botocore
      DIRECTORY                of such functions
      FILE.py, PACKAGE.MODULE  Python functions with type hints; read, never run
      mcp:COMMAND, mcp:URL     an MCP server, asked for its tools
      botocore:SERVICE         an API of Amazon; google:SERVICE likewise
    """
    from agentlora.core.config import parse
    from agentlora.core.files import write_json
    from agentlora.tasks.tool_calling.user_tools import UserToolParams, never_given, over_budget, unspoken

    lists = {"only": list(only), "mcp_headers": list(headers), "mcp_env": list(env)}
    read = parse(UserToolParams, {"tools": source, "tool_tokens": tool_tokens, **lists}, "data.params").read()
    unsaid = unspoken(read, 0)
    untrained = {row.what for row in unsaid}
    left_out = [*read.imported.left_out, *unsaid, *never_given(read)]
    large = over_budget(read)
    tools = [pruned.tool.openai() for pruned in read.pruned if pruned.tool.name not in untrained]
    if output:
        write_json(output, tools)
    if as_json:
        report = {
            "kind": read.imported.kind,
            "title": read.imported.title,
            "licence": read.imported.licence,
            "tools": tools,
            "tokens": {pruned.tool.name: [pruned.before, pruned.tokens] for pruned in read.pruned},
            "left_out": [{"what": row.what, "why": row.why} for row in left_out],
            "pruned": [
                {"tool": cut.tool, "rule": cut.rule, "what": cut.what}
                for pruned in read.pruned
                for cut in pruned.cuts
            ],
            "over_budget": [{"what": row.what, "why": row.why} for row in large],
        }
        click.echo(json.dumps(report, indent=2, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console()
    for part in _shown(source, read, left_out, large):
        console.print(part)
    settings = [f"--set data.params.{key}={json.dumps(values)}" for key, values in lists.items() if values]
    settings += [f"--set data.params.tool_tokens={tool_tokens}"] if tool_tokens != BUDGET else []
    quoted = " ".join(shlex.quote(word) for setting in settings for word in setting.split(" ", 1))
    console.print(
        Text(f"\nNext: agentlora train tool-calling --tools {shlex.quote(source)} {quoted}".rstrip())
    )


@data.command()
@click.argument("task")
@training_options
@config_options
@click.option("--output", type=click.Path(path_type=Path), help="Directory; default: data-TASK here.")
@click.option("--tokens", is_flag=True, help="Count tokens too, with the base model's tokenizer.")
@show_json
def build(
    task: str,
    config: dict[str, Any],
    sets: dict[str, Any],
    output: Path | None,
    tokens: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Build the data of TASK without training: JSONL files, a data card, and a report of what is in them.

    Takes what `train` takes. The report says how many examples there are of each case, how long they are, how varied
    their values, and what dev and test share with training.
    """
    from agentlora.core.data import (
        SPLITS,
        Splits,
        broken_rows,
        build_split,
        builder_of,
        card_of_splits,
        refuse_leaks,
    )
    from agentlora.core.examples import write_examples
    from agentlora.core.files import write_atomic, write_json
    from agentlora.core.manager import default_plugins
    from agentlora.core.resolving import resolve_config
    from agentlora.core.rewriting import line
    from agentlora.eval.quality import look
    from agentlora.eval.quality_html import page

    plugins = default_plugins()
    resolved = resolve_config(plugins, task, config, *layers_of(options), sets)
    if resolved.teacher.source:
        raise ConfigError(
            "a teacher answers when a run is trained: leave --teacher out to look at its prompts."
        )
    folder = output or Path(f"data-{task}")
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{str(folder)!r} is not empty. Name another --output.")
    splits: Splits = {split: build_split(resolved, plugins, split) for split in SPLITS}
    refuse_leaks(splits)
    name, builder, params = builder_of(resolved, plugins)
    told: dict[str, Any] = {}
    if resolved.rewriter.source:
        splits, told["rewriter"] = _rewritten(resolved, plugins, splits, as_json)
    card = card_of_splits({**builder.card(params), **told}, name, splits)
    lengths = _token_counts(plugins, resolved, splits["train"]) if tokens else []
    found = look(splits, lengths)
    said = [line(told["rewriter"])] if told else []
    for split, examples in splits.items():
        write_examples(folder / f"{split}.jsonl", examples)
    write_json(folder / "card.json", card)
    if message := broken_rows(card, folder / "card.json"):
        click.echo(message, err=True)
    write_atomic(
        folder / "report.html", page(f"{task}: {name}", found, [str(card.get("notes", "")), *said]).encode()
    )
    if as_json:
        click.echo(json.dumps({"directory": str(folder), **found.to_dict(), **told}, ensure_ascii=False))
        return
    from rich.console import Console

    console = Console()
    for part in _quality_shown(found):
        console.print(part)
    for text in said:
        click.echo(text)
    click.echo(f"Report: {folder / 'report.html'}\nNext: agentlora data xray {task} with the same options")


def _rewritten(resolved: Any, plugins: Any, splits: Any, quiet: bool) -> tuple[Any, dict[str, Any]]:
    from agentlora.core.cli.progress import show
    from agentlora.core.rewriting import ROLE, rewritten
    from agentlora.core.types import RunEvent

    with show(plugins, quiet) as emit:

        def progress(done: int, total: int) -> None:
            emit(RunEvent("", "step", ROLE, {"step": done, "total_steps": total}))

        return rewritten(resolved, plugins, splits, progress)


def _token_counts(plugins: Any, resolved: Any, examples: Sequence[Any]) -> list[int]:
    from agentlora.core.errors import needs_extra
    from agentlora.core.home import home
    from agentlora.core.libraries import prepare_libraries
    from agentlora.plugins.bases.resolve import outline
    from agentlora.plugins.trainers.rows import row_and_prompt

    prepare_libraries()
    with needs_extra("train", "counting tokens"):
        from transformers import AutoTokenizer
    model_dir, template = outline(resolved.model, plugins, home())
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    return [len(row_and_prompt(e, tokenizer, template)[1].ids) for e in evenly(examples, COUNTED)]


def _quality_shown(found: Any) -> list[Any]:
    from rich.table import Table

    parts: list[Any] = []
    for title, counts in (("case", found.cases), ("slice", found.slices)):
        table = Table(title, *found.splits, box=None, header_style="bold")
        for column in table.columns[1:]:
            column.justify = "right"
        for name, row in counts.items():
            table.add_row(name, *(f"{row[split]:,}" for split in found.splits))
        if title == "case":
            table.add_row("together", *(f"{s.examples:,}" for s in found.splits.values()), style="dim")
        parts += [table, ""]
    for histogram in found.histograms:
        bars = "".join(" ▁▂▃▄▅▆▇█"[min(8, -(-8 * n // max(histogram.counts)))] for n in histogram.counts)
        parts.append(
            f"{histogram.name:<26}{histogram.low:>6,.0f} {bars} {histogram.high:,.0f}   median {histogram.middle:,.0f}"
        )
    for split, o in found.overlaps.items():
        parts.append(
            f"{split} shares with training: wordings {o.wording:.0%}, text values {o.values:.0%}, "
            f"tool lists {o.tools:.0%}"
        )
    return [*parts, ""]


@data.command()
@click.argument("source", metavar="TARGET")
@training_options
@config_options
@click.option("--id", "ids", multiple=True, help="Look at this example; may be given several times.")
@click.option("--split", type=click.Choice(["train", "dev", "test"]), default="train", show_default=True)
@click.option("--count", default=2, show_default=True, help="How many examples to show, evenly taken.")
@click.option("--html", type=click.Path(path_type=Path), help="Write an HTML page of them too.")
@show_json
def xray(
    source: str,
    config: dict[str, Any],
    sets: dict[str, Any],
    ids: tuple[str, ...],
    split: Split,
    count: int,
    html: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Show what the model sees and what it is trained on, token by token.

    TARGET is a run, or a task with the options that `train` takes. Every example of the split is checked: tools are
    rendered, the answer ends in its end token, and what is trained is read back as the expected calls. With --trainer
    dpo or kto, rejected answers are shown and checked too. Ends with exit code 1 where an example is wrong.
    """
    from agentlora.core.libraries import prepare_libraries
    from agentlora.core.manager import default_plugins

    prepare_libraries()
    found, pieces, broken = looks(default_plugins(), source, split, [config, *layers_of(options), sets])
    chosen = [one for one in found if one.example.id in ids] if ids else evenly(found, count)
    if missing := sorted(set(ids) - {one.example.id for one in chosen}):
        close = nearest(missing[0], [one.example.id for one in found])
        raise DataError(f"no example of {split} is called {missing[0]!r}.{close}")
    wrong = [one for one in found if one.problems]
    left_out = sum(not (one.fits or one.unpaired) for one in found)
    unpaired = sum(one.unpaired for one in found)
    trained, whole = sum(one.trained for one in found), sum(one.length for one in found)
    summary = (
        f"{len(found):,} examples of {split}: {whole:,} tokens, {trained:,} trained ({trained / max(whole, 1):.0%}); "
        f"{left_out:,} too long and left out; "
        + (f"{unpaired:,} without a rejected answer and left out; " if unpaired else "")
        + f"{len(wrong):,} wrong"
    )
    chosen += [one for one in wrong if one not in chosen][:SHOWN]
    shown = [(one, pieces(one.example)) for one in chosen]
    if html:
        from agentlora.core.files import write_atomic
        from agentlora.plugins.trainers.xray_html import page

        write_atomic(html, page(f"{source}: what is trained", shown, summary).encode())
    if as_json:
        from agentlora.plugins.trainers.xray import to_json

        counts = {"examples": len(found), "left_out": left_out, "unpaired": unpaired, "wrong": len(wrong)}
        click.echo(
            json.dumps(
                {**counts, "warning": broken, "looks": [to_json(*one) for one in shown]}, ensure_ascii=False
            )
        )
    else:
        from rich.console import Console

        console = Console(highlight=False)
        for part in _looks_shown(shown, summary):
            console.print(part)
    if broken:
        click.echo(broken, err=True)
    if wrong:
        raise SystemExit(1)


def evenly(rows: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of `rows`, taken evenly."""
    wanted = min(count, len(rows))
    return [rows[i * len(rows) // wanted] for i in range(wanted)]


def looks(
    plugins: Any, target: str, split: Split, layers: list[dict[str, Any]]
) -> tuple[list[Any], Callable[[Any], Any], str]:
    """A `Look` at every example of a split, of a run or of a task with settings; what makes pieces of an example; and a
    warning of broken rows that were left out, of all splits.

    Raises:
        ConfigError: `target` is neither, or settings are given for a run.
        DataError: there is nothing to look at.
    """
    from agentlora.core.data import broken_rows, build_split, builder_of, card_of
    from agentlora.core.errors import needs_extra
    from agentlora.core.home import home
    from agentlora.core.libraries import stops_of
    from agentlora.core.resolving import resolve_config
    from agentlora.core.run import open_run
    from agentlora.core.teacher import PAIRS
    from agentlora.eval.calls import parse_answer
    from agentlora.plugins.bases.resolve import outline
    from agentlora.plugins.trainers.xray import look, pieces_of

    if target in plugins.catalog.names("tasks"):
        resolved = resolve_config(plugins, target, *layers)
        if resolved.teacher.source:
            raise ConfigError("what a teacher answers is known when a run is trained: look at the run.")
        if resolved.rewriter.source and split == "train":
            raise ConfigError(
                "what a rewriter writes is known when a run is trained: look at the run, or `agentlora data build`."
            )
        examples = build_split(resolved, plugins, split)
        _, builder, params = builder_of(resolved, plugins)
        broken = broken_rows(builder.card(params), "agentlora data build")
    else:
        run = open_run(target)
        if any(layers):
            raise ConfigError(
                f"{target} is a run, which has its settings. Name a task to look at other ones."
            )
        resolved, examples = run.config, run.examples(split)
        card = run.directory / "data" / "card.json"
        broken = broken_rows(card_of(run), card) if card.is_file() else ""  # killed before it was written
    if not examples:
        raise DataError(f"{target} has no examples in {split}")
    with needs_extra("train", "looking at tokens"):
        from transformers import AutoTokenizer
    pairs = resolved.trainer.name in PAIRS
    model_dir, template = outline(resolved.model, plugins, home())
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    limit = resolved.training.max_len
    stops = stops_of(model_dir)
    found = [look(e, tokenizer, template, limit, parse_answer, pairs, stops) for e in examples]
    return found, partial(pieces_of, tokenizer=tokenizer, chat_template=template, pairs=pairs), broken


ROLES = {"template": "dim", "system": "magenta", "tools": "bright_black", "user": "blue", "assistant": "green",
         "tool": "yellow", "answer": "bold black on green", "rejected": "bold black on red"}  # fmt: skip


def _looks_shown(shown: list[Any], summary: str) -> list[Any]:
    from rich.text import Text

    from agentlora.plugins.trainers.xray import left_out, size_of

    pairs = any(one.rejected for one, _ in shown)
    legend = Text("\n")
    for role, style in ROLES.items():
        if pairs or role != "rejected":
            legend.append("trained" if role == "answer" else role, style).append(" ")
    parts: list[Any] = [Text(summary), legend]
    for one, pieces in shown:
        parts.append(Text.assemble("\n", (one.example.id, "bold"), f"  {size_of(one)}"))
        told = [*filter(None, [left_out(one)]), *one.problems]
        parts += [Text(problem, "bold red") for problem in told]
        texts = [(piece.text, ROLES.get(piece.role, "")) for piece in pieces]
        better = len(texts) - one.rejected
        parts.append(Text.assemble(*texts[:better]))
        if one.rejected:
            parts += [Text("rejected:", "dim"), Text.assemble(*texts[better:])]
    return parts


def _shown(source: str, read: Any, left_out: list[Any], large: list[Any]) -> list[Any]:
    from rich.table import Table
    from rich.text import Text

    about = ", ".join(filter(None, (read.imported.title, read.imported.licence)))
    table = Table("tool", "tokens", "before", "what it does", box=None, header_style="bold")
    table.columns[1].justify = table.columns[2].justify = "right"
    for column, width in zip(table.columns, (24, 6, 6, 10), strict=True):
        column.no_wrap, column.min_width = True, width
    for pruned in read.pruned:
        size = Text(f"{pruned.tokens:,}", style="" if pruned.tokens <= read.budget else "yellow")
        before = "" if pruned.before == pruned.tokens else f"{pruned.before:,}"
        table.add_row(
            pruned.tool.name,
            size,
            before,
            Text(shorten(pruned.tool.description, 40, placeholder="…"), style="dim"),
        )
    parts: list[Any] = [
        Text(f"{source}: {len(read.pruned)} tools ({read.imported.kind}{': ' if about else ''}{about})"),
        "",
        table,
    ]
    cuts = [f"{cut.tool}: {cut.rule}: {cut.what}" for pruned in read.pruned for cut in pruned.cuts]
    for title, rows in (
        (f"Pruned to {read.budget} tokens a tool", cuts),
        ("Over budget", [f"{row.what}: {row.why}" for row in large]),
        ("Left out", [f"{row.what}: {row.why}" for row in left_out]),
    ):
        if rows:
            more = [f"… and {len(rows) - SHOWN} more: --json"] if len(rows) > SHOWN else []
            listed = "\n".join(f"  {line}" for line in [*rows[:SHOWN], *more])
            parts += ["", Text.assemble((f"{title}\n", "bold"), listed)]
    return parts
