"""The gate's verdict for people and for machines: a table for a terminal, GitHub-flavoured Markdown, JUnit XML. As
HTML see `eval.gate_html`.

All are renderings of what `registry.verdict.Verdict.to_dict` says. Whatever stands in it (a rule's text quotes
names of conditions, which a plugin may choose) is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from agentlora.core.types import JSON

if TYPE_CHECKING:
    from rich.console import RenderableType

HEADS = ("Rule", "Result", "Found", "Wanted", "Missed by")
# All but what XML 1.0 can hold (section 2.2), without the controls that a terminal obeys.
_CONTROLS = re.compile("[^\t\n\r\u0020-\u007e\u00a0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MARKS = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$-])")


def verdict_table(verdict: Mapping[str, Any], *, reasons: bool = True) -> RenderableType:
    """Which rule passed, and which failed by how much; below (`reasons`), why, and what is to be known beside it."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"Gate: {word(verdict)}", title_justify="left")
    for head in HEADS:
        table.add_column(head, overflow="fold")
    for ruling in verdict["rules"]:
        style = "red" if not ruling["passed"] else "green" if ruling["outcome"] == "pass" else "yellow"
        rule, result, *others = (Text(_clean(cell)) for cell in cells(ruling))
        result.stylize(style)
        table.add_row(rule, result, *others)
    notes = [Text(_clean(f"{mark} {text}")) for mark, text in remarks(verdict)]
    return Group(table, *notes) if reasons else table


def verdict_markdown(verdict: Mapping[str, Any], title: str) -> str:
    """GitHub-flavoured Markdown, for a job's summary or a comment."""
    rows = [HEADS, ("---",) * len(HEADS), *(tuple(map(_escaped, cells(r))) for r in verdict["rules"])]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    notes = "\n".join(f"- {mark} {_escaped(text)}" for mark, text in remarks(verdict))
    parts = [f"## {_escaped(title)}: the gate {word(verdict)}", table, notes]
    return "\n\n".join(part for part in parts if part) + "\n"


def verdict_junit(verdict: Mapping[str, Any], title: str, created_at: str = "") -> str:
    """JUnit XML as CI systems read it: one test case a rule; what did not pass is a failure, what says nothing is
    skipped, and a remark on what passed undecided is its output.
    """
    rulings = verdict["rules"]
    counts = {
        "tests": str(len(rulings)),
        "failures": str(sum(not r["passed"] for r in rulings)),
        "errors": "0",
        "skipped": str(sum(_is_skipped(r) for r in rulings)),
        "time": "0",
    }
    root = ElementTree.Element("testsuites", {"name": "agentlora gate", **counts})
    suite = ElementTree.SubElement(root, "testsuite", {"name": _clean(title), **counts})
    if created_at:
        suite.set("timestamp", _clean(created_at[:19]))
    for ruling in rulings:
        names = {"classname": _clean(f"agentlora.gate.{title}"), "name": _clean(ruling["rule"]), "time": "0"}
        case = ElementTree.SubElement(suite, "testcase", names)
        text = _clean(ruling["text"])
        if not ruling["passed"]:
            failure = ElementTree.SubElement(case, "failure", {"message": text, "type": ruling["outcome"]})
            failure.text = _clean("\n".join(line for line in _told(ruling)))
        elif _is_skipped(ruling):
            ElementTree.SubElement(case, "skipped", {"message": text})
        elif text:
            ElementTree.SubElement(case, "system-out").text = text
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


# --- what is said ---


def named_version(verdict: Mapping[str, Any]) -> str:
    """``calls@prod``: what it was judged as, of a verdict that says so."""
    return "@".join(str(verdict[key]) for key in ("skill", "alias") if verdict.get(key)) or "this version"


def failures(verdict: Mapping[str, Any]) -> list[str]:
    """The rules that did not pass, each once and with by how much: ``exact: better than … (missed by 3.0 points)``."""
    found = []
    for ruling in verdict["rules"]:
        if not ruling["passed"]:
            short = _short(ruling["figures"], ruling)
            result = "undecided" if ruling["outcome"] == "undecided" else ""
            said = ", ".join(part for part in (result, f"missed by {short}" if short else "") if part)
            found.append(f"{ruling['rule']} ({said})" if said else str(ruling["rule"]))
    return list(dict.fromkeys(found))


def word(verdict: Mapping[str, Any]) -> str:
    return "passed" if verdict["passed"] else "refused"


def _is_skipped(ruling: Mapping[str, Any]) -> bool:
    return bool(ruling["passed"] and ruling["outcome"] == "skipped")


def cells(ruling: Mapping[str, Any]) -> tuple[str, ...]:
    figures: JSON = ruling["figures"]
    return ruling["rule"], _result(ruling), _found(figures), _wanted(figures), _short(figures, ruling)


def _result(ruling: Mapping[str, Any]) -> str:
    outcome, passed = ruling["outcome"], ruling["passed"]
    if outcome == "undecided":
        return "undecided: passes" if passed else "undecided: fails"
    return str(outcome)


def _found(figures: JSON) -> str:
    if figures.get("value") is None:
        return ""
    found = _amount(figures["value"], figures)
    if "against" not in figures:
        return found
    if figures.get("baseline") is not None:
        found += f" against {_amount(figures['baseline'], figures)} of {figures['against']!r}"
    if "gain" in figures:
        found += f": {_signed(figures['gain'], figures)}"
    if "low" in figures:
        found += f" ({_signed(figures['low'], figures)} to {_signed(figures['high'], figures)}, n = {figures['n']:,})"
    return found


def _wanted(figures: JSON) -> str:
    if "most" in figures:
        return f"at most {_amount(figures['most'], figures)}"
    if "least" not in figures:
        return ""
    if "against" not in figures:
        return f"at least {_amount(figures['least'], figures)}"
    return f"all above {_signed(figures['least'], figures)}"


def _short(figures: JSON, ruling: Mapping[str, Any]) -> str:
    if "short" not in figures or ruling["passed"]:
        return ""
    unit = "" if figures.get("unbounded") else " points"
    missed = _signed(figures["short"], figures).lstrip("+") + unit
    needed = figures.get("needed")
    return f"{missed}; about {needed:,} examples would decide" if needed else missed


def _amount(value: float, figures: JSON) -> str:
    return f"{value:.4g}" if figures.get("unbounded") else f"{100 * value:.1f} %"


def _signed(value: float, figures: JSON) -> str:
    said = f"{value:+.4g}" if figures.get("unbounded") else f"{100 * value:+.1f}"
    return "0" if not value else said.replace("-", "−")


def remarks(verdict: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(mark, text), none twice: first what failed, then what passed and was not shown."""
    failed = [("✗", r["text"]) for r in verdict["rules"] if not r["passed"]]
    unshown = [("·", r["text"]) for r in verdict["rules"] if r["passed"] and r["outcome"] != "pass"]
    return list(dict.fromkeys([*failed, *unshown]))


def _told(ruling: Mapping[str, Any]) -> Sequence[str]:
    heads = zip(HEADS, cells(ruling), strict=True)
    return [*(f"{head}: {cell}" for head, cell in heads if cell), ruling["text"]]


# --- what is escaped ---


def _escaped(text: str) -> str:
    """One line of text that no Markdown reads as anything else."""
    return _MARKS.sub(r"\\\1", " ".join(_clean(text).split()))


def _clean(text: str) -> str:
    """Without the characters that XML cannot hold, even escaped, nor a terminal show."""
    return _CONTROLS.sub("\ufffd", text)
