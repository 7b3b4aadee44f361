"""The real vLLM with the starter model: what a fake cannot show."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from openai import OpenAI

from agentlora.core.errors import RuntimeFault
from agentlora.core.grammar import calls_tag
from agentlora.core.home import home
from agentlora.core.manager import default_plugins
from agentlora.core.types import Base, ChoiceRequest, EngineSpec, GenerateRequest
from agentlora.eval.calls import parse_answer
from agentlora.eval.probes import take
from agentlora.runtime import backend
from agentlora.runtime.backend import ServerSettings, VllmServer
from agentlora.runtime.engine import VllmEngine, chat_body, read_answer
from agentlora.runtime.probe import AnswersLikeBase, check_adapter, distance, first_token

pytestmark = pytest.mark.slow

TEXTS = [
    "Book a table",
    "What is the weather in Paris?",
    "Turn on the lights",
    "Order two pizzas",
    "Dim the lamp",
]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def chat(text: str, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **fields}


@pytest.fixture(scope="module")
def base() -> Base:
    made = default_plugins().get("base_models", "smollm2-135m").materialise(home())
    assert isinstance(made, Base)
    return made


@pytest.fixture(scope="module")
def adapters(base: Base, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """``random`` changes every answer, ``noop`` none: LoRA as PEFT initialises it, never trained."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    made = {}
    for name, as_peft_does in (("noop", True), ("random", False)):
        made[name] = tmp_path_factory.mktemp(name)
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_pretrained(base.model_dir)
        config = LoraConfig(
            r=16,
            lora_alpha=16,
            target_modules="all-linear",
            init_lora_weights=as_peft_does,
            task_type="CAUSAL_LM",
        )
        get_peft_model(model, config).save_pretrained(made[name])
    return made


@pytest.fixture(scope="module")
def engine(base: Base, adapters: dict[str, Path]) -> Iterator[VllmEngine]:
    # as many slots as adapters: only then does vLLM's last slot hold one (see runtime/vllm_plugin.py)
    spec = EngineSpec(base.model_dir, base.chat_template, options={"max_loras": 2})
    with default_plugins().get("engines", "vllm").open(spec) as opened:
        for name, directory in adapters.items():
            opened.add_adapter(name, directory)
        yield opened


def test_the_raw_text_comes_back_and_tools_are_in_the_prompt(engine: VllmEngine) -> None:
    call = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
    message = ({"role": "user", "content": "What is the weather in Paris?"},)
    tooled = GenerateRequest("1", message, tools=(TOOL,), max_tokens=64)
    # constrained to the call: what is tested is that the server's parser leaves it alone, not what the model likes
    forced = chat_body(tooled, engine.base) | {"structured_outputs": {"choice": [call]}}
    assert read_answer("1", engine.client.chat(forced)).text == call
    plain, offered, unknown = engine.generate(
        [GenerateRequest("0", message), tooled, GenerateRequest("2", message, adapter="nobody")]
    )
    assert offered.prompt_tokens > plain.prompt_tokens + 50
    assert "<|im_end|>" not in offered.text + plain.text
    assert "nobody" in str(unknown.error)


def test_choices_are_as_likely_as_transformers_finds_them(
    engine: VllmEngine, base: Base, adapters: dict[str, Path]
) -> None:
    """Both in bfloat16, each with its own kernels; what an adapter moves is many times what rounding does."""
    probes = [probe for probe in take(36) if all(probe.choices)]  # "" is all else; no engine is asked for it
    options = {"device": "cpu", "dtype": "bfloat16"}
    spec = EngineSpec(base.model_dir, base.chat_template, options=options)
    sums = {}
    with default_plugins().get("engines", "transformers").open(spec) as reference:
        reference.add_adapter("random", adapters["random"])
        for adapter in (None, "random"):
            asked = [ChoiceRequest(p.id, p.messages, p.choices, p.tools, adapter) for p in probes]
            for name, opened in (("vllm", engine), ("transformers", reference)):
                outputs = opened.score_choices(asked)
                assert [o.error for o in outputs] == [None] * len(probes)
                sums[name, adapter] = [
                    value / len(choice.encode())
                    for o, p in zip(outputs, probes, strict=True)
                    for value, choice in zip(o.log_probs, p.choices, strict=True)
                ]

    def apart(one: tuple[str, str | None], other: tuple[str, str | None]) -> float:
        return median(abs(a - b) for a, b in zip(sums[one], sums[other], strict=True))

    moved = apart(("vllm", None), ("vllm", "random"))
    for adapter in (None, "random"):
        assert apart(("vllm", adapter), ("transformers", adapter)) < moved / 5


def test_choices_are_made_by_logits_in_float32(engine: VllmEngine) -> None:
    """In bfloat16 logits from 4 on come in steps of 1/32, and log-probabilities differ by multiples of that."""
    asked = [
        GenerateRequest(text, ({"role": "user", "content": text},), adapter=adapter, max_tokens=8)
        for text in TEXTS
        for adapter in (None, "random")
    ]
    places = [sorted(likeliest.values()) for trace in engine.trace(asked) for likeliest in trace.likeliest]
    steps = [32 * (b - a) for place in places for a, b in pairwise(place)]
    assert len(steps) > 100
    assert sum(abs(step - round(step)) > 0.02 for step in steps) > len(steps) / 2


def test_a_schema_holds_the_answer(engine: VllmEngine) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"enum": [4, 5]}},
        "required": ["n"],
        "additionalProperties": False,
    }
    message = ({"role": "user", "content": "How many legs has a dog?"},)
    (output,) = engine.generate([GenerateRequest("0", message, json_schema=schema, max_tokens=24)])
    assert json.loads(output.text)["n"] in (4, 5)


def test_the_server_holds_calls_to_the_tools_schema(engine: VllmEngine) -> None:
    message = ({"role": "user", "content": "Weather in Paris?"},)
    request = GenerateRequest("0", message, tools=(TOOL,), adapter="random", max_tokens=96, strict_calls=True)
    (free,) = engine.generate([request])
    assert free.error is None
    assert "<tool_call>" not in free.text  # noise would not happen to begin a call
    tag = calls_tag([TOOL])
    tag["format"]["at_least_one"] = True  # so that even noise has to write one
    forced = chat_body(request, engine.base) | {"structured_outputs": {"structural_tag": json.dumps(tag)}}
    text = read_answer("0", engine.client.chat(forced)).text
    called = parse_answer(text).calls[0]
    assert called.name == "get_weather"
    assert list(called.arguments) == ["city"]


@pytest.mark.parametrize("stream", [False, True])
def test_the_servers_parser_makes_tool_calls(engine: VllmEngine, stream: bool) -> None:
    """Our template and vLLM's parser mean the same: what is written as a call arrives as one."""
    text = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
    client = OpenAI(base_url=f"{engine.client.url}/v1", api_key="none")
    answer: Any = client.chat.completions.create(
        model=engine.base,
        messages=[{"role": "user", "content": "Weather in Paris?"}],
        tools=[TOOL],
        tool_choice="auto",
        max_tokens=64,
        stream=stream,
        extra_body={"structured_outputs": {"choice": [text]}},
    )
    if stream:
        deltas = [call for part in answer for call in part.choices[0].delta.tool_calls or []]
        names = "".join(delta.function.name or "" for delta in deltas)
        arguments = "".join(delta.function.arguments or "" for delta in deltas)
    else:
        (call,) = answer.choices[0].message.tool_calls
        names, arguments = call.function.name, call.function.arguments
    assert names == "get_weather"
    assert json.loads(arguments) == {"city": "Paris"}


def test_base_and_adapter_stay_apart_in_one_batch(engine: VllmEngine) -> None:
    assert backend.plugin_registered(), "the entry point vllm.general_plugins is not installed"

    def ask(job: tuple[str, str]) -> dict[str, float]:
        return first_token(engine.client, job[0], chat(job[1]))

    for text in TEXTS:  # both slots are filled now
        ask(("noop", text)), ask(("random", text))
    alone = {(model, text): ask((model, text)) for model in ("base", "random") for text in TEXTS}
    jobs = [(model, text) for text in TEXTS for model in ("base", "random")] * 2
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(ask, jobs))
    for (model, text), answer in zip(jobs, together, strict=True):
        other = "random" if model == "base" else "base"
        assert distance(answer, alone[model, text]) < distance(answer, alone[other, text]), (model, text)


@pytest.mark.parametrize("warm", [False, True])
def test_only_an_adapter_without_effect_is_refused(engine: VllmEngine, warm: bool) -> None:
    prompts = [chat(text, tools=[TOOL]) for text in TEXTS]
    if (
        warm
    ):  # a cached prefix rounds differently from a fresh one: the probe must not take that for an effect
        engine.client.chat(prompts[0] | {"model": "base", "max_tokens": 1, "tool_choice": "none"})
    check_adapter(engine.client, "base", "random", prompts)
    with pytest.raises(AnswersLikeBase):
        check_adapter(engine.client, "base", "noop", prompts)


def test_a_server_that_dies_while_starting_says_why(base: Base, tmp_path: Path) -> None:
    settings = ServerSettings(base.model_dir, base.chat_template, max_len_tokens=10_000_000)
    server = VllmServer(settings, tmp_path / "log")
    with pytest.raises(RuntimeFault, match="vLLM ended while starting") as caught:
        server.start()
    assert "max_model_len" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 18
    assert not server.alive()


def test_nothing_is_left_when_the_starter_is_killed(base: Base, tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from agentlora.runtime.backend import ServerSettings, VllmServer\n"
        "server = VllmServer(ServerSettings(Path(sys.argv[1]), sys.argv[2]), Path(sys.argv[3])).start()\n"
        "print(server._process.pid, flush=True)\ntime.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(base.model_dir), base.chat_template, str(tmp_path / "log")]
    starter = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    group = int(starter.stdout.readline())
    assert len(_running(group)) >= 4  # the keeper, the server, the engine core, the worker
    os.kill(starter.pid, signal.SIGKILL)
    starter.wait()
    for _ in range(200):
        if not _running(group):
            return
        time.sleep(0.1)
    raise AssertionError(f"still running: {_running(group)}")


def _running(group: int) -> list[str]:
    rows = subprocess.run(
        ["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True, check=True
    ).stdout
    columns = [row.split(None, 2) for row in rows.splitlines()]
    return [" ".join(c) for c in columns if c[0] == str(group) and not c[1].startswith("Z")]
