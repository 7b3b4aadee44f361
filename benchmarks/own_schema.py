"""A nested schema of fifteen fields as somebody's own: trained on texts that were written around drawn values, judged
by others of those and by texts that were written by hand (``benchmarks/own_schema/texts.jsonl``), which are in dev and
test only.

    .venv/bin/python benchmarks/own_schema.py --output DIR [--examples 1100] [--dev]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).with_name("own_schema")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="the run's directory")
    parser.add_argument("--examples", type=int, default=1100)
    parser.add_argument("--dev", action="store_true", help="judge on dev, not on test")
    parser.add_argument("--set", action="append", default=[], help="any further setting of the training")
    args = parser.parse_args()
    from agentlora.core.provenance import this_machine

    print(this_machine(), file=sys.stderr, flush=True)
    began = time.monotonic()
    settings = [f"data.params.examples={args.examples}", *args.set]
    agentlora = [sys.executable, "-m", "agentlora"]
    train = [*agentlora, "train", "structured-output", "--schema", str(HERE / "delivery_order.json")]
    train += ["--data", str(HERE / "texts.jsonl"), "--output", str(args.output)]
    subprocess.run([*train, *(part for one in settings for part in ("--set", one))], check=True)
    minutes = (time.monotonic() - began) / 60
    print(f"trained in {minutes:.1f} minutes", flush=True)
    split = ["--split", "dev"] if args.dev else []
    subprocess.run([*agentlora, "eval", str(args.output), *split], check=True)


if __name__ == "__main__":
    main()
