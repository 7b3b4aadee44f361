"""Composing: the sums that it makes, what may be a part, and that its result is a run like any other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from peft import LoraConfig, PeftModelForCausalLM
from transformers import AutoModelForCausalLM

from agentlora.core.cli import cli
from agentlora.core.composing import Recipe, compose
from agentlora.core.config import RunConfig, parse
from agentlora.core.data import split_digest
from agentlora.core.errors import AgentLoraError, ConfigError, GateRefused
from agentlora.core.evaluating import adapter_digest, evaluate
from agentlora.core.files import write_json
from agentlora.core.manager import default_plugins
from agentlora.core.pipeline import base_facts, resume
from agentlora.core.publishing import publish
from agentlora.core.run import Run, create_run
from agentlora.core.types import Example, Expected, ToolCall
from agentlora.plugins.bases.resolve import resolve_base
from agentlora.plugins.methods.composed import Layer, read_layers, write_composed
from agentlora.registry.gate import Verdict

TOOL = {
    "type": "function",
    "function": {
        "name": "light",
        "description": "Light a room",
        "parameters": {"type": "object", "properties": {}},
    },
}


def examples(*words: str) -> list[Example]:
    return [
        Example(
            id=str(number),
            messages=({"role": "user", "content": word},),
            expected=Expected(calls=(ToolCall("light", {}),)),
            tools=(TOOL,),
            group=word,
            tags={"tools": "new", "slice": "new", "case": "single"},
        )
        for number, word in enumerate(words)
    ]


def write_adapter(model_dir: Path, directory: Path, seed: int, rank: int = 4, **settings: Any) -> None:
    """A LoRA of random weights."""
    torch.manual_seed(seed)
    config = LoraConfig(
        r=rank, lora_alpha=6, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM", **settings
    )
    model = PeftModelForCausalLM(AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32), config)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(std=0.2)
    model.save_pretrained(directory)
    (directory / "README.md").unlink()
    (directory / "chat_template.jinja").write_text("template")


@pytest.fixture(scope="module")
def adapters(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    made: dict[str, dict[str, Any]] = {
        "one": {},
        "two": {},
        "wide": {"rank": 6, "use_rslora": True, "alpha_pattern": {"q_proj": 3}},
    }
    for seed, (name, settings) in enumerate(made.items()):
        write_adapter(tiny_model_dir, folder / name, seed, **settings)
    return {name: folder / name for name in made}


@pytest.fixture
def part(tiny_model_dir: Path, adapters: dict[str, Path], tmp_path: Path) -> Any:
    """``part(name, train=…, test=…)``: a run with the adapter of that name, evaluated unless `evaluated` is False."""
    base = resolve_base(str(tiny_model_dir), default_plugins(), tmp_path)

    def make(
        name: str, train: Sequence[str] = ("a",), test: Sequence[str] = ("x", "y"), evaluated: bool = True
    ) -> Run:
        config = {
            "task": "tool-calling",
            "model": str(tiny_model_dir),
            "eval": {"max_new_tokens": 2, "probes": 0},
        }
        run = create_run(parse(RunConfig, config), tmp_path / f"run-{name}")
        splits = {"train": examples(*train), "dev": [], "test": examples(*test)}
        for split, rows in splits.items():
            run.write_examples(split, rows)  # type: ignore[arg-type]  # a key of the mapping is a str
        card = {
            "sources": [{"name": name, "licence": "Apache-2.0"}],
            "notes": f"Of {name}.",
            "digest": {split: split_digest(rows) for split, rows in splits.items()},
        }
        write_json(run.directory / "data" / "card.json", card)
        shutil.copytree(adapters[name], run.adapter_dir)
        run.add_facts(base=base_facts(base), adapter_digest=adapter_digest(run))
        record = {
            "adapter": adapter_digest(run),
            "engine": "transformers",
            "base": base_facts(base),
            "data": {"split": "test", "test_digest": card["digest"]["test"]},
        }
        if evaluated:
            write_json(run.eval_dir / "record.json", record)
        return run

    return make


def updates(directory: Path) -> dict[str, torch.Tensor]:
    return {name: layer.update for name, layer in read_layers(directory).items()}


def composed(tmp_path: Path, parts: Sequence[Path], weights: Sequence[float], how: str, **more: Any) -> Any:
    target = tmp_path / f"composed-{how}"
    target.mkdir()
    rank = write_composed([read_layers(part) for part in parts], weights, how, target, **more)
    return updates(target), rank


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, update in expected.items():
        torch.testing.assert_close(found[name], update.double(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("how", ["linear", "cat", "svd", "ties"])
def test_it_sums_as_peft_does(
    how: str, adapters: dict[str, Path], tiny_model_dir: Path, tmp_path: Path
) -> None:
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype=torch.float32)
    model = PeftModelForCausalLM.from_pretrained(base, adapters["one"], adapter_name="one")
    model.load_adapter(adapters["two"], "two")
    given = {"density": 0.5} if how == "ties" else {}
    model.add_weighted_adapter(["one", "two"], [1.0, -0.5], "sum", how, **given)
    expected = {
        name: module.get_delta_weight("sum").detach()
        for name, module in base.named_modules()
        if hasattr(module, "get_delta_weight")
    }
    found, _ = composed(tmp_path, [adapters["one"], adapters["two"]], [1.0, -0.5], how)
    assert len(expected) == 4
    assert_same(found, expected)


def test_cat_is_the_weighted_sum_whatever_the_ranks_and_scales(
    adapters: dict[str, Path], tiny_model_dir: Path, tmp_path: Path
) -> None:
    parts = [adapters["one"], adapters["wide"]]
    found, rank = composed(tmp_path, parts, [0.3, -2.0], "cat")
    assert rank == 10
    of_peft = []
    for part in parts:  # the scales as PEFT reads them from the files
        base = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype=torch.float32)
        PeftModelForCausalLM.from_pretrained(base, part)
        modules = dict(base.named_modules())
        of_peft.append({name: modules[name].get_delta_weight("default").detach() for name in found})
    assert_same(found, {name: 0.3 * of_peft[0][name] - 2.0 * of_peft[1][name] for name in found})


def test_linear_with_one_weight_of_one_is_that_part(adapters: dict[str, Path], tmp_path: Path) -> None:
    found, rank = composed(tmp_path, [adapters["one"], adapters["two"]], [1, 0], "linear")
    assert rank == 4
    assert_same(found, updates(adapters["one"]))


def test_matrices_of_different_ranks_are_not_summed(adapters: dict[str, Path], tmp_path: Path) -> None:
    parts = [adapters["one"], adapters["wide"]]
    with pytest.raises(
        ConfigError, match=r"has ranks 4 and 6: choose --how cat or svd, or ties with a --rank"
    ):
        composed(tmp_path, parts, [1, 1], "ties")
    _, rank = composed(tmp_path, parts, [1, 1], "dare", rank=5)
    assert rank == 5
    _, rank = composed(tmp_path, parts, [1, 1], "svd")
    assert rank == 6


def test_dare_is_the_same_for_the_same_seed(adapters: dict[str, Path], tmp_path: Path) -> None:
    parts = [adapters["one"], adapters["two"]]
    first, again, other = (
        composed(tmp_path / str(i), parts, [1, 1], "dare", seed=seed)[0]
        for i, seed in enumerate((0, 0, 1))
        if (tmp_path / str(i)).mkdir() is None
    )
    name = next(iter(first))
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])


def test_a_layer_that_one_part_leaves_alone_is_the_others(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = {name: Layer(torch.randn(2, 8), torch.randn(8, 2), 1.0) for name in ("a", "b")}
    write_composed([layers, {"a": layers["a"]}], [1.0, 0.5], "cat", tmp_path)
    expected = {"a": 1.5 * layers["a"].update, "b": layers["b"].update}
    assert_same(updates(tmp_path), expected)


def test_what_is_composed_is_evaluated_and_judged_like_any_other(
    part: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = part("one"), part("two", train=["b", "y"], test=["x", "z"])
    target = tmp_path / "sum"
    words = ["compose", str(one.directory), str(two.directory), "--weights", "1,0.5", "--output", str(target)]
    done = CliRunner().invoke(cli, [*words, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    made = json.loads(done.stdout)
    assert (made["how"], made["rank"], made["density"]) == ("cat", 8, None)
    assert [parent["weight"] for parent in made["parents"]] == [1.0, 0.5]

    plugins = default_plugins()
    run = Run(target, one.config)
    assert [e.group for e in run.examples("train")] == ["a", "b", "y"]
    assert [e.group for e in run.examples("test")] == ["x", "z"]  # y is what two was trained on
    card = json.loads((target / "data" / "card.json").read_text())
    assert card["left_out"] == {"dev": 0, "test": 1}
    assert [source["name"] for source in card["sources"]] == ["one", "two"]
    assert card["notes"] == "Of one. Of two."

    with pytest.raises(GateRefused, match="There is no evaluation record"):
        publish(run, plugins)
    evaluate(run, plugins, engine_name="transformers")
    with pytest.raises(GateRefused, match="has 2 examples that decide"):
        publish(run, plugins)
    monkeypatch.setattr("agentlora.registry.gate.judge", lambda *a, **k: Verdict([], {"rank": 8}))
    version = publish(run, plugins)
    beside = evaluate(one, plugins, engine_name="transformers")
    assert beside.served["digest"] == version.digest
    assert beside.condition("served").metrics["exact_match"].scored > 0
    assert beside.condition("served").first_error is None
    assert version.adapter_digest == adapter_digest(run)
    assert version.card.parents == [
        {"adapter": adapter_digest(p), "record": made["parents"][i]["record"], "weight": w, "how": "cat"}
        for i, (p, w) in enumerate(((one, 1.0), (two, 0.5)))
    ]
    shown = CliRunner().invoke(cli, ["registry", "show", "tool-calling"], catch_exceptions=False)
    assert (
        f"1 × sha256:{adapter_digest(one)[:12]}, 0.5 × sha256:{adapter_digest(two)[:12]} (cat)"
        in shown.output
    )

    # a published version is a part as its run is, for as long as that is here
    again = compose(["tool-calling@prod", str(one.directory)], Recipe((1, 1)), plugins, tmp_path / "again")
    assert again.facts()["composition"]["parents"][0]["run"] == "sum"
    shutil.rmtree(again.adapter_dir)  # as it is while it is being made
    with pytest.raises(ConfigError, match="was being composed when it was ended"):
        resume(again, plugins)
    shutil.rmtree(target)
    with pytest.raises(ConfigError, match="the run that it came from is not on this machine"):
        compose(["tool-calling@prod", str(one.directory)], Recipe((1, 1)), plugins, tmp_path / "third")


@pytest.mark.parametrize(
    ("recipe", "why"),
    [
        (Recipe((1,)), "--weights has 1 and there are 2 parts"),
        (Recipe((0, 0)), "not all 0"),
        (Recipe((1, float("nan"))), "must be numbers"),
        (Recipe((1, 1), "sum"), "unknown way to compose 'sum'"),
        (Recipe((1, 1), "ties", density=-0.1), "--density -0.1"),
        (Recipe((1, 1), "cat", density=0.5), "--density 0.5"),
        (Recipe((1, 1), "linear", rank=4), "--rank 4"),
        (Recipe((1, 1), "svd", rank=0), "--rank 0"),
    ],
)
def test_a_wrong_recipe_is_refused_before_anything(recipe: Recipe, why: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=why):
        compose(["no-run", "nor-this"], recipe, default_plugins(), tmp_path / "sum")
    assert not (tmp_path / "sum").exists()


def test_what_cannot_be_a_part_is_refused_with_the_reason(part: Any, tmp_path: Path) -> None:
    one, two = part("one"), part("two", evaluated=False)
    plugins, target, both = default_plugins(), tmp_path / "sum", Recipe((1, 1))
    refs = [str(one.directory), str(two.directory)]

    def refused(why: str, *given: str, output: Path = target) -> None:
        with pytest.raises(AgentLoraError, match=why) as caught:
            compose(given or refs, both, plugins, output)
        assert caught.value.exit_code == 2
        assert not target.exists()

    refused(
        rf"'run-two' cannot be a part: it was not evaluated on test. First: agentlora eval {two.directory}"
    )
    record = json.loads((one.eval_dir / "record.json").read_text())
    for change, why in (
        ({"adapter": "0" * 64}, "the weights changed since"),
        ({"engine": "echo"}, "an engine that asks no model"),
        ({"base": {"digest": "0" * 64}}, "another base model"),
        ({"data": {"split": "test", "test_digest": "0" * 64}}, "other test examples"),
    ):
        write_json(two.eval_dir / "record.json", {**record, "adapter": adapter_digest(two), **change})
        refused(why)
    write_json(two.eval_dir / "record.json", {**record, "adapter": adapter_digest(two)})
    refused("already exists and is not an empty directory", output=one.directory)
    refused("skill 'nobody' is not in the registry", "nobody@prod", refs[0])
    with pytest.raises(ConfigError, match="unknown task of a part 'bake'"):
        compose(refs, both, plugins, target, task="bake")
    base = one.facts()["base"]
    two.add_facts(base={**base, "tokenizer": "0" * 64})
    refused("belong to different bases .*: their tokenizer differ")
    two.add_facts(base=base)
    config = json.loads((two.adapter_dir / "adapter_config.json").read_text())
    write_json(two.adapter_dir / "adapter_config.json", {**config, "use_dora": True})
    refused("cannot be a part, only plain LoRA can: .*DoRA")
    (two.adapter_dir / "adapter_config.json").unlink()
    refused("is no adapter of PEFT's")


def test_parts_that_were_trained_on_each_others_tests_leave_nothing_to_compose_for(
    part: Any, tmp_path: Path
) -> None:
    one, two = part("one", train=["a", "z"], test=["x"]), part("two", train=["b", "x"], test=["z"])
    with pytest.raises(ConfigError, match="nothing is left to evaluate on"):
        compose([str(one.directory), str(two.directory)], Recipe((1, 1)), default_plugins(), tmp_path / "sum")
    assert not (tmp_path / "sum").exists()


def test_examples_of_two_parts_with_one_id_are_both_kept(part: Any, tmp_path: Path) -> None:
    one, two = part("one", test=["x", "y"]), part("two", test=["z", "y"])
    refs = [str(one.directory), str(two.directory)]
    run = compose(refs, Recipe((1, 1)), default_plugins(), tmp_path / "sum")
    assert [(e.id, e.group) for e in run.examples("test")] == [("0", "x"), ("1", "y"), ("2/0", "z")]
    assert replace(run.examples("test")[0]) == one.examples("test")[0]
