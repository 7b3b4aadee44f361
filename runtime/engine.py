"""The engine ``vllm``: a server of its own, or one that runs already, behind the `Engine` protocol."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from agentlora.core.decoding import NEUTRAL, neutral
from agentlora.core.errors import ConfigError, RuntimeFault, unknown
from agentlora.core.grammar import calls_tag
from agentlora.core.messages import api_messages
from agentlora.core.parallel import as_they_come
from agentlora.core.types import (
    JSON,
    Capabilities,
    ChoiceOutput,
    ChoiceRequest,
    EngineSpec,
    GenerateRequest,
    Output,
    Trace,
)
from agentlora.runtime.backend import ServerSettings, VllmServer, computes_with
from agentlora.runtime.choices import choice_log_probs
from agentlora.runtime.client import VllmClient, attached_key

_SERVER_OPTIONS = (
    "max_loras",
    "max_cpu_loras",
    "kv_cache_gib",
    "dtype",
    "start_timeout_s",
    "extra_args",
)


IN_FLIGHT = 64  # requests: with 16 a server writes little more than half as much (docs/experiments.md)
_TOKEN_BY_TOKEN: JSON = {
    "logprobs": True,
    "top_logprobs": 5,
    "return_token_ids": True,
    "return_tokens_as_token_ids": True,  # of the likeliest too, which are told by their text else
}


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """The engine's own options. `url` attaches to a server; `concurrency` counts requests in flight."""

    url: str | None = None
    concurrency: int = IN_FLIGHT
    timeout_s: float = 600.0
    log: Path | None = None


class VllmEngineFactory:
    """Opens `VllmEngine`. Options: those of `EngineOptions`; to start a server, those of `ServerSettings`."""

    def open(self, spec: EngineSpec) -> VllmEngine:
        """Start a server on `spec`, or attach to ``spec.options["url"]``.

        A server that one attaches to is trusted to have the spec's template: it cannot be asked.

        Raises:
            ConfigError: an unknown option, or the server runs another model of this machine.
            MissingExtra: vLLM is not installed.
            RuntimeFault: the server did not start, or the one to attach to does not answer.
        """
        options, settings = _unpack(spec)
        connections = max(IN_FLIGHT, options.concurrency)
        if options.url:
            engine = VllmEngine(
                VllmClient(options.url, options.timeout_s, connections, attached_key()),
                None,
                options.concurrency,
                decoding=neutral(spec.model_dir),
            )
            if engine.root and engine.root.is_dir() and not engine.root.samefile(spec.model_dir):
                engine.__exit__()
                raise ConfigError(
                    f"the server at {options.url} runs the model {str(engine.root)!r}, and what is asked for is "
                    f"{str(spec.model_dir)!r}."
                )
            return engine
        server = VllmServer(settings, options.log).start()
        client = VllmClient(server.url, options.timeout_s, connections)
        how = computes_with(settings)
        return VllmEngine(client, server, options.concurrency, how, decoding=neutral(spec.model_dir))


class VllmEngine:
    """Generates through ``/v1/chat/completions``; a server that the engine started ends with it.

    Attributes:
        root: where the server found its model. identity: what else than the model decides its answers. decoding: how
            they are written (`agentlora.core.decoding`).
    """

    capabilities = Capabilities(adapters=True, json_schema=True, choices=True)

    def __init__(
        self,
        client: VllmClient,
        server: VllmServer | None,
        concurrency: int = IN_FLIGHT,
        how: str = "",
        decoding: JSON | None = None,
    ) -> None:
        """`how`: number format and device of the server, where they are known; its address stands for them else, for a
        server cannot be asked.
        """
        self.client = client
        self.server = server
        self.url = client.url
        self.decoding = decoding or dict(NEUTRAL)
        self._concurrency = concurrency
        try:
            base = client.base_model()
            self.base = str(base["id"])
            self.root = Path(base["root"]) if base.get("root") else None
            elsewhere = self.root is not None and not self.root.is_dir()
            self.identity = f"{client.version()} {how or client.url}" + (f" {self.root}" if elsewhere else "")
        except BaseException:
            self.__exit__()
            raise

    def add_adapter(self, name: str, directory: Path) -> None:
        """Raises RuntimeFault when vLLM refuses the adapter."""
        self.client.load_adapter(name, directory.absolute())

    def generate(self, requests: Sequence[GenerateRequest]) -> list[Output]:
        """Answer `requests` in order, `concurrency` at a time. Threads, so that notebooks work too."""
        with ThreadPoolExecutor(max_workers=self._concurrency) as pool:
            return list(pool.map(self._one, requests))

    def stream(self, requests: Sequence[GenerateRequest]) -> Iterator[Output]:
        """As `generate`, in the order in which answers arrive."""
        with ThreadPoolExecutor(max_workers=self._concurrency) as pool:
            yield from as_they_come(pool, self._one, requests)

    def _one(self, request: GenerateRequest) -> Output:
        started = time.perf_counter()
        try:
            found = read_answer(request.id, self.client.chat(chat_body(request, self.base)))
        except Exception as exc:  # whatever a server answers to one request, the others count
            found = Output(request.id, "", "error", error=f"{type(exc).__name__}: {exc}")
        return replace(found, latency_s=round(time.perf_counter() - started, 4))

    def score_choices(self, requests: Sequence[ChoiceRequest]) -> list[ChoiceOutput]:
        """Score `requests` in order, `concurrency` at a time."""
        with ThreadPoolExecutor(max_workers=self._concurrency) as pool:
            return list(pool.map(self._score, requests))

    def _score(self, request: ChoiceRequest) -> ChoiceOutput:
        try:
            return ChoiceOutput(request.id, choice_log_probs(self.client, request, self.base))
        except Exception as exc:  # whatever a server answers to one request, the others count
            return ChoiceOutput(request.id, error=f"{type(exc).__name__}: {exc}")

    def endpoint(self, adapter: str | None) -> tuple[str, str]:
        """(address up to and with ``/v1``, name of the model there) of an adapter, or of the base."""
        return f"{self.url}/v1", adapter or self.base

    @property
    def headers(self) -> Mapping[str, str]:
        """What else than our own client has to send to that address: the key of a server that was attached to."""
        return self.client.headers

    def trace(self, requests: Sequence[GenerateRequest]) -> list[Trace]:
        """As `generate`, token by token."""
        with ThreadPoolExecutor(max_workers=self._concurrency) as pool:
            return list(pool.map(self._traced, requests))

    def _traced(self, request: GenerateRequest) -> Trace:
        try:
            return read_trace(request.id, self.client.chat(chat_body(request, self.base) | _TOKEN_BY_TOKEN))
        except Exception as exc:  # as for `_one`
            return Trace(Output(request.id, "", "error", error=f"{type(exc).__name__}: {exc}"))

    def __enter__(self) -> VllmEngine:
        return self

    def __exit__(self, *exc: object) -> None:
        self.client.close()
        if self.server is not None:
            self.server.stop()


def chat_body(request: GenerateRequest, base: str) -> JSON:
    """The request as vLLM takes it, so that the raw completion comes back.

    ``tool_choice: none`` turns the parser off but leaves the tools in the prompt (as long as the server runs
    without --exclude-tools-when-tool-choice-none). Special tokens are kept because some models' tool-call
    marks are such; vLLM cuts the end-of-turn token off in any case. What decides the decoding is said, for vLLM
    takes from the model's generation config what a request leaves out.
    """
    body: JSON = {
        "model": request.adapter or base,
        "messages": api_messages(request.messages),
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        **NEUTRAL,
        "skip_special_tokens": False,
    }
    if request.temperature and request.seed is not None:
        body["seed"] = request.seed
    if request.tools:
        body |= {"tools": list(request.tools), "tool_choice": "none"}
    if request.json_schema is not None:
        body["structured_outputs"] = {"json": request.json_schema}
    elif request.strict_calls and request.tools:
        body["structured_outputs"] = {"structural_tag": json.dumps(calls_tag(request.tools))}
    return body


def read_answer(request_id: str, answer: JSON) -> Output:
    """The first choice of a chat completion as an `Output`. Raises what reading something else raises."""
    choice = answer["choices"][0]
    text = choice["message"].get("content") or ""
    if not isinstance(text, str):
        raise TypeError(f"the content of an answer is a text, not {text!r:.80}")
    usage = answer.get("usage") or {}
    reason: Literal["stop", "length"] = "length" if choice.get("finish_reason") == "length" else "stop"
    return Output(
        request_id,
        text,
        reason,
        prompt_tokens=int(usage.get("prompt_tokens") or 0),
        output_tokens=int(usage.get("completion_tokens") or 0),
    )


def read_trace(request_id: str, answer: JSON) -> Trace:
    """The first choice of a chat completion that was asked for with `_TOKEN_BY_TOKEN`.

    Raises:
        RuntimeFault: the server tells no tokens; else what reading something else raises.
    """
    choice = answer["choices"][0]
    ids, prompt = choice.get("token_ids"), answer.get("prompt_token_ids")
    if not isinstance(ids, list) or not isinstance(prompt, list):
        raise RuntimeFault(
            "the server does not tell its answer's tokens (`return_token_ids`): it is no vLLM, or too old a one"
        )
    places = (choice.get("logprobs") or {}).get("content") or []
    likeliest = tuple(
        {
            int(said["token"].removeprefix("token_id:")): float(said["logprob"])
            for said in (place, *place["top_logprobs"])
        }
        for place in places
    )
    return Trace(read_answer(request_id, answer), tuple(map(int, prompt)), tuple(map(int, ids)), likeliest)


def _unpack(spec: EngineSpec) -> tuple[EngineOptions, ServerSettings]:
    own: dict[str, Any] = {}
    server: dict[str, Any] = {}
    known = (*EngineOptions.__dataclass_fields__, *_SERVER_OPTIONS)
    for key, value in spec.options.items():
        if key not in known:
            raise ConfigError("engine 'vllm': " + unknown("option", key, known))
        (server if key in _SERVER_OPTIONS else own)[key] = value
    options = EngineOptions(**own)
    if options.concurrency < 1:
        raise ConfigError(f"engine 'vllm': concurrency is {options.concurrency}; it must be at least 1.")
    settings = ServerSettings(spec.model_dir, spec.chat_template, spec.tool_call_parser)
    return options, replace(
        settings, max_len_tokens=spec.max_len_tokens, max_lora_rank=spec.max_lora_rank, **server
    )
