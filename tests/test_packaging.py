"""The package list, the symlinks for static tools, and the wheel hold what the tree holds."""

from __future__ import annotations

import fnmatch
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from agentlora.core.setup.steps import TORCH, VLLM_GPU

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = PROJECT["tool"]["setuptools"]
PACKAGE_DIR: dict[str, str] = SETUPTOOLS["package-dir"]
JUNK = ("*.pyc", "*.swp", "*~", ".*")


def packages_in_tree() -> dict[str, Path]:
    """Every folder with an ``__init__.py`` under the folders of package-dir, by its dotted name."""
    found = {}
    for name, folder in PACKAGE_DIR.items():
        top = ROOT / folder
        for init in sorted(top.rglob("__init__.py")):
            inner = init.parent.relative_to(top).parts
            found[".".join((name, *inner))] = init.parent
    return found


def files_in_tree() -> set[str]:
    """What the wheel must hold: every file under the package folders, whether listed or not."""
    names = set()
    for name, folder in PACKAGE_DIR.items():
        top = ROOT / folder
        for path in top.rglob("*"):
            parts = path.relative_to(top).parts
            if path.is_file() and not any(fnmatch.fnmatch(part, junk) for part in parts for junk in JUNK):
                names.add("/".join((*name.split("."), *parts)))
    return names


def test_listed_packages_are_those_of_the_tree() -> None:
    assert sorted(SETUPTOOLS["packages"]) == sorted(packages_in_tree())


def test_every_folder_with_code_is_a_package() -> None:
    folders = {p.parent for folder in PACKAGE_DIR.values() for p in (ROOT / folder).rglob("*.py")}
    assert sorted(folders - set(packages_in_tree().values())) == []


def test_every_top_folder_is_linked_for_static_tools() -> None:
    links = ROOT / ".types" / "agentlora"
    wanted = {name.partition(".")[2]: ROOT / folder for name, folder in PACKAGE_DIR.items() if "." in name}
    wanted |= {path.name: path for path in (ROOT / "agentlora").iterdir() if path.suffix in (".py", ".typed")}
    assert {link.name: link.resolve() for link in links.iterdir()} == wanted
    assert all(link.is_symlink() and not link.readlink().is_absolute() for link in links.iterdir())


def test_extras_name_no_second_version_of_torch() -> None:
    """`agentlora setup cpu` installs one exact torch, which the train extra must allow."""
    extras = PROJECT["project"]["optional-dependencies"]
    [trained] = [Requirement(text) for text in extras["train"] if Requirement(text).name == "torch"]
    assert trained.specifier.contains(TORCH.partition("==")[2])
    assert VLLM_GPU in extras["serve"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built offline from a copy of the sources (a build in place leaves build/ behind)."""
    try:
        setuptools = version("setuptools")
    except PackageNotFoundError:
        pytest.skip("setuptools is not installed")
    if int(setuptools.partition(".")[0]) < 77:
        pytest.skip(f"setuptools {setuptools} is older than pyproject.toml wants")
    work = tmp_path_factory.mktemp("wheel")
    source, target = work / "source", work / "dist"
    copy_sources(source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*command, "-w", str(target), str(source)], cwd=work, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [built] = target.glob("agentlora-*.whl")
    return built


def copy_sources(target: Path) -> None:
    target.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, target)
    for folder in PACKAGE_DIR.values():
        shutil.copytree(ROOT / folder, target / folder, ignore=shutil.ignore_patterns("__pycache__"))


def test_wheel_holds_every_module_and_data_file_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    wanted = {name for name in files_in_tree() if "__pycache__" not in name}
    assert sorted(wanted - names) == [], (
        "not in the wheel: add it to packages or package-data in pyproject.toml"
    )
    assert sorted(names - wanted) == [], "in the wheel and not in the tree"


def test_wheel_imports_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import agentlora, agentlora.core.setup.facts as facts\n"
        "assert agentlora.__file__.startswith(sys.argv[1]), agentlora.__file__\n"
        "assert facts.vllm_cpu_requirements()\n"
        "from agentlora.core.cli import main; main(['--help'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Usage: agentlora" in done.stdout
