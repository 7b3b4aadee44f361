"""Texts and the values that they say, for somebody's schema; and pairs that somebody brings along."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from agentlora.core.config import Strict
from agentlora.core.errors import DataError
from agentlora.core.files import sha256_json
from agentlora.core.types import JSON, Example, Expected, Split
from agentlora.tasks.structured_output.legend import legend_of
from agentlora.tasks.structured_output.nodes import filled, value_of
from agentlora.tasks.structured_output.pairs import Pairs, read_pairs
from agentlora.tasks.structured_output.sampling import Sampler
from agentlora.tasks.structured_output.schemas import Wanted, read_schema
from agentlora.tasks.structured_output.writing import write

INSTRUCTION = (
    "Answer with one JSON value that fits this JSON Schema, and with nothing else. "
    "Leave out what the text does not say; where the schema requires it, write null or an empty list."
)
XML_INSTRUCTION = (
    "Answer with one XML document, and with nothing else. These are its elements, one a line, the parts of each under "
    "it (? may be absent, * any number, + once or more, @ is an attribute, a | b one of these, "
    "either and or: the parts of one of them). "
    "Leave out what the text does not say; what has to be there stays empty."
)
NIL_INSTRUCTION = ' nil: it may be empty, with xsi:nil="true".'
LOOKED_AT = 60  # values that show which parts are never filled
MISSES = 50  # texts in a row that are too long or were written before
HOPELESS, FEW = 10, 3  # a schema whose first few texts are all so many times too long


class SchemaTextParams(Strict):
    """How much of what, for one schema."""

    schema_: str = Field("", alias="schema")
    """Where the schema is: a JSON Schema, an XML Schema or a list of elements in a file, or FILE.py:CLASS."""
    pairs: str = ""
    """A JSONL file of your own texts and values (docs/your-schema.md): shared out over the splits."""
    strict: bool = False
    """Refuse the pairs where a row is broken; else broken rows are left out, and told."""
    examples: int = Field(3200, ge=0)
    """Training examples that are written around drawn values; pairs come on top."""
    dev_examples: int = Field(64, ge=0)
    test_examples: int = Field(160, ge=0)
    requests_per_prefix: int = Field(8, ge=1)
    """Training requests that are computed together: all share the prompt that holds the schema."""
    text_chars_max: int = Field(1600, ge=40)
    answer_chars_max: int = Field(1200, ge=20)
    """Characters of JSON or XML."""
    pairs_repeated: int = Field(3, ge=1)
    """How often a pair of one's own is trained on: it counts for more than what was made up."""


class SchemaTexts:
    """The dataset builder ``schema-texts``."""

    Params = SchemaTextParams

    def __init__(self) -> None:
        self._built: dict[Split, _Filled] = {}
        self._for = ""

    def check(self, params: SchemaTextParams) -> None:
        """Raises ConfigError or DataError where the schema cannot be read, or no value can fit it."""
        read_schema(params.schema_)

    def build(self, split: Split, params: SchemaTextParams, seed: int) -> Iterator[Example]:
        """See `agentlora.core.types.DatasetBuilder`.

        Raises:
            ConfigError: no schema is named, or no value can fit it.
            DataError: it cannot be read, or no value of it can be said in a text; or pairs are wrong.
        """
        wanted = read_schema(params.schema_)
        count = {"train": params.examples, "dev": params.dev_examples, "test": params.test_examples}[split]
        number = 0
        for said, expected, tags in self._written(wanted, split, count, params, seed):
            yield _example(wanted, split, number, said, expected, tags, "schema-texts", params)
            number += 1
        if not params.pairs:
            return
        for pair in _pairs(wanted, params, seed).splits[split]:
            tags = {"case": "extraction", "slice": "pairs"}
            expected = wanted.expected(pair.value)
            for _ in range(params.pairs_repeated if split == "train" else 1):
                yield _example(wanted, split, number, pair.text, expected, tags, "pairs", params)
                number += 1

    def _written(
        self, wanted: Wanted, split: Split, count: int, params: SchemaTextParams, seed: int
    ) -> Iterator[tuple[str, Expected, JSON]]:
        rng = random.Random(f"{seed}/{split}/{wanted.digest}")
        sampler = Sampler(wanted, split, seed)
        legend = legend_of(wanted.unfolded, sampler.root)
        there = self._filled(params, split, sampler)
        seen: set[str] = set()
        found = misses = hopeless = 0
        while found < count:
            node = sampler.draw(rng)
            said = write(node, wanted.name, legend, split != "train", rng)
            expected = wanted.expected(value_of(node))
            why, size = "", 1.0
            if len(said.text) > params.text_chars_max:
                why = f"too long ({len(said.text):,} characters): raise data.params.text_chars_max"
                size = len(said.text) / params.text_chars_max
            elif (length := _length(expected)) > params.answer_chars_max:
                why = f"of too long an answer ({length:,} characters): raise data.params.answer_chars_max"
                size = length / params.answer_chars_max
            elif said.text in seen or not said.text:
                few = "examples" if split == "train" else f"{split}_examples"
                why = f"the same again: lower data.params.{few}"
            if why:
                misses += 1
                hopeless += size > HOPELESS
                if misses > MISSES or (not found and hopeless == misses == FEW):
                    raise DataError(
                        f"only {found} of {count} texts of {split} for schema {wanted.name!r} were found; what is "
                        f"written is {why}."
                    )
                continue
            misses = 0
            seen.add(said.text)
            there.names.update(filled(node))
            if _split_of(said.text) == split:
                found += 1
                yield said.text, expected, {"case": said.case, "slice": said.style}

    def card(self, params: SchemaTextParams) -> JSON:
        """The schema by name and digest, what of it is never filled, and how to ask.

        What is never filled is known of the splits that were built last; where none was, some values are drawn.

        Raises:
            DataError: as `build`.
        """
        wanted = read_schema(params.schema_)
        if self._for != params.model_dump_json() and params.examples:
            sampler, rng = Sampler(wanted, "train", 0), random.Random(0)
            looked_at = self._filled(params, "train", sampler)
            for _ in range(LOOKED_AT):
                looked_at.names.update(filled(sampler.draw(rng)))
        built = self._built.values() if self._for == params.model_dump_json() else ()
        names = {name for one in built for name in one.names}
        unsaid = {part: why for one in built for part, why in one.sampler.unsaid.items() if part not in names}
        pairs = _pairs(wanted, params, 0) if params.pairs else Pairs()
        broken = f" {pairs.broken:,} broken rows of the pairs are left out." if pairs.broken else ""
        sources = [{"name": wanted.name, "licence": "not stated", "version": wanted.digest}]
        if params.pairs:
            sources.append({"name": Path(params.pairs).name, "licence": "not stated", "version": ""})
        return {
            "sources": sources,
            "notes": "Texts are written around values that were drawn from the schema; those of dev and test mostly "
            "in wording that training never uses."
            + (" Answers are XML; the model is shown a list of the elements." if wanted.in_xml else "")
            + broken,
            "system": system_of(wanted),
            "never_filled": [f"{part}: {why}" for part, why in {**wanted.left_out, **unsaid}.items()],
            **({"quarantined": pairs.bad} if pairs.bad else {}),
        }

    def _filled(self, params: SchemaTextParams, split: Split, sampler: Sampler) -> _Filled:
        """Where to note what of a split is filled; what was noted for other settings is forgotten."""
        if self._for != (settings := params.model_dump_json()):
            self._built, self._for = {}, settings
        self._built[split] = _Filled(sampler)
        return self._built[split]


@dataclass(slots=True)
class _Filled:
    """The parts of a schema that examples of a split fill, by name."""

    sampler: Sampler
    names: set[str] = field(default_factory=set)


def _pairs(wanted: Wanted, params: SchemaTextParams, seed: int) -> Pairs:
    return read_pairs(Path(params.pairs), wanted.schema, seed, strict=params.strict)


def _split_of(text: str) -> Split:
    """Where a text belongs, so that no two splits can share one."""
    tenth = int(sha256_json(text)[:8], 16) % 10
    return "dev" if tenth == 0 else "test" if tenth == 1 else "train"


def system_of(wanted: Wanted) -> str:
    """The system message that a skill for a schema is trained with, and is to be asked with."""
    if not wanted.in_xml:
        return f"{INSTRUCTION}\n{wanted.shown}"
    nil = NIL_INSTRUCTION if re.search(r"^\s*\S+ nil\b", wanted.shown, re.MULTILINE) else ""
    return f"{XML_INSTRUCTION}{nil}\n{wanted.shown}"


def _length(expected: Expected) -> int:
    return len(json.dumps(expected.value) if expected.text is None else expected.text)


def _example(
    wanted: Wanted,
    split: Split,
    number: int,
    text: str,
    expected: Expected,
    tags: JSON,
    source: str,
    params: SchemaTextParams,
) -> Example:
    size = (
        1 if split == "test" else params.requests_per_prefix
    )  # of test, each stands for itself in the statistics
    return Example(
        id=f"{split}-{number:05}",
        messages=({"role": "system", "content": system_of(wanted)}, {"role": "user", "content": text}),
        expected=expected,
        schema=wanted.schema,
        source=source,
        group=f"{split}-{number // size:05}",
        tags=tags,
    )
