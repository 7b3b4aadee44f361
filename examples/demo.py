"""The whole line on a real model: train, evaluate, publish, serve, ask. `make demo` runs this.

Every step is an ordinary command, shown before it runs; you can type the same. README says how long it took.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

AGENTLORA = [sys.executable, "-m", "agentlora"]
HOME = Path(os.environ.get("AGENTLORA_HOME") or Path.home() / ".agentlora")

PARCEL_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "track_shipment",
            "description": "Say where a shipment is now.",
            "parameters": {
                "type": "object",
                "properties": {"tracking_code": {"type": "string", "description": "Code on the label"}},
                "required": ["tracking_code"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "request_refund",
            "description": "Ask for the money of an order back.",
            "parameters": {
                "type": "object",
                "properties": {
                    "order_id": {"type": "string"},
                    "amount": {"type": "number", "description": "In euros"},
                },
                "required": ["order_id"],
            },
        },
    },
]


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server ends with us
    started = time.monotonic()
    memory = Memory(daemon=True)
    memory.start()
    run_dir = HOME / "runs" / f"demo-{time.strftime('%Y%m%d-%H%M%S')}"
    step("1  Train: data from real tools, a LoRA adapter on SmolLM2-135M", "train", "tool-calling", "--preset", "demo",
         "--set", "gate.served=false",  # a demo need not be better than the one before
         "--output", str(run_dir))  # fmt: skip
    gateway, backend = free_port(), free_port()
    with serving(gateway, backend):
        step("3  Evaluate: the base three ways, and the adapter, on tools never trained on",
             "eval", str(run_dir), "--url", f"http://127.0.0.1:{backend}")  # fmt: skip
        step("4  Publish: through the gate, into the registry", "publish", str(run_dir))
        title('5  Ask, with the official openai client and model="auto"')
        calls = ask(
            gateway, "My parcel with the code QX-48213 should be here by now, where is it?", PARCEL_TOOLS
        )
        ask(gateway, "Give me one sentence about the sea.", None)
    if not calls:
        sys.exit("\nThe skill answered without a tool call, which it was trained for.")
    minutes = (time.monotonic() - started) / 60
    print(
        f"\nDone in {minutes:.1f} minutes; all processes together were seen to take {memory.peak / 1e9:.1f} GB."
    )
    print(f"Report: {run_dir / 'eval' / 'report.html'}")


class Memory(threading.Thread):
    """Looks every ten seconds at what this process and all that it started hold: `peak` bytes, shared pages once."""

    peak = 0

    def run(self) -> None:
        while True:
            self.peak = max(self.peak, sum(map(proportional_bytes, family(os.getpid()))))
            time.sleep(10)


def family(ancestor: int) -> list[int]:
    """The ids of a process and all its descendants."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):  # it has ended
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = [ancestor]
    for pid in found:
        found += children.get(pid, [])
    return found


def proportional_bytes(pid: int) -> int:
    """What a process holds, its part of what it shares with others."""
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return 0


def title(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def step(what: str, *args: str) -> None:
    title(what)
    print("$ agentlora " + " ".join(args), flush=True)
    began = time.monotonic()
    done = subprocess.run([*AGENTLORA, *args])
    if done.returncode:
        sys.exit(done.returncode)
    print(f"({time.monotonic() - began:.0f} s)", flush=True)


@contextmanager
def serving(gateway: int, backend: int) -> Iterator[None]:
    """`agentlora serve` beside us: its vLLM evaluates first and serves what is published later."""
    args = ["serve", "--model", "smollm2-135m", "--port", str(gateway), "--backend-port", str(backend)]
    title("2  Serve: one vLLM, first for the evaluation and then for the skill")
    print("$ agentlora " + " ".join(args) + " &", flush=True)
    server = subprocess.Popen([*AGENTLORA, *args], start_new_session=True)
    try:
        wait_for(f"http://127.0.0.1:{gateway}/healthz", server)
        yield
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


def wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        if server.poll() is not None:
            sys.exit(server.returncode or 1)
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    sys.exit("the server did not become ready within ten minutes")


def ask(port: int, text: str, tools: list | None) -> int:
    """One request; prints who answered and what, and returns how many tools were called."""
    from openai import OpenAI, omit

    client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none")
    raw = client.chat.completions.with_raw_response.create(
        model="auto",
        messages=[{"role": "user", "content": text}],
        tools=tools or omit,
        max_tokens=64,
        temperature=0,
    )
    message = raw.parse().choices[0].message
    print(f"\nuser      {text}" + (f"   [{len(tools)} tools offered]" if tools else ""))
    print(f"answered  {raw.headers['x-agentlora-skill']}  ({raw.headers['x-agentlora-route']})")
    for call in message.tool_calls or []:
        called = {"name": call.function.name, "arguments": json.loads(call.function.arguments)}
        print("call      " + json.dumps(called, ensure_ascii=False))
    if message.content:
        print(f"text      {message.content.strip()}")
    return len(message.tool_calls or [])


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nStopped.")
