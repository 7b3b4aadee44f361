"""The published JSON Schemas (2020-12) of what an evaluation writes, made from the models that write it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import BaseModel

from agentlora.core.types import JSON
from agentlora.eval.record import FORMAT, SINCE_2, Record
from agentlora.eval.samples import SAMPLE_FORMAT, Sample

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def record_schema() -> JSON:
    """Of ``record.json`` as it is written today; earlier formats are read, and not described."""
    schema = _published(Record, FORMAT)
    schema["properties"]["format"] = {"const": FORMAT, "type": "string"}
    _always(schema, *SINCE_2)
    _always(schema["$defs"]["ConditionRecord"], "statuses")
    return schema


def sample_schema() -> JSON:
    """Of a line of ``samples.jsonl``."""
    return _published(Sample, SAMPLE_FORMAT)


SCHEMAS: Final[Mapping[str, Callable[[], JSON]]] = {"record": record_schema, "sample": sample_schema}


def _published(model: type[BaseModel], name: str) -> JSON:
    head = {"$schema": DIALECT, "$id": "urn:" + name.replace(".", ":")}
    return {**head, **model.model_json_schema(mode="serialization")}


def _always(schema: JSON, *names: str) -> None:
    """Fields that may be absent from what is read, and never are from what is written."""
    for name in names:
        field: Mapping[str, Any] = schema["properties"][name]
        kept = {key: value for key, value in field.items() if key not in ("anyOf", "default")}
        schema["properties"][name] = {**kept, **field["anyOf"][0]}
    schema["required"] = [*schema["required"], *names]
