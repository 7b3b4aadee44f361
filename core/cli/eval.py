"""``agentlora eval TARGET``, and the commands beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import click

from agentlora.core.cli.eval_diff import diff
from agentlora.core.cli.options import show_json
from agentlora.core.cli.parity import parity
from agentlora.core.types import Split

OF_EXAMPLES = ("temperature", "seeds", "probes", "constrained", "evaluators", "beside")
ASKS = ("engine", "url", "limit", *OF_EXAMPLES, "suites")
REFUSED = 3  # exit status: the evaluation went well, and the gate refused what it found


def _print_schema(context: click.Context, option: click.Parameter, value: str | None) -> None:
    if value is None or context.resilient_parsing:
        return
    import json

    from agentlora.eval.schemas import SCHEMAS

    click.echo(json.dumps(SCHEMAS[value](), indent=2, ensure_ascii=False))
    context.exit()


def _probes(context: click.Context, option: click.Parameter, text: str | None) -> int | Literal["all"] | None:
    if text is None or text == "all":
        return "all" if text else None
    if not text.isdecimal():
        raise click.BadParameter("give a number of probes, all, or 0 for none.")
    return int(text)


class _WithCommands(click.Group):
    """The command `_evaluate` with others beside it: a first word that is none of theirs is an argument of its own."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        named = args and args[0] in (*self.commands, "-h", "--help")
        own = super().make_context if named else _evaluate.make_context
        return own(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _evaluate.format_help(ctx, formatter)
        self.format_commands(ctx, formatter)


@click.group(cls=_WithCommands)
def eval() -> None:
    """Evaluate runs, and compare evaluations."""


@click.command("eval")
@click.argument("target")
@click.option(
    "--schema",
    type=click.Choice(["record", "sample"]),
    is_eager=True,
    expose_value=False,
    callback=_print_schema,
    help="Print the JSON Schema of record.json, or of a line of samples.jsonl, and do nothing else.",
)
@click.option("--engine", help="vllm, transformers, or another engine; default: the one that will serve.")
@click.option("--url", help="Attach to a running engine at this address instead of starting one.")
@click.option("--split", type=click.Choice(["test", "dev"]), default="test", show_default=True)
@click.option("--limit", type=click.IntRange(min=1), help="Examples, taken evenly from the slices.")
@click.option("--constrained", is_flag=True, help="The adapter with and without a grammar; decides nothing.")
@click.option(
    "--probes",
    metavar="N|all",
    callback=_probes,
    help="General-ability probes to ask; 0: none.  [default: eval.probes]",
)
@click.option(
    "--evaluator",
    "evaluators",
    multiple=True,
    help="Judges beside the run's own: a name, or {name: NAME, params: {…}}. Can be given several times.",
)
@click.option(
    "--beside",
    multiple=True,
    metavar="URL#MODEL",
    help="A model of an endpoint that answers too, and decides nothing (repeatable); its key is in OPENAI_API_KEY. Or "
    "{endpoint: URL#MODEL, label: NAME, options: {api_key_env: VARIABLE}}.",
)
@click.option("--temperature", type=click.FloatRange(0, 2), help="Sample answers; default: greedy.")
@click.option("--seeds", type=click.IntRange(1, 100), help="Sampled answers to every example.")
@click.option("--gate", is_flag=True, help="Judge as `publish` would; exit 3 when the gate refuses.")
@click.option("--recorded", is_flag=True, help="Judge what was evaluated before, without asking anew.")
@click.option(
    "--policy", type=click.Path(dir_okay=False, path_type=Path), help="YAML file with the gate's rules."
)
@click.option(
    "--junit", type=click.Path(dir_okay=False, path_type=Path), help="The gate's rules as JUnit XML."
)
@click.option(
    "--markdown", type=click.Path(dir_okay=False, path_type=Path), help="Gate and figures as Markdown."
)
@click.option("--name", help="The skill whose alias it is compared with; default: the task's.")
@click.option("--alias", default="prod", show_default=True, help="The alias that it would be published to.")
@click.option(
    "--suite",
    "suites",
    multiple=True,
    metavar="NAME[:TASKS]",
    help="Other people's tasks, put into the record too (repeatable): bfcl, lm-eval:TASK, inspect:FILE.py@TASK.",
)
@show_json
@click.pass_context
def _evaluate(ctx: click.Context, /, target: str, as_json: bool, **options: Any) -> None:
    """Evaluate TARGET (a run's id or directory, or `last`) against its baselines and what is served today.

    An evaluation that was ended before it was whole goes on where it was: give the same command again.

    dev is for looking and tuning; test decides, and every reading of it is counted in the record. With --suite, an
    adapter that has its record already is asked the suites alone; --limit then counts the examples of each task.
    """
    import json

    from agentlora.core.cli.progress import show
    from agentlora.core.evaluating import eval_folder
    from agentlora.core.manager import default_plugins
    from agentlora.core.publishing import asks_served, gate_config, judge_run, skill_name
    from agentlora.core.run import open_run
    from agentlora.core.suites import parse_suites

    _check(**options)
    chosen: Split = "test" if options["split"] == "test" else "dev"
    plugins = default_plugins()
    verdict = None
    with show(plugins, quiet=as_json) as emit:
        run = open_run(target, emit)
        skill = skill_name(run, plugins, options["name"])
        policy = gate_config(run, plugins, options["policy"])
        against = options["alias"] if asks_served(run, plugins, policy) else None
        parse_suites(plugins, options["suites"])  # what is wrong with them is told before minutes are spent
        record = _record(run, plugins, chosen, skill, against, options)
        if options["gate"]:
            judged = judge_run(run, plugins, name=skill, alias=options["alias"], policy=policy)
            verdict = judged.to_dict()
    _write(record, verdict, skill, options["junit"], options["markdown"])
    if as_json:
        click.echo(json.dumps({**record.to_dict(), **({"gate": verdict} if verdict else {})}, indent=2))
    else:
        from rich.console import Console

        from agentlora.eval.report import terminal_table
        from agentlora.eval.verdict_report import verdict_table

        Console().print(terminal_table(record))
        click.echo(f"Report: {run.directory / eval_folder(chosen) / 'report.html'}")
        if verdict is not None:
            Console().print(verdict_table(verdict))
        if chosen == "test" and (verdict is None or verdict["passed"]):
            click.echo(f"Next: agentlora publish {target}")
    if verdict is not None and not verdict["passed"]:
        ctx.exit(REFUSED)


def _check(
    split: str,
    gate: bool,
    recorded: bool,
    policy: Path | None,
    junit: Path | None,
    markdown: Path | None,
    **others: Any,
) -> None:
    """Before an evaluation that takes long: what could not be used after it."""
    if gate and split != "test":
        raise click.UsageError(
            f"--gate judges by the split test, and --split is {split!r}: leave one of them out."
        )
    for option, given in (("--policy", policy), ("--junit", junit), ("--recorded", recorded)):
        if given and not gate:
            raise click.UsageError(f"{option} is about what the gate says: give --gate too.")
    given_too = [name for name in ASKS if others[name] not in (None, False, ())]
    if recorded and given_too:
        raise click.UsageError(f"--recorded asks nothing anew: leave {_options(given_too)} out.")
    for option, file in (("--junit", junit), ("--markdown", markdown)):
        if file is not None and not file.absolute().parent.is_dir():
            raise click.UsageError(
                f"{option}: {str(file.parent)!r} is no directory. Make it, or name another."
            )


def _options(names: Sequence[str]) -> str:
    """As they are typed."""
    return ", ".join("--" + {"evaluators": "evaluator", "suites": "suite"}.get(name, name) for name in names)


def _record(
    run: Any, plugins: Any, split: Split, skill: str, alias: str | None, options: Mapping[str, Any]
) -> Any:
    """The record, made now or read, with the suites that are asked for."""
    from agentlora.core.evaluating import evaluate
    from agentlora.core.suites import add_suites, has_record
    from agentlora.eval.record import Record

    if options["recorded"]:
        return Record.load(run.eval_dir / "record.json")
    how = {
        "engine_name": options["engine"],
        "split": split,
        "limit": options["limit"],
        "options": {"url": options["url"]} if options["url"] else {},
    }
    suites = options["suites"]
    record = None
    if not suites or not has_record(run, split):
        more = {name: options[name] for name in OF_EXAMPLES}
        record = evaluate(run, plugins, **how, **more, skill=skill, alias=alias)
    elif given := [name for name in OF_EXAMPLES if options[name] not in (None, False, ())]:
        raise click.UsageError(
            f"the run has its record, and with --suite its examples are not asked again: leave {_options(given)} out, "
            "or evaluate first without --suite."
        )
    return add_suites(run, plugins, suites, **how) if suites else record


def _write(record: Any, verdict: Any, skill: str, junit: Path | None, markdown: Path | None) -> None:
    from agentlora.eval import report
    from agentlora.eval.verdict_report import verdict_junit, verdict_markdown

    if junit is not None:
        junit.write_text(verdict_junit(verdict, skill, record.created_at), encoding="utf-8")
    if markdown is not None:
        parts = ([verdict_markdown(verdict, skill)] if verdict else []) + [report.markdown(record)]
        _put(markdown, "\n".join(parts))


def _put(file: Path, text: str) -> None:
    """Write a file anew; what steps of a CI job write into their summary together is added to."""
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if not summary or Path(summary).resolve() != file.resolve():
        file.write_text(text, encoding="utf-8")
        return
    before = file.read_bytes() if file.is_file() else b""
    # Markdown's headings and tables begin behind an empty line
    gap = "" if not before or before.endswith(b"\n\n") else "\n" if before.endswith(b"\n") else "\n\n"
    with file.open("a", encoding="utf-8") as summed:
        summed.write(gap + text)


eval.add_command(diff)
eval.add_command(parity)
