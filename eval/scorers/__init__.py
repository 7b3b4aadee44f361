"""Judging answers: the evaluators that ship with agentlora, one kind a module."""

from __future__ import annotations

from agentlora.eval.scorers.tool_calls import MISSING_CASE, ToolCallEvaluator, render_answer

__all__ = ["MISSING_CASE", "ToolCallEvaluator", "render_answer"]
