"""What a schema says by its keywords, without a draw: of what kind its values are, and where nothing fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentlora.core import schema as json_schema
from agentlora.core.types import JSON

SCALARS = ("string", "integer", "number", "boolean")
# of a schema that says nothing of its values: they are texts and numbers, as they look
ANNOTATIONS = {
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "$comment",
}
# what a schema without a type is of
KEYWORDS = {
    "object": {
        "properties",
        "additionalProperties",
        "patternProperties",
        "propertyNames",
        "required",
        "minProperties",
    },
    "array": {"items", "prefixItems", "contains", "minItems", "uniqueItems"},
    "string": {"pattern", "minLength", "maxLength", "format"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
}


def of_any_name(schema: JSON, name: str) -> Any:
    """The schema of a property that has none of its own."""
    for pattern, part in (schema.get("patternProperties") or {}).items():
        if json_schema.is_valid({"pattern": pattern}, name):
            return part
    return schema.get("additionalProperties", True)


def is_end(schema: Any) -> bool:
    """Whether nothing fits: where a schema that contains itself is no longer followed, or an array of such."""
    if not isinstance(schema, Mapping):
        return schema is False
    return schema.get("not") == {} or ("items" in schema and is_end(schema["items"]))


def kind_of(schema: Mapping[str, Any]) -> str | None:
    """The one type of a schema's values, by what it says or by its keywords; None where it is not known."""
    if isinstance(schema.get("type"), str):
        return str(schema["type"])
    for key in ("oneOf", "anyOf"):
        kinds = {kind_of(part) for part in schema.get(key) or () if isinstance(part, Mapping)} - {"null"}
        if len(kinds) == 1:
            return kinds.pop()
    return next((kind for kind, keys in KEYWORDS.items() if keys & schema.keys()), None)
