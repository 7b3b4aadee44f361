"""Types that Python, pydantic and typing bring, as JSON Schemas."""

from __future__ import annotations

from collections.abc import Mapping

from agentlora.core.types import JSON

_TEXT: JSON = {"type": "string"}
_ARRAY: JSON = {"type": "array"}
_SET: JSON = {"type": "array", "uniqueItems": True}
_OBJECT: JSON = {"type": "object"}
PLAIN: Mapping[str, JSON] = {
    "str": _TEXT, "StrictStr": _TEXT, "AnyStr": _TEXT, "Path": _TEXT, "PurePath": _TEXT, "FilePath": _TEXT,
    "int": {"type": "integer"}, "StrictInt": {"type": "integer"},
    "float": {"type": "number"}, "StrictFloat": {"type": "number"}, "FiniteFloat": {"type": "number"},
    "Decimal": {"type": "number"},
    "bool": {"type": "boolean"}, "StrictBool": {"type": "boolean"},
    "None": {"type": "null"}, "NoneType": {"type": "null"},
    "Any": {}, "object": {}, "JsonValue": {},
    "PositiveInt": {"type": "integer", "exclusiveMinimum": 0},
    "NonNegativeInt": {"type": "integer", "minimum": 0},
    "NegativeInt": {"type": "integer", "exclusiveMaximum": 0},
    "NonPositiveInt": {"type": "integer", "maximum": 0},
    "PositiveFloat": {"type": "number", "exclusiveMinimum": 0},
    "NonNegativeFloat": {"type": "number", "minimum": 0},
    "NegativeFloat": {"type": "number", "exclusiveMaximum": 0},
    "NonPositiveFloat": {"type": "number", "maximum": 0},
    "date": {**_TEXT, "format": "date"}, "PastDate": {**_TEXT, "format": "date"},
    "FutureDate": {**_TEXT, "format": "date"},
    "datetime": {**_TEXT, "format": "date-time"}, "AwareDatetime": {**_TEXT, "format": "date-time"},
    "NaiveDatetime": {**_TEXT, "format": "date-time"}, "PastDatetime": {**_TEXT, "format": "date-time"},
    "FutureDatetime": {**_TEXT, "format": "date-time"},
    "time": {**_TEXT, "format": "time"},
    "timedelta": {**_TEXT, "format": "duration"},
    "UUID": {**_TEXT, "format": "uuid"}, "UUID1": {**_TEXT, "format": "uuid"}, "UUID4": {**_TEXT, "format": "uuid"},
    "EmailStr": {**_TEXT, "format": "email"},
    "AnyUrl": {**_TEXT, "format": "uri"}, "HttpUrl": {**_TEXT, "format": "uri"},
    "AnyHttpUrl": {**_TEXT, "format": "uri"},
    "IPv4Address": {**_TEXT, "format": "ipv4"}, "IPv6Address": {**_TEXT, "format": "ipv6"},
    "bytes": {**_TEXT, "format": "binary"},
    "SecretStr": {**_TEXT, "format": "password"}, "SecretBytes": {**_TEXT, "format": "password"},
    "dict": _OBJECT, "Dict": _OBJECT, "Mapping": _OBJECT, "MutableMapping": _OBJECT, "OrderedDict": _OBJECT,
    "defaultdict": _OBJECT, "DefaultDict": _OBJECT,
    "Counter": {**_OBJECT, "additionalProperties": {"type": "integer"}},
    "list": _ARRAY, "List": _ARRAY, "Sequence": _ARRAY, "MutableSequence": _ARRAY, "Iterable": _ARRAY,
    "Collection": _ARRAY, "deque": _ARRAY, "Deque": _ARRAY, "tuple": _ARRAY, "Tuple": _ARRAY,
    "set": _SET, "Set": _SET, "AbstractSet": _SET, "MutableSet": _SET, "frozenset": _SET, "FrozenSet": _SET,
}  # fmt: skip
# calls that make a type → the type
MADE: Mapping[str, JSON] = {"constr": _TEXT, "conint": {"type": "integer"}, "confloat": {"type": "number"},
                            "condecimal": {"type": "number"}, "conlist": _ARRAY, "conset": _SET, "confrozenset": _SET,
                            "condate": {**_TEXT, "format": "date"}}  # fmt: skip
