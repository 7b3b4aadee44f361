"""Twenty operations of a real OpenAPI document as somebody's own tools: trained on generated requests, judged by
requests that were written by hand (``benchmarks/own_tools/github.yaml``).

The document is GitHub's (MIT), in the npm package ``@octokit/openapi``: ``npm pack @octokit/openapi``, unpack it, and
give ``package/generated/api.github.com.json``.

    .venv/bin/python benchmarks/own_tools.py api.github.com.json --output DIR [--examples 3200] [--dev]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

TOOLS = [
    "issues_create", "issues_update", "issues_list-for-repo", "issues_create-comment", "issues_add-labels",
    "issues_add-assignees", "issues_lock", "issues_create-milestone", "pulls_create", "pulls_list", "pulls_merge",
    "pulls_request-reviewers", "repos_create-for-authenticated-user", "repos_create-release", "repos_list-branches",
    "repos_create-fork", "repos_get-content", "repos_add-collaborator", "activity_star-repo-for-authenticated-user",
    "users_follow",
]  # fmt: skip
REQUESTS = Path(__file__).with_name("own_tools") / "github.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("document", type=Path)
    parser.add_argument("--output", type=Path, required=True, help="the run's directory")
    parser.add_argument("--examples", type=int, default=3200)
    parser.add_argument("--dev", action="store_true", help="judge on dev, not on test")
    parser.add_argument("--set", action="append", default=[], help="any further setting of the training")
    args = parser.parse_args()
    from agentlora.core.provenance import this_machine

    print(this_machine(), file=sys.stderr, flush=True)
    began = time.monotonic()
    settings = [
        f"data.params.only={json.dumps(TOOLS)}",
        f"data.params.requests={REQUESTS}",
        f"data.params.examples={args.examples}",
        *args.set,
    ]
    agentlora = [sys.executable, "-m", "agentlora"]
    train = [*agentlora, "train", "tool-calling", "--tools", str(args.document), "--output", str(args.output)]
    subprocess.run([*train, *(part for one in settings for part in ("--set", one))], check=True)
    minutes = (time.monotonic() - began) / 60
    print(f"trained in {minutes:.1f} minutes", flush=True)
    split = ["--split", "dev"] if args.dev else []
    subprocess.run([*agentlora, "eval", str(args.output), *split], check=True)


if __name__ == "__main__":
    main()
