"""Base models: identity by content, template, what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from agentlora.core.errors import ConfigError
from agentlora.core.home import home
from agentlora.core.manager import default_plugins
from agentlora.core.pipeline import refuse_unfit_template
from agentlora.plugins.bases.identity import identify
from agentlora.plugins.bases.resolve import resolve_base
from agentlora.plugins.bases.templates import chatml_tools, template_of, with_hermes_calls

TOOL = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}


def render(tiny: Path, tools: list[object]) -> str:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny)
    said = [{"role": "user", "content": "x"}]
    return str(tokenizer.apply_chat_template(said, tools=tools, chat_template=chatml_tools(), tokenize=False))


def test_the_template_passes_trls_own_checks(tiny_model_dir: Path) -> None:
    from transformers import AutoTokenizer
    from trl import chat_template_utils as trl

    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    tokenizer.chat_template = chatml_tools()
    assert trl.supports_tool_calling(tokenizer)
    assert trl.is_chat_template_prefix_preserving(tokenizer)
    assert trl.is_chat_template_stop_token_trained(tokenizer)


def test_tools_render_the_same_however_a_server_passes_them_on(tiny_model_dir: Path) -> None:
    plain = render(tiny_model_dir, [TOOL])
    wrapped = render(tiny_model_dir, [{"type": "function", "function": TOOL}])
    shuffled = render(tiny_model_dir, [{"function": {**dict(reversed(TOOL.items())), "strict": None}}])
    assert plain == wrapped == shuffled
    assert render(tiny_model_dir, [{"name": "f"}]) == render(
        tiny_model_dir, [{"name": "f", "description": None, "parameters": None}]
    )


def test_a_schema_is_shown_shorter_than_json_and_loses_nothing(tiny_model_dir: Path) -> None:
    properties = {
        "a": {"type": ["string", "null"], "description": "Two\nlines"},
        "b": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        "day": {"type": "string", "format": "date"},
        "tags": {"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 1},
        "at": {
            "type": "object",
            "properties": {"lat": {"type": "number", "minimum": -90, "description": "North"}, "z": True},
            "required": ["lat"],
        },
        "items": {"type": "string", "default": "q"},  # a name that is a method of a dict, too
    }
    parameters = {"type": "object", "properties": properties, "required": ["a"], "$defs": {"T": {"const": 1}}}
    shown = render(tiny_model_dir, [{"name": "w", "description": "Odd things", "parameters": parameters}])
    assert (
        """<tools>
w: Odd things
"a": string|null - Two lines
"b": optional any anyOf=[{"type":"string"},{"type":"integer"}]
"day": optional string(date)
"tags": optional ("x"|"y")[] minItems=1
"at": optional {"lat": number minimum=-90 - North, "z": optional true}
"items": optional string default="q"
  $defs={"T":{"const":1}}
</tools>"""
        in shown
    )


def test_calls_render_back_to_what_they_were(tiny_model_dir: Path) -> None:
    from transformers import AutoTokenizer

    from agentlora.core.messages import answer_message
    from agentlora.core.types import Expected, ToolCall
    from agentlora.eval.calls import parse_answer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    calls = (ToolCall("a", {"x": [1, {"y": 'é "quoted" </tool>'}], "z": None}), ToolCall("b", {}))
    said = [{"role": "user", "content": "x"}, answer_message(Expected(calls=calls))]
    text = str(tokenizer.apply_chat_template(said, chat_template=chatml_tools(), tokenize=False))
    answer = text.rsplit("<|im_start|>assistant\n", 1)[1].removesuffix("<|im_end|>\n")
    assert parse_answer(answer).calls == calls


def test_the_same_bytes_are_the_same_base_wherever_they_lie(tiny_model_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_model_dir, copy)
    one, other = identify("a", tiny_model_dir, "t"), identify("b", copy, "t")
    assert one.digest == other.digest
    assert identify("a", tiny_model_dir, "u").digest != one.digest
    weights = copy / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    assert identify("b", copy, "t").weights != one.weights


def test_a_template_that_writes_calls_in_another_format_is_refused(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    base = resolve_base(str(tiny_model_dir), default_plugins(), tmp_path)
    refuse_unfit_template(base)
    python = (
        "{{ tools | tojson }}{% for m in messages %}<{{ m.role }}>{{ m.content }}"
        "{% for c in m.tool_calls or [] %}{{ c.function.name }}({{ c.function.arguments | tojson }}){% endfor %}"
        "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    with pytest.raises(ConfigError, match=r"does not write a tool call as JSON between <tool_call>"):
        refuse_unfit_template(replace(base, chat_template=python))


def test_a_broken_template_is_told(tiny_model_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "own"
    shutil.copytree(tiny_model_dir, copy)
    (copy / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}")
    base = resolve_base(str(copy), default_plugins(), tmp_path)
    for calls in (True, False):
        with pytest.raises(ConfigError, match=r"the chat template of base model 'own' is broken: .*endfor"):
            refuse_unfit_template(base, calls)


def test_a_local_directory_gets_its_own_template_or_ours_or_ours_around_its_own(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    base = resolve_base(str(tiny_model_dir), default_plugins(), home())
    assert base.chat_template == chatml_tools()
    copy = tmp_path / "own"
    shutil.copytree(tiny_model_dir, copy)
    jinja = copy / "chat_template.jinja"
    hermes = chatml_tools().replace("<|im_start|>", "<turn>")
    without_tools = "{% for m in messages %}<turn>{{ m.role }} {{ m.content }}{% endfor %}"
    in_xml = hermes.replace('"arguments": \' -', '"parameters": \' -')
    mute = hermes.replace("{{- dump(message.content) -}}", "")  # of results
    jinja.write_text(hermes)
    assert template_of(copy) == hermes
    for other in (without_tools, in_xml, mute, hermes.replace("'\\n' + f.name", "''")):
        assert other != hermes
        jinja.write_text(other)
        assert template_of(copy) == with_hermes_calls(other)
    jinja.write_text(without_tools.replace("turn", "|im_start|"))
    assert template_of(copy) == chatml_tools()
    jinja.unlink()
    several = [{"name": "tool_use", "template": without_tools}, {"name": "default", "template": hermes}]
    settings = copy / "tokenizer_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "chat_template": several}))
    assert template_of(copy) == hermes


def test_a_model_without_any_template_is_refused(tiny_model_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no chat template"):
        template_of(tmp_path)


def test_our_template_is_put_together_from_its_parts() -> None:
    """Skills that were published with it would not be served with another one."""
    digest = "63002558507bf210926d765aac391608fad93afbf65f1e0744854416068c5786"
    assert sha256(chatml_tools().encode()).hexdigest() == digest
    assert "include" not in with_hermes_calls("")


def test_what_is_no_model_is_refused(tiny_model_dir: Path, tmp_path: Path) -> None:
    plugins = default_plugins()
    with pytest.raises(ConfigError, match="does not exist or is not a directory"):
        resolve_base("./nowhere", plugins, home())
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        resolve_base(str(tmp_path), plugins, home())
    with pytest.raises(ConfigError, match=r"unknown model 'smollm'\. Did you mean 'smollm2-135m'"):
        resolve_base("smollm", plugins, home())


def test_a_hub_id_is_fetched_at_the_revision_that_it_names(
    tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[str, str | None]] = []

    def snapshot_download(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((name, revision))
        if revision == "absent":
            raise OSError("no such revision")
        assert "*.bin" not in allow_patterns
        return str(tiny_model_dir)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    plugins = default_plugins()
    base = resolve_base("owner/tiny", plugins, tmp_path)
    pinned = resolve_base("owner/tiny@abc123", plugins, tmp_path)
    assert asked == [("owner/tiny", None), ("owner/tiny", "abc123")]
    assert base.model_dir == pinned.model_dir == tiny_model_dir
    with pytest.raises(ConfigError, match="could not be fetched"):
        resolve_base("owner/tiny@absent", plugins, tmp_path)
