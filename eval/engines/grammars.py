"""Answers held to a grammar while they are written, in this process: xgrammar, which is vLLM's own way by default.

A grammar says after every token which ones may follow; the others get no probability. One batch may hold rows of
different grammars, and rows of none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from agentlora.core.grammar import calls_tag
from agentlora.core.types import GenerateRequest

if TYPE_CHECKING:
    import torch


def available() -> bool:
    """Whether xgrammar is installed; it comes with vLLM."""
    return find_spec("xgrammar") is not None


class Grammars:
    """The grammars of one tokenizer; each is compiled once. `vocab_size` is the model's, which may be larger."""

    def __init__(self, tokenizer: Any, vocab_size: int, stops: Sequence[int]) -> None:
        self._tokenizer, self._vocab_size, self._stops = tokenizer, vocab_size, list(stops)
        self._compiler: Any = None

    def of(self, request: GenerateRequest) -> Any:
        """The compiled grammar of a request; None where its answer is free.

        Raises:
            ValueError: xgrammar is not installed and the request needs it.
            RuntimeError: xgrammar refuses the schema.
        """
        if request.json_schema is not None:
            return self._compile().compile_json_schema(json.dumps(request.json_schema))
        if request.strict_calls and request.tools:
            return self._compile().compile_structural_tag(json.dumps(calls_tag(request.tools)))
        return None

    def _compile(self) -> Any:
        if not available():
            raise ValueError(
                "the engine 'transformers' holds answers to a JSON schema with xgrammar, which is not installed; it "
                "comes with vLLM"
            )
        if self._compiler is None:
            import xgrammar

            info = xgrammar.TokenizerInfo.from_huggingface(
                self._tokenizer, vocab_size=self._vocab_size, stop_token_ids=self._stops
            )
            self._compiler = xgrammar.GrammarCompiler(info)
        return self._compiler


def held(grammars: Sequence[Any]) -> list[Any] | None:
    """What ``generate`` takes as ``logits_processor``, for a batch with these grammars, row by row; for one call."""
    return [_Held(grammars)] if any(grammar is not None for grammar in grammars) else None


class _Held:
    """Follows every row's grammar from token to token."""

    def __init__(self, grammars: Sequence[Any]) -> None:
        import xgrammar

        self._xgrammar = xgrammar
        self._matchers = {
            row: xgrammar.GrammarMatcher(grammar)
            for row, grammar in enumerate(grammars)
            if grammar is not None
        }
        size = next(g for g in grammars if g is not None).tokenizer_info.vocab_size
        self._mask = xgrammar.allocate_token_bitmask(len(grammars), size)
        self._begun = False

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """`input_ids` [batch, length so far] → `scores` [batch, vocabulary] without the tokens that may not follow."""
        if self._begun:
            for row, matcher in self._matchers.items():
                if not matcher.is_terminated():  # a row that has ended is padded
                    matcher.accept_token(int(input_ids[row, -1]))
        self._begun = True
        rows = [row for row, matcher in self._matchers.items() if not matcher.is_terminated()]
        for row in rows:
            self._matchers[row].fill_next_token_bitmask(self._mask, row)
        if rows:
            self._xgrammar.apply_token_bitmask_inplace(scores, self._mask.to(scores.device), indices=rows)
        return scores
