"""Distillation: prompts, and a teacher whose answers are learnt."""

from __future__ import annotations

from agentlora.core.types import Task

TASK = Task(
    name="distillation",
    summary="answer prompts as a teacher does",
    dataset_builder="prompts",
    evaluator="agreement",
    headline="agreement",
    guards={"general": 0.02},
    defaults={"training": {"max_len": 2048, "batch_size": 16}, "eval": {"max_new_tokens": 256}},
)
