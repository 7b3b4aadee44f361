"""`agentlora plan`: what it predicts is what happens, at any size. Its advice: test_advice.py."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoModelForCausalLM, Gemma3TextConfig, LlamaConfig, Qwen2Config, Qwen3MoeConfig

from agentlora.core.cli import cli
from agentlora.core.config import RunConfig, parse
from agentlora.core.errors import ConfigError
from agentlora.core.manager import default_plugins
from agentlora.core.resolving import resolve_config
from agentlora.plugins.bases.resolve import resolve_base
from agentlora.plugins.trainers import speed
from agentlora.plugins.trainers.layout import lay_out
from agentlora.plugins.trainers.loading import load_model
from agentlora.plugins.trainers.prediction import counts_of, meta_model, predict
from agentlora.plugins.trainers.rows import Item, Pair, Row
from agentlora.plugins.trainers.simulation import Meter
from agentlora.plugins.trainers.speed import Speed

LLAMA_8B = {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
            "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": False}  # fmt: skip
LLAMA_70B = {**LLAMA_8B, "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80,
             "num_attention_heads": 64}  # fmt: skip
TINY: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 160, "num_attention_heads": 4, "vocab_size": 500,
                        "num_hidden_layers": 6}  # fmt: skip


def rows(groups: int = 2, prefix: int = 40, own: int = 12, answer: int = 5) -> list[Row]:
    return [
        Row(tuple([1] * prefix + [i + 2] * (own + answer)), prefix + own, f"g{group}")
        for group in range(groups)
        for i in range(4)
    ]


def config(method: str = "lora", **training: Any) -> RunConfig:
    return parse(
        RunConfig,
        {
            "task": "x",
            "method": {"name": method},
            "training": {"batch_size": 4, "dtype": "float32", **training},
        },
    )


def of(model_dir: Path, method: str = "lora", settings: dict[str, Any] | None = None, **training: Any) -> Any:
    plugin = default_plugins().get("peft_methods", method)
    params = parse(plugin.Params, settings or {}, "method.params")
    return predict(model_dir, config(method, **training), plugin, params, rows())


def write_config(directory: Path, **settings: Any) -> Path:
    LlamaConfig(**settings).save_pretrained(directory)
    return directory


@pytest.mark.parametrize(
    ("settings", "parameters", "trained"),
    # the figures that others print for Llama 3 at rank 16 on all linear layers
    [(LLAMA_8B, 8_030_261_248, 41_943_040), (LLAMA_70B, 70_553_706_496, 207_093_760)],
)
def test_a_model_larger_than_the_machine_is_counted_exactly(
    tmp_path: Path, settings: dict[str, Any], parameters: int, trained: int
) -> None:
    found = of(write_config(tmp_path, **settings), dtype="bfloat16", micro_batch_size=1)
    assert found.trainable == trained == sum(found.per_module.values())
    assert found.parameters == parameters + trained
    assert found.memory["weights"] == pytest.approx(2 * parameters, rel=1e-3)
    assert found.memory["optimizer"] == pytest.approx(8 * trained, rel=0.01)
    assert found.simulated


def test_a_quantized_base_weighs_about_half_a_byte_a_weight(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    found = of(write_config(tmp_path, **LLAMA_8B), "qlora", dtype="bfloat16", micro_batch_size=1)
    in_linear, others = 6_979_321_856, 2 * 128256 * 4096  # embeddings and output layer stay as they are
    assert found.memory["weights"] == pytest.approx(in_linear * 4.127 / 8 + 2 * others, rel=0.01)


def test_what_pairs_ask_beside_their_updates_takes_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base is asked once about every answer; KTO asks in every epoch about those of other prompts too."""
    monkeypatch.setattr(speed, "measured_speed", lambda *_: Speed(flops=1e11, moved=1e10))
    directory = write_config(tmp_path, **{**LLAMA_8B, "num_hidden_layers": 4})
    method = default_plugins().get("peft_methods", "lora")
    answers = rows(groups=4)
    dpo = [Pair(better, worse) for better, worse in zip(answers[::2], answers[1::2], strict=True)]
    kto = [replace(pair, mismatched=(answers[0],)) for pair in dpo]

    def parts(items: Sequence[Item]) -> tuple[float, float]:
        """Seconds that come once, and seconds an epoch."""
        one, two = (
            predict(
                directory, config(epochs=n, batch_size=2), method, method.Params(), items, True, 2
            ).seconds
            or 0
            for n in (1, 2)
        )
        return 2 * one - two, two - one

    once, epoch = parts(dpo)
    assert 0.2 * epoch < once < 0.6 * epoch  # the same tokens, and no backward pass
    assert parts(answers)[0] == pytest.approx(0, abs=1e-6 * epoch)
    asked, longer = parts(kto)
    assert asked > once
    assert longer > epoch


def test_a_large_model_with_checkpointing_is_followed_from_a_shallow_one_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where few layers have their peak in the logits and many in what is computed twice."""
    from agentlora.plugins.trainers import prediction

    directory = write_config(tmp_path, **{**LLAMA_8B, "num_hidden_layers": 10})
    settings = {"dtype": "bfloat16", "gradient_checkpointing": True, "micro_batch_size": 1}
    found = of(directory, **settings)
    monkeypatch.setattr(prediction, "DEPTHS_CHECKPOINTED", (1, 10))
    whole = of(directory, **settings)
    passes = [sum(one.memory[part] for part in ("activations", "logits")) for one in (found, whole)]
    assert min(found.memory.values()) >= 0
    assert (
        found.memory["logits"] <= 3 * 4 * 5 * 128256 * 4
    )  # of the 5 tokens that are trained in each of 4 rows
    assert passes[0] == pytest.approx(passes[1], rel=0.35)


def test_checkpointing_keeps_less_and_takes_longer(tmp_path: Path) -> None:
    directory = write_config(tmp_path, **{**LLAMA_8B, "num_hidden_layers": 12})
    plain = of(directory, dtype="bfloat16", micro_batch_size=4)
    checked = of(directory, dtype="bfloat16", micro_batch_size=4, gradient_checkpointing=True)
    assert checked.memory["activations"] < plain.memory["activations"] / 2


def test_a_model_is_counted_once_for_all_settings_that_are_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agentlora.plugins.trainers import prediction

    whole: list[Any] = []

    def counting(*args: Any) -> Any:
        whole.append(args[3]) if len(args) == 4 else None
        return meta_model(*args)

    monkeypatch.setattr(prediction, "meta_model", counting)
    directory = write_config(tmp_path, **TINY)
    first = of(directory, micro_batch_size=4)
    again = of(directory, micro_batch_size=1, gradient_checkpointing=True)
    assert len(whole) == 1
    assert (first.per_module, first.memory["weights"]) == (again.per_module, again.memory["weights"])
    for settings, training in (({}, {"dtype": "bfloat16"}), ({"r": 4}, {}), ({}, {"attention": "eager"})):
        before = len(whole)
        of(directory, settings=settings, micro_batch_size=1, **training)
        assert len(whole) == before + 1
    deeper = of(write_config(tmp_path, **{**TINY, "num_hidden_layers": 9}), micro_batch_size=1)
    assert deeper.trainable == first.trainable * 9 // 6


LAYERS_THAT_DIFFER = [
    LlamaConfig(**TINY),
    Qwen2Config(**TINY, use_sliding_window=True, sliding_window=8, max_window_layers=3),
    Gemma3TextConfig(**TINY, head_dim=16),
    Qwen3MoeConfig(**TINY, head_dim=16, num_experts=8, moe_intermediate_size=32, mlp_only_layers=[0, 4]),
]


@pytest.mark.parametrize("settings", LAYERS_THAT_DIFFER, ids=lambda settings: settings.model_type)
@pytest.mark.parametrize("method", ["lora", "vera", "full", "adaption-prompt"])
def test_counts_are_those_of_the_whole_model(settings: Any, method: str, tmp_path: Path) -> None:
    settings.save_pretrained(tmp_path)
    plugin = default_plugins().get("peft_methods", method)
    params = parse(plugin.Params, {})
    training = config(method).training
    if method == "adaption-prompt" and settings.model_type not in ("llama", "mistral"):
        pytest.skip("PEFT adapts the prompts of Llama and Mistral alone")
    with torch.device("meta"):
        model = plugin.apply(AutoModelForCausalLM.from_config(settings, dtype=torch.float32), params)
    sizes = {id(p): (p.numel(), p.requires_grad) for p in model.parameters()}.values()
    found = counts_of(tmp_path, plugin, params, training)
    assert found.parameters == sum(size for size, _ in sizes)
    assert (
        found.trainable == sum(size for size, trained in sizes if trained) == sum(found.per_module.values())
    )
    assert found.weights["adapter"] == 4 * found.trainable


def test_what_asks_for_a_device_counts_as_it_did() -> None:
    """Autograd and indices ask stand-ins thousands of times: answered without torch's way round, and still counted."""
    pretended = FakeTensorMode(allow_non_fake_inputs=True)
    meter = Meter(7, Speed(flops=1e9, moved=1e9))
    with pretended:
        stand_in = torch.empty(10, 5)
        with meter:
            assert torch.ops.prim.device.default(stand_in) == torch.device("cpu")
    assert meter.history == [(0, 0)]
    assert meter.seconds == pytest.approx(10 * 5 * 4 / 1e9)


def test_a_large_models_speed_is_measured_by_parts_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(
        speed, "_products_a_second", lambda *shape: asked.setdefault("products", shape[2:]) and 1.0
    )
    monkeypatch.setattr(speed, "_bytes_a_second", lambda *shape: asked.setdefault("moved", shape[2:]) and 1.0)
    of_starter, of_70b = (4096, 576, 1536), (8192, 8192, 28672)
    speed.measured_speed(torch.bfloat16, "cpu", *of_starter)
    assert asked == {"products": of_starter, "moved": (4096 * 1536,)}
    asked.clear()
    speed.measured_speed(torch.bfloat16, "cpu", *of_70b)
    tokens, width, inner = asked["products"]
    assert width == 8192
    assert width * inner == 2**24
    assert tokens * width * inner == 2**34
    assert asked["moved"] == (2**25,)


def test_what_a_deep_model_keeps_follows_from_a_shallow_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agentlora.plugins.trainers import prediction

    settings = {"hidden_size": 64, "intermediate_size": 160, "num_attention_heads": 4, "vocab_size": 500}
    directory = write_config(tmp_path, **settings, num_hidden_layers=7)
    followed = {method: of(directory, method) for method in ("lora", "full")}
    monkeypatch.setattr(prediction, "DEPTHS", (1, 7))
    for method, found in followed.items():
        whole = of(directory, method)
        assert dict(found.memory) | {"process": 0} == pytest.approx(
            dict(whole.memory) | {"process": 0}, rel=0.02
        )


def test_bytes_are_those_that_a_pass_keeps(tiny_model_dir: Path) -> None:
    """Against autograd's own account of a pass that really runs: what it saves for the way back."""
    model = AutoModelForCausalLM.from_pretrained(
        tiny_model_dir, dtype=torch.float32, attn_implementation="eager"
    )
    batch = {k: v for k, v in lay_out(rows()[:4]).items() if k in ("input_ids", "position_ids")}
    saved: dict[int, int] = {}
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = model(**batch, use_cache=False).logits
    really = sum(saved.values())
    del logits
    from agentlora.plugins.trainers.simulation import on_cpu

    settings = config("full")
    plugin = default_plugins().get("peft_methods", "full")
    outlined = meta_model(tiny_model_dir, plugin, parse(plugin.Params, {}), settings.training)
    outlined.set_attn_implementation("eager")
    pretended = FakeTensorMode(allow_non_fake_inputs=True)
    on_cpu(outlined, pretended)
    meter = Meter(outlined.config.vocab_size, Speed(1e9, 1e9))
    meter.know(outlined)
    fakes = {key: pretended.from_tensor(value) for key, value in batch.items()}
    with pretended, meter:
        made = outlined(**fakes, use_cache=False).logits
    assert made.shape == (1, len(batch["input_ids"][0]), outlined.config.vocab_size)
    assert meter.others + meter.logits == pytest.approx(really, rel=0.2)


def test_where_a_model_cannot_be_simulated_a_formula_stands_in(
    tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agentlora.plugins.trainers import simulation

    def looks_at_values(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("data-dependent")

    exact = of(tiny_model_dir)
    monkeypatch.setattr(simulation, "simulate", looks_at_values)
    found = of(tiny_model_dir)
    assert not found.simulated
    assert found.seconds is None
    assert found.memory["optimizer"] == pytest.approx(exact.memory["optimizer"], rel=0.1)
    assert found.memory["activations"] > exact.memory["activations"] / 3


# --- the command ---


def test_plan_explains_a_training_without_weights(tiny_model_dir: Path, tmp_path: Path) -> None:
    outlined = tmp_path / "outlined"
    outlined.mkdir()
    for file in tiny_model_dir.iterdir():
        if file.suffix != ".safetensors":
            (outlined / file.name).write_bytes(file.read_bytes())
    words = ["plan", "tool-calling", "--model", str(outlined), "--max-len", "600",
             "--set", "data.params.examples=40"]  # fmt: skip
    shown = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert shown.exit_code == 0
    for said in (
        "trained parameters",
        "memory at its peak",
        "will be served on vllm (it could be on: vllm, transformers)",
        "of 40 examples exceed 600",
    ):
        assert said in shown.output
    told = json.loads(CliRunner().invoke(cli, [*words, "--json"], catch_exceptions=False).output)
    assert told["prediction"]["peak"] == sum(told["prediction"]["memory"].values())
    assert told["data"]["too_long"] > 0
    assert "truncation" in [row["about"] for row in told["advice"]]


def test_plan_refuses_what_train_refuses(tmp_path: Path) -> None:
    for words, said in (
        (["plan", "tool-calling", "--method", "dora"], "cannot be served on 'vllm'"),
        (["plan", "tool-calling", "--model", str(tmp_path)], "has no config.json"),
        (["plan", "tool-calling", "--rank", "0"], "method.params.r"),
        (["plan", "tool-calling", "--rank", "4096"], "method.params.r"),
        (["plan", "tool-calling", "--alpha=-1"], "method.params.alpha"),
    ):
        done = SimpleNamespace(result=CliRunner().invoke(cli, words))
        assert said in str(done.result.exception or done.result.output)


def test_what_cannot_be_trained_is_told_before_data_is_built(tiny_model_dir: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    words = ["train", "tool-calling", "--model", str(tiny_model_dir), "--output", str(output)]
    done = CliRunner().invoke(cli, [*words, "--target", "q_porj"])
    assert "q_proj" in str(done.exception)
    assert not output.exists()


def copy_of(model_dir: Path, directory: Path, **settings: Any) -> Path:
    """A model directory whose ``config.json`` says something else."""
    shutil.copytree(model_dir, directory)
    told = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**told, **settings}))
    return directory


def test_weights_that_are_not_the_configurations_are_never_made_up(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    for name, settings in (("deeper", {"num_hidden_layers": 3}), ("wider", {"intermediate_size": 96})):
        directory = copy_of(tiny_model_dir, tmp_path / name, **settings)
        base = resolve_base(str(directory), default_plugins(), tmp_path)
        plugin = default_plugins().get("peft_methods", "lora")
        with pytest.raises(ConfigError, match=r"do not fit its config\.json"):
            load_model(base, plugin, parse(plugin.Params, {}), config().training)


REFUSED_EARLY: list[tuple[str, list[str], str]] = [
    ("pissa", ["--rank", "33"], "takes at most 32: choose --rank 32"),  # keys have 32 outputs, and 64 inputs
    ("miss", ["--rank", "65"], "takes at most 64: choose --rank 64"),
    ("prefix-tuning", ["--gradient-checkpointing"], "Leave --gradient-checkpointing out"),
    ("lora", ["--target", "all-linear,q_proj"], "'all-linear' is a group of layers and stands alone"),
    ("lora", ["--alpha", "1e38"], "method.params.alpha"),
    ("rslora", ["--alpha", "1e308"], "method.params.alpha"),
    ("lora-plus", ["--set", "method.params.lr_ratio=1e300"], "method.params.lr_ratio"),
]


@pytest.mark.parametrize(("name", "words", "said"), REFUSED_EARLY)
@pytest.mark.parametrize("command", ["plan", "train"])
def test_what_would_fail_late_is_refused_before_a_model_loads(
    command: str, name: str, words: list[str], said: str, tiny_model_dir: Path, tmp_path: Path
) -> None:
    given = [command, "tool-calling", "--model", str(tiny_model_dir), "--method", name, "--serve-on", "none",
             "--set", "data.params.examples=40", *words]  # fmt: skip
    output = tmp_path / "run"
    done = CliRunner().invoke(cli, [*given, *(["--output", str(output)] if command == "train" else [])])
    assert isinstance(done.exception, ConfigError), done.output
    assert said in str(done.exception)
    assert not output.exists()


def test_the_largest_ranks_that_fit_are_taken(tiny_model_dir: Path) -> None:
    for name, rank in (("pissa", 32), ("miss", 64), ("loha", 512), ("lokr", 512), ("vera", 512)):
        plugin = default_plugins().get("peft_methods", name)
        assert meta_model(tiny_model_dir, plugin, parse(plugin.Params, {"r": rank}), config().training)


@pytest.mark.parametrize("name", ["full", "galore", "pissa", "bottleneck", "loha", "lokr", "dora", "qlora"])
def test_what_needs_whole_weights_is_refused_on_a_quantized_base(
    name: str, tiny_model_dir: Path, tmp_path: Path
) -> None:
    stored = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    directory = copy_of(tiny_model_dir, tmp_path / "quantized", quantization_config=stored)
    for command in ("plan", "train"):
        words = [command, "tool-calling", "--model", str(directory), "--method", name, "--serve-on", "none"]
        done = CliRunner().invoke(cli, words)
        assert isinstance(done.exception, ConfigError)
        assert "is quantized already" in str(done.exception)
        assert "--method lora" in str(done.exception)


def test_a_conversion_on_a_quantized_base_is_refused(tiny_model_dir: Path, tmp_path: Path) -> None:
    stored = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    directory = copy_of(tiny_model_dir, tmp_path / "quantized", quantization_config=stored)
    words = ["train", "tool-calling", "--model", str(directory), "--method", "miss", "--convert"]
    assert "--convert compares weights in full precision" in str(CliRunner().invoke(cli, words).exception)


def test_a_quantized_base_is_not_quantized_again(tiny_model_dir: Path, tmp_path: Path) -> None:
    directory = copy_of(
        tiny_model_dir, tmp_path / "quantized", quantization_config={"quant_method": "bitsandbytes"}
    )
    words = [
        "train",
        "tool-calling",
        "--model",
        str(directory),
        "--method",
        "qlora",
        "--output",
        str(tmp_path / "run"),
    ]
    done = CliRunner().invoke(cli, words)
    assert "is quantized already" in str(done.exception)
    assert not (tmp_path / "run").exists()


def test_a_method_that_the_task_cannot_use_is_refused() -> None:
    plugins = default_plugins()
    task = replace(plugins.get("tasks", "tool-calling"), methods=("lora", "dora"))
    given = {"method": {"name": "ia3"}, "serve_on": "none"}
    with pytest.MonkeyPatch.context() as patch:
        found = plugins.get
        patch.setattr(plugins, "get", lambda kind, name: task if kind == "tasks" else found(kind, name))
        with pytest.raises(
            ConfigError, match=r"task 'tool-calling' cannot use method 'ia3'\. It takes: dora, lora"
        ):
            resolve_config(plugins, "tool-calling", given)
        assert resolve_config(plugins, "tool-calling").method.name == "lora"


def test_an_architecture_that_is_not_known_is_told_at_once(tiny_model_dir: Path, tmp_path: Path) -> None:
    directory = copy_of(tiny_model_dir, tmp_path / "odd", model_type="frobnicator")
    done = CliRunner().invoke(cli, ["train", "tool-calling", "--model", str(directory)])
    assert "of the kind 'frobnicator'" in str(done.exception)
