"""A run's adapter and its base on the Berkeley function-calling data, which nobody here wrote.

    .venv/bin/python benchmarks/bfcl.py RUN --limit 40
    .venv/bin/python benchmarks/bfcl.py RUN --url http://127.0.0.1:8000 --save bfcl.jsonl
    .venv/bin/python benchmarks/bfcl.py --self-check

Three categories of one request each: `simple_python` (one tool offered), `multiple` (one of several is right) and
`irrelevance` (none fits: right is no call). Read them together: a model that never calls anything
is perfect at the last. The other categories stay unseen.
The figures are not the leaderboard's: the requests go under our chat template, the
categories are sampled, and the judge is ours. It follows the leaderboard's published rules, but for two: an
int passes for a float inside lists too, and a begun but unreadable call is not abstention.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from agentlora.core.errors import AgentLoraError, DataError, MissingExtra
from agentlora.core.types import JSON, Example, Expected, Output, Score, ToolCall
from agentlora.eval.calls import OPEN, parse_answer, render_calls
from agentlora.eval.metrics import paired_difference, wilson

VERSION = "2026.3.23"
INSTALL = f"Run: {sys.executable} -m pip install --no-deps bfcl-eval=={VERSION}"
CATEGORIES = ("simple_python", "multiple", "irrelevance")
NO_CALL = "irrelevance"
TYPES = {"dict": "object", "float": "number", "tuple": "array"}
IGNORED = str.maketrans("'", '"', " ,./-_*^")  # what the leaderboard does not look at in strings


class Row(NamedTuple):
    """An example, and the allowed values of each argument ("" among them: it may be left out)."""

    example: Example
    allowed: dict[str, list[Any]]


# --- reading ------------------------------------------------------------------------------------


def load(category: str) -> list[Row]:
    """The rows of a category that have a right answer at all."""
    spec = importlib.util.find_spec("bfcl_eval")  # finds, does not import: its dependencies stay away
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra(f"the Berkeley function-calling data is not installed. {INSTALL}")
    data = Path(next(iter(spec.submodule_search_locations))) / "data"
    name = f"BFCL_v4_{category}.json"
    answers: dict[str, list[JSON]] = {}
    if category != NO_CALL:
        answers = {line["id"]: line["ground_truth"] for line in _lines(data / "possible_answer" / name)}
    rows = [_row(line, category, answers.get(line["id"])) for line in _lines(data / name)]
    return [row for row in rows if _answerable(row)]


def _lines(path: Path) -> Iterator[JSON]:
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)
    except (OSError, ValueError) as exc:
        raise DataError(f"cannot read {str(path)!r}: {exc}. Is it that version? {INSTALL}") from exc


def _row(line: JSON, category: str, truth: list[JSON] | None) -> Row:
    tools = tuple(
        {"type": "function", "function": {**f, "parameters": schema(f["parameters"])}}
        for f in line["function"]
    )
    name, allowed = next(iter(truth[0].items())) if truth else ("", {})
    example = Example(
        id=line["id"],
        messages=tuple(line["question"][0]),
        expected=Expected(calls=(ToolCall(name, pick_all(allowed)),) if truth else ()),
        tools=tools,
        source=f"bfcl-eval {VERSION} (Apache-2.0)",
        group=line["id"],
        tags={"case": "one_call" if truth else "none_fits", "slice": category},
    )
    return Row(example, allowed)


def schema(raw: Any) -> Any:
    """JSON Schema of the data's own dialect; "any" constrains nothing, `optional` is no keyword."""
    if not isinstance(raw, dict):
        return raw
    kept = {key: value for key, value in raw.items() if key != "optional"}
    if kept.get("type") == "any":
        del kept["type"]
    elif "type" in kept:
        kept["type"] = TYPES.get(kept["type"], kept["type"])
    if "properties" in kept:
        kept["properties"] = {name: schema(part) for name, part in kept["properties"].items()}
    if "items" in kept:
        kept["items"] = schema(kept["items"])
    return kept


def required_of(example: Example) -> list[str]:
    """The required arguments of the tool that is to be called."""
    wanted = example.expected.calls[0].name
    (tool,) = (t["function"] for t in example.tools if t["function"]["name"] == wanted)
    return list(tool["parameters"].get("required", ()))


def _answerable(row: Row) -> bool:
    # A required argument with an empty list of allowed values (some rows): nothing is right.
    given = [call.arguments for call in row.example.expected.calls]
    return not given or all(name in given[0] for name in required_of(row.example))


def pick_all(allowed: JSON, which: int = 0) -> JSON:
    """Right arguments: of every list of allowed values the first (or, with -1, the last) one."""
    chosen = {name: [v for v in values if v != ""] for name, values in allowed.items()}
    return {name: _pick(values[which], which) for name, values in chosen.items() if values}


def _pick(value: Any, which: int) -> Any:
    if isinstance(value, dict):
        return pick_all(value, which)
    return [_pick(part, which) for part in value] if isinstance(value, list) else value


# --- judging ------------------------------------------------------------------------------------


def judge(row: Row, text: str) -> str:
    """Why an answer is wrong; empty when it is right."""
    answer = parse_answer(text)
    if not row.example.expected.calls:
        return "called" if answer.attempted else ""
    if answer.malformed:
        return "unreadable call"
    if len(answer.calls) != 1:
        return "several calls" if answer.calls else "no call"
    call = answer.calls[0]
    if call.name != row.example.expected.calls[0].name:
        return "wrong name"
    if any(name not in call.arguments for name in required_of(row.example)):
        return "missing argument"
    return fits(call.arguments, row.allowed)


def fits(given: Any, allowed: JSON) -> str:
    """Why an object does not fit lists of allowed values; empty when it does."""
    if any(name not in allowed for name in given):
        return "unknown argument"
    if any(name not in given and "" not in values for name, values in allowed.items()):
        return "missing argument"
    good = all(any(same(value, choice) for choice in allowed[name]) for name, value in given.items())
    return "" if good else "wrong value"


def same(given: Any, allowed: Any) -> bool:
    """Whether a value is the allowed one; an allowed object has a list of allowed values for every key."""
    if isinstance(allowed, dict):
        return isinstance(given, dict) and not fits(given, allowed)
    if isinstance(allowed, list):
        pairs = zip(given, allowed, strict=False) if isinstance(given, list) else ()
        return isinstance(given, list) and len(given) == len(allowed) and all(same(g, a) for g, a in pairs)
    if isinstance(allowed, str):
        return isinstance(given, str) and _bare(given) == _bare(allowed)
    if isinstance(allowed, float) and type(given) is int:
        return given == allowed
    return type(given) is type(allowed) and bool(given == allowed)  # True is not 1, and 5.0 not an int


def _bare(text: str) -> str:
    return text.lower().translate(IGNORED)


class Judge:
    """The `Evaluator` over some rows; `why` of a score is the reason."""

    metrics: Sequence[str] = ("right",)

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = {row.example.id: row for row in rows}

    def score(self, example: Example, output: Output) -> Score:
        reason = judge(self.rows[example.id], output.text)
        if reason == "unreadable call" and output.finish_reason == "length":
            reason = "cut off"
        return Score({"right": float(not reason)}, why=reason)

    def validate(self, examples: Sequence[Example]) -> list[str]:
        rows = [self.rows[e.id] for e in examples]
        judged = [(row, text, right, judge(row, text)) for row in rows for text, right in trials(row)]
        return [
            f"{row.example.id}: judged {why or 'right'!r}: {text}"
            for row, text, right, why in judged
            if right == bool(why)
        ]


def trials(row: Row) -> Iterator[tuple[str, bool]]:
    """(answer, whether it is right): good answers to a row, and corruptions of them."""
    yield OPEN + '{"name": ', False
    if not row.example.expected.calls:
        yield from (("None of the tools fits.", True), ("", True))
        yield render_calls([ToolCall(row.example.tools[0]["function"]["name"], {})]), False
        return

    def answer(arguments: JSON, name: str = row.example.expected.calls[0].name) -> str:
        return render_calls([ToolCall(name, arguments)])

    first, required = pick_all(row.allowed), required_of(row.example)
    needed = {n: v for n, v in first.items() if n in required or "" not in row.allowed[n]}
    for good in (first, pick_all(row.allowed, -1), needed, {n: _restyled(v) for n, v in first.items()}):
        yield answer(good), True
    yield f"Sure.\n{answer(first)}", True
    for wrong in ("Sure.", answer(first) * 2, answer(first, "xyzzy"), answer({**first, "xyzzy": 1})):
        yield wrong, False
    for n, value in first.items():
        if n in needed:
            yield answer({k: v for k, v in first.items() if k != n}), False
        for other in _corrupted(value, row.allowed[n]):
            yield answer({**first, n: other}), False


def _restyled(value: Any) -> Any:
    """The same value to the leaderboard: other case and punctuation, an int for a whole float."""
    if isinstance(value, str):
        return f" {value.upper().replace(' ', '-')}. "
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return [_restyled(part) for part in value] if isinstance(value, list) else value


def _corrupted(value: Any, allowed: list[Any]) -> Iterator[Any]:
    """Values unlike every allowed one: of another type, and of the same type where that can be."""
    yield {"xyzzy": 1}
    if isinstance(value, bool):
        yield from (v for v in (not value, str(value), int(value)) if v not in allowed)
    elif isinstance(value, str):
        yield from (value + "xyzzy", [value])
    elif isinstance(value, int | float):
        yield from (value + 987654, f"{value} xyzzy")
    elif isinstance(value, list):
        yield from ([*value, "xyzzy"], "xyzzy")
    elif isinstance(value, dict):
        yield from ({**value, key: "xyzzy"} for key in (*value, "xyzzy"))


def self_check() -> int:
    """Judge good answers and corruptions of every row; how many were judged wrongly."""
    from jsonschema import Draft202012Validator

    problems = []
    for category in CATEGORIES:
        rows = load(category)
        for row in rows:
            for tool in row.example.tools:
                Draft202012Validator.check_schema(tool["function"]["parameters"])
        kinds = Counter(right for row in rows for _, right in trials(row))
        problems += Judge(rows).validate([row.example for row in rows])
        print(f"{category:14} {len(rows)} rows, {kinds[True]} good answers, {kinds[False]} corruptions")
    print("\n".join(problems[:20]) or "all judged rightly")
    return len(problems)


# --- the evaluation -----------------------------------------------------------------------------


def evaluate(args: argparse.Namespace, rows: Sequence[Row]) -> tuple[str, list[JSON]]:
    """A heading, and one sample for each condition and row."""
    from agentlora.core.home import home
    from agentlora.core.manager import default_plugins
    from agentlora.core.pipeline import adapter_digest, base_facts
    from agentlora.core.run import open_run
    from agentlora.core.types import EngineSpec
    from agentlora.eval.conditions import Condition
    from agentlora.eval.runner import AnswerCache
    from agentlora.eval.runner import evaluate as run_evaluation
    from agentlora.plugins.bases.resolve import resolve_base

    plugins, run = default_plugins(), open_run(args.run)
    engine_name = args.engine or run.config.eval.engine or "vllm"
    factory, digest = plugins.get("engines", engine_name), adapter_digest(run)
    base = resolve_base(run.config.model, plugins, home())
    options = {"url": args.url} if args.url else {}
    served_as = f"{run.id.lower()}@{digest[:12]}"

    def progress(condition: str, done: int, total: int) -> None:
        print(f"{condition}: {done}/{total}", file=sys.stderr)

    spec = EngineSpec(base.model_dir, base.chat_template, base.tool_call_parser, options=options)
    with factory.open(spec) as engine:
        engine.add_adapter(served_as, run.adapter_dir)
        result = run_evaluation(
            engine=engine,
            evaluator=Judge(rows),
            task_name="bfcl",
            examples=[row.example for row in rows],
            conditions=(Condition("base"), Condition("adapter", adapter=served_as)),
            max_tokens=args.max_tokens,
            cache=AnswerCache(home() / "cache"),
            identity={"base": base_facts(base), "adapter": digest, "engine": engine_name},
            on_progress=progress,
            seed=args.seed,
            chunk=16,
        )
    heading = f"{run.id} (adapter {digest[:12]}) on {base.name}, engine {engine_name}, seed {args.seed}"
    return f"{heading}, bfcl-eval {VERSION}, {args.max_tokens} new tokens at most", result.samples


def table(samples: Sequence[JSON], seed: int) -> str:
    """Right of answered, with 95 % intervals, the paired difference, and why answers were wrong."""
    lines = [f"{'category':14} {'n':>4}  {'base':22} {'adapter':22} adapter - base"]
    reasons = ["", "why answers were wrong"]
    for category in CATEGORIES:
        mine = [s for s in samples if s["tags"]["slice"] == category]
        right: dict[str, dict[str, float | None]] = {"base": {}, "adapter": {}}
        for sample in mine:
            right[sample["condition"]][sample["id"]] = sample["scores"].get("right")  # None: engine error
        d = paired_difference(right["adapter"], right["base"], {}, seed)
        cells = [_proportion([v for v in values.values() if v is not None]) for values in right.values()]
        width = "" if d.low is None else f" ({d.low:+.2f} to {d.high:+.2f})"
        change = "-" if d.mean is None else f"{d.mean:+.2f}{width}"
        lines.append(f"{category:14} {len(right['base']):4}  {cells[0]:22} {cells[1]:22} {change}")
        for name in right:
            why = Counter(
                s["why"] or "engine error"
                for s in mine
                if s["condition"] == name and (s["why"] or s["error"])
            )
            said = ", ".join(f"{reason} {count}" for reason, count in why.most_common()) or "-"
            reasons.append(f"{category:14} {name:8} {said}")
    return "\n".join(lines + reasons)


def _proportion(values: Sequence[float]) -> str:
    if not values:
        return "-"
    low, high = wilson(sum(values), len(values))
    return f"{sum(values):.0f}/{len(values)} ({low:.2f} to {high:.2f})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", nargs="?", help="a run's id or directory, or `last`")
    parser.add_argument("--limit", type=int, default=40, help="rows of each category; 0: all")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--url", help="attach to a running vLLM at this address")
    where.add_argument("--engine", help="vllm, transformers, or another engine; default: the run's")
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, help="write every answer to this JSONL file")
    parser.add_argument("--self-check", action="store_true", help="test the judge on all rows; no model")
    args = parser.parse_args()
    if not args.self_check and not args.run:
        parser.error("name a run (or --self-check)")
    if args.limit < 0 or args.max_tokens < 1:
        parser.error("--limit must be at least 0 and --max-tokens at least 1")
    if args.save and (args.save.is_dir() or not args.save.absolute().parent.is_dir()):
        parser.error(f"--save {str(args.save)!r}: no such folder, or it is one; name a file")
    try:
        if args.self_check:
            return 1 if self_check() else 0
        loaded = [load(category) for category in CATEGORIES]
        rng = random.Random(args.seed)
        rows = [row for some in loaded for row in rng.sample(some, min(args.limit or len(some), len(some)))]
        heading, samples = evaluate(args, rows)
        if args.save:
            from agentlora.eval.record import save_samples

            save_samples(args.save, samples)
    except AgentLoraError as exc:
        print(f"Error: {exc}", file=sys.stderr)
        return exc.exit_code
    print(f"{heading}\n\n{table(samples, args.seed)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
