"""The HTML report without a browser: what is in it, how often, and how large it is."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest
from eval_examples import TOOLS, make_examples
from eval_runs import Counting, run
from report_pages import data_in, mixed

from agentlora.eval import page as pages
from agentlora.eval.page import text
from agentlora.eval.report import html
from agentlora.eval.slicing import ranges


def test_prompts_and_tools_stand_in_the_page_once_and_every_answer_whole(tmp_path: Path) -> None:
    examples, (record, samples) = mixed(tmp_path)
    data = data_in(html(record, samples))
    assert data["ids"] == [e.id for e in examples]
    assert [len(data["tools"]), data["toolsets"], set(data["offered"])] == [len(TOOLS), [[0, 1]], {0}]
    asked = {str(e.messages[-1]["content"]) for e in examples}  # "Dim the light" is asked in every group
    assert len(data["prompts"]) == len(asked) < len(examples)
    assert [data["prompts"][i] for i in data["prompt"]] == [list(e.messages) for e in examples]
    for system in data["systems"]:
        given = {s["id"]: s for s in samples if s["condition"] == system["name"]}
        assert system["text"] == [given[i]["text"] for i in data["ids"]]
        assert system["scores"]["exact_match"] == [given[i]["scores"].get("exact_match") for i in data["ids"]]
    [adapter] = [s for s in data["systems"] if s["name"] == "adapter"]
    assert adapter["state"] == "wrrr" + "rrwr" + "rwrr" + "rrrr" * 2 + "rree"
    whys = dict(zip(data["ids"], (adapter["reasons"][i] for i in adapter["why"]), strict=True))
    assert whys["g5-ask"] == "engine error: timed out after 60 s"
    assert data["start"] == {"of": 3, "against": 0, "outcome": "failed"}


def test_what_can_be_chosen_is_what_differs(tmp_path: Path) -> None:
    examples, (record, samples) = mixed(tmp_path)
    samples = [
        s | {"problems": [{"keyword": "enum"}] * 2 if s["scores"].get("exact_match") == 0 else []}
        for s in samples
    ]
    facets = {f["name"]: f for f in data_in(html(record, samples))["facets"]}
    assert "slice" not in facets  # all are of one
    assert facets["case"]["values"] == ["call", "missing", "none_fits", "two_calls"]
    assert facets["case"]["said"][3] == "Two calls"
    tools = facets["tool"]
    assert tools["values"] == ["(no call)", "play", "set_light"]
    assert tools["of"][0][:4] == [2, [2, 1], 0, 0]
    assert [len(column) for column in facets["ended"]["of"]] == [len(examples)] * 4
    assert facets["keyword"]["values"] == ["enum"]  # which some have
    every = [s | {"problems": [{"keyword": "enum"}]} for s in samples]
    assert "keyword" not in {f["name"] for f in data_in(html(record, every))["facets"]}  # no choice
    samples[0]["problems"] = [{"keyword": "type"}]
    keyword = {f["name"]: f for f in data_in(html(record, samples))["facets"]}["keyword"]
    assert keyword["values"] == ["enum", "type"]
    assert keyword["of"][0][0] == 1
    assert keyword["of"][3][0] == 0


def test_only_the_pages_own_script_may_run_and_nothing_is_asked_for(tmp_path: Path) -> None:
    _, (record, samples) = mixed(tmp_path)
    page = html(record, samples)
    [policy] = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', page)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    script = page[page.index("<script>") + len("<script>") : page.rindex("</script>")]
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert f"; script-src {rules['script-src']};" in pages.policy(script)
    assert "unsafe" not in rules["script-src"]
    assert page.count("<script") == 2
    assert set(re.findall(r"""(?:src|href|action)="(.)""", page[: page.index("<script")])) == {"#"}
    without = html(record)
    assert "<script" not in without
    assert 'id="samples"' not in without
    assert "script-src" not in without


def test_what_stands_in_the_page_is_text() -> None:
    assert text('<b>&"') == "&lt;b&gt;&amp;&quot;"
    assert text("a\u202eb\u2066c\u200bd\x00e\ud800") == "a[U+202E]b[U+2066]c[U+200B]d[U+0000]e[U+D800]"
    assert text("שלום, été, 👩‍👩‍👧, नमस्ते\tand\nso on") == "שלום, été, 👩‍👩‍👧, नमस्ते\tand\nso on"


def test_half_a_character_in_a_name_costs_no_page() -> None:
    """In the page's data it is a question mark, so that the link leads there."""
    assert "id=g0%3F" in pages.to_samples("g0", {"id": "g0\ud83d"})
    assert 'data-filter="case=%3F"' in pages.row_head("x", case="\ud83d")


def test_a_figure_that_no_json_has_costs_no_sample(tmp_path: Path) -> None:
    record, samples = run(Counting(), make_examples(1), tmp_path)
    samples[0]["expected"] = {"calls": [{"name": "f", "arguments": {"x": float("nan")}}]}
    samples[1]["latency_s"] = float("inf")
    data = data_in(html(record, samples))
    assert data["expected"][0] == '{"calls":[{"name":"f","arguments":{"x":NaN}}]}'
    assert data["systems"][0]["facts"]["latency_s"][1] == "inf"
    assert len(data["ids"]) == 4


def test_the_verdict_comes_first_and_says_what_is_worse(tmp_path: Path) -> None:
    _, (record, samples) = mixed(tmp_path)
    page = html(record, samples)
    order = [
        'class="verdict',
        'class="tiles"',
        "At a glance",
        "All figures",
        "by case",
        "by tool",
        'id="samples"',
    ]
    assert sorted(order, key=page.index) == order
    assert '<div class="verdict good"><p class="said">Better' in page
    assert "Surely worse" not in page
    worse = tuple(
        d.model_copy(update={"low": 0.02, "mean": 0.1, "high": 0.2}) if d.metric == "false_call" else d
        for d in record.differences
    )
    page = html(record.model_copy(update={"differences": worse}), samples)
    assert '<div class="verdict open"><p class="said">Better, but worse elsewhere' in page
    assert "<b>Surely worse in:</b> false calls +10.0 points (+2.0 to +20.0)" in page
    open_ = tuple(d.model_copy(update={"low": -0.02, "mean": 0.1, "high": 0.2}) for d in record.differences)
    page = html(record.model_copy(update={"differences": open_}), samples)
    assert '<div class="verdict open"><p class="said">Undecided' in page


def test_slices_by_tool_are_of_the_samples(tmp_path: Path) -> None:
    _, (record, samples) = mixed(tmp_path)
    page = html(record, samples)
    table = page[page.index("Right answers by tool") : page.index('id="samples"')]
    rows = re.findall(r'<th scope="row" data-filter="tool=([^"]*)">.*?</tr>', table)
    assert rows == [
        "set_light",
        "%28no+call%29",
        "play",
    ]  # two wrong, one wrong (two failed), one wrong of fewer
    [light] = re.findall(r'data-filter="tool=set_light">set_light</th><td>(\d+)</td>(.*?)</tr>', table)
    assert light[0] == "12"
    assert '<td class="adapter">83.3 %<small>' in light[1]


@pytest.mark.parametrize(
    ("tokens", "found"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8], ["1–2", "1–2", "3–4", "3–4", "5–6", "5–6", "7–8", "7–8"]),
        ([100] * 7 + [1500], []),  # three quarters are equally long, and the last is none of its own
        ([10, 10, 10, 20, 20, 20], ["10–19"] * 3 + ["20"] * 3),
        ([0, 0], []),
        ([], []),
    ],
)
def test_lengths_are_cut_into_quarters(tokens: list[int], found: list[str]) -> None:
    said = ranges({str(i): count for i, count in enumerate(tokens)})
    assert list(said.values()) == [f"{part} tokens" for part in found]


def test_a_report_of_5000_samples_is_below_2_mb(tmp_path: Path) -> None:
    record, samples = run(Counting(), make_examples(1), tmp_path)
    rng = random.Random(0)
    words = ["".join(rng.choices("aaeeiioubcdfghklmnprstvz", k=rng.randint(2, 9))) for _ in range(3000)]
    said = lambda n: " ".join(rng.choices(words, k=n))  # noqa: E731
    many: list[Any] = []
    for i in range(1250):
        asked = [{"role": "user", "content": said(20)}]
        tools = [
            {"type": "function", "function": {"name": said(1), "description": said(12)}} for _ in range(2)
        ]
        for number, sample in enumerate(samples[::4]):
            faults = [
                {"keyword": k, "path": f"{said(1)}.{said(1)}", "said": f"is none of {said(2)}"}
                for k in ("enum", "type", "required")[: i % 4]
            ]
            answer = {"id": f"test-{i}", "text": said(40), "group": f"test-{i // 4}"}
            answer |= {"problems": faults if number % 2 else []}
            many.append(sample | answer | {"request": {"messages": asked, "tools": tools}})
    page = html(record, many)
    assert len(page.encode()) < 2_000_000
    [*_, adapter] = data_in(page)["systems"]
    assert adapter["text"][-1] == many[-1]["text"]
    told = adapter["faults"][adapter["wrong"][-1]]
    assert told == {"fault": "enum", **{key: many[-1]["problems"][0][key] for key in ("path", "said")}}


def test_an_answer_of_very_many_faults_shows_those_that_count_first_and_counts_the_others(
    tmp_path: Path,
) -> None:
    record, samples = run(Counting(), make_examples(1), tmp_path)
    many = [{"keyword": "type", "path": f"p{n}", "said": "is wrong", "counts": n == 30} for n in range(31)]
    page = html(record, [samples[0] | {"problems": many}, *samples[1:]])
    [base, *_] = data_in(page)["systems"]
    told = [base["faults"][n] for n in base["wrong"][0]]
    assert [fault.get("path") for fault in told] == ["p30", *(f"p{n}" for n in range(11)), None]
    assert told[-1] == {"more": 19}
