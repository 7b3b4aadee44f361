"""Killed, full, and crowded: what a publication leaves behind when it cannot finish."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from agentlora.core.errors import RegistryError
from agentlora.registry.card import SkillCard
from agentlora.registry.store import Registry, Version

MakeCard = Callable[..., SkillCard]
FORK = multiprocessing.get_context("fork")


def files_of(folder: Path, content: str) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / name for name in ("adapter_model.safetensors", "adapter_config.json")}
    for name, path in files.items():
        path.write_text(f"{name} {content}")
    return files


def in_child(work: Callable[[], None]) -> int:
    """Run `work` in a forked process; returns its exit code, negative when a signal ended it."""
    child = FORK.Process(target=work)
    child.start()
    child.join(60)
    assert child.exitcode is not None
    return child.exitcode


def die_at(step: int, home: Path) -> None:
    """SIGKILL this process before its `step`-th (from 0) file operation under `home`, statement or commit."""
    left = [step]

    def count(*_: Any) -> None:
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1

    def audit(name: str, arguments: tuple[Any, ...]) -> None:
        if name in ("open", "os.rename", "os.chmod", "os.remove", "os.mkdir") and str(home) in str(
            arguments[0]
        ):
            count()

    sys.addaudithook(audit)
    event.listen(Engine, "before_cursor_execute", count)
    event.listen(Engine, "after_cursor_execute", count)
    event.listen(Engine, "commit", count)


def whole(home: Path) -> dict[str, Version]:
    """The aliases of the skill, after a check that prod is the newest version and all bytes are there."""
    registry = Registry(home)
    versions = registry.versions("tool-calling")
    for version in versions:
        assert registry.verify(version) == []
    found = registry.aliases("tool-calling")
    registry.close()
    assert found["prod"] == versions[-1]
    return found


def test_sigkill_at_every_step_leaves_the_old_version_or_the_new_one(tmp_path: Path, card: MakeCard) -> None:
    seen, finished, step = [], False, 0
    while not finished:
        home = tmp_path / f"home-{step}"
        registry = Registry(home)
        old = registry.publish(card(), files_of(tmp_path / "old", "old"))
        registry.close()

        def publish(home: Path = home, step: int = step) -> None:
            opened = Registry(home)
            die_at(step, home)
            opened.publish(card(), files_of(tmp_path / "new", "new"))

        code = in_child(publish)
        finished = code == 0
        assert finished or code == -signal.SIGKILL
        number = whole(home)["prod"].number
        seen.append(number)
        if not finished and number == 1:
            assert whole(home) == {"prod": old}
            again = Registry(home)
            assert again.publish(card(), files_of(tmp_path / "new", "new")).number == 2
            again.close()
        step += 1
    assert step > 15, "the hooks saw too little of the publication"
    assert seen == sorted(seen)  # old up to the commit, new from there on
    assert seen[0] == 1
    assert seen[-1] == 2


def test_sigkill_while_a_file_is_being_copied_leaves_the_old_version(tmp_path: Path, card: MakeCard) -> None:
    home = tmp_path / "home"
    registry = Registry(home)
    old = registry.publish(card(), files_of(tmp_path / "old", "old"))
    registry.close()
    files = files_of(tmp_path / "new", "new")
    pipe = files["adapter_model.safetensors"]
    pipe.unlink()
    os.mkfifo(pipe)
    child = FORK.Process(target=lambda: Registry(home).publish(card(), files))
    child.start()
    writer = os.open(pipe, os.O_WRONLY)  # opens once the child reads
    for _ in range(50):
        os.write(writer, b"x" * 65_536)
    child.kill()
    child.join(60)
    os.close(writer)
    assert child.exitcode == -signal.SIGKILL
    assert whole(home) == {"prod": old}

    left = list((home / "registry" / "blobs").glob("incoming-*"))
    assert len(left) == 1
    os.utime(left[0], (0, 0))  # nobody has written to it for an hour: the next publication clears it away
    registry = Registry(home)
    registry.publish(card(), files_of(tmp_path / "newer", "newer"))
    registry.close()
    assert not left[0].exists()


def refusal(registry: Registry, card: SkillCard, files: dict[str, Path]) -> str | None:
    try:
        registry.publish(card, files)
    except RegistryError as exc:
        return str(exc)
    return None


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fails_at_any_write_gives_one_paragraph_and_no_partial_blob(
    code: int, tmp_path: Path, card: MakeCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(tmp_path)
    old = registry.publish(card(), files_of(tmp_path / "old", "old"))
    blobs = sorted((tmp_path / "registry" / "blobs" / "sha256").iterdir())
    real, failures = os.fsync, 0
    for step in range(100):
        left = [step]

        def fsync(handle: int, left: list[int] = left) -> None:
            if left[0] == 0:
                raise OSError(code, os.strerror(code))
            left[0] -= 1
            real(handle)

        monkeypatch.setattr(os, "fsync", fsync)
        message = refusal(registry, card(), files_of(tmp_path / "new", "new"))
        monkeypatch.setattr(os, "fsync", real)
        if message is None:
            break
        failures += 1
        assert os.strerror(code) in message
        assert "\n" not in message
        assert ("Free some space" in message) == (code != errno.EIO)
        assert list((tmp_path / "registry" / "blobs").glob("incoming-*")) == []
        assert registry.aliases("tool-calling") == {"prod": old}
        assert registry.verify(old) == []
    assert failures >= 6  # two files and the manifest, each with its directory
    assert registry.resolve("tool-calling").number == 2
    assert set(blobs) < set((tmp_path / "registry" / "blobs" / "sha256").iterdir())
    registry.close()


FULL_DISK = """
import json, sys
from pathlib import Path
from agentlora.core.errors import RegistryError
from agentlora.registry.card import SkillCard
from agentlora.registry.store import Registry

home, small, smaller, big = map(Path, sys.argv[1:5])
card = SkillCard(**json.loads(sys.argv[5]))
registry = Registry(home)
old = registry.publish(card, {"weights": small})
try:
    registry.publish(card, {"a": smaller, "weights": big})
except RegistryError as exc:
    assert "No space left on device" in str(exc), exc
else:
    raise AssertionError("8 MB fitted on 4 MB")
assert list((home / "registry" / "blobs").glob("incoming-*")) == []
assert registry.aliases(card.name) == {"prod": old}
assert registry.publish(card, {"weights": smaller}).number == 2
"""


def test_a_really_full_disk(tmp_path: Path, card: MakeCard) -> None:
    """On a file system of 4 MB, in a mount namespace of its own; skipped where the kernel gives none."""
    home = tmp_path / "disk"
    home.mkdir()
    files = [tmp_path / name for name in ("small", "smaller", "big")]
    for path, size in zip(files, (1000, 500, 8_000_000), strict=True):
        path.write_bytes(b"x" * size)
    arguments = [sys.executable, "-c", FULL_DISK, str(home), *map(str, files), card().model_dump_json()]
    mounting = f'mount -t tmpfs -o size=4m tmpfs "{home}" || exit 77; exec "$@"'
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here")
    ended = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mounting, "sh", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
    )
    if ended.returncode == 77 or "unshare:" in ended.stderr:
        pytest.skip("this kernel lets no test mount a file system")
    assert ended.returncode == 0, ended.stderr


def publish_some(home: Path, url: str | None, folder: Path, make: MakeCard, start: Any, count: int) -> None:
    start.wait()
    registry = Registry(home, url)
    for i in range(count):
        registry.publish(make(summary=f"{folder.name} {i}"), files_of(folder, str(i)))


def test_processes_that_publish_at_once_get_different_numbers(
    tmp_path: Path, card: MakeCard, url: str | None
) -> None:
    """They also make the registry at once: none exists before."""
    processes, each = 4, 5
    start = FORK.Barrier(processes)
    home = tmp_path / "home"
    children = [
        FORK.Process(target=publish_some, args=(home, url, tmp_path / f"p{i}", card, start, each))
        for i in range(processes)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * processes
    registry = Registry(home, url)
    versions = registry.versions("tool-calling")
    assert [v.number for v in versions] == list(range(1, processes * each + 1))
    assert len({v.digest for v in versions}) == processes * each
    assert len(registry.history("tool-calling")) == processes * each
    assert registry.generation() == 2 * processes * each
    registry.close()


def test_the_same_content_published_at_once_is_one_version(
    tmp_path: Path, card: MakeCard, url: str | None
) -> None:
    files = files_of(tmp_path / "files", "x")
    home = tmp_path / "home"

    def publish() -> None:
        Registry(home, url).publish(card(), files)

    children = [FORK.Process(target=publish) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 4
    registry = Registry(home, url)
    assert [v.number for v in registry.versions("tool-calling")] == [1]
    assert len(registry.history("tool-calling")) == 1
    registry.close()


def test_threads_may_share_a_registry(tmp_path: Path, card: MakeCard) -> None:
    """The gateway reads from several threads while a version is laid out."""
    registry = Registry(tmp_path)
    version = registry.publish(card(), files_of(tmp_path / "files", "x"))
    found: list[Any] = []

    def read() -> None:
        found.append((registry.resolve("tool-calling"), registry.materialise(version), registry.generation()))

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [(version, tmp_path / "serve" / version.served_name, 2)] * 8
    assert registry.verify(version) == []
    assert [p.name for p in (tmp_path / "serve").iterdir()] == [version.served_name]
    registry.close()
