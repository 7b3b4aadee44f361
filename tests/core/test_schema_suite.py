"""Verdicts are those of the official JSON Schema Test Suite, and where `jsonschema`'s are others, docs say so."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest
from jsonschema.validators import validator_for
from referencing import Registry
from referencing.jsonschema import specification_with

from agentlora.core import schema
from agentlora.core.errors import DataError

ROOT = Path(__file__).parents[2]
SUITE = ROOT / "tests" / "data" / "json-schema-test-suite"
DRAFTS = {"draft7": jsonschema.Draft7Validator, "draft2020-12": jsonschema.Draft202012Validator}
FORMATS = "optional/format/"  # files in which `format` is to decide


class Case(NamedTuple):
    """One schema of the suite, its draft said, with its tests: (value, whether it fits, what is tested)."""

    draft: str
    file: str
    schema: Any
    tests: list[tuple[Any, bool, str]]

    @property
    def formats(self) -> bool:
        return self.file.startswith(FORMATS)


@cache
def remotes() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SUITE / "remotes.json").read_text())
    return found


def cases(draft: str) -> Iterator[Case]:
    own = {"$schema": DRAFTS[draft].META_SCHEMA["$schema"]}
    for file, found in json.loads((SUITE / f"{draft}.json").read_text()).items():
        for case in found:
            said = case["schema"]
            tests = [
                (test["data"], test["valid"], f"{file}: {case['description']}: {test['description']}")
                for test in case["tests"]
            ]
            yield Case(draft, file, own | said if isinstance(said, dict) else said, tests)


class Noting(dict[str, Any]):
    """The remotes; it notes whether one was asked for."""

    asked = False

    def __getitem__(self, uri: str) -> Any:
        self.asked = True
        return super().__getitem__(uri)


@pytest.mark.parametrize(("draft", "tests"), [("draft7", 1465), ("draft2020-12", 1906)])
def test_every_verdict_is_the_suites(draft: str, tests: int) -> None:
    wrong, count = [], 0
    for case in cases(draft):
        validator = schema.compiled(case.schema, formats=case.formats or None, known=remotes())
        for value, fits, what in case.tests:
            count += 1
            said = {validator.is_valid(value), not validator.errors(value), validator.problem(value) is None}
            if said != {fits}:
                wrong.append(what)
    assert wrong == []
    assert count == tests


@pytest.mark.parametrize("draft", DRAFTS)
def test_schemas_that_stand_alone_are_judged_so_and_others_refused(draft: str) -> None:
    """What the rest of agentlora calls: no `format` decides, and nothing is known beside the schema itself."""
    refused = 0
    for case in cases(draft):
        known = Noting(remotes())
        validator = schema.compiled(case.schema, known=known)
        if known.asked:
            refused += 1
            assert re.search("outside the schema|Unknown meta-schema", schema.check_schema(case.schema)[0])
            with pytest.raises(DataError):
                schema.is_valid(case.schema, None)
            continue
        for value, fits, what in case.tests:
            verdict = schema.is_valid(case.schema, value)
            assert verdict is (schema.errors(case.schema, value) == []), what
            assert verdict is validator.is_valid(value), what
            if not case.formats:
                assert verdict is fits, what
    assert refused > 10


def listed() -> dict[tuple[str, str], int]:
    """(draft, file) → tests on which `jsonschema` differs, by the table in the documentation."""
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)` \| (\d+) \| (\d+) \|", page, re.MULTILINE)
    return {
        (draft, f"{file}.json"): int(number)
        for file, *numbers in rows
        for draft, number in zip(DRAFTS, numbers, strict=True)
        if int(number)
    }


def said_by_jsonschema(case: Case, remote: Registry[Any]) -> list[bool | str]:
    """Its verdicts, formats checked where the suite means them; what it raises is none."""
    kind = validator_for(case.schema, default=DRAFTS[case.draft])
    checker = kind(case.schema, registry=remote, format_checker=kind.FORMAT_CHECKER if case.formats else None)
    found: list[bool | str] = []
    for value, _, _ in case.tests:
        try:
            found.append(checker.is_valid(value))
        except Exception as exc:  # re.error, and whatever a format's package raises
            found.append(type(exc).__name__)
    return found


def has_no_say(case: Case) -> bool:
    """Whether the case is of a format that `jsonschema` checks only with further packages, which are not here."""
    kind = DRAFTS[case.draft]
    name = case.schema.get("format") if isinstance(case.schema, Mapping) else None
    return case.formats and name not in kind.FORMAT_CHECKER.checkers


def test_the_reference_differs_where_the_documentation_says() -> None:
    found: Counter[tuple[str, str]] = Counter()
    silent = set()
    for draft, kind in DRAFTS.items():
        default = specification_with(kind.META_SCHEMA["$schema"])
        remote: Registry[Any] = Registry().with_contents(remotes().items(), default_specification=default)
        for case in cases(draft):
            if has_no_say(case):
                silent.add((draft, case.file))
                continue
            for said, (_, fits, _) in zip(said_by_jsonschema(case, remote), case.tests, strict=True):
                found[draft, case.file] += said is not fits
    expected = {place: number for place, number in listed().items() if place not in silent}
    assert {place: number for place, number in found.items() if number} == expected
    assert len(expected) >= 7
