"""The client of a vLLM server, where connections break off."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from agentlora.core.errors import AgentLoraError, ConfigError, RuntimeFault
from agentlora.runtime.client import VllmClient

ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 18\r\nconnection: close\r\n\r\n"
    b'{"version": "1.0"}'
)


@contextmanager
def breaking_server(breaks: int) -> Iterator[tuple[str, list[bytes]]]:
    """(its address, what it was asked): it hangs up on the first `breaks` requests and answers the others."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    asked.append(connection.recv(65536))
                    if len(asked) > breaks:
                        connection.sendall(ANSWER)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked


@pytest.mark.parametrize(("breaks", "sent"), [(0, 1), (1, 2)])
def test_a_connection_that_breaks_off_is_tried_once_more(breaks: int, sent: int) -> None:
    with breaking_server(breaks) as (url, asked):
        client = VllmClient(url, timeout_s=10)
        assert client.version() == "1.0"
        client.close()
    assert len(asked) == sent


def test_a_server_that_always_hangs_up_is_told() -> None:
    with breaking_server(9) as (url, asked):
        client = VllmClient(url, timeout_s=10)
        with pytest.raises(AgentLoraError, match="does not answer"):
            client.models()
        client.close()
    assert len(asked) == 2


def test_what_is_no_vllm_is_told() -> None:
    with breaking_server(0) as (url, _):  # it has JSON for every path, and no models in it
        client = VllmClient(url, timeout_s=10)
        with pytest.raises(RuntimeFault, match="/v1/models with what cannot be read"):
            client.models()
        client.close()
    with pytest.raises(ConfigError, match="is not the address of a server"):
        VllmClient("http://127.0.0.1:80o0")
