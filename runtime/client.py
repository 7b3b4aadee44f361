"""A client of one vLLM server (or anything that speaks its API), for one thread or several."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from agentlora.core.errors import ConfigError, RuntimeFault, needs_extra
from agentlora.core.types import JSON

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")


def attached_key() -> str:
    """The key of a server that one attaches to, from VLLM_API_KEY, the variable from which vLLM takes its own; empty
    where there is none.
    """
    return os.environ.get("VLLM_API_KEY", "").strip()


def key_header(key: str) -> dict[str, str]:
    """The header with which a server gets its key; none without one."""
    return {"Authorization": f"Bearer {key}"} if key else {}


class BackendDown(RuntimeFault):
    """The server cannot be reached, or the connection broke."""


class VllmClient:
    """Every method raises BackendDown when the server does not answer, RuntimeFault when it refuses or when its answer
    cannot be read.
    """

    def __init__(self, url: str, timeout_s: float = 600.0, connections: int = 64, key: str = "") -> None:
        """`key` is for a server that one attaches to (`attached_key`); one that was started here asks for none.

        Raises ConfigError when `url` is none, MissingExtra without httpx.
        """
        with needs_extra("gateway", "talking to vLLM"):
            import httpx
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"{url!r} is not the address of a server. Write it like http://127.0.0.1:8000")
        self.url = url.rstrip("/").removesuffix("/v1")
        self.headers = key_header(key)
        # trust_env off: a proxy set for the internet must not see (or break) loopback traffic
        try:
            self._http: httpx.Client = httpx.Client(
                base_url=self.url,
                timeout=httpx.Timeout(timeout_s, connect=10.0),
                limits=httpx.Limits(max_connections=connections),
                headers=self.headers,
                trust_env=False,
            )
        except httpx.InvalidURL as exc:
            raise ConfigError(f"{url!r} is not the address of a server: {exc}.") from exc

    def models(self) -> list[JSON]:
        """What the server offers: the base (``parent`` is null) and its adapters."""
        return self._taken("GET", "/v1/models", None, lambda said: [dict(model) for model in said["data"]])

    def base_model(self) -> JSON:
        """The server's base model: ``id`` is its name, ``root`` where the server found it."""
        for model in self.models():
            if not model.get("parent"):
                return model
        raise RuntimeFault(f"the server at {self.url} offers no base model")

    def version(self) -> str:
        """Of vLLM; ``unknown`` where the server does not tell."""
        try:
            return str(self._call("GET", "/version")["version"])
        except (RuntimeFault, KeyError, TypeError):
            return "unknown"

    def load_adapter(self, name: str, directory: Path) -> None:
        """Load an adapter; one that is loaded under this name stays (a name never changes its bytes)."""
        try:
            self._call("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(directory)})
        except RuntimeFault as exc:
            if "already been loaded" not in str(exc):
                raise

    def unload_adapter(self, name: str) -> None:
        self._call("POST", "/v1/unload_lora_adapter", {"lora_name": name})

    def chat(self, body: JSON) -> JSON:
        answer: JSON = self._call("POST", "/v1/chat/completions", body)
        return answer

    def completions(self, body: JSON) -> JSON:
        answer: JSON = self._call("POST", "/v1/completions", body)
        return answer

    def tokenize(self, body: JSON) -> list[int]:
        """The tokens of a ``prompt``, or of ``messages`` under the server's template."""
        return self._taken("POST", "/tokenize", body, lambda said: [int(token) for token in said["tokens"]])

    def close(self) -> None:
        self._http.close()

    def _send(self, method: str, path: str, body: JSON | None) -> Any:
        """Once more where the connection broke off: a kept one may be closing when it is used."""
        import httpx

        try:
            return self._http.request(method, path, json=body)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            return self._http.request(method, path, json=body)

    def _call(self, method: str, path: str, body: JSON | None = None) -> Any:
        import httpx

        try:
            response = self._send(method, path, body)
        except httpx.TransportError as exc:
            raise BackendDown(
                f"the server at {self.url} does not answer ({type(exc).__name__}: {exc}). Is it running?"
            ) from exc
        except httpx.HTTPError as exc:  # broken compression, redirections without end
            raise RuntimeFault(self._unreadable(path, exc)) from exc
        if response.status_code >= 400:
            raise RuntimeFault(
                f"the server at {self.url} answered {response.status_code} to {path}: {_message(response)}"
            )
        if "json" not in response.headers.get("content-type", ""):
            return response.text
        try:
            return response.json()
        except (ValueError, RecursionError) as exc:
            raise RuntimeFault(self._unreadable(path, exc)) from exc

    def _taken(self, method: str, path: str, body: JSON | None, take: Callable[[Any], T]) -> T:
        """What `take` makes of an answer; another program's server answers something else."""
        said = self._call(method, path, body)
        try:
            return take(said)
        except (KeyError, TypeError, ValueError) as exc:
            raise RuntimeFault(self._unreadable(path, exc)) from exc

    def _unreadable(self, path: str, exc: Exception) -> str:
        return (
            f"the server at {self.url} answered {path} with what cannot be read: {type(exc).__name__}: {exc}"
        )


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        if "html" in response.headers.get("content-type", ""):
            return "a web page. Is it a vLLM server?"
        return response.text[:500]
