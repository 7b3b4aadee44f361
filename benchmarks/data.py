"""What data costs: building it, making tokens of it, looking for near-duplicates, and reading a large file of rows.

Every part runs in a fresh process on one core, and says its seconds (of the clock and of the core), the most memory
that it had, and the sha256 of what it wrote.

- ``build``: the training examples of ``tool-calling --preset starter``, written as JSON lines; twice: same bytes
- ``tokens``: these made into tokens by the starter model's tokenizer, as a training does
- ``near``: a fifth of these held out, and the others searched for what is nearly the same
- ``rows``: a file of rows for ``--data``, broken and repeated ones among them, read up to a run's data

    .venv/bin/python benchmarks/data.py [--examples 100000] [--rows 1000000] [--only build,rows] [--json]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

TASK, PRESET = "tool-calling", "starter"
BROKEN, REPEATED = 10_000, 1_000  # one row in so many
WORDS = 20_000  # that rows are made of
TOOL_LISTS = 500


def build(examples: int, folder: Path) -> dict[str, Any]:
    from agentlora.core.data import builder_of
    from agentlora.core.manager import default_plugins
    from agentlora.core.resolving import resolve_config

    plugins = default_plugins()
    settings = {"preset": PRESET, "data": {"params": {"examples": examples}}}
    _, builder, params = builder_of(resolve_config(plugins, TASK, settings), plugins)
    found, size = hashlib.sha256(), 0
    with (folder / "examples.jsonl").open("wb") as file:
        for example in builder.build("train", params, 0):
            line = (example.to_json() + "\n").encode()
            found.update(line)
            size += file.write(line)
    return {"megabytes": size / 1e6, "sha256": found.hexdigest()}


def tokens(examples: int, folder: Path) -> dict[str, Any]:
    from transformers import AutoTokenizer

    from agentlora.core.examples import read_examples
    from agentlora.core.home import home
    from agentlora.core.libraries import prepare_libraries
    from agentlora.core.manager import default_plugins
    from agentlora.plugins.bases.resolve import outline
    from agentlora.plugins.trainers.rows import encode

    prepare_libraries()
    model_dir, template = outline("smollm2-135m", default_plugins(), home())
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    encoded = encode(read_examples(folder / "examples.jsonl"), tokenizer, template, 768)
    return {"tokens": sum(len(row.ids) for row in encoded.items), "too_long": encoded.too_long}


def near(examples: int, folder: Path) -> dict[str, Any]:
    from agentlora.core.examples import read_examples
    from agentlora.plugins.datasets.near import near

    rows = read_examples(folder / "examples.jsonl")
    held_out = range(0, len(rows), 5)
    train = [row for number, row in enumerate(rows) if number not in held_out]
    return {"nearly_the_same": len(near(train, [rows[number] for number in held_out], 0.85))}


def rows(count: int, folder: Path) -> dict[str, Any]:
    from agentlora.core.config import RunConfig, parse
    from agentlora.core.data import build_data
    from agentlora.core.files import sha256_file
    from agentlora.core.manager import default_plugins
    from agentlora.core.run import create_run

    params = {"path": str(folder / "rows.jsonl")}
    config = parse(RunConfig, {"task": TASK, "data": {"builder": "jsonl", "params": params}})
    run = create_run(config, folder / "run")
    card = build_data(run, default_plugins())
    return {
        "megabytes": (folder / "rows.jsonl").stat().st_size / 1e6,
        "counts": card["counts"],
        "notes": card["notes"],
        "sha256": sha256_file(run.directory / "data" / "train.jsonl"),
    }


PARTS: dict[str, Callable[[int, Path], dict[str, Any]]] = {
    "build": build, "build again": build, "tokens": tokens, "near": near, "rows": rows,
}  # fmt: skip


# --- rows for --data -------------------------------------------------------------------------------


def write_rows(count: int, file: Path) -> None:
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 10))) for _ in range(WORDS)]
    lists = [[_tool(rng, words) for _ in range(rng.randint(1, 4))] for _ in range(TOOL_LISTS)]
    with file.open("w") as out:
        for line in _lines(count, rng, words, lists):
            out.write(line + "\n")


def _lines(
    count: int, rng: random.Random, words: Sequence[str], lists: Sequence[list[dict[str, Any]]]
) -> Iterator[str]:
    line = ""
    for number in range(count):
        if number % REPEATED == REPEATED - 1:
            yield line  # the one before
            continue
        tools = rng.choice(lists)
        called = rng.choice(tools)["function"]
        arguments = {name: rng.choice(words) for name in called["parameters"]["properties"]}
        asked = " ".join([*rng.choices(words, k=rng.randint(12, 40)), *arguments.values()])
        function = {"name": called["name"], "arguments": json.dumps(arguments)}
        answer = {"role": "assistant", "tool_calls": [{"type": "function", "function": function}]}
        line = json.dumps({"messages": [{"role": "user", "content": asked}, answer], "tools": tools})
        yield line[: len(line) // 2] if number % BROKEN == BROKEN - 2 else line


def _tool(rng: random.Random, words: Sequence[str]) -> dict[str, Any]:
    names = rng.sample(words, rng.randint(1, 3))
    fields = {name: {"type": "string", "description": " ".join(rng.choices(words, k=5))} for name in names}
    parameters = {"type": "object", "properties": fields, "required": names[:1]}
    function = {"name": "_".join(rng.sample(words, 2)), "description": " ".join(rng.choices(words, k=8))}
    return {"type": "function", "function": {**function, "parameters": parameters}}


# --- processes -------------------------------------------------------------------------------------


def here(part: str, count: int, folder: Path) -> dict[str, Any]:
    """One part, in this process."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    began, used = time.monotonic(), time.process_time()
    found = PARTS[part](count, folder)
    return {
        "part": part,
        "rows": count,
        "seconds": time.monotonic() - began,
        "core_seconds": time.process_time() - used,
        "peak_gb": _peak_bytes() / 1e9,
        **found,
    }


def _peak_bytes() -> int:
    """Of this process alone: what getrusage says counts the parent's before this one began."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) * 1024  # type: ignore[index]


def apart(part: str, count: int, folder: Path) -> dict[str, Any]:
    """One part, in a process of its own."""
    command = [sys.executable, __file__, "--here", part, "--examples", str(count), "--folder", str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=int, default=100_000, help="of the task's own")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the file for --data")
    parser.add_argument("--only", help="these parts, with commas between them; tokens and near need build")
    parser.add_argument("--folder", type=Path, help="in which files are written, and removed in the end")
    parser.add_argument("--here", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.here:
        print(json.dumps(here(args.here, args.examples, args.folder)))
        return
    from agentlora.core.provenance import this_machine

    print(this_machine(), file=sys.stderr, flush=True)
    wanted = args.only.split(",") if args.only else list(PARTS)
    if unknown := set(wanted) - PARTS.keys():
        parser.error(f"--only knows {', '.join(PARTS)}, not {', '.join(sorted(unknown))}")
    table = []
    with tempfile.TemporaryDirectory(dir=args.folder) as temporary:
        folder = Path(temporary)
        for part in wanted:
            if part == "rows":
                write_rows(args.rows, folder / "rows.jsonl")
            count = args.rows if part == "rows" else args.examples
            table.append(found := apart(part, count, folder))
            if not args.json:
                said = {key: value for key, value in found.items() if key not in ("part", "rows")}
                print(f"{part:12} {count:>9,} {_shown(said)}", flush=True)
    if args.json:
        print(json.dumps(table, indent=2))
    digests = {found["sha256"] for found in table if found["part"].startswith("build")}
    if len(digests) > 1:
        raise SystemExit("the same seed gave different bytes")


def _shown(found: dict[str, Any]) -> str:
    return "  ".join(
        f"{key} {value:,.2f}" if isinstance(value, float) else f"{key} {value}"
        for key, value in found.items()
    )


if __name__ == "__main__":
    main()
