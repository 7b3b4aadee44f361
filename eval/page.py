"""What every HTML report is made of: one self-contained document, tables, and text that cannot become markup."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

from agentlora.core.types import JSON
from agentlora.eval.unseen import named


def text(value: object) -> str:
    """`value` as HTML text or attribute: nothing in it is markup, and what cannot be seen is named (``[U+202E]``)."""
    return escape(named(str(value)))


def document(title: str, sections: Iterable[str], data: JSON | None = None, end: str = "") -> str:
    """The whole page; it asks nothing of any network, and runs no script but its own.

    Args:
        sections: HTML, in order.
        data: what the page's browser of samples shows (see `report_data.pack`); without it the page has no script.
        end: HTML after that.
    """
    script = _asset("answers.js") + _asset("report.js") if data else ""
    scripts = (
        f'<script type="text/plain" id="data">{packed(data)}</script><script>{script}</script>'
        if data
        else ""
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy(script)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer"><meta name="color-scheme" content="light dark">'
        f"<title>{text(title)}</title><style>{_asset('report.css')}</style></head><body>"
        + ('<a class="skip" href="#samples">To the samples</a>' if data else "")
        + "<main>\n"
        + "\n".join(filter(None, sections))
        + (_asset("browser.html") if data else "")
        + f"{end}</main>{scripts}</body></html>\n"
    )


def policy(script: str) -> str:
    """The Content-Security-Policy: no request, no frame, no form, and of scripts only `script`, by its hash. Should an
    escape ever be missed, nothing runs; trusted types keep the script from making markup of what it shows.
    """
    rules = ["default-src 'none'", "style-src 'unsafe-inline'", "base-uri 'none'", "form-action 'none'"]
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        rules += [
            f"script-src 'sha256-{digest}'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    return "; ".join(rules)


def packed(data: JSON) -> str:
    """JSON, deflated, in base64: an eighth of its size, and nothing in it can end the element that it stands in."""
    try:
        raw = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:  # one figure that no JSON has would cost the page all of its samples
        raw = json.dumps(_finite(data), ensure_ascii=False, separators=(",", ":"))
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return base64.b64encode(squeeze.compress(raw.encode("utf-8", "replace")) + squeeze.flush()).decode()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return str(value) if isinstance(value, float) and value - value != 0 else value


def table(heads: Sequence[str], rows: Sequence[str], name: str) -> str:
    """A table that scrolls sideways where it is too wide, also by keyboard; `rows` are HTML, the rest is text."""
    header = "".join(f'<th scope="col">{text(head)}</th>' for head in heads)
    body = f"<thead><tr>{header}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{text(name)}"><table>{body}</table></div>'


def long_table(heads: Sequence[str], rows: Sequence[str], name: str, first: int) -> str:
    """A table of the `first` rows; the others are there when one asks for them."""
    if len(rows) <= first:
        return table(heads, rows, name)
    more = table(heads, rows[first:], f"{name}, the others")
    said = f"<summary>{len(rows) - first} more</summary>"
    return f"{table(heads, rows[:first], name)}<details>{said}{more}</details>"


def row(said: str, cells: Iterable[object], **filters: str) -> str:
    """A row of texts; `filters`: see `row_head`."""
    return f"<tr>{row_head(said, **filters)}{''.join(f'<td>{text(cell)}</td>' for cell in cells)}</tr>"


def row_head(said: str, **filters: str) -> str:
    """The head of a row; with `filters` the page's script makes it a link to the samples that it is about."""
    chosen = f' data-filter="{_query(filters)}"' if filters else ""
    return f'<th scope="row"{chosen}>{text(said)}</th>'


def _query(filters: Mapping[str, str]) -> str:
    """As the page's address has it; half a character is a question mark there as it is in the page's data."""
    return text(urlencode(filters, errors="replace"))


def to_samples(said: str, filters: Mapping[str, str]) -> str:
    """Text that the page's script makes a link to the samples that `filters` choose."""
    return f'<span data-filter="{_query(filters)}">{text(said)}</span>'


def pre(value: object) -> str:
    return f'<pre dir="auto">{text(value)}</pre>'


def tile(value: object, notes: Iterable[str], kind: str = "") -> str:
    """A figure in large, with lines below; `kind`: ``good``, ``bad`` or nothing."""
    said = "<br>".join(map(text, notes))
    return f'<div class="{f"tile {kind}".strip()}"><b>{text(value)}</b><span>{said}</span></div>'


def note(said: str, warns: bool = False) -> str:
    return f'<p class="note{" warn" if warns else ""}">{text(said)}</p>'


def section(title: str, body: str) -> str:
    """`body` is HTML."""
    return f"<section><h2>{text(title)}</h2>{body}</section>"


def origin(facts: Mapping[str, object], more: str = "") -> str:
    """The last section: what it was made from; `more` is HTML below."""
    items = "".join(f"<dt>{text(key)}</dt><dd>{text(_fact(value))}</dd>" for key, value in facts.items())
    return section("Where this comes from", f"<dl>{items}</dl>{more}")


def _fact(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _asset(name: str) -> str:
    return files("agentlora.eval").joinpath(name).read_text(encoding="utf-8")
