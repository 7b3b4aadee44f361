"""The error vocabulary: one class per boundary that can fail.

A message says what happened, where, and what to do next, with the value quoted and the choices listed.
``exit_code`` is what the command line returns: 2 when the user can mend the input, 1 for a failure.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class AgentLoraError(Exception):
    """Anything agentlora raises on purpose; shown without a traceback."""

    exit_code = 1


class ConfigError(AgentLoraError):
    """A setting, name, path or file given by the user is wrong."""

    exit_code = 2


class DataError(AgentLoraError):
    """A data source or row cannot be used; the message names file and line."""

    exit_code = 2


class PluginError(AgentLoraError):
    """A plugin could not be loaded, clashes with another, or broke its contract."""


class TrainError(AgentLoraError):
    """Training could not start or did not finish."""


class EvalError(AgentLoraError):
    """An evaluation could not be carried out (a bad sample is data, not an error)."""


class RegistryError(AgentLoraError):
    """The registry refused or could not complete an operation; nothing was half-written."""


class GateRefused(RegistryError):
    """A version did not pass its gate; the message lists every reason."""


class RuntimeFault(AgentLoraError):
    """A server could not start, died, or answered outside its contract."""


class MissingExtra(AgentLoraError):
    """An optional part is not installed; the message gives the exact install command."""

    exit_code = 2


def nearest(name: str, choices: Iterable[str]) -> str:
    """``" Did you mean 'x'?"`` for the closest of `choices`, or an empty string."""
    match = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.6)
    return f" Did you mean {match[0]!r}?" if match else ""


def unknown(kind: str, name: str, choices: Iterable[str]) -> str:
    """The message for an unknown name: the value, the nearest match, and what there is."""
    names = sorted(choices)
    listed = ", ".join(names) if names else "none"
    return f"unknown {kind} {name!r}.{nearest(name, names)} There is: {listed}."


@contextmanager
def boundary(error: type[AgentLoraError], doing: str) -> Iterator[None]:
    """Classify what plugin code raises: anything not ours becomes `error`, with `doing` and the cause.

    Raises:
        AgentLoraError: unchanged when the block raised one; otherwise `error`, chained to the original.
    """
    try:
        yield
    except AgentLoraError:
        raise
    except Exception as exc:
        if _no_space(exc):
            raise error(
                f"{doing} failed: no space is left on the disk. Make room there; a training that had begun goes on "
                "from its last checkpoint with: agentlora runs resume last"
            ) from exc
        raise error(f"{doing} failed: {type(exc).__name__}: {exc}") from exc


def _no_space(exc: BaseException | None) -> bool:
    """Whether the disk was full: safetensors and torch say so in words alone."""
    while exc is not None:
        if getattr(exc, "errno", None) == errno.ENOSPC or "No space left on device" in str(exc):
            return True
        exc = exc.__cause__ or exc.__context__
    return False


@contextmanager
def needs_extra(extra: str, for_what: str) -> Iterator[None]:
    """Turn an ImportError inside the block into the exact command that installs `extra`.

    Raises:
        MissingExtra: when a package of the extra is not installed.
    """
    try:
        yield
    except ImportError as exc:
        command = {
            "serve": "agentlora setup cpu (or, with an NVIDIA GPU: agentlora setup gpu)",
            "starter": "agentlora setup starter",
        }.get(extra, f"pip install 'agentlora[{extra}]'")
        cause: BaseException = exc
        while cause.__cause__ is not None:  # transformers wraps what it could not import
            cause = cause.__cause__
        if isinstance(cause, ModuleNotFoundError):
            raise MissingExtra(
                f"{for_what} needs {cause.name!r}, which is not installed here. Run: {command}"
            ) from exc
        raise MissingExtra(
            f"{for_what} needs a package that is installed and cannot be imported: {type(cause).__name__}: {cause}. "
            "See `agentlora doctor`."
        ) from exc
