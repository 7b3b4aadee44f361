"""How often the gate passes a version by its false calls, by what follows from undecided (docs/evaluation.md).

Nothing is drawn: every outcome of n requests that no tool fits, each of them won, lost or alike, is judged as the gate
judges it, and counts as often as it comes. Requests stand alone (a group each), the margin is that of the task's guard.

    .venv/bin/python benchmarks/undecided.py [--requests 25 73] [--json]
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from agentlora.eval.metrics import paired_difference
from agentlora.registry.rules import Rule, judge_rule
from agentlora.tasks.tool_calling.task import TASK

# what the version truly is, and the shares of requests that it wins and loses
TRUTHS = {"as good": (0.05, 0.05), "6 points better": (0.09, 0.03), "10 points worse": (0.02, 0.12),
          "20 points worse": (0.02, 0.22)}  # fmt: skip
POLICIES = {
    "strict": "fail",
    "by the estimate": "estimate",
    "unless surely worse": "pass",
}  # gate.rules.….undecided
METRIC = "false_call"
LEAST = 1e-7  # of an outcome, that it is looked at


def passes(n: int, won: int, lost: int) -> tuple[bool, ...]:
    """By each of the policies: what the gate's own rule says of a record of such requests."""
    calls = {str(i): float(i < lost) for i in range(n)}
    of_base = {str(i): float(lost <= i < lost + won) for i in range(n)}
    difference = {"metric": METRIC, "system": "adapter", "baseline": "base"}
    conditions = [
        {"name": name, "metrics": {METRIC: {"mean": mean}}}
        for name, mean in (("base", won / n), ("adapter", lost / n))
    ]
    record = {
        "conditions": conditions,
        "differences": [{**asdict(paired_difference(calls, of_base, {})), **difference}],
    }
    rules = (Rule(METRIC, TASK.guards[METRIC], told, ("base",)) for told in POLICIES.values())
    return tuple(next(judge_rule(rule, record, conditions[1], TASK, None, "")).passed for rule in rules)


def outcomes(n: int, win: float, lose: float) -> Iterator[tuple[float, int, int]]:
    """(probability, won, lost)."""
    for won in range(n + 1):
        for lost in range(n + 1 - won):
            ways = math.comb(n, won) * math.comb(n - won, lost)
            share = ways * win**won * lose**lost * (1 - win - lose) ** (n - won - lost)
            if share > LEAST:
                yield share, won, lost


def measure(requests: list[int]) -> list[dict[str, Any]]:
    known: dict[tuple[int, int, int], tuple[bool, ...]] = {}
    found = []
    for n in requests:
        for truth, shares in TRUTHS.items():
            row = dict.fromkeys(POLICIES, 0.0)
            for share, won, lost in outcomes(n, *shares):
                key = (n, won, lost)
                known[key] = known.get(key) or passes(*key)
                for policy, passed in zip(POLICIES, known[key], strict=True):
                    row[policy] += share * passed
            found.append({"requests": n, "truly": truth, **row})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, nargs="+", default=[25, 73])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.requests)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{'requests':>8}  {'truly':16}" + "".join(f"{policy:>22}" for policy in POLICIES))
    for row in found:
        shares = "".join(f"{row[policy]:>22.0%}" for policy in POLICIES)
        print(f"{row['requests']:>8}  {row['truly']:16}{shares}")


if __name__ == "__main__":
    main()
