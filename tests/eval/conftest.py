"""A browser and its pages, and a trained run that can be put to suites."""

from __future__ import annotations

import itertools
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from eval_examples import deciding
from report_pages import mixed

from agentlora.core.config import RunConfig, parse
from agentlora.core.data import split_digest
from agentlora.core.evaluating import adapter_digest
from agentlora.core.files import write_json
from agentlora.core.manager import default_plugins
from agentlora.core.pipeline import base_facts
from agentlora.core.run import Run, create_run
from agentlora.core.types import (
    Example,
)
from agentlora.eval.report import html
from agentlora.plugins.bases.resolve import resolve_base

sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed. On Debian: sudo apt-get install chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """A function that opens a page's text and waits until its samples are listed. When the test ends, no page may have
    asked for anything, complained, or shown a dialog.
    """
    contexts, numbers, trouble = [], itertools.count(), []

    def open_page(
        page: str, fragment: str = "", script: bool | None = True, holed: bool = False, **settings: Any
    ) -> Any:
        file = tmp_path / f"page-{next(numbers)}.html"
        file.write_text(page, encoding="utf-8")
        context = chromium.new_context(java_script_enabled=script is not False, **settings)
        contexts.append(context)
        tab = context.new_page()
        tab.set_default_timeout(20_000)
        tab.on("console", lambda said: None if holed else trouble.append(said.text))
        tab.on("pageerror", lambda error: trouble.append(str(error)))
        tab.on("dialog", lambda dialog: trouble.append(dialog.message) or dialog.dismiss())
        # what the policy stops is still an event, though nobody was asked
        asked = "requestfinished" if holed else "request"
        tab.on(asked, lambda it: None if it.url.startswith(file.as_uri()) else trouble.append(it.url))
        tab.goto(file.as_uri() + fragment)
        if script:
            tab.wait_for_selector("html[data-ready]", state="attached")
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert trouble == []


@pytest.fixture
def page(tmp_path: Path) -> str:
    _, (record, samples) = mixed(tmp_path)
    return html(record, samples)


@pytest.fixture(scope="module")
def adapter_dir(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter whose answers differ from the base's."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "down_proj"]))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    folder = tmp_path_factory.mktemp("skill")
    adapted.save_pretrained(folder)
    return folder


@pytest.fixture
def run(tiny_model_dir: Path, adapter_dir: Path, tmp_path: Path) -> Run:
    """A trained run that answers tool calls."""
    base = resolve_base(str(tiny_model_dir), default_plugins(), tmp_path)
    config = {"task": "tool-calling", "model": str(tiny_model_dir), "eval": {"engine": "echo", "probes": 100}}
    made = create_run(parse(RunConfig, config), tmp_path / "run")
    splits: dict[Any, list[Example]] = {"train": [], "dev": deciding(), "test": deciding()}
    for split, some in splits.items():
        made.write_examples(split, some)
    write_json(
        made.directory / "data" / "card.json", {"digest": {s: split_digest(e) for s, e in splits.items()}}
    )
    made.adapter_dir.mkdir()
    for file in adapter_dir.iterdir():
        (made.adapter_dir / file.name).write_bytes(file.read_bytes())
    made.add_facts(base=base_facts(base), adapter_digest=adapter_digest(made))
    return made
