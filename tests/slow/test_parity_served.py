"""A real vLLM and transformers give the same greedy answers: ``agentlora eval parity`` on the starter model."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from agentlora.core.cli import cli
from agentlora.core.config import RunConfig, parse
from agentlora.core.home import home
from agentlora.core.manager import default_plugins
from agentlora.core.pipeline import adapter_digest, base_facts
from agentlora.core.run import Run, create_run
from agentlora.plugins.bases.resolve import resolve_base
from agentlora.tasks.tool_calling.builder import ToolRequestParams, ToolRequests

pytestmark = pytest.mark.slow
MODEL = "smollm2-135m"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with requests of dev, and a LoRA adapter of random weights that changes every answer."""
    import torch
    from transformers import AutoModelForCausalLM

    plugins = default_plugins()
    base = resolve_base(MODEL, plugins, home())
    made = create_run(
        parse(RunConfig, {"task": "tool-calling", "model": MODEL}), tmp_path_factory.mktemp("parity") / "run"
    )
    params = ToolRequestParams(real_tools=0, dev_examples=100)
    made.write_examples("dev", list(ToolRequests().build("dev", params, 0)))
    method = plugins.get("peft_methods", "lora")
    settings = parse(method.Params, {})
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(base.model_dir, dtype=torch.float32)
    model = method.apply(model, settings)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn_like(parameter))
    made.adapter_dir.mkdir()
    method.export(model, made.adapter_dir)
    made.add_facts(base=base_facts(base), adapter_digest=adapter_digest(made))
    return made


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_vllm_and_transformers_answer_alike(run: Run, dtype: str) -> None:
    # random weights make flat distributions: two steps of a bfloat16 logit, see `agentlora.eval.parity.MOST_GAP`
    options = ["--dtype", dtype, "--most-gap", "0.25", "--json"]
    done = CliRunner().invoke(cli, ["eval", "parity", str(run.directory), *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    (parity,) = json.loads(done.stdout)["parity"]
    assert (parity["n"], parity["sides"]) == (100, ["vllm", "transformers"])
    assert parity["equal"] >= (98 if dtype == "float32" else 1)
    assert parity["gap_nat"] is None or parity["gap_nat"]["median"] < 0.1


def test_the_adapter_speaks_on_both_sides(run: Run) -> None:
    """Else the base would be compared with itself."""
    from agentlora.core.types import EngineSpec, GenerateRequest
    from agentlora.eval.engines.hf import TransformersFactory

    base = resolve_base(MODEL, default_plugins(), home())
    with TransformersFactory().open(EngineSpec(base.model_dir, base.chat_template)) as engine:
        engine.add_adapter("a", run.adapter_dir)
        examples = run.examples("dev")[:6]
        with_it, without = (
            [o.text for o in engine.generate([
                GenerateRequest(e.id, e.messages, e.tools, adapter=adapter, max_tokens=16) for e in examples
            ])]
            for adapter in ("a", None)
        )  # fmt: skip
    assert sum(a != b for a, b in zip(with_it, without, strict=True)) >= 5
