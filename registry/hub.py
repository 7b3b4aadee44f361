"""Pushing a directory to the Hugging Face hub, or to another server of its kind (``HF_ENDPOINT``)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agentlora.core.errors import AgentLoraError, ConfigError, RegistryError, needs_extra
from agentlora.core.libraries import offline_by_wish
from agentlora.core.provenance import redact_text

TOKEN = "HF_TOKEN"  # the variable, never its value
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def check_push(name: str) -> None:
    """What can be known before there is anything to push.

    Raises:
        ConfigError: `name` is not OWNER/NAME, there is no token, or the environment forbids the network.
        MissingExtra: huggingface_hub is not installed.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"--push {name!r}: write OWNER/NAME, of letters, digits, '-', '_' and '.'.")
    if not os.environ.get(TOKEN):
        raise ConfigError(
            f"--push needs a token with write permission in the environment variable {TOKEN}; it is neither stored nor "
            "shown."
        )
    if offline_by_wish():
        raise ConfigError("--push needs the network, and HF_HUB_OFFLINE is set. Unset it.")
    with needs_extra("train", "--push"):
        import huggingface_hub  # noqa: F401  # only whether it is there


def push(directory: Path, name: str, *, public: bool = False) -> str:
    """Make the repository `name`, private unless `public`, and upload what lies in `directory`; returns its address.

    Raises:
        ConfigError: as `check_push`; the hub knows the name already, or refuses the token.
        RegistryError: it cannot be reached, or the upload failed; `directory` is as it was.
    """
    from huggingface_hub import HfApi, constants

    endpoint = os.environ.get("HF_ENDPOINT") or constants.ENDPOINT
    api = HfApi(endpoint=endpoint, token=os.environ[TOKEN])
    with _online():
        with _explained(f"making {name!r} on {endpoint}", name):
            url = str(api.create_repo(name, private=not public, exist_ok=False))
        with _explained(
            f"uploading to {url}, which is made and not whole (delete it there before another try)", name
        ):
            api.upload_folder(repo_id=name, folder_path=directory, commit_message="Pushed by agentlora")
    return url


@contextmanager
def _online() -> Iterator[None]:
    """Let the client of the hub reach it: whatever loaded a model before has told it to stay offline (see
    `core.libraries`), which it reads once.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = False
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextmanager
def _explained(doing: str, name: str) -> Iterator[None]:
    """Raises what the client raises as one paragraph of ours, without the token."""
    try:
        yield
    except AgentLoraError:
        raise
    except Exception as exc:
        raise _explain(exc, doing, name) from None  # its chain quotes requests


def _explain(exc: BaseException, doing: str, name: str) -> AgentLoraError:
    chain = list(_chain(exc))
    status = next((found for e in chain if (found := _status(e))), None)
    said = redact_text(" ".join(str(chain[-1]).split())[:300]).rstrip(".")
    if status == 409:
        return ConfigError(
            f"{name!r} exists on the hub already, and a push never writes over another. Choose another --push."
        )
    if status in (401, 403):
        return ConfigError(
            f"{doing} was refused ({status}): the token in {TOKEN} is not valid, or may not write for "
            f"{name.partition('/')[0]!r}. The hub says: {said}."
        )
    return RegistryError(
        f"{doing} failed: {type(chain[-1]).__name__}: {said}. Nothing was lost here; check the network and push again."
    )


def _chain(exc: BaseException | None) -> Iterator[BaseException]:
    while exc is not None:
        yield exc
        exc = exc.__cause__


def _status(exc: BaseException) -> int | None:
    status = getattr(getattr(exc, "response", None), "status_code", None)
    return status if isinstance(status, int) else None
