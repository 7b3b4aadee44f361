"""Tasks of lm-eval, in process and over a server."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agentlora.core.errors import ConfigError, MissingExtra
from agentlora.core.evaluating import evaluate
from agentlora.core.manager import default_plugins
from agentlora.core.run import Run
from agentlora.core.suite_types import SuiteRequest
from agentlora.core.suites import add_suites, parse_suites
from agentlora.eval.record import Record
from agentlora.plugins.bases.resolve import resolve_base

sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))

SYSTEMS: dict[str, str | None] = {"base": None, "adapter": "skill"}
NO_LM_EVAL = "lm-eval is not installed (pip install 'agentlora[suites]')"

CHOICES = """task: colours
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
  - metric: acc_norm
    aggregation: mean
    higher_is_better: true
metadata:
  version: 3
"""


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """A task of lm-eval's own form, with its data beside it."""
    data = [
        {"question": f"turn on the light {n}", "choices": ["kitchen", "the room"], "answer": n % 2}
        for n in range(12)
    ]
    file = tmp_path / "colours.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in data))
    (tmp_path / "colours.yaml").write_text(CHOICES.format(data=file))
    return tmp_path / "colours.yaml"


def test_without_lm_eval_the_command_to_install_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.setitem(sys.modules, "inspect_ai", None)
    for name in ("lm-eval:arc_easy", "inspect:package/name"):
        with pytest.raises(MissingExtra, match=r"pip install 'agentlora\[suites\]'"):
            parse_suites(default_plugins(), [name])


def test_a_task_of_lm_eval_in_process(run: Run, colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lm_eval", reason=NO_LM_EVAL)
    plugins = default_plugins()
    evaluate(run, plugins)
    record = add_suites(run, plugins, [f"lm-eval:{colours}"], engine_name="transformers", limit=10)
    (suite,) = record.suites
    assert suite.library == "lm-eval"
    assert suite.version[0].isdigit()
    assert suite.n == 10
    assert suite.metrics == ("acc", "acc_norm")
    for system in ("base", "adapter"):
        reported = suite.reported[system]["colours"]
        for metric in suite.metrics:
            figure = suite.systems[system][metric]
            assert figure.mean == pytest.approx(reported[f"{metric},none"])  # lm-eval's own figure
            assert figure.low is not None
            assert figure.scored == 10
    assert {d.metric for d in suite.differences} == {"acc", "acc_norm"}
    assert suite.settings["versions"] == {"colours": 3}


def test_a_server_says_what_the_model_in_process_says(
    tiny_model_dir: Path, adapter_dir: Path, colours: Path, tmp_path: Path
) -> None:
    """lm-eval's own client of ``/v1/completions`` against a real endpoint, with the same weights behind it."""
    pytest.importorskip("lm_eval", reason=NO_LM_EVAL)
    from completions_server import completions_app
    from openai_server import serving

    from agentlora.core.types import EngineSpec
    from agentlora.eval.engines.hf import TransformersFactory
    from agentlora.eval.suites.lm_eval import LmEvalSuite

    base = resolve_base(str(tiny_model_dir), default_plugins(), tmp_path)

    class Served:
        """What `VllmEngine.endpoint` offers."""

        def __init__(self, url: str) -> None:
            self.url = url

        def endpoint(self, adapter: str | None) -> tuple[str, str]:
            return f"{self.url}/v1", adapter or "base"

    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model_dir), adapter_dir)
    with serving(completions_app({"base": plain.eval(), "skill": adapted.eval()})) as url:
        engine: Any = Served(url)
        over_http = LmEvalSuite().run(SuiteRequest(str(colours), engine, base, SYSTEMS, tmp_path))
    with TransformersFactory().open(EngineSpec(tiny_model_dir, base.chat_template)) as opened:
        opened.add_adapter("skill", adapter_dir)
        in_process = LmEvalSuite().run(SuiteRequest(str(colours), opened, base, SYSTEMS, tmp_path))
    assert over_http.samples.keys() == in_process.samples.keys()
    for system in SYSTEMS:
        ours = {s.id: dict(s.scores) for s in over_http.samples[system]}
        assert ours == {s.id: dict(s.scores) for s in in_process.samples[system]}
        assert len(ours) == 12
    # the texts of the answers hold log-probabilities: the adapter is another model, over HTTP too
    texts = [[s.text for s in over_http.samples[system]] for system in SYSTEMS]
    assert texts[0] != texts[1]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer key-of-the-server"}])
def test_lm_evals_client_sends_the_servers_key_and_no_other(
    tiny_model_dir: Path,
    colours: Path,
    tmp_path: Path,
    headers: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By itself it sends whatever server it asks the key in OPENAI_API_KEY."""
    pytest.importorskip("lm_eval", reason=NO_LM_EVAL)
    from completions_server import completions_app
    from openai_server import serving
    from transformers import AutoModelForCausalLM

    from agentlora.eval.suites.lm_eval import LmEvalSuite

    monkeypatch.setenv("OPENAI_API_KEY", "of-another-server")
    base = resolve_base(str(tiny_model_dir), default_plugins(), tmp_path)
    app = completions_app({"base": AutoModelForCausalLM.from_pretrained(tiny_model_dir).eval()})
    given: list[dict[bytes, bytes]] = []

    async def listening(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            given.append(dict(scope["headers"]))
        await app(scope, receive, send)

    with serving(listening) as url:
        engine: Any = SimpleNamespace(headers=headers, endpoint=lambda adapter: (f"{url}/v1", "base"))
        result = LmEvalSuite().run(SuiteRequest(str(colours), engine, base, {"base": None}, tmp_path))
    assert given
    assert {one.get(b"authorization", b"").decode() for one in given} == {headers.get("Authorization", "")}
    assert "key-of-the-server" not in repr(result)


def test_what_lm_eval_cannot_do_is_told(run: Run, colours: Path, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason=NO_LM_EVAL)
    plugins = default_plugins()
    evaluate(run, plugins)
    with pytest.raises(ConfigError, match="--engine transformers"):
        add_suites(run, plugins, [f"lm-eval:{colours}"])  # the echo engine has no log-probabilities
    with pytest.raises(ConfigError, match="lm-eval has no task 'no_such_task'"):
        add_suites(run, plugins, ["lm-eval:no_such_task"], engine_name="transformers")
    with pytest.raises(ConfigError, match="HF_HUB_OFFLINE=0"):
        add_suites(run, plugins, ["lm-eval:arc_easy"], engine_name="transformers", limit=1)
    (tmp_path / "other.yaml").write_text("a: 1\n")
    for what, said in (
        ("", "say which"),
        (str(tmp_path / "other.yaml"), "names no task"),
        ("gone.yaml", "cannot be read"),
    ):
        with pytest.raises(ConfigError, match=said):
            parse_suites(plugins, [f"lm-eval:{what}"])
    assert Record.load(run.eval_dir / "record.json").suites == ()
