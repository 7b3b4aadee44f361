"""Rows that ask nearly the same and answer it alike: what was trained on would tell the answer of what is evaluated.

Similarity is Jaccard's, of the runs of five characters that two texts have (case, punctuation and spaces aside). Runs
that many rows have, as those of an instruction before every request, do not count. Candidates come from MinHash
signatures in a locality-sensitive index (Leskovec et al., Mining of Massive Datasets, chapter 3); each is compared
exactly.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence

from agentlora.core.errors import needs_extra
from agentlora.core.files import sha256_json
from agentlora.core.types import Example, Expected
from agentlora.plugins.datasets.bands import Bands

RUN = 5  # characters
LONGEST = 20_000  # characters of a text that are looked at, half of them at its end
PERMUTATIONS = 64
SLACK = (
    0.15  # the index looks for less than is wanted, as it finds what is just alike enough with even odds only
)
SAMPLE = 5_000  # rows by which runs are known to be common
COMMON = 0.05  # of these rows, and ten of them at least: a run that more of them have is common


def said(row: Example) -> str:
    """The turns of a row without its system message, in lower case and without punctuation."""
    text = _plain(" ".join(str(m.get("content") or "") for m in row.messages if m["role"] != "system"))
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} {text[-LONGEST // 2 :]}"


def similarity(one: str, other: str, common: frozenset[str] = frozenset()) -> float:
    """Of two texts from `said`, from 0 to 1; by all of them where little is left of one without what is `common`."""
    whole, whole_other = _runs(one), _runs(other)
    runs, others = whole - common, whole_other - common
    if min(len(runs), len(others)) < RUN:
        runs, others = whole, whole_other
    return len(runs & others) / max(1, len(runs | others))


def common_runs(texts: Iterable[str], count: int) -> frozenset[str]:
    """The runs that many of `count` texts have, which are a sample."""
    counts = Counter(run for text in texts for run in _runs(text))
    limit = max(10, COMMON * count)
    return frozenset(run for run, times in counts.items() if times > limit)


def near(rows: Sequence[Example], evaluated: Sequence[Example], least: float) -> set[int]:
    """The numbers of those `rows` that ask what one of `evaluated` asks, by a similarity of `least` or more, and have
    its answer. A prompt that nobody has answered yet is like no other.

    Rows are looked at one by one; in memory are signatures of `evaluated`, about a hundred bytes each.

    Raises:
        MissingExtra: datasketch is not installed.
    """
    held_out = array("q", (n for n, row in enumerate(evaluated) if not row.expected.empty))
    asked = array("q", (n for n, row in enumerate(rows) if not row.expected.empty and said(row)))
    if not held_out or not asked:
        return set()
    with needs_extra("train", "finding rows that are nearly the same"):
        from datasketch import MinHash

    every = len(asked) + len(held_out)
    sample = range(0, every, max(1, every // SAMPLE))
    split = len(asked)
    common = common_runs(
        (said(rows[asked[n]] if n < split else evaluated[held_out[n - split]]) for n in sample), len(sample)
    )

    empty = MinHash(num_perm=PERMUTATIONS)  # copied, as drawing its permutations takes time

    def signature(row: Example) -> MinHash | None:
        text = said(row)
        runs = _runs(text) - common
        # of a text that many have, nothing else is left to compare
        runs = runs if len(runs) >= RUN else _runs(text)
        found = empty.copy()
        found.update_batch([run.encode() for run in runs])
        return found if runs else None

    def alike(row: Example, other: Example) -> bool:
        if not _same_answer(row.expected, other.expected, least):
            return False
        return similarity(said(row), said(other), common) >= least

    signed = ((n, signature(row), _certain(row.expected)) for n in held_out for row in (evaluated[n],))
    index = Bands(max(0.1, least - SLACK), signed)
    found = set()
    for number in asked:
        row = rows[number]
        candidates = index.candidates(signature(row), _certain(row.expected))
        if any(alike(row, evaluated[n]) for n in candidates):
            found.add(number)
    return found


def _same_answer(one: Expected, other: Expected, least: float) -> bool:
    if _certain(one) != _certain(other):
        return False
    if one.calls or one.value is not None or one == other:
        return True
    return similarity(_plain(one.text or ""), _plain(other.text or "")) >= least


def _certain(expected: Expected) -> bytes:
    """A digest of what has to be equal in answers that are the same: calls and values, or the numbers of a text."""
    if expected.calls or expected.value is not None:
        fixed = [[[c.name, dict(c.arguments)] for c in expected.calls], expected.value]
        return bytes.fromhex(sha256_json(fixed))
    return bytes.fromhex(sha256_json(re.findall(r"\d+", expected.text or "")))


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text).strip().lower()


def _runs(text: str) -> set[str]:
    return {text[i : i + RUN] for i in range(max(1, len(text) - RUN + 1))} if text else set()
