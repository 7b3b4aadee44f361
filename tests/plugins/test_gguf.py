"""GGUF files, read back by others than their writer, answer as what was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from click.testing import CliRunner
from gguf import GGMLQuantizationType, GGUFReader
from peft import LoraConfig, PeftModelForCausalLM, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from agentlora.core.cli import cli
from agentlora.core.config import RunConfig, parse
from agentlora.core.errors import ConfigError
from agentlora.core.manager import default_plugins
from agentlora.core.pipeline import train
from agentlora.core.run import Run, create_run
from agentlora.core.types import Example
from agentlora.plugins.methods.gguf_files import write_adapter

LAYERS, HEADS, KV_HEADS, RANK, ALPHA = 2, 4, 2, 4, 6
MODELS = {  # heads of a Qwen3 have 128 values: transformers does not read how many from GGUF
    "llama": ("Llama", {}), "qwen2": ("Qwen2", {}), "qwen3": ("Qwen3", {"head_dim": 128}),
}  # fmt: skip
# GGUF's names, as its specification has them, beside those of transformers
NAMES = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}  # fmt: skip
IDS = torch.arange(5, 60)[None]


def small_model(architecture: str, tiny: Path, directory: Path) -> Path:
    """Random weights, norms and biases too, so that none can stand for another; the tiny model's tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    name, settings = MODELS[architecture]
    config = getattr(transformers, f"{name}Config")(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, max_position_embeddings=4096,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
        initializer_range=0.2, **settings,
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="module", params=MODELS)
def trained(
    request: pytest.FixtureRequest,
    tiny_model_dir: Path,
    examples: list[Example],
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    """A LoRA of four updates, its scale 1.5."""
    folder = tmp_path_factory.mktemp(request.param)
    base = small_model(request.param, tiny_model_dir, folder / "base")
    training = {"lr": 2e-2, "batch_size": 8, "max_steps": 4, "dtype": "float32"}
    method = {"params": {"r": RANK, "alpha": ALPHA}}
    raw = {"task": "tool-calling", "model": str(base), "training": training, "method": method}
    run = create_run(parse(RunConfig, raw), folder / "run")
    run.write_examples("train", examples)
    run.write_examples("dev", examples[:2])
    (run.directory / "data" / "card.json").write_text("{}")
    train(run, default_plugins())
    return run


def export(run: Run, form: str, output: Path) -> None:
    words = ["export", str(run.directory), "--format", form, "--output", str(output)]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.exception
    assert [path.name for path in output.parent.glob(".*")] == []


def plain(base: str | Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()


def logits_of(model: Any) -> torch.Tensor:
    """[tokens, vocabulary]"""
    with torch.no_grad():
        return model(IDS).logits[0]  # type: ignore[no-any-return]


def by_halves(heads: int, rows: int) -> list[int]:
    """Where llama.cpp's rows of q and k stand that transformers has in this order: llama.cpp turns the pairs (0, 1),
    (2, 3) … of a head's rows, transformers row i of the first half with row i of the second.
    """
    size = rows // heads
    return [head * size + 2 * i + half for head in range(heads) for half in (0, 1) for i in range(size // 2)]


def base_with(adapter: Path, base: str | Path) -> Any:
    """The base of transformers with alpha/rank · B·A of a GGUF adapter in its weights, as llama.cpp adds them."""
    reader = GGUFReader(adapter)
    told = {key: field.contents() for key, field in reader.fields.items()}
    architecture = told["general.architecture"]
    assert (told["general.type"], told["adapter.type"]) == ("adapter", "lora")
    assert {tensor.tensor_type for tensor in reader.tensors} == {GGMLQuantizationType.F32}
    factors = {tensor.name: torch.from_numpy(tensor.data.copy()) for tensor in reader.tensors}
    model = plain(base)
    assert model.config.model_type == architecture
    for layer in range(LAYERS):
        for name, module in NAMES.items():
            down, up = (factors.pop(f"blk.{layer}.{name}.weight.lora_{part}") for part in "ab")
            update = told["adapter.lora.alpha"] / len(down) * up @ down
            if architecture == "llama" and name in ("attn_q", "attn_k"):
                update = update[by_halves(HEADS if name == "attn_q" else KV_HEADS, len(update))]
            weight = model.get_submodule(f"model.layers.{layer}.{module}").weight
            weight.data += update
    assert not factors  # there is nothing else in it
    return model


def test_an_adapter_read_back_answers_as_the_trained_one(trained: Run, tmp_path: Path) -> None:
    """It is stored in float32, so that nothing is lost but the order of sums."""
    base = trained.config.model
    export(trained, "peft", tmp_path / "peft")
    files = (path / "adapter_model.safetensors" for path in (tmp_path / "peft", trained.adapter_dir))
    assert len({file.read_bytes() for file in files}) == 1
    expected = logits_of(PeftModelForCausalLM.from_pretrained(plain(base), tmp_path / "peft").eval())
    export(trained, "gguf", tmp_path / "adapter.gguf")
    found = logits_of(base_with(tmp_path / "adapter.gguf", base))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)
    assert (logits_of(plain(base)) - expected).abs().max() > 1


def test_ranks_and_scales_of_single_layers_are_kept(trained: Run, tmp_path: Path) -> None:
    """One alpha stands for all in GGUF, and is divided by the rank of each layer."""
    base = trained.config.model
    ranks = {"model.layers.0.self_attn.q_proj": 2, "model.layers.1.mlp.down_proj": 7}
    alphas = {"model.layers.0.self_attn.q_proj": 11, "model.layers.1.self_attn.k_proj": 1}
    config = LoraConfig(
        r=RANK, lora_alpha=ALPHA, rank_pattern=ranks, alpha_pattern=alphas, target_modules="all-linear",
        task_type="CAUSAL_LM", init_lora_weights=False,
    )  # fmt: skip
    torch.manual_seed(1)
    model = get_peft_model(plain(base), config).eval()
    model.save_pretrained(tmp_path / "peft")
    write_adapter(tmp_path / "peft", Path(base), tmp_path / "adapter.gguf")
    found = logits_of(base_with(tmp_path / "adapter.gguf", base))
    torch.testing.assert_close(found, logits_of(model), atol=1e-4, rtol=1e-5)


def test_a_rank_by_a_pattern_of_names_is_refused(trained: Run, tmp_path: Path) -> None:
    config = LoraConfig(
        r=RANK, rank_pattern={"q_proj": 2}, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    get_peft_model(plain(trained.config.model), config).save_pretrained(tmp_path / "peft")
    with pytest.raises(ConfigError, match="names layers by patterns: export --format gguf-merged"):
        write_adapter(tmp_path / "peft", Path(trained.config.model), tmp_path / "adapter.gguf")


def test_a_merged_model_read_by_transformers_answers_as_the_trained_one(trained: Run, tmp_path: Path) -> None:
    """Its matrices are stored in float16, each number to 11 bits."""
    base = trained.config.model
    expected = logits_of(PeftModelForCausalLM.from_pretrained(plain(base), trained.adapter_dir).eval())
    export(trained, "gguf-merged", tmp_path / "merged.gguf")
    read = AutoModelForCausalLM.from_pretrained(
        tmp_path,
        gguf_file="merged.gguf",
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    ).eval()
    assert (logits_of(read) - expected).abs().max() < 0.05
    assert (logits_of(plain(base)) - expected).abs().max() > 1
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, gguf_file="merged.gguf")
    text = "<|im_start|>user\nlight in the hall, 20 %<|im_end|>\n"
    assert tokenizer(text)["input_ids"] == AutoTokenizer.from_pretrained(base)(text)["input_ids"]
