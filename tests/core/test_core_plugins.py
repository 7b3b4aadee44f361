"""Plugin loading: isolation, clashes, unknown names."""

from __future__ import annotations

import types
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from agentlora.core import manager
from agentlora.core.errors import ConfigError, MissingExtra, PluginError
from agentlora.core.hookspecs import hookimpl
from agentlora.core.manager import load_plugins


def plugin(**hooks: object) -> types.SimpleNamespace:
    return types.SimpleNamespace(**{name: hookimpl(function) for name, function in hooks.items()})


def load(monkeypatch: pytest.MonkeyPatch, **modules: object) -> manager.Plugins:
    """Load these objects as if they were installed under entry points."""

    class Entry(EntryPoint):
        def load(self) -> object:
            found = modules[self.name]
            if isinstance(found, Exception):
                raise found
            return found

    entries = [Entry(name, f"{name}:x", "agentlora") for name in modules]
    monkeypatch.setattr(manager, "entry_points", lambda group: entries)
    return load_plugins()


def test_a_clash_names_both_owners(monkeypatch: pytest.MonkeyPatch) -> None:
    one = plugin(register_tasks=lambda register: register("bake", object()))
    two = plugin(register_tasks=lambda register: register("bake", object()))
    with pytest.raises(PluginError, match=r"task 'bake' is registered twice: by 'one' and by 'two'"):
        load(monkeypatch, one=one, two=two)


def test_a_broken_plugin_is_kept_and_named_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(monkeypatch, broken=RuntimeError("no oven"))
    assert [f.name for f in loaded.failures] == ["broken"]
    with pytest.raises(ConfigError, match=r"unknown task 'bake'.*broken: RuntimeError: no oven"):
        loaded.get("tasks", "bake")
    assert loaded.get("tasks", "tool-calling").name == "tool-calling"


def test_a_plugin_named_like_a_built_in_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(monkeypatch, bases=plugin(register_tasks=lambda register: register("bake", object())))
    assert [(f.name, "name its entry point differently" in f.reason) for f in loaded.failures] == [
        ("bases", True)
    ]
    assert "smollm2-135m" in loaded.catalog.names("base_models")


@pytest.mark.parametrize(("found", "why"), [(ImportError("no oven"), "no oven"), (7, "is a int, no command")])
def test_a_broken_command_of_a_plugin_names_itself(
    found: object, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agentlora.core import cli

    class Entry(EntryPoint):
        def load(self) -> object:
            if isinstance(found, Exception):
                raise found
            return found

    monkeypatch.setattr(cli, "_external", lambda: {"bake": Entry("bake", "oven:bake", "agentlora.commands")})
    with pytest.raises(PluginError, match=rf"'bake'.*'oven:bake'.*{why}"):
        cli.cli.main(["bake"], standalone_mode=False)


def test_a_misspelt_hook_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(monkeypatch, typo=plugin(register_task=lambda register: None))
    assert "register_task" in loaded.failures[0].reason


def test_a_plugin_that_fails_half_way_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def tasks(register: manager.hookspecs.Register) -> None:
        register("bake", object())
        raise RuntimeError("burnt")

    loaded = load(monkeypatch, half=plugin(register_tasks=tasks))
    assert "bake" not in loaded.catalog.names("tasks")
    assert "burnt" in loaded.failures[0].reason


def test_an_unknown_name_lists_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(monkeypatch)
    with pytest.raises(ConfigError, match=r"unknown method 'lorra'\. Did you mean 'lora'\? There is: .*lora"):
        loaded.get("peft_methods", "lorra")


@pytest.mark.parametrize(
    ("hook", "kind", "thing", "why"),
    [
        ("register_evaluators", "evaluators", object(), r"Evaluator: it lacks metrics, score, validate\."),
        ("register_trainers", "trainers", "pathlib:Path", r"types\.Trainer: it lacks Params, fit\."),
        ("register_tasks", "tasks", {"name": "bake"}, r"is a dict, which is no agentlora\.core\.types\.Task"),
    ],
)
def test_a_thing_of_another_kind_says_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, hook: str, kind: str, thing: object, why: str
) -> None:
    loaded = load(monkeypatch, one=plugin(**{hook: lambda register: register("bake", thing)}))
    with pytest.raises(PluginError, match=rf"'bake', registered by 'one', .*{why}"):
        loaded.get(kind, "bake")


def test_a_thing_that_cannot_be_imported_names_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = plugin(register_engines=lambda register: register("ghost", "no_such_module:Thing"))
    loaded = load(monkeypatch, lost=lost)
    assert not loaded.failures
    with pytest.raises(PluginError, match=r"engine 'ghost', registered by 'lost'"):
        loaded.get("engines", "ghost")


@pytest.mark.parametrize("raised", ["RuntimeError('no oven')", "SystemExit(3)", "ValueError('no oven')"])
def test_whatever_a_module_raises_names_plugin_and_thing(
    raised: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "burning_module.py").write_text(f"raise {raised}\n")
    monkeypatch.syspath_prepend(tmp_path)
    loaded = load(
        monkeypatch, fire=plugin(register_engines=lambda register: register("oven", "burning_module:Oven"))
    )
    with pytest.raises(
        PluginError, match=rf"engine 'oven', registered by 'fire'.*burning_module:Oven.*{raised[:5]}"
    ):
        loaded.get("engines", "oven")


class Oven:
    def __init__(self) -> None:
        raise KeyError("gas")


class Grill:
    def __init__(self) -> None:
        raise MissingExtra("grilling needs 'charcoal'")


def test_whatever_a_class_raises_names_plugin_and_thing(monkeypatch: pytest.MonkeyPatch) -> None:
    def engines(register: manager.hookspecs.Register) -> None:
        register("oven", Oven)
        register("grill", Grill)

    loaded = load(monkeypatch, kitchen=plugin(register_engines=engines))
    with pytest.raises(PluginError, match=r"engine 'oven', registered by 'kitchen'.*:Oven': KeyError: 'gas'"):
        loaded.get("engines", "oven")
    with pytest.raises(MissingExtra, match="charcoal"):
        loaded.get("engines", "grill")


@pytest.mark.parametrize("name", ["Bake", "bake bread", "../bake", "a/b/c", "bake-", "", "[red]", 3])
def test_a_name_that_cannot_be_one_everywhere_fails_its_plugin(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tasks(register: manager.hookspecs.Register) -> None:
        register("good", object())
        register(name, object())

    loaded = load(monkeypatch, baker=plugin(register_tasks=tasks))
    assert f"plugin 'baker' registers {name!r}, which cannot be a task's name" in loaded.failures[0].reason
    assert loaded.catalog.names("tasks") == ["distillation", "structured-output", "tool-calling"]
    with pytest.raises(PluginError, match="cannot be a task's name"):
        loaded.catalog.add("tasks", name, object(), "baker")


def test_a_name_may_have_a_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(
        monkeypatch, baker=plugin(register_tasks=lambda register: register("my.shop/rye_bread-2", object()))
    )
    assert "my.shop/rye_bread-2" in loaded.catalog.names("tasks")


def test_a_module_that_ends_the_process_is_a_failed_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    def tasks(register: manager.hookspecs.Register) -> None:
        raise SystemExit("no oven")

    loaded = load(monkeypatch, ends=plugin(register_tasks=tasks))
    assert loaded.failures == [manager.Failure("ends", "SystemExit: no oven")]


def test_a_reason_with_brackets_is_shown_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from agentlora.core.cli import main

    monkeypatch.setenv("COLUMNS", "200")
    load(monkeypatch, bro=RuntimeError("pip install oven[gas], not [/oven]"))
    manager.default_plugins.cache_clear()
    try:
        with pytest.raises(SystemExit) as ended:
            main(["plugins", "list"])
    finally:
        manager.default_plugins.cache_clear()
    assert ended.value.code == 0
    assert "failed bro: RuntimeError: pip install oven[gas], not [/oven]" in capsys.readouterr().out


@pytest.mark.parametrize("error", [RuntimeError("tracker is down"), SystemExit(9)])
def test_a_failing_listener_does_not_end_the_run(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agentlora.core.types import RunEvent

    seen: list[RunEvent] = []

    def fails(event: RunEvent) -> None:
        raise error

    loaded = load(
        monkeypatch,
        fails=plugin(on_run_event=fails),
        sees=plugin(on_run_event=lambda event: seen.append(event)),
    )
    loaded.emit(RunEvent("r", "note", "train"))
    assert len(seen) == 1


def test_every_hook_has_a_docstring_and_the_file_stays_short() -> None:
    from agentlora.core import hookspecs

    source = Path(hookspecs.__file__).read_text().splitlines()
    assert len(source) <= 150
    hooks = [v for k, v in vars(hookspecs).items() if k.startswith(("register_", "on_", "veto_"))]
    assert len(hooks) == 11
    assert all(hook.__doc__ for hook in hooks)
