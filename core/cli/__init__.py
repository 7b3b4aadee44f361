"""The command line. Commands are imported when they are dispatched, so that ``--help`` stays light."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

# name → (module, one line of help); the attribute in the module has the command's name
COMMANDS = {
    "plan": (
        "agentlora.core.cli.plan",
        "Explain a training before it begins: memory, time, serving, advice.",
    ),
    "train": ("agentlora.core.cli.train", "Train a skill: build the data, fit an adapter."),
    "sweep": (
        "agentlora.core.cli.sweep",
        "Train with every combination of settings and compare them on dev.",
    ),
    "eval": ("agentlora.core.cli.eval", "Evaluate a run against its baselines."),
    "export": (
        "agentlora.core.cli.export",
        "Write what a run trained for other programs: PEFT, merged, GGUF.",
    ),
    "compose": ("agentlora.core.cli.compose", "Make one adapter of several evaluated ones."),
    "merge": ("agentlora.core.cli.merge", "Write a run's adapter and its base as one model."),
    "convert": ("agentlora.core.cli.convert", "Turn what a run trained into plain LoRA, which vLLM serves."),
    "publish": ("agentlora.core.cli.publish", "Put a run's adapter through the gate into the registry."),
    "registry": ("agentlora.core.cli.registry", "List, show, alias, roll back and verify skills."),
    "serve": (
        "agentlora.core.cli.serve",
        "Serve every published skill behind one OpenAI-compatible address.",
    ),
    "chat": ("agentlora.core.cli.chat", "Base and skill side by side."),
    "route": ("agentlora.core.cli.route", "Say which skill would answer a text, and why."),
    "data": ("agentlora.core.cli.data", "Look at data: tools as they are imported, examples token by token."),
    "runs": ("agentlora.core.cli.runs", "List, show, resume, diagnose and remove runs."),
    "plugins": ("agentlora.core.cli.plugins", "List plugins and what they offer."),
    "config": ("agentlora.core.cli.config", "Print the configuration's JSON Schema."),
    "setup": ("agentlora.core.cli.setup", "Install what pip cannot express: cpu, gpu, starter."),
    "doctor": ("agentlora.core.cli.doctor", "Check this machine and installation."),
}
EXTERNAL_GROUP = "agentlora.commands"


class LazyGroup(click.Group):
    """A group whose built-in commands come from `COMMANDS` and whose others from entry points."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *sorted(_external())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            module, _ = COMMANDS[cmd_name]
            command: click.Command = getattr(import_module(module), cmd_name)
        elif cmd_name in (external := _external()):
            command = _load(external[cmd_name])
        else:
            return None
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS and not args[0].startswith("-") and args[0] not in _external():
            from agentlora.core.errors import unknown

            raise click.UsageError(unknown("command", args[0], self.list_commands(ctx)))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, text) for name, (_, text) in COMMANDS.items()]
        rows += [
            (name, f"(from {entry.value.partition(':')[0]})") for name, entry in sorted(_external().items())
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _load(entry: Any) -> click.Command:
    from agentlora.core.errors import PluginError, boundary

    with boundary(PluginError, f"loading the command {entry.name!r} from {entry.value!r}"):
        command = entry.load()
    if not isinstance(command, click.Command):
        raise PluginError(
            f"the command {entry.name!r}, {entry.value!r}, is a {type(command).__name__}, no command."
        )
    return command


def _external() -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=EXTERNAL_GROUP) if entry.name not in COMMANDS}


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(package_name="agentlora", message="%(prog)s %(version)s")
def cli(debug: bool) -> None:
    """Train, prove, publish and serve LoRA skills for agents on open models.

    Start with: agentlora train tool-calling --preset demo
    """
    if debug:
        os.environ["AGENTLORA_DEBUG"] = "1"


def _process() -> str:
    """Who speaks, where several processes train together."""
    index = os.environ.get("RANK", "0")
    return "" if index == "0" else f"process {index}: "


def _trains(words: Sequence[str]) -> bool:
    named = [word for word in words if not word.startswith("-")]
    return named[:1] in (["train"], ["sweep"]) or named[:2] == ["runs", "resume"]


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0 well, 2 for an error that the user can mend, 1 for a failure, 130 interrupted."""
    from agentlora.core.errors import AgentLoraError

    if argv is None and _trains(sys.argv[1:]):
        from agentlora.core.libraries import start_with_tcmalloc

        start_with_tcmalloc(sys.argv[1:])
    try:
        code = cli.main(
            args=list(argv) if argv is not None else None, prog_name="agentlora", standalone_mode=False
        )
    except click.exceptions.Exit as exc:
        code = exc.exit_code
    except click.ClickException as exc:
        exc.show()
        code = exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = 130
    except AgentLoraError as exc:
        if os.environ.get("AGENTLORA_DEBUG"):
            raise
        click.secho(f"{_process()}error: ", fg="red", bold=True, err=True, nl=False)
        click.echo(str(exc), err=True)
        code = exc.exit_code
    except OSError as exc:
        if os.environ.get("AGENTLORA_DEBUG"):
            raise
        click.secho(f"{_process()}error: ", fg="red", bold=True, err=True, nl=False)
        where = f" {str(exc.filename)!r}" if exc.filename else ""
        click.echo(
            f"the system refused{where}: {exc.strerror or exc}. Make room or give access there (agentlora keeps its "
            "things in $AGENTLORA_HOME), then run the same command again.",
            err=True,
        )
        code = 1
    except Exception as exc:
        if os.environ.get("AGENTLORA_DEBUG"):
            raise
        click.secho(f"{_process()}internal error: ", fg="red", bold=True, err=True, nl=False)
        click.echo(
            f"{type(exc).__name__}: {exc}\nRun again with `agentlora --debug …` for the traceback.", err=True
        )
        code = 1
    sys.stdout.flush()
    sys.exit(code if isinstance(code, int) else 0)
