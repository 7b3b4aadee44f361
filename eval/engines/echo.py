"""An engine without a model, for tests: it answers from a mapping, or calls the first tool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agentlora.core.errors import ConfigError
from agentlora.core.grammar import function_of
from agentlora.core.types import (
    Capabilities,
    ChoiceOutput,
    ChoiceRequest,
    EngineSpec,
    GenerateRequest,
    Output,
)
from agentlora.eval.calls import render_block
from agentlora.eval.engines.options import check_options


class EchoFactory:
    """Opens `EchoEngine`. Options: ``answers`` (key → text) and ``errors`` (key → message)."""

    def open(self, spec: EngineSpec) -> EchoEngine:
        check_options("echo", spec.options, ("answers", "errors"))
        return EchoEngine(spec.options.get("answers", {}), spec.options.get("errors", {}))


class EchoEngine:
    """Answers by key; a request's keys are ``<adapter>/<id>``, ``<id>``, and the last message's content.

    Without an answer: a call of the first tool with an empty object, ``[]`` under a JSON schema, or else the
    last message's content.
    """

    def __init__(self, answers: Mapping[str, str], errors: Mapping[str, str]) -> None:
        self.capabilities = Capabilities(adapters=True, json_schema=True, choices=True)
        self._answers, self._errors = answers, errors
        self._adapters: dict[str, Path] = {}

    def add_adapter(self, name: str, directory: Path) -> None:
        """Raises ConfigError when `directory` is none, or `name` stands for another one."""
        if not directory.is_dir():
            raise ConfigError(f"adapter {name!r}: {str(directory)!r} is not a directory.")
        if self._adapters.setdefault(name, directory) != directory:
            raise ConfigError(
                f"adapter {name!r} is {str(self._adapters[name])!r} already; choose another name."
            )

    def generate(self, requests: Sequence[GenerateRequest]) -> list[Output]:
        return [self._answer(request) for request in requests]

    def score_choices(self, requests: Sequence[ChoiceRequest]) -> list[ChoiceOutput]:
        """The choice that it would answer is certain; of every other a byte has the probability 1/e."""
        return [self._scored(request) for request in requests]

    def _scored(self, request: ChoiceRequest) -> ChoiceOutput:
        asked = GenerateRequest(request.id, request.messages, request.tools, request.adapter)
        answer = self._answer(asked)
        if answer.error is not None:
            return ChoiceOutput(request.id, error=answer.error)
        found = (0.0 if choice == answer.text else -float(len(choice.encode())) for choice in request.choices)
        return ChoiceOutput(request.id, tuple(found))

    def _answer(self, request: GenerateRequest) -> Output:
        if request.adapter is not None and request.adapter not in self._adapters:
            return _failed(request, f"unknown adapter {request.adapter!r}")
        said = str(request.messages[-1].get("content") or "")
        keys = (f"{request.adapter}/{request.id}", request.id, said)
        for key in keys:
            if key in self._errors:
                return _failed(request, self._errors[key])
        text = next((self._answers[key] for key in keys if key in self._answers), None)
        if text is None:
            text = _default(request, said)
        return Output(request.id, text, prompt_tokens=len(said.split()), output_tokens=len(text.split()))

    def __enter__(self) -> EchoEngine:
        return self

    def __exit__(self, *exc: object) -> None:
        return None


def _default(request: GenerateRequest, said: str) -> str:
    if request.json_schema is not None:
        return "[]"
    return render_block(function_of(request.tools[0])["name"], {}) if request.tools else said


def _failed(request: GenerateRequest, error: Any) -> Output:
    return Output(request.id, "", finish_reason="error", error=str(error))
