"""Operations read from the API descriptions inside two installed packages: `botocore` and `googleapiclient`.

Only what a person can ask for in a sentence is kept: operations with a known verb, a documented purpose and
required parameters of simple types.
"""

from __future__ import annotations

import gzip
import html
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from agentlora.core.errors import DataError, needs_extra
from agentlora.core.types import JSON

ApiSource = Literal["botocore", "google"]
API_PACKAGES: dict[ApiSource, str] = {"botocore": "botocore", "google": "google-api-python-client"}
MANY = 1 << 11  # names and words that the same is asked of again and again

_WORD = re.compile(
    r"IPv[46]|[Ss]3|[Ee][Cc]2|[A-Z]{2,}s(?![a-z])|[A-Z]{2,}(?=[A-Z][a-z]|[^A-Za-z]|$)|"
    r"[A-Z]?[a-z]+|[A-Z]+|\d+"
)
# Parameters that software fills in, or that nobody says aloud: tokens, secrets, documents, masks, filters.
_UNSPOKEN = re.compile(
    r"token|password|secret|secrets|credentials?|signature|hash|checksum|digest|md5|sha\d*|nonce|etag|"
    r"certificate|public key|private key|fingerprint|(.* )?polic(y|ies)( document| text| json)?|"
    r".*iterator|document|definition|template|template body|json|yaml|xml|html|schema|statement|payload|"
    r"blob|cursor|marker|mask|script|sql|csrf|data|input|metadata|annotations|filter|filters|order by|"
    r"sort by|expression|context|request id|upload id|pagination|page|self link|kind|cas|callback|"
    r"generation|revision id|continuation|resource version|hl|prefer|"
    r"on behalf of content owner( channel)?|user agent|dry run|validate only|expected bucket owner|"
    r"request payer|view|fields|projection|extra|if .*match|.*token.*|.*jwt.*|.*password.*|.*secret.*|"
    r".*cursor.*|client request .*|idempotency.*"
)
_PREFIX = re.compile(
    r"^\W*(?:(?:Required|Optional|Output only|Input only|Immutable|Identifier|Deprecated)\W+)+"
)
DEPRECATED, NAMELESS = "it is deprecated", "its name has no words"
UNSPEAKABLE = "it requires {!r}, which nobody says in a sentence (a token, a policy, a file, nested objects)"
LONGEST_TEXT = 6000  # characters of a description that are looked at
_UNSENTENCE = re.compile(r"\b(deprecated|internal use|do not use|reserved|not supported|no longer)\b", re.I)


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter: its name as written, its words in lower case, a JSON schema without description.

    `description` is as the API has it, markup included. `pattern` is the path pattern of a Google resource
    name (``^projects/[^/]+$``), otherwise empty. `choices` are the values of an enumeration that is too long
    to be listed in the schema.
    """

    name: str
    words: tuple[str, ...]
    schema: JSON
    required: bool
    description: str
    pattern: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: `verb` and `noun` in lower-case words, `path` its name or dotted id in the API."""

    service: str
    verb: str
    noun: tuple[str, ...]
    path: str
    description: str
    params: tuple[Param, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """An operation that cannot be asked for in a sentence: its `path` in the API, and `why`, for people."""

    path: str
    why: str


@lru_cache(MANY)
def split_words(name: str) -> tuple[str, ...]:
    """``DBInstanceIdentifiers`` → ``("db", "instance", "identifiers")``."""
    return tuple(word.lower() for word in _WORD.findall(name.replace("-", "_")))


def service_files(source: ApiSource) -> dict[str, Path]:
    """Service name → the description file of its newest (for Google: newest stable) version.

    Raises:
        MissingExtra: the package is not installed. DataError: it holds no descriptions.
    """
    package = {"botocore": "botocore", "google": "googleapiclient"}[source]
    with needs_extra("train", f"reading tools from {package}'s API descriptions"):
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    root = Path(spec.origin).parent
    found: dict[str, Path] = {}
    if source == "botocore":
        for path in sorted(root.glob("data/*/*/service-2.json*")):
            found[path.parent.parent.name] = path  # dates as folder names: the last is the newest
    else:
        for path in sorted(root.glob("discovery_cache/documents/*.json"), key=_google_age):
            found[path.name.split(".")[0]] = path
    if not found:
        raise DataError(f"{package} at {root} holds no API descriptions; reinstall it: pip install {package}")
    return found


def _google_age(path: Path) -> tuple[bool, int, str]:
    version = path.name.split(".", 1)[1]
    stable = re.fullmatch(r"v(\d+)(\.\d+)*\.json", version)
    return bool(stable), int(stable[1]) if stable else 0, version


def read_operations(source: ApiSource, service: str, path: Path) -> Iterator[Operation]:
    """The speakable operations of one description file that are documented, in the file's order. Raises DataError."""
    for found in all_operations(source, service, described(path)):
        if isinstance(found, Operation) and found.noun and _documented(found.description):
            yield found


def all_operations(source: ApiSource, service: str, described: JSON) -> Iterator[Operation | Refused]:
    """All operations of one description, in its order, however they are described. One whose name is a verb alone
    (``Publish``) has an empty `noun`.
    """
    return (_botocore if source == "botocore" else _google)(service, described)


def described(path: Path) -> JSON:
    """A description file of a package. Raises DataError."""
    raw = path.read_bytes()
    try:
        found: JSON = json.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)
    except (OSError, ValueError) as exc:
        raise DataError(f"{path} is not a readable API description: {exc}. Reinstall its package.") from exc
    return found


def first_sentence(text: str, limit: int) -> str:
    """The first sentence without markup, at most `limit` characters, cut at a word where it is longer."""
    text = text[:LONGEST_TEXT]
    text = re.sub(r"(?s)<(note|important)>.*?</\1>", " ", text)
    text = html.unescape(re.sub(r"<[^>]+>", " ", re.split(r"</p>", text.strip(), maxsplit=1)[0]))
    text = re.sub(r"\[([^\]]+)\]\([^)]*\)|`", r"\1", text)
    text = re.sub(r"\s+([,.;:])", r"\1", " ".join(_PREFIX.sub("", text).split()))
    sentence = re.split(r"(?<!e\.g\.)(?<!i\.e\.)(?<!etc\.)(?<=[.!?])\s+(?=[A-Z(])", text, maxsplit=1)[0]
    if len(sentence) <= limit:
        return sentence
    return re.sub(r"[\s,;:(]+\S*$", "", sentence[: limit - 3]) + "..."


# --- Amazon -------------------------------------------------------------------------------------


def _botocore(service: str, described: JSON) -> Iterator[Operation | Refused]:
    shapes = described["shapes"]
    for name, operation in described["operations"].items():
        words = split_words(name)
        shape = shapes.get(operation.get("input", {}).get("shape"), {"members": {}})
        if operation.get("deprecated") or not words:
            yield Refused(name, DEPRECATED if words else NAMELESS)
            continue
        params = _aws_params(shape, shapes)
        if isinstance(params, str):
            yield Refused(name, UNSPEAKABLE.format(params))
            continue
        text = first_sentence(operation.get("documentation", ""), 200)
        yield Operation(service, words[0], words[1:], name, text, params)


def _aws_params(shape: JSON, shapes: JSON) -> tuple[Param, ...] | str:
    """The speakable members; the name of a required one that is not, where there is such."""
    params = []
    for name, member in shape.get("members", {}).items():
        required = name in shape.get("required", ())
        schema = _aws_schema(member, shapes, 0)
        words = split_words(name)
        if member.get("idempotencyToken") or member.get("deprecated") or not speakable(name, words, schema):
            if required:
                return str(name)
            continue
        target = shapes[member["shape"]]
        choices = tuple(target.get("enum", ())) if target["type"] == "string" else ()
        params.append(
            Param(name, words, schema or {}, required, member.get("documentation", ""), "", choices)
        )
    return tuple(params)


def _aws_schema(member: JSON, shapes: JSON, depth: int) -> JSON | None:
    """The JSON schema of a member, or None where it cannot be spoken."""
    shape = shapes[member["shape"]]
    kind = shape["type"]
    if kind == "string":
        return _string(shape.get("enum", ()))
    if kind in ("integer", "long", "float", "double"):
        schema: JSON = {"type": "integer" if kind in ("integer", "long") else "number"}
        limits = {"minimum": shape.get("min"), "maximum": shape.get("max")}
        return schema | {k: v for k, v in limits.items() if v is not None and abs(v) <= 1_000_000}
    if kind == "boolean":
        return {"type": "boolean"}
    if kind == "timestamp":
        return {"type": "string", "format": "date-time"}
    if kind == "list" and depth == 0:
        items = _aws_schema(shape["member"], shapes, 2)
        return {"type": "array", "items": items} if items and items["type"] == "string" else None
    if kind == "structure" and depth == 0 and not shape.get("union") and shape.get("members"):
        members = {n: _aws_schema(m, shapes, 1) for n, m in shape["members"].items()}
        return _object(members, shape.get("required", ()))
    return None


_ON_MANY = ("list", "search", "find", "query", "import", "export", "purge", "count")


# --- Google -------------------------------------------------------------------------------------


def _google(service: str, described: JSON) -> Iterator[Operation | Refused]:
    for resource, name, method in _google_methods(described.get("resources", {}), ""):
        words = split_words(name)
        thing = split_words(resource)
        if method.get("deprecated") or not words or not thing:
            yield Refused(method["id"], DEPRECATED if words and thing else NAMELESS)
            continue
        # resources are named in the plural; `tasks.delete` deletes one task, `tasks.list` lists them all
        noun = thing if words[0] in _ON_MANY else singular(thing)
        if len(words) > 1:
            repeated = singular(thing)[-1] in (singular(words[1:])[-1], words[1])
            noun = words[1:] if repeated else (*singular(thing), *words[1:])
        params = _google_params(method, described.get("schemas", {}))
        if isinstance(params, str):
            yield Refused(method["id"], UNSPEAKABLE.format(params))
            continue
        text = first_sentence(method.get("description", ""), 200)
        yield Operation(service, words[0], noun, method["id"], text, params)


def _google_methods(resources: JSON, parent: str) -> Iterator[tuple[str, str, JSON]]:
    for resource, body in resources.items():
        for name, method in body.get("methods", {}).items():
            yield resource, name, method
        yield from _google_methods(body.get("resources", {}), resource)


def _google_params(method: JSON, schemas: JSON) -> tuple[Param, ...] | str:
    """As `_aws_params`; members of the request's body are parameters too."""
    described = dict(method.get("parameters", {}))
    body = schemas.get(method.get("request", {}).get("$ref"), {})
    for name, prop in body.get("properties", {}).items():
        if (
            name not in described
            and not prop.get("readOnly")
            and "Output only" not in prop.get("description", "")
        ):
            described[name] = {**prop, "required": prop.get("description", "").startswith("Required")}
    params = []
    for name, prop in described.items():
        names_itself = name == "name" and not prop.get("required") and "location" not in prop
        if prop.get("deprecated") or names_itself:
            continue
        required = bool(prop.get("required"))
        schema, words = _google_schema(prop, schemas, 0), split_words(name)
        if not speakable(name, words, schema):
            if required:
                return str(name)
            continue
        pattern = prop.get("pattern", "")
        if not re.fullmatch(r"\^?\w+(/(\w+|\[\^/\]\+))+\$?", pattern):
            pattern = ""
        choices = tuple(prop.get("enum", ()))
        params.append(
            Param(name, words, schema or {}, required, prop.get("description", ""), pattern, choices)
        )
    return tuple(params)


def _google_schema(prop: JSON, schemas: JSON, depth: int) -> JSON | None:
    kind, layout = prop.get("type"), prop.get("format", "")
    if prop.get("repeated") and depth == 0:
        items = _google_schema({**prop, "repeated": False}, schemas, 2)
        return {"type": "array", "items": items} if items and items["type"] == "string" else None
    if kind in ("integer", "number", "boolean"):
        return {"type": kind}
    if kind == "string":
        if layout in ("google-datetime", "date-time", "date"):
            return {"type": "string", "format": "date" if layout == "date" else "date-time"}
        if layout in ("int64", "uint64", "int32"):
            return {"type": "integer"}
        return None if layout else _string(prop.get("enum", ()))
    if kind == "array" and depth == 0:
        items = _google_schema(prop.get("items", {}), schemas, 2)
        return {"type": "array", "items": items} if items and items["type"] == "string" else None
    if "$ref" in prop and depth == 0:
        members = schemas.get(prop["$ref"], {}).get("properties", {})
        kept = {n: _google_schema(m, schemas, 1) for n, m in members.items() if not m.get("readOnly")}
        return _object(kept, ()) if kept else None
    return None


# --- shared -------------------------------------------------------------------------------------


def _string(enum: Any) -> JSON | None:
    values = [v for v in enum if not re.search(r"UNSPECIFIED|UNKNOWN|^UNDEFINED|^$", v)]
    if any(len(value) == 1 for value in values):
        return None  # flags of one letter, which nobody says
    return {"type": "string", "enum": values} if 2 <= len(values) <= 8 else {"type": "string"}


def _object(members: Mapping[str, JSON | None], required: Any) -> JSON | None:
    """An object of at most four simple members; None where one of them is not simple."""
    simple = {n: s for n, s in members.items() if s and speakable(n, split_words(n), s)}
    if not simple or len(members) > 4 or len(simple) < len(members):
        return None
    return {"type": "object", "properties": simple} | ({"required": list(required)} if required else {})


def speakable(name: str, words: tuple[str, ...], schema: JSON | None) -> bool:
    """Whether a person would say a value for this parameter in a sentence."""
    return schema is not None and _speakable(name, words, schema["type"] == "string")


@lru_cache(MANY)
def _speakable(name: str, words: tuple[str, ...], is_text: bool) -> bool:
    if not words or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or len(words) > 6:
        return False
    if max(map(len, words)) > 15:
        return False
    if is_text and re.search(r"max (results|items|records)|page size|limit$", " ".join(words)):
        return False  # a number that the API declares as a string
    return not _UNSPOKEN.fullmatch(" ".join(words))


def _documented(text: str) -> bool:
    return len(text) >= 20 and not _UNSENTENCE.search(text)


_ALWAYS_PLURAL = {
    "settings", "details", "credentials", "contents", "permissions", "preferences", "insights", "statistics",
    "properties", "attributes", "metrics", "news", "series", "limits", "options", "results", "stats",
    "analytics",
    "tags", "labels",
}  # fmt: skip
_NO_PLURAL = (
    "ss",
    "us",
    "is",
    "dns",
    "aws",
    "sms",
    "kms",
    "tls",
    "https",
    "os",
    "sns",
    "sqs",
    "ecs",
    "eks",
    "efs",
)


@lru_cache(MANY)
def is_plural(words: tuple[str, ...]) -> bool:
    """Whether the last word is a plural."""
    return bool(words) and words[-1].endswith("s") and not words[-1].endswith(_NO_PLURAL)


@lru_cache(MANY)
def singular(words: tuple[str, ...]) -> tuple[str, ...]:
    """The words with the last one in the singular; words such as ``settings`` stay."""
    if not is_plural(words) or words[-1] in _ALWAYS_PLURAL:
        return words
    last = words[-1]
    if last.endswith("ies") and len(last) > 4:
        last = last[:-3] + "y"
    elif last.endswith(("sses", "xes", "ches", "shes")) and last != "caches":
        last = last[:-2]
    elif last == "indices":
        last = "index"
    elif last == "bookshelves":
        last = "bookshelf"
    else:
        last = last[:-1]
    return (*words[:-1], last)


@lru_cache(MANY)
def plural(words: tuple[str, ...]) -> tuple[str, ...]:
    """The words with the last one in the plural."""
    if not words or is_plural(words) or words[-1] in _ALWAYS_PLURAL:
        return words
    last = words[-1]
    if last.endswith("y") and last[-2:-1] not in "aeiou":
        return (*words[:-1], last[:-1] + "ies")
    if last.endswith(("s", "x", "ch", "sh")):
        return (*words[:-1], last + "es")
    return (*words[:-1], last + "s")
