"""How fast tool calls are judged, on one core, the record apart: the real catalogue's tools, right and wrong answers.

    .venv/bin/python benchmarks/scoring.py [--calls 100000] [--json]

Three figures, in calls a second and in seconds for 100,000 calls:

- scoring: a model's text is parsed, its calls are held to their tools' schemas, and all of the tool-call evaluator's
  metrics are given. This is the evaluator alone;
- judged and recorded: what an evaluation does with an answer. It is scored, every fault is named by keyword and path,
  and all of it becomes a sample, which is not yet written to a file;
- validation alone: arguments that are parsed already against their tool's schema; beside it `jsonschema`, with a
  validator made once for each schema, and as most people call it (`jsonschema.validate`), on a part of the same
  calls in the same run. The verdicts are compared.

Every example is read from its line of a data file, as an evaluation reads it: no two of them share a tool's schema in
memory. What the first sight of a schema costs (compiling it) is in the first figure. Seconds are the processor's.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from agentlora.core import schema
from agentlora.core.files import sha256_bytes
from agentlora.core.grammar import function_of, parameters_of
from agentlora.core.provenance import this_machine
from agentlora.core.types import JSON, Example, Output
from agentlora.eval.asking import Digests
from agentlora.eval.calls import parse_answer
from agentlora.eval.conditions import Condition
from agentlora.eval.judging import judge
from agentlora.eval.scorers import ToolCallEvaluator, render_answer
from agentlora.eval.scorers.tool_calls import corruptions
from agentlora.tasks.tool_calling.builder import ToolRequestParams, ToolRequests

WRONG = 2  # of five answers


class Timed(NamedTuple):
    """`calls` were judged in `seconds` of the processor."""

    calls: int
    seconds: float

    def figures(self) -> JSON:
        return {
            "calls_per_s": round(self.calls / self.seconds),
            "s_for_100000": 1e5 * self.seconds / self.calls,
        }


def examples(count: int) -> list[Example]:
    """Requests over the catalogue's tools, each with objects of its own."""
    params = ToolRequestParams(examples=count, real_tools=0, catalogue_share=1, composed_share=0)
    lines = [example.to_json() for example in ToolRequests().build("train", params, 0)]
    return [Example.from_dict(json.loads(line)) for line in lines]


def answers(asked: Sequence[Example], calls: int) -> list[tuple[Example, str]]:
    """Right and wrong answers in turn, until `calls` calls were begun in them."""
    wrong = [[text for _, text in corruptions(example)] for example in asked]
    found: list[tuple[Example, str]] = []
    begun = turn = 0
    while begun < calls:
        for number, example in enumerate(asked):
            others = wrong[number] if (number + turn) % 5 < WRONG else []
            text = others[(number + turn) % len(others)] if others else render_answer(example.expected)
            found.append((example, text))
            begun += parse_answer(text).attempted
            if begun >= calls:
                break
        turn += 1
    return found


def arguments_of(pairs: Sequence[tuple[Example, str]]) -> Iterator[tuple[JSON, JSON]]:
    """(schema, arguments) of every call that names an offered tool."""
    for example, text in pairs:
        offered = {function_of(tool)["name"]: parameters_of(function_of(tool)) for tool in example.tools}
        for call in parse_answer(text).calls:
            if call.name in offered:
                yield offered[call.name], dict(call.arguments)


def timed(calls: int, work: Callable[[], Any]) -> tuple[Timed, Any]:
    began = time.process_time()
    result = work()
    return Timed(calls, time.process_time() - began), result


def scored(pairs: Sequence[tuple[Example, str]]) -> list[Any]:
    evaluator = ToolCallEvaluator()
    return [evaluator.score(example, Output(example.id, text)) for example, text in pairs]


def judged(pairs: Sequence[tuple[Example, str]]) -> None:
    evaluator, condition = ToolCallEvaluator(), Condition("base")
    digests = Digests(sha256_bytes(b"an example"), sha256_bytes(b"a prompt"))
    for example, text in pairs:
        judge(evaluator, example, condition, Output(example.id, text), digests, False)


def by_jsonschema(calls: Sequence[tuple[JSON, JSON]]) -> list[bool]:
    """With one validator a schema, found by the schema's object."""
    from jsonschema import Draft202012Validator

    made: dict[int, Any] = {}
    verdicts = []
    for parameters, arguments in calls:
        checker = made.get(id(parameters))
        if checker is None:
            checker = made[id(parameters)] = Draft202012Validator(parameters)
        verdicts.append(checker.is_valid(arguments))
    return verdicts


def by_validate(calls: Sequence[tuple[JSON, JSON]]) -> list[bool]:
    import jsonschema

    verdicts = []
    for parameters, arguments in calls:
        try:
            jsonschema.validate(arguments, parameters)
        except jsonschema.ValidationError:
            verdicts.append(False)
        else:
            verdicts.append(True)
    return verdicts


def measure(calls: int, asked_count: int, beside: int) -> JSON:
    asked = examples(asked_count)
    pairs = answers(asked, calls)
    begun = sum(parse_answer(text).attempted for _, text in pairs)
    held = list(arguments_of(pairs))
    scoring, scores = timed(begun, lambda: scored(pairs))
    whole, _ = timed(begun, lambda: judged(pairs))
    alone, verdicts = timed(len(held), lambda: [schema.is_valid(s, arguments) for s, arguments in held])
    part = held[:: max(1, len(held) // beside)]
    ours, first = timed(len(part), lambda: [schema.is_valid(s, arguments) for s, arguments in part])
    once, second = timed(len(part), lambda: by_jsonschema(part))
    few = part[:: max(1, len(part) // 300)]
    each, third = timed(len(few), lambda: by_validate(few))
    differ = sum(a != b for a, b in zip(first, second, strict=True))
    differ += sum(a != b for a, b in zip(third, by_jsonschema(few), strict=True))
    return {
        "examples": len(asked),
        "answers": len(pairs),
        "calls": begun,
        "right": sum(score.metrics["right_answer"] == 1 for score in scores) / len(scores),
        "valid": sum(verdicts) / len(verdicts),
        "scoring": scoring.figures(),
        "judged": whole.figures(),
        "validation": alone.figures(),
        "same part of the calls": {
            "calls": len(part),
            "agentlora": ours.figures(),
            "jsonschema, one validator a schema": once.figures(),
            "jsonschema.validate": each.figures(),
            "verdicts that differ": differ,
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--beside", type=int, default=5000, help="Calls that jsonschema judges too.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    print(this_machine(), file=sys.stderr, flush=True)
    found = measure(options.calls, options.examples, options.beside)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{found['answers']:,} answers to {found['examples']:,} requests, with {found['calls']:,} calls: "
          f"{found['right']:.0%} right, {found['valid']:.0%} of the readable calls valid")  # fmt: skip
    part = found["same part of the calls"]
    rows = [("scoring", found["scoring"]), ("judged and recorded", found["judged"])]
    rows += [("validation alone", found["validation"])]
    rows += [(f"  {name}", part[name]) for name in list(part)[1:4]]
    print(f"{'':38}{'calls/s':>12}{'s for 100,000':>16}")
    for name, row in rows:
        print(f"{name:38}{row['calls_per_s']:>12,}{row['s_for_100000']:>16.2f}")
    print(
        f"(the last three: the same {part['calls']:,} calls; verdicts that differ: {part['verdicts that differ']})"
    )


if __name__ == "__main__":
    main()
