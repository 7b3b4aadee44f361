"""The gate's verdict at the top of the HTML report: passed or refused and by which rules, then the table of all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentlora.eval.page import note, row_head, section, table, text
from agentlora.eval.verdict_report import HEADS, cells, failures, named_version, remarks, word


def gate_head(verdict: Mapping[str, Any]) -> str:
    """For the first view."""
    kind = "good" if verdict["passed"] else "bad"
    guessed = [r["rule"] for r in verdict["rules"] if r["passed"] and r["outcome"] == "undecided"]
    lines = (
        ("worse", "Failed", failures(verdict)),
        ("guessed", "Undecided, and let pass", list(dict.fromkeys(guessed))),
    )
    said = "".join(
        f'<p class="{name}"><b>{what}:</b> {text("; ".join(found))}</p>'
        for name, what, found in lines
        if found
    )
    return (
        f'<div class="verdict {kind} gate"><p class="said">The gate: {word(verdict)} '
        f"<span>as {text(named_version(verdict))}</span></p>{said}</div>"
    )


def gate_section(verdict: Mapping[str, Any]) -> str:
    """Every rule with what was found and wanted; below, the reasons of those that failed, then other remarks."""
    rows = []
    for ruling in verdict["rules"]:
        rule, result, *others = cells(ruling)
        kind = "down" if not ruling["passed"] else "up" if ruling["outcome"] == "pass" else ""
        shown = "".join(f"<td>{text(cell)}</td>" for cell in others)
        rows.append(f'<tr>{row_head(rule)}<td class="{kind}">{text(result)}</td>{shown}</tr>')
    said = "".join(note(f"{mark} {why}", warns=mark == "✗") for mark, why in remarks(verdict))
    return section("The gate", f'<div class="gate">{table(HEADS, rows, "Rules of the gate")}{said}</div>')
