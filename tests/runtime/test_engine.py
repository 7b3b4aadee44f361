"""The engine ``vllm``, attached to a fake server."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from openai_server import FakeVllm

from agentlora.core.config import RunConfig
from agentlora.core.errors import ConfigError, RuntimeFault
from agentlora.core.manager import default_plugins
from agentlora.core.run import create_run
from agentlora.core.teacher import rank_of
from agentlora.core.types import ChoiceRequest, EngineSpec, GenerateRequest, ScoresChoices
from agentlora.runtime.backend import ServerSettings, command_line, computes_with, free_port
from agentlora.runtime.client import VllmClient
from agentlora.runtime.engine import VllmEngine, _unpack


def spec(**options: Any) -> EngineSpec:
    return EngineSpec(Path("unused"), "{{ messages }}", options=options)


def request(number: int, text: str = "hi", **fields: Any) -> GenerateRequest:
    return GenerateRequest(str(number), ({"role": "user", "content": text},), **fields)


@pytest.fixture
def factory() -> Any:
    return default_plugins().get("engines", "vllm")


def test_answers_keep_their_order_and_run_together(factory: Any, backend: FakeVllm) -> None:
    with factory.open(spec(url=backend.url, concurrency=4)) as engine:
        outputs = engine.generate([request(n, f"question {n}") for n in range(20)])
    assert [(o.id, o.text) for o in outputs] == [(str(n), f"base: question {n}") for n in range(20)]
    assert 2 <= backend.most_in_flight <= 4
    assert (outputs[0].prompt_tokens, outputs[0].output_tokens) == (7, 3)


def test_answers_arrive_one_by_one_with_their_seconds(factory: Any, backend: FakeVllm) -> None:
    with factory.open(spec(url=backend.url, concurrency=4)) as engine:
        outputs = list(engine.stream([request(n, "break" if n == 3 else "hi") for n in range(20)]))
    assert {o.id for o in outputs} == {str(n) for n in range(20)}
    assert [o.id for o in outputs if o.error] == ["3"]
    assert all(o.latency_s is not None and o.latency_s > 0 for o in outputs)
    assert 2 <= backend.most_in_flight <= 4


def test_tools_are_sent_but_calls_come_back_as_text(factory: Any, backend: FakeVllm, tools: Any) -> None:
    with factory.open(spec(url=backend.url)) as engine:
        (output,) = engine.generate([request(0, tools=tuple(tools))])
    assert output.text == "base: hi"
    assert backend.chats[0]["tools"] == tools
    assert backend.chats[0]["tool_choice"] == "none"
    assert backend.chats[0]["skip_special_tokens"] is False


def test_an_adapter_answers_under_its_name(factory: Any, backend: FakeVllm, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with factory.open(spec(url=backend.url)) as engine:
        engine.add_adapter("skill@1", tmp_path)
        engine.add_adapter("skill@1", tmp_path)
        outputs = engine.generate([request(0, adapter="skill@1"), request(1)])
        with pytest.raises(RuntimeFault, match="No adapter found"):
            engine.add_adapter("skill@2", tmp_path / "absent")
    assert [o.text for o in outputs] == ["skill@1: hi", "base: hi"]


def test_a_schema_constrains_the_answer(factory: Any, backend: FakeVllm) -> None:
    with factory.open(spec(url=backend.url)) as engine:
        (output,) = engine.generate([request(0, json_schema={"type": "object"})])
    assert engine.capabilities.json_schema
    assert output.text == '{"type": "object"}'


def test_an_answer_is_told_token_by_token(factory: Any, backend: FakeVllm) -> None:
    with factory.open(spec(url=backend.url)) as engine:
        good, bad = engine.trace([request(0, "hi"), request(1, adapter="nobody")])
        backend.silent_tokens = True
        (silent,) = engine.trace([request(2)])
    assert (good.output.id, good.output.text, good.output.prompt_tokens) == ("0", "base: hi", 7)
    assert (bytes(good.prompt_ids), bytes(good.ids)) == (b"hi", b"base: hi")
    assert good.likeliest == tuple({ord(c): -0.25, 7: -2.0} for c in "base: hi")
    assert "does not exist" in str(bad.output.error)
    assert "does not tell its answer's tokens" in str(silent.output.error)


def test_every_request_says_how_it_is_decoded(factory: Any, backend: FakeVllm, tmp_path: Path) -> None:
    """vLLM takes from the model's generation_config.json what a request leaves out."""
    config = {"repetition_penalty": 50.0, "top_k": 1, "eos_token_id": [3, 4]}
    (tmp_path / "generation_config.json").write_text(json.dumps(config))
    with factory.open(replace(spec(url=backend.url), model_dir=tmp_path)) as engine:
        engine.generate([request(0)])
        engine.trace([request(1, temperature=0.7)])
    neutral = {
        "repetition_penalty": 1,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "top_p": 1,
        "top_k": -1,
        "min_p": 0,
    }
    for body, temperature in zip(backend.chats, (0, 0.7), strict=True):
        assert {name: body.get(name) for name in neutral} == neutral
        assert body["temperature"] == temperature
    assert engine.decoding == {**neutral, "eos_token_id": [3, 4]}


def test_calls_of_earlier_turns_are_sent_as_the_api_wants_them(factory: Any, backend: FakeVllm) -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": {"city": "Zürich"}}}
    messages = (
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "user", "content": "and?"},
    )
    with factory.open(spec(url=backend.url)) as engine:
        engine.generate([GenerateRequest("0", messages)])
    sent = backend.chats[0]["messages"][0]["tool_calls"][0]
    assert sent["function"]["arguments"] == '{"city": "Zürich"}'
    assert sent["id"]


def test_a_failed_request_is_an_output_with_an_error(factory: Any, backend: FakeVllm) -> None:
    with factory.open(spec(url=backend.url)) as engine:
        bad, good = engine.generate([request(0, adapter="nobody"), request(1)])
    assert (bad.id, bad.finish_reason, bad.text) == ("0", "error", "")
    assert "does not exist" in str(bad.error)
    assert good.error is None


@pytest.mark.parametrize("how", ["garble", "garble gzip", "garble deep", "garble content", "break"])
def test_an_answer_that_cannot_be_read_is_an_error_of_its_request_alone(
    factory: Any, backend: FakeVllm, how: str
) -> None:
    with factory.open(spec(url=backend.url)) as engine:
        bad, good = engine.generate([request(0, how), request(1)])
    assert (bad.id, bad.finish_reason, bad.text) == ("0", "error", "")
    assert bad.error
    assert (good.error, good.text) == (None, "base: hi")


@pytest.mark.parametrize("how", ["garble", "garble gzip", "garble deep"])
def test_the_client_says_that_an_answer_cannot_be_read(backend: FakeVllm, how: str) -> None:
    client = VllmClient(backend.url)
    with pytest.raises(RuntimeFault, match="answered /v1/chat/completions with what cannot be read"):
        client.chat({"model": "base", "messages": [{"role": "user", "content": how}]})
    client.close()


def asked(name: str, text: str, *choices: str, **more: Any) -> ChoiceRequest:
    return ChoiceRequest(name, ({"role": "user", "content": text},), choices, **more)


def likely(choice: str, times: int = 1) -> float:
    """What the fake server says of a choice: of each byte minus its number over 100."""
    return -times * sum(choice.encode()) / 100


def test_choices_are_scored_by_their_own_tokens_behind_the_servers_prompt(
    factory: Any, backend: FakeVllm, tools: Any, tmp_path: Path
) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with factory.open(spec(url=backend.url)) as engine:
        engine.add_adapter("skill@1", tmp_path)
        assert isinstance(engine, ScoresChoices)
        assert engine.capabilities.choices
        base, adapted = engine.score_choices(
            [
                asked("a", "hi", "No", "Yes, é", "B", tools=tuple(tools)),
                asked("b", "hi", "No", adapter="skill@1"),
            ]
        )
    assert (base.id, adapted.id) == ("a", "b")
    assert base.log_probs == pytest.approx([likely("No"), likely("Yes, é"), likely("B")])
    assert adapted.log_probs == pytest.approx([likely("No", 2)])
    sent = next(body for body in backend.prompts if body["model"] == "base")
    prompt = json.dumps([[tool["function"]["name"] for tool in tools], [["user", "hi"]]])
    assert [bytes(row).decode() for row in sent["prompt"]] == [f"{prompt}No", f"{prompt}Yes, é", f"{prompt}B"]
    assert (sent["max_tokens"], sent["prompt_logprobs"]) == (1, 0)


def test_choices_that_cannot_be_scored_are_an_error_of_their_request_alone(
    factory: Any, backend: FakeVllm
) -> None:
    with factory.open(spec(url=backend.url)) as engine:
        outputs = engine.score_choices(
            [
                asked("good", "hi", "No", "Yes"),
                asked("stranger", "hi", "No", adapter="nobody"),
                asked("empty", "hi", "No", ""),
                asked("muddle", "muddle", "No", "Yes"),
                asked("mute", "mute", "No", "Yes"),
            ]
        )
    assert outputs[0].log_probs == pytest.approx([likely("No"), likely("Yes")])
    for output, why in zip(
        outputs[1:], ("does not exist", "no tokens", "told of 1", "no log-probabilities"), strict=True
    ):
        assert why in str(output.error)
        assert output.log_probs == ()


def test_wrong_options_and_addresses_are_refused(factory: Any) -> None:
    with pytest.raises(ConfigError, match=r"unknown option 'concurency'\. Did you mean 'concurrency'"):
        factory.open(spec(concurency=3))
    with pytest.raises(ConfigError, match="at least 1"):
        factory.open(spec(url="http://127.0.0.1:1", concurrency=0))
    with pytest.raises(ConfigError, match="not the address of a server"):
        factory.open(spec(url="localhost"))
    with pytest.raises(RuntimeFault, match="does not answer"):
        factory.open(spec(url=f"http://127.0.0.1:{free_port()}"))


def test_the_rank_of_a_runs_adapter_reaches_the_server(tmp_path: Path) -> None:
    """vLLM refuses an adapter above its limit, which is 16 when nobody says otherwise."""
    run = create_run(RunConfig(task="tool-calling"), tmp_path / "run")
    assert rank_of(run) == 16
    run.adapter_dir.mkdir()
    (run.adapter_dir / "adapter_config.json").write_text('{"r": 24}')
    opened = EngineSpec(Path("unused"), "", max_lora_rank=rank_of(run))
    _, settings = _unpack(opened)
    line = command_line(settings, tmp_path / "t.jinja", 1, "gpu")
    assert line[line.index("--max-lora-rank") + 1] == "32"


@pytest.mark.parametrize(
    ("build", "dtype", "said"),
    [
        ("cpu", "", ["bfloat16"]),
        ("cpu", "float32", ["float32"]),
        ("gpu", "", []),
        ("gpu", "float32", ["float32"]),
    ],
)
def test_the_number_format_reaches_the_server(
    build: str, dtype: str, said: list[str], tmp_path: Path
) -> None:
    options = {"dtype": dtype} if dtype else {}
    _, settings = _unpack(EngineSpec(tmp_path, "", options=options))
    line = command_line(settings, tmp_path / "t.jinja", 1, build)
    assert [line[place + 1] for place, word in enumerate(line) if word == "--dtype"] == said


def test_a_server_with_another_model_is_not_attached_to(
    factory: Any, backend: FakeVllm, tmp_path: Path
) -> None:
    """Its answers would be kept, and taken for those of the base that is asked for."""
    ours, other = tmp_path / "ours", tmp_path / "other"
    ours.mkdir()
    other.mkdir()
    asked = EngineSpec(ours, "{{ messages }}", options={"url": backend.url})
    backend.root = str(other)
    with pytest.raises(ConfigError, match=r"runs the model .*other"):
        factory.open(asked)
    backend.root = str(ours)
    with factory.open(asked) as engine:
        assert engine.identity == f"unknown {backend.url}"
    backend.root = "/on/another/machine"  # it cannot be compared: its answers are kept apart
    with factory.open(asked) as engine:
        assert engine.identity == f"unknown {backend.url} /on/another/machine"


def test_servers_that_compute_in_another_way_have_another_identity(
    backend: FakeVllm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A base's kept answers must not stand beside an adapter's on another device or in another number format."""
    found = set()
    for build, extra, dtype in (
        ("cpu", (), ""),
        ("cpu", (), "float32"),
        ("gpu", (), ""),
        ("gpu", ("--dtype", "float16"), ""),
    ):
        monkeypatch.setattr("agentlora.runtime.backend.installed_build", lambda build=build: build)
        settings = ServerSettings(tmp_path, "", dtype=dtype, extra_args=extra)
        engine = VllmEngine(VllmClient(backend.url), None, how=computes_with(settings))
        assert "logits float32" in engine.identity
        found.add(engine.identity)
        engine.__exit__()
    assert len(found) == 4
    assert not any(backend.url in identity for identity in found)
