"""bfcl-eval's own verdicts. Its runner is imported as it is; what it imports of models is put aside."""

from __future__ import annotations

import copy
import sys
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from agentlora.core.types import ToolCall
from agentlora.eval.bfcl.data import Conversation, Row

RAISES = "raises"


class _Handler:
    """A model's handler: the answers are calls already."""

    def decode_ast(self, result: Any, *args: Any, **kwargs: Any) -> Any:
        return copy.deepcopy(result)

    def decode_execute(self, result: Any, *args: Any, **kwargs: Any) -> Any:
        return result


class _Plain:
    underscore_to_dot = False


@contextmanager
def reference(root: Path) -> Iterator[Reference]:
    """Skips the test, with the reason, where the checker cannot be imported."""
    pytest.importorskip("bfcl_eval", reason="bfcl-eval is not installed (pip install --no-deps bfcl-eval)")
    stubs: dict[str, dict[str, Any]] = {
        "bfcl_eval.constants.model_config": {"MODEL_CONFIG_MAPPING": {"us": _Plain}},
        "bfcl_eval.model_handler.base_handler": {"BaseHandler": object},
        "bfcl_eval.model_handler.utils": {"parse_prompt_variation_params": None},
        "dotenv": {"load_dotenv": None},
    }
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BFCL_PROJECT_ROOT", str(root))  # it makes folders when it is imported
        for name, content in stubs.items():
            module = types.ModuleType(name)
            vars(module).update(content)
            patch.setitem(sys.modules, name, module)
        try:
            runner = import_module("bfcl_eval.eval_checker.eval_runner")
        except ImportError as exc:
            pytest.skip(f"bfcl-eval's checker needs what is not installed: {exc}")
        yield Reference(runner)
        for name in set(sys.modules) - before:
            if name.startswith("bfcl_eval"):
                del sys.modules[name]


class Reference:
    """Verdicts: true, false, or `RAISES` where the checker ends with an exception."""

    def __init__(self, runner: Any) -> None:
        self._runner, self._number = runner, 0
        # the rows as it reads them itself, and not as we do
        self._entries: dict[str, dict[str, Any]] = {}
        self._truths: dict[str, dict[str, Any]] = {}

    def rows(self, category: str) -> list[str]:
        """The ids of a category, in order; needed before verdicts about it."""
        runner = self._runner
        entries = runner.load_dataset_entry(
            category, include_prereq=False, include_language_specific_hint=False
        )
        self._entries |= {entry["id"]: entry for entry in entries}
        if not runner.is_relevance_or_irrelevance(category):
            self._truths |= {entry["id"]: entry for entry in runner.load_ground_truth_entry(category)}
        return [entry["id"] for entry in entries]

    def take(self, row: Row) -> None:
        """A row that is none of the data's."""
        self._entries[row.id] = {"id": row.id, "question": [row.messages], "function": list(row.functions)}
        self._truths[row.id] = {"id": row.id, "ground_truth": list(row.truth)}

    def single(self, row: Row, calls: Sequence[ToolCall] | str) -> bool | str:
        """A text in place of calls is one in which its decoder finds none."""
        said = calls if isinstance(calls, str) else [{call.name: dict(call.arguments)} for call in calls]
        entry, category = self._entries[row.id], row.category
        runner = self._runner
        try:
            if runner.is_relevance_or_irrelevance(category):
                found = runner._evaluate_single_relevance_entry(
                    _Handler(), row.id, said, entry, "us", category
                )
            else:
                found = runner._evaluate_single_ast_entry(
                    _Handler(),
                    row.id,
                    said,
                    self._truths[row.id]["ground_truth"],
                    entry,
                    "us",
                    category,
                    runner.Language(row.language),
                    runner.ReturnFormat(row.language),
                )
        except Exception:
            return RAISES
        return bool(found["valid"])

    def turns(self, conversation: Conversation, turns: Sequence[Sequence[ToolCall]]) -> bool | str:
        self._number += 1  # it keeps what calls did, by the model's name
        steps = [[[_source(call)] for call in calls] for calls in turns]
        try:
            found = self._runner._evaluate_single_multi_turn_entry(
                _Handler(),
                conversation.id,
                steps,
                self._truths[conversation.id]["ground_truth"],
                dict(self._entries[conversation.id]),
                f"us{self._number}",
                "multi_turn_base",
            )
        except Exception:
            return RAISES
        return bool(found["valid"])


def _source(call: ToolCall) -> str:
    return f"{call.name}({', '.join(f'{name}={value!r}' for name, value in call.arguments.items())})"
