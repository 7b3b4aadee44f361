"""Real tools as somebody's own: trained on generated requests, judged by requests that were written by hand.

There is one source of every kind that ``--tools`` takes, and ``benchmarks/own_tools/NAME.yaml`` has its requests:

    github      20 operations of GitHub's OpenAPI document (MIT): `npm pack @octokit/openapi`, unpack it, and give
                package/generated/api.github.com.json
    s3          20 operations of Amazon S3, as botocore describes them
    calendar    18 operations of Google's Calendar, as its discovery document describes them
    spaces      18 Python functions: what the `hf` command does with Hugging Face Spaces
    parcels     12 functions in OpenAI's format, of an imagined parcel service
    timesheet   an MCP server with 10 tools

    .venv/bin/python benchmarks/own_tools.py api.github.com.json --output DIR [--examples 3200] [--dev]
    .venv/bin/python benchmarks/own_tools.py --source s3 --output DIR [--examples 3200] [--dev]
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).with_name("own_tools")


@dataclass(frozen=True)
class Source:
    """Tools that a skill is trained on, and the requests that judge it.

    Attributes:
        tools: what ``--tools`` gets; empty where it is a document that the command line gives.
        only: the operations; all when empty.
        requests: the file of requests, in the format of docs/your-tools.md.
        package: the package that `tools` is read from or with; empty when there is none.
    """

    tools: str
    only: tuple[str, ...]
    requests: Path
    package: str = ""


GITHUB = (
    "issues_create", "issues_update", "issues_list-for-repo", "issues_create-comment", "issues_add-labels",
    "issues_add-assignees", "issues_lock", "issues_create-milestone", "pulls_create", "pulls_list", "pulls_merge",
    "pulls_request-reviewers", "repos_create-for-authenticated-user", "repos_create-release", "repos_list-branches",
    "repos_create-fork", "repos_get-content", "repos_add-collaborator", "activity_star-repo-for-authenticated-user",
    "users_follow",
)  # fmt: skip
S3 = (
    "list_buckets", "create_bucket", "delete_bucket", "get_bucket_location", "get_bucket_policy_status",
    "get_bucket_versioning", "get_bucket_tagging", "get_bucket_encryption", "put_bucket_acl",
    "put_bucket_accelerate_configuration", "put_bucket_request_payment", "list_objects_v_2", "list_object_versions",
    "get_object", "head_object", "copy_object", "delete_object", "get_object_tagging", "delete_object_tagging",
    "put_object_acl",
)  # fmt: skip
# Without events.insert, .update and .delete: the importer leaves them out. Their place has quickAdd.
CALENDAR = (
    "quick_event_add", "list_events", "get_event", "instances_event", "move_event", "insert_calendar", "get_calendar",
    "patch_calendar", "clear_calendar", "delete_calendar", "list_calendar_list", "delete_calendar_list", "list_acl",
    "patch_acl", "delete_acl", "get_color", "get_settings", "list_settings",
)  # fmt: skip
SPACES = (
    "spaces_info", "spaces_card", "spaces_search", "spaces_pause", "spaces_restart", "spaces_wait", "dev_mode",
    "spaces_hardware", "spaces_settings", "spaces_zero_gpu_quota", "spaces_templates", "spaces_logs", "secrets_ls",
    "secrets_delete", "variables_ls", "variables_delete", "volumes_ls", "volumes_delete",
)  # fmt: skip
TIMESHEET = f"mcp:{shlex.join([sys.executable, str(HERE / 'timesheet.py')])}"

SOURCES = {
    "github": Source("", GITHUB, HERE / "github.yaml"),
    "s3": Source("botocore:s3", S3, HERE / "s3.yaml", "botocore"),
    "calendar": Source("google:calendar", CALENDAR, HERE / "calendar.yaml", "googleapiclient"),
    "spaces": Source("huggingface_hub.cli.spaces", SPACES, HERE / "spaces.yaml", "huggingface_hub"),
    "parcels": Source(str(HERE / "parcels"), (), HERE / "parcels.yaml"),
    "timesheet": Source(TIMESHEET, (), HERE / "timesheet.yaml", "mcp"),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("document", nargs="?", default="", help="GitHub's document, for --source github")
    parser.add_argument("--source", choices=SOURCES, default="github")
    parser.add_argument("--output", type=Path, required=True, help="the run's directory")
    parser.add_argument("--examples", type=int, default=3200)
    parser.add_argument("--dev", action="store_true", help="judge on dev, not on test")
    parser.add_argument("--set", action="append", default=[], help="any further setting of the training")
    args = parser.parse_args()
    source = SOURCES[args.source]
    if bool(args.document) == bool(source.tools):
        parser.error("--source github needs its document, and no other source takes one")
    from agentlora.core.provenance import this_machine

    print(this_machine(), file=sys.stderr, flush=True)
    began = time.monotonic()
    settings = [
        f"data.params.only={json.dumps(source.only)}",
        f"data.params.requests={source.requests}",
        f"data.params.examples={args.examples}",
        *args.set,
    ]
    agentlora = [sys.executable, "-m", "agentlora"]
    tools = source.tools or args.document
    train = [*agentlora, "train", "tool-calling", "--tools", tools, "--output", str(args.output)]
    subprocess.run([*train, *(part for one in settings for part in ("--set", one))], check=True)
    minutes = (time.monotonic() - began) / 60
    print(f"trained in {minutes:.1f} minutes", flush=True)
    split = ["--split", "dev"] if args.dev else []
    subprocess.run([*agentlora, "eval", str(args.output), *split], check=True)


if __name__ == "__main__":
    main()
