"""The server's process: its command line, and that nothing of it is ever left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from agentlora.core.errors import ConfigError, MissingExtra
from agentlora.runtime import backend, keeper
from agentlora.runtime.backend import (
    ServerSettings,
    VllmServer,
    command_line,
    environment,
    lora_rank_limit,
)

# a "server" with a worker of its own, which writes both process ids and does not listen to SIGTERM
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
worker = subprocess.Popen([sys.executable, "-c", deaf])
open(sys.argv[1] + ".new", "w").write(f"{os.getpid()} {worker.pid}")
os.rename(sys.argv[1] + ".new", sys.argv[1])
time.sleep(60)
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(what: Any) -> None:
    for _ in range(500):
        if what():
            return
        time.sleep(0.02)
    raise AssertionError("it never happened")


def keep(pids: Path, grace_s: str) -> list[str]:
    return [
        sys.executable,
        "-I",
        "-S",
        str(keeper.__file__),
        grace_s,
        sys.executable,
        "-c",
        STUBBORN,
        str(pids),
    ]


@pytest.mark.parametrize("way", ["stdin closed", "starter killed"])
def test_everything_ends_when_the_starter_stops_or_dies(tmp_path: Path, way: str) -> None:
    pids, kept = tmp_path / "pids", keep(tmp_path / "pids", "0.2")
    if way == "stdin closed":
        starter = subprocess.Popen(
            kept, stdin=subprocess.PIPE, start_new_session=True, stderr=subprocess.DEVNULL
        )
    else:
        code = (
            "import subprocess, sys, time\n"
            "subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, start_new_session=True)\ntime.sleep(60)"
        )
        starter = subprocess.Popen([sys.executable, "-c", code, *kept], stderr=subprocess.DEVNULL)
    until(pids.exists)
    running = [int(pid) for pid in pids.read_text().split()]
    assert all(is_running(pid) for pid in running)
    if way == "stdin closed":
        assert starter.stdin is not None
        starter.stdin.close()
    else:
        os.kill(starter.pid, signal.SIGKILL)
    until(lambda: not any(is_running(pid) for pid in running))
    starter.wait(10)


def test_a_server_that_ends_takes_its_workers_along_and_its_exit_code_is_logged(tmp_path: Path) -> None:
    worker = "import subprocess, sys; subprocess.Popen(['sleep', '60']); sys.exit(7)"
    log = tmp_path / "log"
    with log.open("wb") as out:
        kept = [sys.executable, "-I", "-S", str(keeper.__file__), "1", sys.executable, "-c", worker]
        process = subprocess.Popen(kept, stdin=subprocess.PIPE, start_new_session=True, stderr=out)
        process.wait(20)
    assert "exit code 7" in log.read_text()
    with pytest.raises(ProcessLookupError):  # the group is empty
        until(lambda: os.killpg(process.pid, 0))


def settings(**fields: Any) -> ServerSettings:
    return ServerSettings(Path("/models/x"), "{{ messages }}", **fields)


def test_the_command_line_on_a_cpu_and_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)
    cpu = command_line(settings(max_lora_rank=20, max_loras=12), Path("t.jinja"), 1234, "cpu")
    gpu = command_line(settings(), Path("t.jinja"), 1234, "gpu")
    assert cpu[1:3] == ["-m", "vllm.entrypoints.openai.api_server"]
    for flag, value in {
        "--max-lora-rank": "32",
        "--max-loras": "12",
        "--max-cpu-loras": "12",
        "--chat-template": "t.jinja",
        "--chat-template-content-format": "string",
        "--dtype": "bfloat16",
        "--hf-overrides": '{"head_dtype": "float32"}',
        "--host": "127.0.0.1",
    }.items():
        assert cpu[cpu.index(flag) + 1] == value
    assert "--enforce-eager" in cpu
    assert "--enforce-eager" not in gpu
    assert "--dtype" not in gpu
    assert environment(settings(), "cpu")["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert "VLLM_CPU_KVCACHE_SPACE" not in environment(settings(), "gpu")
    assert environment(settings(), "gpu")["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"
    monkeypatch.setenv("VLLM_API_KEY", "of another server")
    assert environment(settings(), "cpu")["VLLM_API_KEY"] == ""


def test_a_quantised_model_keeps_its_logits(tmp_path: Path) -> None:
    """vLLM refuses to start where a quantised head is asked for float32."""
    asked = replace(settings(), model_dir=tmp_path)
    for config, wide in (('{"dtype": "bfloat16"}', True), ('{"quantization_config": {}}', False)):
        (tmp_path / "config.json").write_text(config)
        for build in ("cpu", "gpu"):
            assert ("--hf-overrides" in command_line(asked, Path("t"), 1, build)) is wide


def test_ranks_that_vllm_takes() -> None:
    assert [lora_rank_limit(rank) for rank in (1, 2, 16, 17, 300, 512)] == [1, 8, 16, 32, 320, 512]
    with pytest.raises(ConfigError, match="at most 512"):
        lora_rank_limit(513)


@pytest.mark.parametrize(
    ("installed", "build"),
    [({"vllm-cpu": "0.32.0"}, "cpu"), ({"vllm": "0.33.0"}, "gpu"), ({"vllm": "0.33.0+cpu"}, "cpu")],
)
def test_the_build_is_told_from_metadata(
    monkeypatch: pytest.MonkeyPatch, installed: dict[str, str], build: str
) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: _look_up(installed, name))
    assert backend.installed_build() == build


def test_a_port_in_use_is_said_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("agentlora.runtime.backend.installed_build", lambda: "gpu")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = VllmServer(settings(), tmp_path / "vllm.log", port=taken.getsockname()[1])
        with pytest.raises(ConfigError, match="cannot listen on"):
            server.start()
    assert not (tmp_path / "vllm.log").exists()


def test_without_vllm_the_message_names_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: _look_up({}, name))
    with pytest.raises(MissingExtra, match="agentlora setup cpu"):
        backend.VllmServer(settings(), tmp_path / "log").start()
    assert not (tmp_path / "log").exists()


def _look_up(installed: dict[str, str], name: str) -> str:
    if name not in installed:
        raise metadata.PackageNotFoundError(name)
    return installed[name]
