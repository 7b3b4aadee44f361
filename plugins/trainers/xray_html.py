"""Looks at examples as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from agentlora.plugins.trainers.xray import Look, Piece, left_out, size_of

STYLE = """
:root { color-scheme: light dark; --line: #8884; --dim: #667; --bad: #b3261e; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1rem; margin: 2rem 0 .4rem; }
p { margin: .3rem 0; } .dim { color: var(--dim); } .bad { color: var(--bad); font-weight: 600; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; border: 1px solid var(--line); border-radius: 6px; padding: .8rem;
      font: 13px/1.75 ui-monospace, monospace; margin: .4rem 0; }
pre span { border-right: 1px solid var(--line); }
.template { color: #889; } .system { color: #8250df; } .tools { color: #57606a; } .user { color: #0550ae; }
.assistant { color: #116329; } .tool { color: #953800; }
.answer { background: #2da44e33; font-weight: 600; }
.rejected { background: #cf222e33; font-weight: 600; }
@media (prefers-color-scheme: dark) { .system { color: #d2a8ff; } .tools { color: #9da7b3; } .user { color: #79c0ff; }
  .assistant { color: #7ee787; } .tool { color: #ffa657; } :root { --dim: #9aa; --bad: #ff8a80; } }
"""
LEGEND = ("template", "system", "tools", "user", "assistant", "tool", "answer", "rejected")


def page(title: str, looks: Sequence[tuple[Look, Sequence[Piece]]], summary: str) -> str:
    """The page. A token without a text of its own is a dot."""
    pairs = any(piece.role == "rejected" for _, pieces in looks for piece in pieces)
    legend = " ".join(
        f'<span class="{role}">{"trained" if role == "answer" else role}</span>'
        for role in LEGEND
        if pairs or role != "rejected"
    )
    parts = "".join(_example(found, pieces) for found, pieces in looks)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><h1>{escape(title)}</h1>"
        f'<p>{escape(summary)}</p><p class="dim">Each token ends at a thin line. {legend}</p>'
        f"{parts}</body></html>\n"
    )


def _example(found: Look, pieces: Sequence[Piece]) -> str:
    why = left_out(found)
    told = f'<p class="bad">{why}</p>' if why else ""
    told += "".join(f'<p class="bad">{escape(problem)}</p>' for problem in found.problems)
    worse = [piece for piece in pieces if piece.role == "rejected"]
    shown = _tokens(pieces[: len(pieces) - len(worse)])
    if worse:
        shown += f'<p class="dim">rejected:</p>{_tokens(worse)}'
    return f'<h2>{escape(found.example.id)}</h2><p class="dim">{size_of(found)}</p>{told}{shown}'


def _tokens(pieces: Sequence[Piece]) -> str:
    spans = (f'<span class="{escape(piece.role)}">{_text(piece.text)}</span>' for piece in pieces)
    return f"<pre>{''.join(spans)}</pre>"


def _text(text: str) -> str:
    return escape(text).replace("\n", "⏎\n") or "·"
