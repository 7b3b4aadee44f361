"""What a method's card calls servable by vLLM, a real vLLM serves: its first tokens are those of transformers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentlora.core.config import parse
from agentlora.core.home import home
from agentlora.core.manager import default_plugins
from agentlora.core.types import JSON, Base, EngineSpec, Method
from agentlora.plugins.bases.resolve import resolve_base
from agentlora.plugins.methods.plugin import METHODS
from agentlora.runtime.engine import VllmEngine, VllmEngineFactory
from agentlora.runtime.probe import distance, first_token

pytestmark = pytest.mark.slow
ASKED = ("What is the capital of France?", "Write one line about the sea.", "Count to three.")


def servable() -> list[str]:
    plugins = default_plugins()
    return [name for name in METHODS if "vllm" in plugins.get("peft_methods", name).card.serve_on]


@pytest.fixture(scope="module")
def base() -> Base:
    return resolve_base("smollm2-135m", default_plugins(), home())


@pytest.fixture(scope="module")
def engine(base: Base) -> Iterator[VllmEngine]:
    spec = EngineSpec(base.model_dir, base.chat_template, base.tool_call_parser, max_lora_rank=32)
    with VllmEngineFactory().open(spec) as opened:
        yield opened


def exported(method: Method, base: Base, directory: Path) -> tuple[Any, Any]:
    """(tokenizer, model) of an adapter with random weights, exported into `directory`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    params = parse(method.Params, {})
    torch.manual_seed(0)
    kwargs = {"dtype": torch.float32, **method.load_kwargs(params)}
    model = method.apply(AutoModelForCausalLM.from_pretrained(base.model_dir, **kwargs), params)
    with torch.no_grad():
        for number, (parameter_name, parameter) in enumerate(model.named_parameters()):
            if ".lora_E." in parameter_name:  # AdaLoRA's: a rank of its own for every layer
                parameter.normal_()
                parameter[1 + number % 20 :] = 0
            elif parameter.requires_grad:
                parameter.add_(0.03 * torch.randn_like(parameter))
    directory.mkdir()
    method.export(model, directory)
    return AutoTokenizer.from_pretrained(base.model_dir), model.eval()


@pytest.mark.parametrize("name", servable())
def test_vllm_answers_as_transformers_does(name: str, base: Base, engine: VllmEngine, tmp_path: Path) -> None:
    import torch
    from peft import PeftModelForCausalLM
    from transformers import AutoModelForCausalLM

    tokenizer, _ = exported(default_plugins().get("peft_methods", name), base, tmp_path / "adapter")
    exact, rounded = (
        PeftModelForCausalLM.from_pretrained(
            AutoModelForCausalLM.from_pretrained(base.model_dir, dtype=torch.float32), tmp_path / "adapter"
        )
        .eval()
        .to(dtype)
        for dtype in (torch.float32, torch.bfloat16)
    )
    engine.add_adapter(f"{name}@1", tmp_path / "adapter")
    effects = []
    for text in ASKED:
        request: JSON = {"messages": [{"role": "user", "content": text}]}
        prompt = tokenizer.apply_chat_template(
            request["messages"], chat_template=base.chat_template, add_generation_prompt=True, tokenize=False
        )
        with torch.no_grad():
            ids = torch.tensor([tokenizer(prompt, add_special_tokens=False)["input_ids"]])
            logprobs, in_bfloat16 = (
                torch.log_softmax(model(ids).logits[0, -1].float(), -1) for model in (exact, rounded)
            )
        served = first_token(engine.client, f"{name}@1", request)
        places = {token: tokenizer.convert_tokens_to_ids(piece) for token, piece in pieces(tokenizer, served)}
        expected = {token: float(logprobs[place]) for token, place in places.items()}
        # bfloat16 moves them in transformers too, most where two large factors cancel (pissa, by up to 0.4)
        moved = distance(expected, {token: float(in_bfloat16[place]) for token, place in places.items()})
        assert distance(expected, served) < 0.2 + moved
        effects.append(distance(first_token(engine.client, engine.base, request), served))
    assert max(effects) > 0.9  # what would be missed by the first comparison if the base had answered


def pieces(tokenizer: Any, tokens: JSON) -> Iterator[tuple[str, str]]:
    """(a token as text, as the vocabulary has it) of those that stand for one piece."""
    for token in tokens:
        found = tokenizer.tokenize(token)
        if len(found) == 1:
            yield token, found[0]
