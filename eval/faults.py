"""What faults of answers are called: for people, and in the page's filters."""

from __future__ import annotations

from agentlora.eval.compliance import DECISIONS, FORMS, XSD

INSIDE = " › "  # between a choice (``anyOf``) and what failed in its nearest alternative


def fault(keyword: str, branch: str = "") -> str:
    """A fault for people: ``anyOf › type``, or in words where it is none of a schema."""
    named = {**FORMS, **DECISIONS, XSD: "XML Schema"}
    return named.get(keyword, keyword_of(keyword, branch))


def keyword_of(keyword: str, branch: str) -> str:
    """In the filter by keyword."""
    return f"{keyword}{INSIDE}{branch}" if branch else keyword


def path_of(keyword: str, branch: str, path: str) -> str:
    """In the filter by path: ``items[*].price: type``."""
    return f"{path}: {fault(keyword, branch)}"
