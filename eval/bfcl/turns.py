"""Conversations of several turns: calls are made to the data's own small APIs, and what they did is compared.

The APIs (a file system, a car, a ticket desk, …) are classes in `bfcl-eval`; only those are imported. They act on what
a conversation begins with, in memory. Calls come as names and arguments and are never evaluated as code; how long one
of those classes works on its arguments is bounded by nothing here.
"""

from __future__ import annotations

import ast
import copy
import inspect
import json
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from agentlora.core.errors import DataError, MissingExtra
from agentlora.core.types import ToolCall
from agentlora.eval.bfcl.data import Conversation, folder

PACKAGE = "bfcl_eval.eval_checker.multi_turn_eval.func_source_code"
MODULES = {
    "GorillaFileSystem": "gorilla_file_system",
    "MathAPI": "math_api",
    "MessageAPI": "message_api",
    "TicketAPI": "ticket_api",
    "TradingBot": "trading_bot",
    "TravelAPI": "travel_booking",
    "TwitterAPI": "posting_api",
    "VehicleControlAPI": "vehicle_control",
}
STATELESS = "MathAPI"


def verdict(conversation: Conversation, turns: Sequence[Sequence[ToolCall]]) -> str:
    """Why the calls of the turns are wrong; empty when they are right.

    As the leaderboard has it: after every turn that wants calls, the APIs have to be as the right calls leave them, and
    what those return has to have been returned so far, in any order. Further calls are no fault.

    Raises:
        MissingExtra: the data, or what its classes import, is not installed.
        DataError: a right call is none.
    """
    if len(turns) != len(conversation.truth):
        return "wrong number of turns"
    given, right = _Apis(conversation), _Apis(conversation)
    returned: list[str] = []
    for calls, wanted in zip(turns, conversation.truth, strict=True):
        returned += [given.make(call.name, (), dict(call.arguments)) for call in calls]
        results = [right.make(*_parsed(source)) for source in wanted]
        if not wanted:
            continue
        if not calls:
            return "no call"
        if not given.like(right):
            return "another state"
        if not _all_among(results, returned):
            return "something was not found out"
    return ""


def calls_of(conversation: Conversation) -> tuple[tuple[ToolCall, ...], ...]:
    """The right calls of every turn, all arguments by name."""
    apis = _Apis(conversation)
    return tuple(tuple(apis.named(*_parsed(source)) for source in turn) for turn in conversation.truth)


class _Apis:
    """The classes of one conversation, as it begins."""

    def __init__(self, conversation: Conversation) -> None:
        self.instances: dict[str, Any] = {}
        self._methods: dict[str, Callable[..., Any]] = {}
        for name in conversation.classes:
            instance = _class(name)()
            if name != STATELESS:
                begin = copy.deepcopy(conversation.start.get(name, {}))
                instance._load_scenario(begin, long_context=False)
            self.instances[name] = instance
            methods = inspect.getmembers(instance, inspect.ismethod)
            self._methods |= {n: method for n, method in methods if not n.startswith("_")}

    def make(self, name: str, arguments: Sequence[Any], named: dict[str, Any]) -> str:
        """What a call returns, as text; so too what it raises."""
        try:
            result = self._methods[name](*copy.deepcopy(arguments), **copy.deepcopy(named))
        except Exception as exc:
            return f"failed: {exc}"
        if isinstance(result, str):
            return result
        try:
            return json.dumps(result) if isinstance(result, dict) else str(result)
        except (TypeError, ValueError):
            return str(result)

    def like(self, other: _Apis) -> bool:
        """Whether all that is public in them is equal."""
        return all(
            getattr(self.instances[name], key) == value
            for name, instance in other.instances.items()
            for key, value in vars(instance).items()
            if not key.startswith("_")
        )

    def named(self, name: str, arguments: Sequence[Any], named: dict[str, Any]) -> ToolCall:
        bound = inspect.signature(self._methods[name]).bind(*arguments, **named)
        return ToolCall(name, dict(bound.arguments))


def _class(name: str) -> Any:
    folder()  # says how the data is installed
    try:
        return getattr(import_module(f"{PACKAGE}.{MODULES[name]}"), name)
    except ModuleNotFoundError as exc:
        raise MissingExtra(
            f"the Berkeley data's class {name!r} needs {exc.name!r}. Run: pip install {exc.name}"
        ) from exc


def _parsed(source: str) -> tuple[str, list[Any], dict[str, Any]]:
    """(name, arguments, arguments by name) of a right call, which is Python source of literals."""
    try:
        call = ast.parse(source, mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise ValueError("it is no call")
        named = {str(part.arg): ast.literal_eval(part.value) for part in call.keywords}
        return call.func.id, [ast.literal_eval(part) for part in call.args], named
    except (SyntaxError, ValueError) as exc:
        raise DataError(f"the right call {source!r} cannot be read: {exc}") from exc


def _all_among(wanted: Sequence[str], returned: Sequence[str]) -> bool:
    left = list(returned)
    for text in wanted:
        if text not in left:
            return False
        left.remove(text)
    return True
