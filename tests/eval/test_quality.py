"""What a data set is made of, counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from agentlora.core.cli import cli, main
from agentlora.core.types import Example, Expected, Split, ToolCall
from agentlora.eval.page import policy
from agentlora.eval.quality import look
from agentlora.eval.quality_html import page


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


def example(n: int, split: Split, city: str, text: str = "Weather in {} on day {}") -> Example:
    return Example(
        f"{split}-{n}",
        ({"role": "user", "content": text.format(city, n)},),
        Expected(calls=(ToolCall("weather", {"city": city, "unit": "C"}),)),
        (tool("weather"), tool("never")),
        group=f"{split}-{n // 4}",
        tags={"case": "single" if n % 4 else "choice", "slice": "made"},
    )


@pytest.fixture
def splits() -> dict[Split, list[Example]]:
    return {
        "train": [example(n, "train", f"City{n}") for n in range(40)],
        "dev": [example(n, "dev", "City1") for n in range(4)],
        "test": [example(n, "test", f"Town{n}", "Tell me day {1} of {0}") for n in range(8)],
    }


def test_figures_of_a_data_set(splits: dict[Split, list[Example]]) -> None:
    found = look(splits, [10, 20, 30])
    assert found.splits["train"].examples == 40
    assert (found.splits["train"].groups, found.splits["train"].tools, found.splits["train"].called) == (
        10,
        2,
        1,
    )
    assert found.cases == {
        "single": {"train": 30, "dev": 3, "test": 6},
        "choice": {"train": 10, "dev": 1, "test": 2},
    }
    assert found.uncalled == ["never"]
    assert found.parameters[0].name == "weather.unit"
    assert (found.parameters[0].distinct, found.parameters[0].share) == (1, 1.0)
    assert found.parameters[1].distinct == 40
    assert found.overlaps["dev"].wording == 1.0
    assert found.overlaps["test"].wording == 0.0
    assert found.overlaps["dev"].values == 1.0
    assert found.overlaps["test"].values == pytest.approx(0.5)  # the unit, not the towns
    assert found.overlaps["test"].tools == 1.0
    lengths = {h.name: h for h in found.histograms}
    assert sum(lengths["characters of a request"].counts) == 40
    assert lengths["tokens of an example"].middle == 20


def test_of_many_examples_some_are_asked_for_values_and_all_are_counted(
    splits: dict[Split, list[Example]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentlora.eval.quality.LOOKED_AT", 10)
    found = look(splits)
    assert found.splits["train"].examples == 40
    assert found.cases["single"] == {"train": 30, "dev": 3, "test": 6}
    assert found.parameters[1].uses == 10
    assert sum(found.histograms[0].counts) == 10
    assert found.overlaps["dev"].values == 1.0  # of all in training: City1 is not among the ten


def test_the_page_shows_them_and_escapes_what_is_quoted(splits: dict[Split, list[Example]]) -> None:
    splits["train"][0] = example(0, "train", "<script>\u202e")
    html = page("A & B", look(splits), ["a <note>"])
    assert "<script" not in html
    assert "\u202e" not in html
    assert "&lt;script&gt;[U+202E]" in html
    assert f'http-equiv="Content-Security-Policy" content="{policy("")}"' in html
    assert '<th scope="row">weather.unit</th><td>40</td><td>1</td><td>&quot;C&quot; (100%)</td>' in html
    assert "A &amp; B" in html
    assert "a &lt;note&gt;" in html
    assert "weather.unit" in html


def test_nothing_breaks_where_there_is_little() -> None:
    empty = look({"train": [], "dev": [], "test": []})
    assert "To read" in page("nothing", empty)
    texts = [Example("a", ({"role": "user", "content": "hi"},), Expected(text="ho"))]
    assert look({"train": texts}).overlaps == {}
    values = [
        Example("a", ({"role": "user", "content": "hi"},), Expected(value={"a": [{"b": "x"}], "c": None}))
    ]
    assert {p.name for p in look({"train": values}).parameters} == {"a[].b", "c"}


def test_data_is_built_without_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text(
        '{"title": "Note", "type": "object", "properties": {"topic": {"type": "string"}}, "required": ["topic"]}'
    )
    folder = tmp_path / "out"
    command = ["data", "build", "structured-output", "--schema", str(schema), "--output", str(folder)]
    for key, value in (("examples", 30), ("dev_examples", 4), ("test_examples", 6)):
        command += ["--set", f"data.params.{key}={value}"]
    shown = CliRunner().invoke(cli, command)
    assert shown.exit_code == 0, shown.output
    assert "extraction" in shown.output
    assert {p.name for p in folder.iterdir()} == {
        "train.jsonl",
        "dev.jsonl",
        "test.jsonl",
        "card.json",
        "report.html",
    }
    assert json.loads((folder / "card.json").read_text())["counts"] == {"train": 30, "dev": 4, "test": 6}
    with pytest.raises(SystemExit, match="2"):
        main(command)
    assert "is not empty" in capsys.readouterr().err
    as_json = CliRunner().invoke(
        cli, [*command[:-6], "--output", str(tmp_path / "other"), *command[-6:], "--json"]
    )
    assert json.loads(as_json.output)["splits"]["train"]["examples"] == 30
