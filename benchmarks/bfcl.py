"""A run's adapter and its base on the Berkeley function-calling data, which nobody here wrote.

    .venv/bin/python benchmarks/bfcl.py RUN --limit 40
    .venv/bin/python benchmarks/bfcl.py RUN --url http://127.0.0.1:8000 --save bfcl.jsonl
    .venv/bin/python benchmarks/bfcl.py --self-check

Three categories of one request each: `simple_python` (one tool offered), `multiple` (one of several is right) and
`irrelevance` (none fits: right is no call). Read them together: a model that never calls anything
is perfect at the last. The other categories stay unseen.
The judge is `agentlora.eval.bfcl`, whose verdicts are those of the leaderboard's own checker. The figures are not the
leaderboard's all the same: the requests go under our chat template, and the categories are sampled.
`agentlora eval RUN --suite bfcl` does the same and puts it into the run's record; this says beside it why answers were
wrong, and what is right where the adapter's calls are not held to their tools' schemas, as they are when it is served.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from agentlora.core.errors import AgentLoraError
from agentlora.core.provenance import this_machine
from agentlora.core.types import JSON, Example
from agentlora.eval.bfcl.answers import answers
from agentlora.eval.bfcl.data import CATEGORIES, SEEN, VERSION, example_of, for_models, rows
from agentlora.eval.bfcl.evaluator import BfclEvaluator
from agentlora.eval.metrics import paired_difference, wilson


def self_check() -> int:
    """Judge right answers and corruptions of every row of every category; how many were judged wrongly."""
    problems = []
    for category, (kind, _) in CATEGORIES.items():
        if kind == "turns":
            continue
        found = rows(category)
        kinds = Counter(a.right for row in found for a in answers(row))
        problems += BfclEvaluator().validate([example_of(row) for row in found])
        print(f"{category:22} {len(found)} rows, {kinds[True]} right answers, {kinds[False]} corruptions")
    print("\n".join(problems[:20]) or "all judged rightly")
    return len(problems)


# --- the evaluation -----------------------------------------------------------------------------


def evaluate(args: argparse.Namespace, examples: Sequence[Example]) -> tuple[str, list[JSON]]:
    """A heading, and one sample for each condition and example."""
    from agentlora.core.evaluating import adapter_digest
    from agentlora.core.home import home
    from agentlora.core.manager import default_plugins
    from agentlora.core.pipeline import base_facts
    from agentlora.core.run import open_run
    from agentlora.core.teacher import rank_of
    from agentlora.core.types import EngineSpec
    from agentlora.eval.conditions import Condition, Kind
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

    spec = EngineSpec(
        base.model_dir, base.chat_template, base.tool_call_parser, max_lora_rank=rank_of(run), options=options
    )
    with factory.open(spec) as engine:
        engine.add_adapter(served_as, run.adapter_dir)
        held: Kind = "strict" if engine.capabilities.json_schema else "plain"
        result = run_evaluation(
            engine=engine,
            evaluator=BfclEvaluator(),
            task_name="bfcl",
            examples=examples,
            conditions=(
                Condition("base", held),
                Condition("adapter", held, served_as),
                Condition("adapter, free", "plain", served_as, aside=True),
            ),
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
    lines = [f"{'category':14} {'n':>4}  {'base':22} {'adapter':22} {'adapter, free':22} adapter - base"]
    reasons = ["", "why answers were wrong"]
    for category in SEEN:
        mine = [s for s in samples if s["tags"]["slice"] == category]
        right: dict[str, dict[str, float | None]] = {"base": {}, "adapter": {}, "adapter, free": {}}
        for sample in mine:
            right[sample["condition"]][sample["id"]] = sample["scores"].get("right")  # None: engine error
        d = paired_difference(right["adapter"], right["base"], {}, seed)
        cells = [_proportion([v for v in values.values() if v is not None]) for values in right.values()]
        width = "" if d.low is None else f" ({d.low:+.2f} to {d.high:+.2f})"
        change = "-" if d.mean is None else f"{d.mean:+.2f}{width}"
        columns = " ".join(f"{cell:22}" for cell in cells)
        lines.append(f"{category:14} {len(right['base']):4}  {columns} {change}")
        for name in right:
            why = Counter(
                s["why"] or "engine error"
                for s in mine
                if s["condition"] == name and (s["why"] or s["error"])
            )
            said = ", ".join(f"{reason} {count}" for reason, count in why.most_common()) or "-"
            reasons.append(f"{category:14} {name:13} {said}")
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
    print(this_machine(), file=sys.stderr, flush=True)
    try:
        if args.self_check:
            return 1 if self_check() else 0
        rng = random.Random(args.seed)
        loaded = [for_models(category) for category in SEEN]
        chosen = [row for some in loaded for row in rng.sample(some, min(args.limit or len(some), len(some)))]
        heading, samples = evaluate(args, [example_of(row) for row in chosen])
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
