"""The gate's verdict as a table, Markdown and JUnit XML, whatever stands in it."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from rich.console import Console

from agentlora.eval.verdict_report import verdict_junit, verdict_markdown, verdict_table

HOSTILE = "base | <script>alert(1)</script> `x` [bold]& \x00\x1b[31m\ud800 ]]> *b* #1"


def ruling(rule: str, outcome: str = "pass", *, passed: bool = True, text: str = "", **figures: Any) -> Any:
    return {"rule": rule, "outcome": outcome, "passed": passed, "text": text, "figures": figures}


VERDICT = {
    "passed": False,
    "rules": [
        ruling("the record is of this version"),
        ruling(
            "exact: better than the best baseline",
            "undecided",
            passed=False,
            text=f"exact is 0.500 and 0.480 for {HOSTILE}.",
            **{"metric": "exact", "against": HOSTILE, "value": 0.5, "baseline": 0.48, "gain": 0.02},
            **{"low": -0.03, "high": 0.07, "least": 0.0, "n": 1200, "short": 0.03, "needed": 7654},
        ),
        ruling(
            "false_call: not worse than what is served",
            "undecided",
            text="It is undecided, and the policy goes by the difference itself.",
        ),
        ruling("general", "skipped", text="General ability was not measured."),
        ruling("seconds: floor", metric="seconds", value=2.5, most=3.0, unbounded=True),
    ],
}


def shown(verdict: Any, **more: Any) -> str:
    console = Console(width=320, force_terminal=False)
    with console.capture() as capture:
        console.print(verdict_table(verdict, **more))
    return capture.get()


def test_the_table_says_which_rule_failed_by_how_much() -> None:
    text = " ".join(shown(VERDICT).split())
    for part in (
        *(
            "Gate: refused",
            "undecided: fails",
            "undecided: passes",
            "50.0 % against 48.0 %",
            "+2.0 (−3.0 to +7.0",
        ),
        *(
            "all above 0",
            "3.0 points; about 7,654",
            "✗ exact is 0.500",
            "· General ability",
            "at most 3",
            "2.5",
        ),
    ):
        assert part in text, part
    assert "[bold]" in text
    assert not set("\x00\x1b\ud800") & set(text)
    assert "✗" not in shown(VERDICT, reasons=False)


def test_markdown_stays_one_table_whatever_is_in_it() -> None:
    text = verdict_markdown(VERDICT, "skill | <b>")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(VERDICT["rules"])  # type: ignore[arg-type]
    for row in rows:
        assert row.replace("\\|", "").count("|") == 6
    bare = text.replace("\\<", "").replace("\\`", "").replace("\\*", "").replace("\\[", "")
    assert not set("<`*[\x00\x1b\ud800") & set(bare)
    assert text.splitlines()[0] == "## skill \\| \\<b\\>: the gate refused"
    text.encode()


def test_junit_is_xml_that_says_what_failed() -> None:
    text = verdict_junit(VERDICT, f"a/b {HOSTILE}", "2026-01-02T03:04:05+00:00")
    root = ElementTree.fromstring(text.encode())
    suite = root[0]
    assert (root.tag, suite.tag) == ("testsuites", "testsuite")
    for element in (root, suite):
        assert [element.get(key) for key in ("tests", "failures", "errors", "skipped")] == [
            "5",
            "1",
            "0",
            "1",
        ]
    assert suite.get("timestamp") == "2026-01-02T03:04:05"
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases] == [r["rule"] for r in VERDICT["rules"]]  # type: ignore[attr-defined]
    failure = cases[1].find("failure")
    assert failure is not None
    assert failure.get("type") == "undecided"
    assert "<script>" in str(failure.get("message"))
    assert "Missed by: 3.0 points; about 7,654 examples would decide" in str(failure.text)
    assert [[child.tag for child in case] for case in cases] == [
        [],
        ["failure"],
        ["system-out"],
        ["skipped"],
        [],
    ]
    assert not set("\x00\x1b\ud800") & set(text)
