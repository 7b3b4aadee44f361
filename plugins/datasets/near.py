"""Rows that ask nearly the same and answer it alike: what was trained on would tell the answer of what is evaluated.

Similarity is Jaccard's, of the runs of five characters that two texts have (case, punctuation and spaces aside). Runs
that many rows have, as those of an instruction before every request, do not count. Candidates come from MinHash
signatures in a locality-sensitive index (Leskovec et al., Mining of Massive Datasets, chapter 3); each is compared
exactly.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from agentlora.core.errors import needs_extra
from agentlora.core.files import sha256_json
from agentlora.core.types import Example, Expected

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


def common_runs(texts: Sequence[str]) -> frozenset[str]:
    """The runs that many of `texts` have."""
    sample = texts[:: max(1, len(texts) // SAMPLE)]
    counts = Counter(run for text in sample for run in _runs(text))
    limit = max(10, COMMON * len(sample))
    return frozenset(run for run, count in counts.items() if count > limit)


def near(rows: Sequence[Example], evaluated: Iterable[Example], least: float) -> set[int]:
    """The numbers of those `rows` that ask what one of `evaluated` asks, by a similarity of `least` or more, and have
    its answer. A prompt that nobody has answered yet is like no other.

    Raises:
        MissingExtra: datasketch is not installed.
    """
    held_out = [(said(e), e.expected) for e in evaluated if not e.expected.empty]
    asked = {n: text for n, row in enumerate(rows) if not row.expected.empty and (text := said(row))}
    if not held_out or not asked:
        return set()
    with needs_extra("train", "finding rows that are nearly the same"):
        from datasketch import MinHash, MinHashLSH

    common = common_runs([*asked.values(), *(text for text, _ in held_out)])
    index = MinHashLSH(threshold=max(0.1, least - SLACK), num_perm=PERMUTATIONS)

    def signature(text: str) -> MinHash | None:
        runs = _runs(text) - common
        runs = (
            runs if len(runs) >= RUN else _runs(text)
        )  # of a text that many have, nothing else is left to compare
        found = MinHash(num_perm=PERMUTATIONS)
        found.update_batch([run.encode() for run in runs])
        return found if runs else None

    for number, (text, _) in enumerate(held_out):
        if signed := signature(text):
            index.insert(number, signed)
    found = set()
    for number, text in asked.items():
        signed = signature(text)
        for other, expected in (held_out[n] for n in (index.query(signed) if signed else ())):
            if (
                _same_answer(rows[number].expected, expected, least)
                and similarity(text, other, common) >= least
            ):
                found.add(number)
                break
    return found


def _same_answer(one: Expected, other: Expected, least: float) -> bool:
    if one.calls or other.calls or one.value is not None or other.value is not None:
        return _fixed(one) == _fixed(other)
    said_by_one, said_by_other = one.text or "", other.text or ""
    if re.findall(r"\d+", said_by_one) != re.findall(r"\d+", said_by_other):
        return False
    return one == other or similarity(_plain(said_by_one), _plain(said_by_other)) >= least


def _fixed(expected: Expected) -> str:
    return sha256_json([[[c.name, dict(c.arguments)] for c in expected.calls], expected.value])


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text).strip().lower()


def _runs(text: str) -> set[str]:
    return {text[i : i + RUN] for i in range(max(1, len(text) - RUN + 1))} if text else set()
