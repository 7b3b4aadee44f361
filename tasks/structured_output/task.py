"""Structured output: given a text, answer with the value of a schema, in JSON or XML, that says what it says."""

from __future__ import annotations

from agentlora.core.types import Task

TASK = Task(
    name="structured-output",
    summary="turn a text into one JSON value or XML document that fits your schema",
    dataset_builder="schema-texts",
    evaluator="json-fields",
    headline="field_accuracy",
    floor={"schema_valid": 0.80, "field_accuracy": 0.50},
    guards={"general": 0.02},
    defaults={
        "data": {"replay": 0.04},
        # one group an update: all groups have the same prompt
        "training": {"max_len": 2048, "batch_size": 8, "lr": 1e-3},
        "eval": {"max_new_tokens": 512},
    },
    presets={
        # A first look, within ten minutes on 2 cores for a schema of some fifteen fields.
        "demo": {
            "data": {"params": {"examples": 1200}},
            "eval": {"probes": 300},
            "gate": {"rules": {"general": {"margin": 0.10}}},  # 300 probes tell no two points
        },
    },
)
