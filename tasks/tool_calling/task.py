"""Tool calling: given tools and a request, call the right one with the right arguments, or none."""

from __future__ import annotations

from agentlora.core.types import Task

TASK = Task(
    name="tool-calling",
    summary="call the right tool with the right arguments, or say that none fits",
    dataset_builder="tool-requests",
    evaluator="tool-calls",
    headline="exact_match",
    headline_where={"tools": "new"},
    needs_tools=True,
    floor={"exact_match": 0.40, "schema_valid": 0.80, "false_call": 0.35},
    lower_is_better=frozenset({"false_call", "guessed_call", "false_refusal"}),
    presets={
        # Meant to end within half an hour on 2 cores, set-up, evaluation and serving included.
        "demo": {
            "data": {
                "params": {
                    "examples": 2460,
                    "tools_max": 4,
                    "tools_chars_max": 640,
                    "request_chars_max": 360,
                    "real_tools": 800,
                    # the whole test split, thinned evenly
                    "test_examples": 64,
                    "test_handwritten": 28,
                    "test_new_phrasings": 24,
                }
            },
            "training": {"max_len": 400, "max_steps": 100, "batch_size": 24, "lr": 2e-3},
        },
        # Everything; meant to end within 75 minutes on 2 cores.
        "starter": {
            "data": {"params": {"examples": 12800, "tools_max": 8}},
            "training": {"max_len": 1024, "batch_size": 16, "lr": 1.2e-3},
        },
    },
)
