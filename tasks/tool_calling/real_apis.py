"""Tools from real API descriptions: thousands of names, styles and schemas that nobody here wrote.

Operations come from the installed packages `botocore` and `googleapiclient`. Each is cut down to what can be
said in a sentence (at most six parameters) and gets values and requests of its own. Services, not operations,
are divided into train, dev and test, and dev and test services are asked for in wording of their own.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from agentlora.core.provenance import package_version
from agentlora.core.types import JSON, Split
from agentlora.tasks.tool_calling.api_frames import KINDS
from agentlora.tasks.tool_calling.api_kinds import NAMING, kind_of
from agentlora.tasks.tool_calling.api_phrasing import phrasings, usable
from agentlora.tasks.tool_calling.api_sources import (
    API_PACKAGES,
    ApiSource,
    Operation,
    Param,
    first_sentence,
    is_plural,
    read_operations,
    service_files,
    singular,
    split_words,
)
from agentlora.tasks.tool_calling.api_values import Pool, pool_for
from agentlora.tasks.tool_calling.kept_tools import kept_tools
from agentlora.tasks.tool_calling.toolspec import ToolSpec

MAX_PARAMS = 6
MAX_SPEC_CHARS = 1400  # compact JSON, about 350 tokens
MAX_PER_SERVICE = 40  # EC2 alone has 700 operations
PHRASINGS = 12
MIN_PHRASINGS = 8
# Nearly every service has these; a few of them are enough.
_EVERYWHERE = re.compile(
    r"tags?( |$)|.*tags for resource|resource tags|.*iam .*|operations?$|locations?$|resource$"
)


@lru_cache(maxsize=4)
def load_real_tools(source: ApiSource, limit: int | None, seed: int) -> tuple[ToolSpec, ...]:
    """Up to `limit` tools (None: all that are usable, at most 40 a service), the same for the same seed.

    Tools of one service follow each other, those on the same thing (create, get, delete …) side by side.

    Raises:
        MissingExtra: the source's package is not installed.
        DataError: it holds no readable API descriptions.
    """
    made_of = package_version(API_PACKAGES[source]), limit, seed
    return kept_tools(source, made_of, lambda: _read_tools(source, limit, seed))


def _read_tools(source: ApiSource, limit: int | None, seed: int) -> tuple[ToolSpec, ...]:
    services = service_files(source)
    order = sorted(services)
    random.Random(f"{seed}/{source}").shuffle(order)
    per_service = MAX_PER_SERVICE if limit is None else max(4, -(-limit * 3 // (2 * len(order))))
    read: dict[str, list[Operation]] = {}
    while True:
        tools = tuple(islice(_collect(source, services, order, per_service, seed, read), limit))
        if limit is None or len(tools) >= limit or per_service >= MAX_PER_SERVICE:
            return tools
        per_service = min(MAX_PER_SERVICE, 1 + per_service * limit * 3 // (2 * max(1, len(tools))))


def split_of(source: ApiSource, service: str) -> Split:
    """The split of a service: about 80 % train, 8 % dev, 12 % test. Related services (lex, lexv2) share one."""
    family = re.sub(r"(v?\d|-).*", "", service) or service
    share = int(hashlib.sha256(f"{source}/{family}".encode()).hexdigest(), 16) % 100
    return "train" if share < 80 else "dev" if share < 88 else "test"


def _collect(
    source: ApiSource,
    services: dict[str, Path],
    order: list[str],
    per_service: int,
    seed: int,
    read: dict[str, list[Operation]],
) -> Iterator[ToolSpec]:
    """The first usable `per_service` tools of each service; reads a service when it is reached, and keeps what it has
    `read` there.
    """
    names: set[str] = set()
    for service in order:
        rng = random.Random(f"{seed}/{source}/{service}")
        if service not in read:
            found = read_operations(source, service, services[service])
            read[service] = [operation for operation in found if usable(operation)]
        made = (_tool(source, operation, names, rng) for operation in _by_thing(read[service], rng))
        for spec in islice((spec for spec in made if spec is not None), per_service):
            names.add(spec.name)
            yield spec


def _by_thing(operations: list[Operation], rng: random.Random) -> list[Operation]:
    """The operations in random order of what they act on; those on one thing stay together.

    Of two that do the same to the same thing (ListClusters, DescribeClusters) only the first is kept: no
    request could tell them apart.
    """
    things: dict[tuple[str, ...], dict[str, Operation]] = {}
    for operation in operations:
        if not _EVERYWHERE.match(" ".join(operation.noun)) or rng.random() < 0.05:
            things.setdefault(singular(operation.noun), {}).setdefault(_deed(operation), operation)
    groups = list(things.values())
    rng.shuffle(groups)
    return [operation for group in groups for operation in group.values()]


def _deed(operation: Operation) -> str:
    """What is done, whatever the verb: ``put`` and ``update`` are one deed, ``describe`` of several is a list."""
    deed = KINDS.get(operation.verb, operation.verb)
    if deed == "get" and is_plural(operation.noun):
        return "list"
    return "update" if deed == "put" else deed


def _tool(source: ApiSource, operation: Operation, names: set[str], rng: random.Random) -> ToolSpec | None:
    """The operation as a tool, or None where it has too much that is required or nothing to say."""
    split = split_of(source, operation.service)
    params = _params(operation, 0.4 if source == "botocore" else 0.3, rng)
    # a call with no or one argument teaches little
    if params is None or rng.random() < (0.7, 0.4, 0)[min(len(params), 2)]:
        return None
    pools = {p.name: pool_for(p, operation.noun, operation.service, rng) for p in params}
    spoken = [p for p in params if _has_values(pools[p.name])]
    if any(p.required and p not in spoken for p in params):
        return None
    if _deed(operation) == "update" and all(kind_of(p) in NAMING for p in spoken):
        return None  # nothing that could be changed
    function = _fitted(
        _name(source, operation, names, rng), operation.description, spoken, rng.random() < 0.7
    )
    if function is None:
        return None
    spoken = [p for p in spoken if p.name in function["parameters"]["properties"]]
    requests, missing = phrasings(operation, spoken, PHRASINGS, split != "train", rng)
    if len(requests) < MIN_PHRASINGS:
        return None
    named = {slot for request in (*requests, *missing) for slot in request.slots}
    return ToolSpec(
        domain=operation.service,
        name=function["name"],
        description=operation.description,
        parameters=function["parameters"],
        values={p.name: pools[p.name] for p in spoken if p.name in named},
        phrasings=requests,
        missing=missing,
        split=split,
        source=f"{source}/{operation.service}",
        meaning=f"{_deed(operation)} {' '.join(singular(operation.noun))}",
    )


def _params(operation: Operation, snake_share: float, rng: random.Random) -> list[Param] | None:
    """All required parameters and some optional ones, in one style of names; None where that cannot be said."""
    required = [p for p in operation.params if p.required]
    if _deed(operation) == "list" and any(p.words == ("name",) for p in required):
        return None  # the name of what the listed things belong to, which has no word here
    if any(p.pattern for p in required) and rng.random() < 0.5:
        return None  # long resource names would fill half of Google's requests
    if len(required) > MAX_PARAMS:
        return None
    optional = [p for p in operation.params if not p.required]
    room = rng.randint(min(2, MAX_PARAMS - len(required)), MAX_PARAMS - len(required))
    taken = rng.sample(optional, min(len(optional), room))
    params = [p for p in operation.params if p.required or p in taken]
    snake = [_restyled(p) for p in params]
    return snake if rng.random() < snake_share and len({p.name for p in snake}) == len(params) else params


def _fitted(name: str, description: str, params: list[Param], described: bool) -> JSON | None:
    """The function with as many of the optional parameters as fit the budget; None where none would help."""
    kept = list(params)
    while True:
        function = {"name": name, "description": description, "parameters": _schema(kept, described)}
        if len(json.dumps(function, separators=(",", ":"))) <= MAX_SPEC_CHARS:
            return function
        optional = [p for p in kept if not p.required]
        if not optional:
            return None
        kept.remove(optional[-1])


def _has_values(pool: Pool) -> bool:
    return len(pool["list_of"] if isinstance(pool, dict) and "list_of" in pool else pool) > 0


def _schema(params: list[Param], described: bool) -> JSON:
    properties: dict[str, JSON] = {}
    for param in params:
        text = first_sentence(param.description, 90) if described else ""
        about = {"description": text} if text else {}
        properties[param.name] = {**param.schema, **about}
    required = [p.name for p in params if p.required]
    return {"type": "object", "properties": properties} | ({"required": required} if required else {})


def _snake(name: str) -> str:
    return "_".join(split_words(name))


def _restyled(param: Param) -> Param:
    schema: dict[str, Any] = dict(param.schema)
    if schema["type"] == "object":
        schema["properties"] = {_snake(n): s for n, s in schema["properties"].items()}
        if "required" in schema:
            schema["required"] = [_snake(n) for n in schema["required"]]
    return replace(param, name=_snake(param.name), schema=schema)


def _name(source: ApiSource, operation: Operation, taken: set[str], rng: random.Random) -> str:
    """A name in one of the usual styles that no other tool has; the service goes in front where it must."""
    words = (operation.verb, *operation.noun)
    service = re.sub(r"\W", "_", operation.service)
    pascal = "".join(w.capitalize() for w in words)
    dotted = (
        operation.path if source == "google" and len(operation.path) <= 48 else f"{service}.{'_'.join(words)}"
    )
    styles = {
        "_".join(words): 35,
        pascal[0].lower() + pascal[1:]: 20,
        pascal: 15,
        dotted: 15,
        f"{service}_{'_'.join(words)}": 15,
    }
    name = rng.choices(list(styles), list(styles.values()))[0]
    for other in (name, f"{service}_{'_'.join(words)}", f"{service}{pascal}", f"{service}_{pascal}"):
        if other not in taken and len(other) <= 64:
            return other
    return f"{service}_{'_'.join(words)}_{len(taken)}"[-64:]
