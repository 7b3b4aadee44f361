"""``serve``, ``route`` and ``chat`` as commands, on a tiny base model and a fake vLLM."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import openai
import pytest
from click.testing import CliRunner
from openai_server import FakeVllm, serving

from agentlora.core.cli import cli
from agentlora.core.cli.serve import _reserved, with_stored_template
from agentlora.core.errors import ConfigError, DataError
from agentlora.core.files import sha256_bytes
from agentlora.core.types import Base
from agentlora.plugins.bases.identity import identify
from agentlora.registry.store import Version


@pytest.fixture
def base(tiny_model_dir: Path, tmp_path: Path) -> Base:
    from agentlora.core.manager import default_plugins
    from agentlora.plugins.bases.resolve import resolve_base

    return resolve_base(str(tiny_model_dir), default_plugins(), tmp_path / "home")


@pytest.fixture
def published(base: Base, publish: Callable[..., Version]) -> Version:
    identity = {"name": base.name, "digest": base.identity.digest}
    return publish(base=identity, template_digest=sha256_bytes(base.chat_template.encode()))


@pytest.fixture
def tools_file(tmp_path: Path, tools: Any) -> Path:
    path = tmp_path / "tools.json"
    path.write_text(json.dumps(tools))
    return path


def invoke(*args: str) -> Any:
    return CliRunner().invoke(cli, list(args), catch_exceptions=True)


@pytest.fixture
def serving_until(
    published: Version, base: Base, backend: FakeVllm, tmp_path: Path
) -> Callable[[signal.Signals], AbstractContextManager[str]]:
    """``serving_until(signal)``: a real `agentlora serve`; leaving the block sends the signal and judges the end."""

    @contextmanager
    def running(end: signal.Signals) -> Iterator[str]:
        command = [sys.executable, "-m", "agentlora", "serve", "--port", "0", "--attach", backend.url]
        out, err = tmp_path / "out", tmp_path / "err"
        with out.open("w") as stdout, err.open("w") as stderr:
            process = subprocess.Popen(
                [*command, "--model", str(base.model_dir)], stdout=stdout, stderr=stderr
            )
        try:
            while "Ctrl-C" not in out.read_text():
                assert process.poll() is None, err.read_text()
                time.sleep(0.05)
            yield out.read_text().split()[1]
        finally:
            process.send_signal(end)
            process.wait(20)
        assert process.returncode == 0, err.read_text()
        assert "Traceback" not in err.read_text()
        assert published.served_name in out.read_text()
        assert "curl" in out.read_text()

    return running


def test_serve_answers_and_ctrl_c_ends_it_well(serving_until: Any, published: Version, tools: Any) -> None:
    messages: Any = [{"role": "user", "content": "Please book a table for two at Nonna's on 2026-06-02"}]
    with (
        serving_until(signal.SIGINT) as url,
        openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client,
    ):
        answer = client.chat.completions.create(model="auto", messages=messages, tools=tools)
    assert answer.model == published.served_name


def test_chat_over_http_shows_both_answers(serving_until: Any, tools_file: Path) -> None:
    with serving_until(signal.SIGTERM) as url:
        shown = invoke("chat", "tool-calling", "--prompt", "hello", "--url", url)
        called = invoke("chat", "tool-calling", "--prompt", "x", "--url", url, "--tools", str(tools_file))
    assert shown.exit_code == 0, shown.output
    assert "base: hello" in shown.output
    assert "tool-calling" in shown.output
    assert "book_table" in called.output


def test_the_attached_servers_key_goes_to_it_and_to_nobody_else(
    serving_until: Any, backend: FakeVllm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.key = "key-of-the-server"
    monkeypatch.setenv("VLLM_API_KEY", f"{backend.key}\n")
    with serving_until(signal.SIGTERM) as url:
        shown = invoke("chat", "tool-calling", "--prompt", "hello", "--url", url)
    assert shown.exit_code == 0, shown.output
    assert "base: hello" in shown.output
    said = (tmp_path / "out").read_text() + (tmp_path / "err").read_text() + shown.output
    assert backend.key not in said
    backend.headers.clear()
    backend.key = ""
    invoke("chat", "tool-calling", "--prompt", "hello", "--url", backend.url)  # as a gateway would be asked
    assert backend.headers
    assert not [given for given in backend.headers if "authorization" in given]


def test_a_server_that_serve_starts_gets_no_key(
    published: Version, base: Base, backend: FakeVllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Started:
        url = backend.url

        def __init__(self, settings: Any, port: int | None) -> None: ...

        def __enter__(self) -> Started:
            return self

        def __exit__(self, *exc: object) -> None: ...

        def alive(self) -> bool:
            return True

    def run(gateway: Any, *args: Any) -> None:
        with serving(gateway.app()) as url:
            assert httpx.get(f"{url}/healthz", timeout=60).json()["status"] == "ok"

    monkeypatch.setenv("VLLM_API_KEY", "of another server")
    monkeypatch.setattr("agentlora.runtime.backend.VllmServer", Started)
    monkeypatch.setattr("agentlora.runtime.gateway.run", run)
    result = invoke("serve", "--port", "0", "--model", str(base.model_dir))
    assert result.exit_code == 0, result.output
    assert len(backend.headers) >= 2  # our client's and the gateway's
    assert not [given for given in backend.headers if "authorization" in given]


def test_a_port_in_use_is_said_before_anything_starts(published: Version) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = invoke("serve", "--port", str(port))
    assert isinstance(result.exception, ConfigError)
    assert f"127.0.0.1:{port}" in str(result.exception)
    assert "--port" in str(result.exception)


def test_an_address_of_another_machine_and_a_port_in_use_are_told_apart() -> None:
    with (
        pytest.raises(ConfigError, match=r"Give an address of this machine with --host"),
        _reserved("192.0.2.1", 0),
    ):
        pass
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with (
            pytest.raises(ConfigError, match=r"Choose another with --port"),
            _reserved("127.0.0.1", taken.getsockname()[1]),
        ):
            pass


def test_serve_without_anything_published_says_so() -> None:
    result = invoke("serve", "--port", "0")
    assert isinstance(result.exception, ConfigError)
    assert "nothing is published" in str(result.exception)


def test_a_skill_is_served_with_the_template_that_it_was_trained_with(base: Base, tmp_path: Path) -> None:
    old = base.chat_template + "{# of before #}"
    (tmp_path / "chat_template.jinja").write_text(old)
    registry: Any = SimpleNamespace(materialise=lambda version: tmp_path)

    def trained_with(template: str) -> Any:
        identity = asdict(identify(base.name, base.model_dir, template))
        return SimpleNamespace(card=SimpleNamespace(base=identity), created_at="2026-01-01")

    served = with_stored_template(base, [trained_with(old)], registry)
    assert (served.chat_template, served.identity.template) == (old, sha256_bytes(old.encode()))
    now, another = trained_with(base.chat_template), trained_with("of another model")
    assert with_stored_template(base, [trained_with(old), now], registry) is base
    assert with_stored_template(base, [another], registry) is base


def test_serve_says_what_it_leaves_out(publish: Callable[..., Version]) -> None:
    publish(name="whole", kind="model", serve_on="transformers", method="full", rank=None)
    publish(name="lonely", serve_on="none")
    result = invoke("serve", "--port", "0")
    assert isinstance(result.exception, ConfigError)
    for part in (
        "nothing that is published can be served",
        "whole is a model of its own (method 'full')",
        "agentlora chat whole",
        "lonely is made for 'none'",
    ):
        assert part in str(result.exception)
    result = invoke("serve", "--port", "0", "--skill", "whole")
    assert isinstance(result.exception, ConfigError)
    assert "--skill whole: it is a model of its own" in str(result.exception)


def test_skills_of_two_bases_ask_for_a_choice(publish: Callable[..., Version]) -> None:
    publish(name="a")
    publish(name="b", base={"name": "other", "digest": "0" * 64})
    result = invoke("serve", "--port", "0")
    assert isinstance(result.exception, ConfigError)
    assert "other, tiny" in str(result.exception)


def test_route_explains_without_a_server(publish: Callable[..., Version], tools_file: Path) -> None:
    version = publish()
    ask = "Please book a table for two at Nonna's on 2026-06-02"
    assert invoke("route", ask).output == "base: the request offers no tools\n"
    shown = json.loads(invoke("route", ask, "--tools", str(tools_file), "--json").output)
    assert shown["choice"] == "tool-calling"
    assert shown["served_name"] == version.served_name


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (None, "cannot be read"),
        ("{a: [", "is not valid YAML"),
        ("{}", "no list of tools"),
        ("[]", "no list of tools"),
        ('[{"type": "function"}]', "tool 1"),
        ('[{"name": "f", "parameters": 3}]', "'parameters' is 3"),
    ],
)
def test_a_bad_tools_file(
    tmp_path: Path, publish: Callable[..., Version], content: str | None, word: str
) -> None:
    publish()
    path = tmp_path / "bad.json"
    if content is not None:
        path.write_text(content)
    result = invoke("route", "hi", "--tools", str(path))
    assert isinstance(result.exception, ConfigError | DataError)
    assert word in str(result.exception)


def test_chat_refuses_a_base_that_is_not_the_skills(
    publish: Callable[..., Version], tiny_model_dir: Path
) -> None:
    publish()
    result = invoke("chat", "tool-calling", "--prompt", "x", "--model", str(tiny_model_dir))
    assert isinstance(result.exception, ConfigError)
    assert "ba5eba5eba5e" in str(result.exception)


def test_the_commands_import_nothing_heavy(tmp_path: Path) -> None:
    heavy = ["torch", "transformers", "vllm", "sklearn", "numpy", "httpx", "uvicorn", "sqlalchemy", "rich"]
    code = (
        "import sys, agentlora.core.cli.serve, agentlora.core.cli.route, agentlora.core.cli.chat\n"
        "import agentlora.runtime.plugin\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
