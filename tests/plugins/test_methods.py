"""Every built-in PEFT method, trained for real on a tiny model, and held to what its card says."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModelForCausalLM
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from agentlora.core.config import RunConfig, parse
from agentlora.core.errors import ConfigError
from agentlora.core.exports import export_run, forms_of
from agentlora.core.manager import default_plugins
from agentlora.core.pipeline import base_facts
from agentlora.core.resolving import resolve_config
from agentlora.core.run import Run, create_run
from agentlora.core.types import METHOD_FILE, Base, EngineSpec, Example, GenerateRequest, Method
from agentlora.eval.engines.hf import TransformersFactory
from agentlora.plugins.bases.resolve import resolve_base
from agentlora.plugins.methods.convert import merged_updates, to_lora, weight_updates
from agentlora.plugins.methods.gguf_files import write_adapter
from agentlora.plugins.methods.merged import load_trained, write_merged
from agentlora.plugins.methods.plugin import METHODS
from agentlora.plugins.trainers.rows import encode
from agentlora.registry.servable import tensor_problems, vllm_problems

# what a tiny model and twelve updates need; method.params, training
SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "adalora": ({"r": 2, "initial_r": 4}, {}),
    "adaption-prompt": ({"layers": 2}, {"lr": 0.1}),
    "bottleneck": ({"size": 16, "where": "houlsby"}, {}),
    "full": ({}, {"lr": 5e-3}),
    "galore": ({"r": 8, "update_every": 5, "scale": 1.0}, {"lr": 1e-2}),
    "ia3": ({}, {"lr": 0.1}),
    "lora-plus": ({"r": 4}, {"lr": 5e-3}),
    "lokr": ({"r": 4}, {}),
    "loha": ({"r": 4}, {}),
    "miss": ({"r": 4}, {}),
    "prefix-tuning": ({"tokens": 16}, {"lr": 0.5}),
    "prompt-tuning": ({"tokens": 8}, {"lr": 0.3}),
    "vera": ({"r": 32}, {"lr": 0.1}),
}


@dataclass
class Trained:
    """A finished training: the model as it was when it was exported, and its logits [length, vocabulary]."""

    name: str
    method: Method
    run: Run
    base: Base
    model: Any
    ids: torch.Tensor
    logits: torch.Tensor

    def fresh_base(self) -> Any:
        params = parse(self.method.Params, self.run.config.method.params)
        kwargs = {"dtype": torch.float32, **self.method.load_kwargs(params)}
        model = AutoModelForCausalLM.from_pretrained(self.base.model_dir, **kwargs)
        for module in model.modules():
            module.support_avx512bf16_for_cpu = False  # bitsandbytes' kernel for answering rounds to bfloat16
        return model

    def reloaded(self, directory: Path | None = None) -> Any:
        directory = directory or self.run.adapter_dir
        if (directory / METHOD_FILE).is_file():
            return self.method.load(self.base.model_dir, directory, dtype=torch.float32)  # type: ignore[attr-defined]
        return PeftModelForCausalLM.from_pretrained(self.fresh_base(), directory)

    def logits_of(self, model: Any) -> torch.Tensor:
        return logits_of(model, self.ids)


def logits_of(model: Any, ids: torch.Tensor) -> torch.Tensor:
    model.eval()
    ids = ids.to(model.device)
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
    return logits[-ids.shape[1] :].float().cpu()


@pytest.fixture(scope="module", params=sorted(METHODS))
def trained(
    request: pytest.FixtureRequest,
    tiny_model_dir: Path,
    examples: list[Example],
    tmp_path_factory: pytest.TempPathFactory,
) -> Trained:
    name = request.param
    params, training = SETTINGS.get(name, ({"r": 4}, {}))
    training = {"lr": 2e-2, "batch_size": 8, "max_steps": 12, "dtype": "float32", **training}
    config = parse(
        RunConfig,
        {
            "task": "tool-calling",
            "model": str(tiny_model_dir),
            "training": training,
            "method": {"name": name, "params": params},
        },
    )
    directory = tmp_path_factory.mktemp(name)
    plugins = default_plugins()
    run, base = create_run(config, directory / "run"), resolve_base(config.model, plugins, directory)
    tokenizer = AutoTokenizer.from_pretrained(base.model_dir)
    ids = torch.tensor([encode(examples[:1], tokenizer, base.chat_template, 1024).items[0].ids])
    method = copy.copy(plugins.get("peft_methods", name))
    kept: dict[str, Any] = {}
    export = method.export

    def export_and_keep(model: Any, target: Path) -> Any:
        kept.update(model=model, logits=logits_of(model, ids))
        return export(model, target)

    method.export = export_and_keep
    plugins.get("trainers", "sft").fit(run, base, method, examples)
    return Trained(name, method, run, base, kept["model"], ids, kept["logits"])


def test_the_loss_falls(trained: Trained) -> None:
    head, *rows = map(json.loads, trained.run.metrics_file.read_text().splitlines())
    assert head["method"] == trained.name
    share = head["trainable_parameters"] / head["all_parameters"]
    assert share == 1 if trained.name in ("full", "galore") else 0 < share < 1
    losses = [row["loss"] for row in rows]
    assert len(losses) == 12
    assert min(losses[-3:]) < 0.9 * losses[0]
    assert '"event": "warning"' not in (trained.run.directory / "journal.jsonl").read_text()


def test_only_the_adapter_learns(trained: Trained) -> None:
    learning = [name for name, p in trained.model.named_parameters() if p.requires_grad]
    assert learning
    if trained.name in ("full", "galore"):
        assert len(learning) == len(list(trained.model.parameters()))
        return
    original = load_file(trained.base.model_dir / "model.safetensors")
    if trained.name == "qlora":  # rounded as they were loaded, and not once more
        original = plain_names(trained.fresh_base().state_dict())
    if trained.name == "pissa":  # without the components that the adapter began with
        for name, taken in components(trained.model.began.name):
            original[f"{name}.weight"] = original[f"{name}.weight"] - taken
    base = (
        trained.model.get_base_model() if isinstance(trained.model, PeftModelForCausalLM) else trained.model
    )
    now = plain_names(base.state_dict())
    for name, tensor in original.items():
        if trained.name == "pissa":
            torch.testing.assert_close(now[name], tensor, atol=1e-5, rtol=0, msg=name)
        else:
            assert torch.equal(now[name], tensor), name


def plain_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Those of the model without an adapter."""
    return {
        name.replace(".base_layer", "").replace("self_attn.model.", "self_attn."): tensor
        for name, tensor in state.items()
    }


def components(adapter: str) -> Iterator[tuple[str, torch.Tensor]]:
    """(layer, what an adapter adds to its weight) of a LoRA as PEFT saves it."""
    settings = json.loads((Path(adapter) / "adapter_config.json").read_text())
    tensors = load_file(Path(adapter) / "adapter_model.safetensors")
    for name, down in tensors.items():
        if name.endswith(".lora_A.weight"):
            up = tensors[name.replace("lora_A", "lora_B")]
            layer = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            yield layer, settings["lora_alpha"] / settings["r"] * up @ down


def test_what_is_saved_answers_as_what_was_trained(trained: Trained) -> None:
    assert (trained.logits - trained.logits_of(trained.fresh_base())).abs().max() > 0.1
    torch.testing.assert_close(trained.logits_of(trained.reloaded()), trained.logits, atol=2e-4, rtol=1e-4)


def test_what_is_called_servable_is_plain_lora(trained: Trained) -> None:
    card, directory = trained.method.card, trained.run.adapter_dir
    config = directory / "adapter_config.json"
    problems = vllm_problems(json.loads(config.read_text()) if config.is_file() else {})
    assert ("vllm" in card.serve_on) == (problems == []), problems
    assert ("vllm" in card.serve_on) == (card.to_lora == "is")
    if "vllm" in card.serve_on:
        assert tensor_problems(directory / "adapter_model.safetensors") == []


def test_what_is_called_mergeable_can_be_merged(trained: Trained) -> None:
    if (trained.run.adapter_dir / METHOD_FILE).is_file():
        assert trained.method.card.mergeable == (trained.name != "bottleneck")
        return
    model = PeftModelForCausalLM.from_pretrained(
        AutoModelForCausalLM.from_pretrained(trained.base.model_dir, dtype=torch.float32),
        trained.run.adapter_dir,
    )
    expected = trained.logits_of(model)
    if not trained.method.card.mergeable:
        with pytest.raises((ValueError, AttributeError, TypeError)):
            model.merge_and_unload()
        return
    torch.testing.assert_close(trained.logits_of(model.merge_and_unload()), expected, atol=2e-4, rtol=1e-4)


def test_a_merged_model_is_one_of_its_own(trained: Trained, tmp_path: Path) -> None:
    prompts, target = [(trained.ids[0].tolist(), 1)], tmp_path / "merged"
    if not trained.method.card.mergeable:
        with pytest.raises(ConfigError, match="cannot be merged"):
            write_merged(trained.method, trained.base, trained.run.adapter_dir, target, prompts)
        assert not target.exists()
        return
    lost = write_merged(trained.method, trained.base, trained.run.adapter_dir, target, prompts)
    assert lost < 1e-6
    model = AutoModelForCausalLM.from_pretrained(target, dtype=torch.float32)
    expected = trained.logits_of(load_trained(trained.method, trained.base, trained.run.adapter_dir))
    torch.testing.assert_close(trained.logits_of(model), expected, atol=2e-4, rtol=1e-4)
    assert AutoTokenizer.from_pretrained(target).chat_template == trained.base.chat_template


def test_the_forms_that_are_offered_are_those_that_there_are(trained: Trained, tmp_path: Path) -> None:
    offered = forms_of(trained.run, default_plugins())
    settings = trained.run.adapter_dir / "adapter_config.json"
    assert ("peft" in offered) == settings.is_file()
    assert ("merged" in offered) == ("gguf-merged" in offered) == trained.method.card.mergeable
    if "gguf" in offered:
        write_adapter(trained.run.adapter_dir, trained.base.model_dir, tmp_path / "adapter.gguf")
    elif settings.is_file():
        with pytest.raises(ConfigError, match="only plain LoRA"):
            write_adapter(trained.run.adapter_dir, trained.base.model_dir, tmp_path / "adapter.gguf")
    if trained.name == "prompt-tuning":
        trained.run.add_facts(base=base_facts(trained.base))
        with pytest.raises(ConfigError, match=r"'prompt-tuning' trains has no --format gguf\. Choose peft\."):
            export_run(trained.run, default_plugins(), "gguf", tmp_path / "made.gguf")


def test_what_is_called_convertible_becomes_lora(trained: Trained, tmp_path: Path) -> None:
    card = trained.method.card
    if card.to_lora == "is":
        return
    model = trained.reloaded()
    peft = isinstance(model, PeftModelForCausalLM)
    if card.to_lora == "never":
        if peft:
            with pytest.raises(ValueError, match="changes no weight"):
                to_lora(merged_updates(model), tmp_path)
        return
    updates = merged_updates(model) if peft else weight_updates(model, trained.fresh_base())
    if card.to_lora == "exact":
        converted = to_lora(updates, tmp_path)
        assert converted.weight_error < 1e-4
        torch.testing.assert_close(
            trained.logits_of(trained.reloaded(tmp_path)), trained.logits, atol=1e-4, rtol=1e-4
        )
    else:
        converted = to_lora(updates, tmp_path, rank=4)
        assert 1e-4 < converted.weight_error < 1
    assert vllm_problems(json.loads((tmp_path / "adapter_config.json").read_text())) == []
    assert tensor_problems(tmp_path / "adapter_model.safetensors") == []


def test_the_engine_answers_with_whatever_was_exported(trained: Trained) -> None:
    """The same likeliest tokens as the trained model's, and the base's own beside them."""
    spec = EngineSpec(trained.base.model_dir, trained.base.chat_template, "hermes")
    request = GenerateRequest("1", ({"role": "user", "content": "light in the hall"},), max_tokens=8)
    long = replace(
        request, id="2", messages=({"role": "user", "content": "please " * 20 + "light in the attic"},)
    )
    with TransformersFactory().open(spec) as engine:
        engine.add_adapter("skill@1", trained.run.adapter_dir)
        asked = [request, *(replace(r, adapter="skill@1") for r in (request, long))]
        of_base, of_adapter, of_long = engine.generate(asked)
        # whoever shares its batch
        assert [engine.generate([one])[0].text for one in asked] == [
            of_base.text,
            of_adapter.text,
            of_long.text,
        ]
    assert not of_base.error
    assert not of_adapter.error
    assert of_base.text != of_adapter.text
    tokenizer = AutoTokenizer.from_pretrained(trained.base.model_dir)
    prompt = tokenizer.apply_chat_template(
        list(request.messages),
        chat_template=trained.base.chat_template,
        add_generation_prompt=True,
        tokenize=False,
    )
    ids = torch.tensor([tokenizer(prompt, add_special_tokens=False)["input_ids"]])
    model = trained.reloaded().eval()
    new = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False
    )
    if trained.name != "qlora":  # the engine's base is in full precision
        assert tokenizer.decode(new[0, ids.shape[1] :]).startswith(of_adapter.text)
    with TransformersFactory().open(spec) as engine:
        assert engine.generate([request])[0].text == of_base.text


def test_a_method_that_vllm_cannot_serve_is_refused_before_anything_loads() -> None:
    plugins = default_plugins()
    for name in METHODS:
        layers = {"method": {"name": name}, "serve_on": "vllm"}
        if "vllm" in plugins.get("peft_methods", name).card.serve_on:
            assert resolve_config(plugins, "tool-calling", layers).serve_on == "vllm"
        else:
            with pytest.raises(ConfigError, match="cannot be served on 'vllm'"):
                resolve_config(plugins, "tool-calling", layers)


def test_a_training_that_converts_exports_lora_and_says_what_it_lost(
    tiny_model_dir: Path, examples: list[Example], tmp_path: Path
) -> None:
    plugins = default_plugins()
    layers = {
        "model": str(tiny_model_dir),
        "training": {"lr": 2e-2, "batch_size": 8, "max_steps": 6, "dtype": "float32"},
        "method": {"name": "loha", "params": {"r": 4}},
    }
    with pytest.raises(ConfigError, match=r"Choose with --serve-on, or convert it with --convert"):
        resolve_config(plugins, "tool-calling", layers)
    divergences = []
    for rank in (None, 2):
        config = resolve_config(plugins, "tool-calling", layers, {"convert": True, "convert_rank": rank})
        run = create_run(config, tmp_path / f"run-{rank}")
        run.write_examples("train", examples)
        base = resolve_base(config.model, plugins, tmp_path)
        plugins.get("trainers", "sft").fit(run, base, plugins.get("peft_methods", "loha"), examples)
        lora = json.loads((run.adapter_dir / "adapter_config.json").read_text())
        assert vllm_problems(lora) == []
        assert lora["r"] == (16 if rank is None else rank)  # of two updates of rank 4, multiplied by elements
        trained_config = json.loads(
            (run.directory / "adapter-as-trained" / "adapter_config.json").read_text()
        )
        assert trained_config["peft_type"] == "LOHA"
        divergences.append(run.facts()["conversion"]["divergence"])
    assert divergences[0] < 1e-6 < divergences[1]


@pytest.mark.parametrize(
    ("name", "why"), [("lora", "is plain LoRA already"), ("prompt-tuning", "has no form as LoRA")]
)
def test_what_cannot_be_converted_says_why(name: str, why: str) -> None:
    with pytest.raises(ConfigError, match=rf"convert: what method '{name}' trains {why}"):
        resolve_config(default_plugins(), "tool-calling", {"method": {"name": name}, "convert": True})


def test_ia3_takes_groups_of_layers_as_the_others_do(tiny_model_dir: Path) -> None:
    method = default_plugins().get("peft_methods", "ia3")
    for target, inner in (
        ("k_proj,v_proj", set()),
        ("attention", set()),
        ("v_proj,down_proj", {"down_proj"}),
    ):
        model = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
        config = method.apply(model, method.Params(target=target)).peft_config["default"]
        assert set(config.feedforward_modules) == inner


def test_a_rank_for_a_conversion_that_nobody_asked_for_is_refused() -> None:
    with pytest.raises(ConfigError, match="convert_rank is the rank that --convert makes"):
        resolve_config(default_plugins(), "tool-calling", {"convert_rank": 8})


def test_adalora_takes_ranks_away_and_keeps_its_factors_orthogonal(
    tiny_model_dir: Path, examples: list[Example], tmp_path: Path
) -> None:
    plugins = default_plugins()
    base = resolve_base(str(tiny_model_dir), plugins, tmp_path)
    method = copy.copy(plugins.get("peft_methods", "adalora"))
    ends: dict[float, float] = {}
    for weight in (0.0, 5.0):
        layers = {
            "model": str(tiny_model_dir),
            "training": {"lr": 2e-2, "batch_size": 8, "max_steps": 16, "dtype": "float32"},
            "method": {"name": "adalora", "params": {"r": 2, "initial_r": 6, "orthogonality": weight}},
        }
        run = create_run(resolve_config(plugins, "tool-calling", layers), tmp_path / f"run-{weight}")
        kept: dict[str, Any] = {}
        method.optimizer = lambda model, *rest, kept=kept: (
            kept.update(model=model),
            type(method).optimizer(method, model, *rest),
        )[1]
        plugins.get("trainers", "sft").fit(run, base, method, examples)
        config = json.loads((run.adapter_dir / "adapter_config.json").read_text())
        ranks = [
            len(tensor)
            for name, tensor in load_file(run.adapter_dir / "adapter_model.safetensors").items()
            if "lora_A" in name
        ]
        assert len(ranks) == 14  # two layers of seven
        assert max(ranks) == config["r"] <= 6
        assert len(set(ranks)) > 1
        assert sum(ranks) <= 2 * 14 + sum(
            rank == 1 for rank in ranks
        )  # a layer without rank keeps one of zeros
        kept["model"].peft_config["default"].orth_reg_weight = 1.0
        ends[weight] = method.penalty(kept["model"]).item()
    assert ends[5.0] < 0.8 * ends[0.0]


def test_the_table_of_methods_says_what_their_cards_say() -> None:
    plugins = default_plugins()
    text, *_ = (Path(__file__).parents[2] / "docs" / "methods.md").read_text().split("\n## ")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line[:2] == "| "
    ]
    how = {"is": "it is", "exact": "exactly", "approximate": "approximately", "never": "no"}
    expected = []
    for name in METHODS:
        card = plugins.get("peft_methods", name).card
        served = "yes" if "vllm" in card.serve_on else "no"
        expected.append([name, served, "yes" if card.mergeable else "no", how[card.to_lora]])
    assert sorted([row[0], *row[2:]] for row in rows[1:]) == sorted(expected)
