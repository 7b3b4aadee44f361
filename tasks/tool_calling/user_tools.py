"""Requests over somebody's own tools: from an OpenAPI document, Python functions, an MCP server and so on.

All of the tools are trained on, each as it will be offered when it is served. Dev and test ask in wording that training
never uses.
"""

from __future__ import annotations

import fnmatch
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, model_validator

from agentlora.core import schema as json_schema
from agentlora.core.errors import ConfigError, DataError, nearest
from agentlora.core.files import sha256_json
from agentlora.core.types import JSON, Example, Split, ToolCall
from agentlora.tasks.tool_calling import api_frames as frames
from agentlora.tasks.tool_calling import groups
from agentlora.tasks.tool_calling.api_sources import singular
from agentlora.tasks.tool_calling.bounds import contradiction
from agentlora.tasks.tool_calling.builder import CATALOGUE, for_training
from agentlora.tasks.tool_calling.conversions import conversions_of
from agentlora.tasks.tool_calling.importing.mcp import named_values
from agentlora.tasks.tool_calling.importing.pruning import CHARS_A_TOKEN, Pruned, prune, without_words
from agentlora.tasks.tool_calling.importing.services import SOURCES
from agentlora.tasks.tool_calling.importing.source import import_tools
from agentlora.tasks.tool_calling.importing.types import MALFORMED, Imported, ImportedTool, LeftOut
from agentlora.tasks.tool_calling.repeats import repeatable
from agentlora.tasks.tool_calling.rewording import Rewording
from agentlora.tasks.tool_calling.styles import restyle, words_of
from agentlora.tasks.tool_calling.toolspec import Phrasing, ToolSpec, load_catalogue, render
from agentlora.tasks.tool_calling.user_phrasing import VERBS, as_names, operation_of, requests_for
from agentlora.tasks.tool_calling.user_values import parameter, valid_entries, values_for, with_stated_format
from agentlora.tasks.tool_calling.written import written_requests

# case → the setting that says how much of it there is
FURTHER = {"same_tool": "same_tool_share", "unit": "units_share", "date": "dates_share", "number": "numbers_share",
           "synonym": "synonyms_share", "yes_no": "yes_no_share"}  # fmt: skip

# keywords of a tool's schema that are about each parameter by itself
_OF_EACH = {"type", "properties", "required", "additionalProperties", "title", "description", "examples"}
DRAWINGS = 10  # of values, to find a call that fits


class UserToolParams(groups.RequestParams):
    """How much of what, over the tools of a source."""

    tools: str = ""
    """Where the tools are: an OpenAPI document, a file or folder of functions, a Python file or module, ``mcp:…`` …"""
    only: list[str] = Field([])
    """Of a larger source, the tools to take: names, or patterns such as ``issues_*``; all when empty."""
    mcp_headers: list[str] = Field([])
    """``Name: value`` headers of requests to an MCP server. Name secrets by environment variables: ``Authorization:
    Bearer ${MY_TOKEN}``; they are looked up when it is asked for its tools, and written nowhere."""
    mcp_env: list[str] = Field([])
    """``NAME=value`` variables of an MCP server that is a command, likewise: ``API_KEY=${API_KEY}``."""
    requests: str = ""
    """A YAML file of requests that somebody wrote by hand, for dev and test (tasks/tool_calling/written.py)."""
    tool_tokens: int = Field(250, ge=30)
    """Tokens that one tool may take in a prompt; what is larger is pruned, by stated rules."""
    examples: int = Field(4800, ge=1)
    everyday_share: float = Field(0.0, ge=0, lt=1)
    """Of the training requests, how many are over the catalogue's tools in place of your own: people wrote them, and
    they teach how people ask."""
    requests_per_toolset: int = Field(24, ge=1)
    """More than where tools are many: the lists are long here, and all of their tools are known after a while."""
    tools_max: int = Field(8, ge=1, le=64)
    list_tokens: int = Field(1200, ge=60)
    """Tokens that the tools of one prompt may take together, by 3.4 characters of JSON a token."""
    answer_chars_max: int = Field(420, ge=60)
    """Characters that the answer of a dev or test request may take."""
    none_fits_share: float = Field(0.2, ge=0, le=1)
    none_fits_weight: float = Field(2.0, gt=0)
    long_lists_share: float = Field(0.1, ge=0, le=1)
    steps_share: float = Field(0.06, ge=0, le=1)
    same_tool_share: float = Field(0.04, ge=0, le=1)
    """How many name several values of one parameter, and need a call of the same tool for each."""
    units_share: float = Field(0.04, ge=0, le=1)
    """How many say an amount in another unit than its parameter takes ("two hours" for ``timeout_seconds``), or
    at times in its own."""
    dates_share: float = Field(0.03, ge=0, le=1)
    """How many say a date or a time otherwise than the call has it ("the 3rd of May 2026")."""
    numbers_share: float = Field(0.02, ge=0, le=1)
    """How many say a number in words or with separators ("twenty-five", "1,500")."""
    synonyms_share: float = Field(0.03, ge=0, le=1)
    """How many say a value of an enumeration in other words ("every day" for ``daily``)."""
    yes_no_share: float = Field(0.02, ge=0, le=1)
    """How many say a yes-or-no parameter in plain words ("open to everyone" for ``private: false``)."""

    @model_validator(mode="after")  # not of a field, whose value is told where it is wrong
    def _no_secrets(self) -> Self:
        for key, mark in (("mcp_headers", ":"), ("mcp_env", "=")):
            try:
                named_values(getattr(self, key), mark)
            except ValueError as exc:
                raise ValueError(f"{key}: {exc}") from None
        return self

    @property
    def list_chars(self) -> int:
        """See `RequestParams`."""
        return round(self.list_tokens * CHARS_A_TOKEN)

    def read(self) -> Read:
        """The tools. Raises as `read_tools`."""
        return read_tools(
            self.tools, self.tool_tokens, tuple(self.only), tuple(self.mcp_headers), tuple(self.mcp_env)
        )

    def parts(self) -> tuple[tuple[str, ...], ...]:
        """See `RequestParams`."""
        *others, cases = super().parts()
        return (*others, (*cases, *FURTHER.values()))

    def further_cases(self) -> dict[str, float]:
        """See `RequestParams`."""
        own = {case: getattr(self, name) for case, name in FURTHER.items()}
        return {**super().further_cases(), **{case: share for case, share in own.items() if share}}


class UserTools:
    """The dataset builder ``user-tools``. Its calls can be long, and so can lists of its tools."""

    Params = UserToolParams
    defaults: ClassVar[JSON] = {
        "data": {"replay": 0.04},
        "training": {"max_len": 2048, "batch_size": 48, "lr": 1.5e-3},
        "eval": {"max_new_tokens": 192},
    }

    def check(self, params: UserToolParams) -> None:
        """Raises as `read_tools`."""
        params.read()

    def build(self, split: Split, params: UserToolParams, seed: int) -> Iterator[Example]:
        """See `agentlora.core.types.DatasetBuilder`."""
        read = params.read()
        asked = [tool for tool in _specs(read, split, seed).values() if isinstance(tool, ToolSpec)]
        if not asked:
            reasons = "".join(f"\n  {row.what}: {row.why}" for row in unspoken(read, seed)[:5])
            raise DataError(f"{params.tools} has no tool that requests can be written for.{reasons}")
        pool = groups.Pool(
            split,
            "user-tools",
            asked,
            trained=split == "train",
            invented=groups.INVENTED,
            beyond=_strangers(asked, split),
            alike=alike,
            takes=_taken(read),
        )
        count = {"train": params.examples, "dev": params.dev_examples, "test": params.test_examples}[split]
        everyday = 0
        if split == "train":
            size = params.requests_per_toolset
            everyday = min(count - 1, round(count * params.everyday_share / size) * size)
            catalogue = [for_training(tool) for tool in load_catalogue() if tool.split == "train"]
            others = groups.Pool(split, "catalogue", catalogue, trained=True, invented=groups.INVENTED)
            yield from groups.examples(others, everyday, params, seed, restyle)
        yield from groups.examples(pool, count - everyday, params, seed)
        if split != "train" and params.requests:
            offered = [pruned.tool for pruned in read.pruned]
            whole = {tool.name: tool.parameters for tool in read.imported.tools}
            yield from written_requests(Path(params.requests), params, split, seed, offered, whole)

    def rewords(self, params: UserToolParams, seed: int) -> Rewording:
        """See `agentlora.core.types.DatasetBuilder`."""
        specs = _specs(params.read(), "train", seed).items()
        return Rewording(params, {name: spec for name, spec in specs if isinstance(spec, ToolSpec)})

    def evaluators(self, params: UserToolParams) -> list[JSON]:
        """What judges calls by the source's own schemas, where pruning took more than words of them; see
        `agentlora.core.types.DatasetBuilder`.
        """
        read = params.read()
        offered = {pruned.tool.name: without_words(pruned.tool.parameters) for pruned in read.pruned}
        whole = {tool.name: without_words(tool.parameters) for tool in read.imported.tools}
        cut = [{"name": name, "parameters": held} for name, held in whole.items() if held != offered[name]]
        return [{"name": "source-schema", "params": {"tools": cut}}] if cut else []

    def card(self, params: UserToolParams) -> JSON:
        """Where the tools are from, and what was left out or pruned of them."""
        read = params.read()
        source = read.imported
        left_out = [*source.left_out, *unspoken(read, 0), *never_given(read)]
        where = _published(params.tools)
        name, licence = source.title or where, source.licence or "not stated"
        return {
            "sources": [
                {"name": name, "licence": licence, "version": read.digest},
                *([CATALOGUE] if params.everyday_share else []),
            ],
            "notes": f"{len(read.pruned)} tools from {where} ({source.kind}). They were trained on: 'new' means "
            "that the requests of dev and test and their wording were not.",
            "left_out": [f"{row.what}: {row.why}" for row in left_out],
            "pruned": [
                f"{cut.tool}: {cut.rule}: {cut.what}" for pruned in read.pruned for cut in pruned.cuts
            ],
            "over_budget": [f"{row.what}: {row.why}" for row in over_budget(read)],
        }


def _published(source: str) -> str:
    """A source as a card may say it: no paths of this machine, no keys in a command or a URL."""
    kind, _, rest = source.partition(":")
    if kind != "mcp":
        return source if kind in SOURCES else Path(source).name
    return (
        f"mcp:{rest.partition('?')[0]}" if rest.startswith("http") else f"mcp:{Path(rest.split()[0]).name} …"
    )


@dataclass(frozen=True)
class Read:
    """A source as it is trained on. `imported`: its tools as the source has them; `pruned`: the same ones within
    their `budget` of tokens; `digest`: of these.
    """

    imported: Imported
    pruned: tuple[Pruned, ...]
    digest: str
    budget: int


@lru_cache(maxsize=4)
def read_tools(
    source: str,
    tool_tokens: int,
    only: tuple[str, ...] = (),
    headers: tuple[str, ...] = (),
    environment: tuple[str, ...] = (),
) -> Read:
    """The tools of a source, each within its budget.

    Args:
        only: names or patterns (``issues_*``) of those that are taken; all when empty.
        headers, environment: for an MCP server, see `import_tools`.

    Raises:
        ConfigError: no source is given, one of `only` is no tool of it, or what an MCP server needs is not there.
        DataError, MissingExtra: see `import_tools`.
    """
    if not source:
        raise ConfigError("data.params.tools says where the tools are, and it is empty. Give --tools.")
    imported = import_tools(source, headers, environment)
    names = [tool.name for tool in imported.tools]
    for pattern in only:
        if not fnmatch.filter(names, pattern):
            raise ConfigError(f"{source} has no tool {pattern!r}.{nearest(pattern, names)}")
    if only:
        taken = [tool for tool in imported.tools if any(fnmatch.fnmatchcase(tool.name, p) for p in only)]
        about = {part for tool in taken for part in (tool.origin, tool.name)}
        left_out = tuple(row for row in imported.left_out if row.what in about)
        imported = replace(imported, tools=tuple(taken), left_out=left_out)
    pruned = tuple(prune(tool, tool_tokens) for tool in imported.tools)
    return Read(imported, pruned, sha256_json([p.tool.openai() for p in pruned])[:12], tool_tokens)


def unspoken(read: Read, seed: int) -> list[LeftOut]:
    """The tools that nobody can ask for in a sentence, each with its reason."""
    found = _specs(read, "train", seed).items()
    return [LeftOut(name, f"not trained on: {why}") for name, why in found if isinstance(why, str)]


def over_budget(read: Read) -> list[LeftOut]:
    """The tools that take more than their budget however much of them is cut, each with its tokens."""
    why = "it cannot be brought under its budget of {:,} tokens: {:,} are left, and no rule cuts more"
    return [
        LeftOut(pruned.tool.name, why.format(read.budget, pruned.tokens))
        for pruned in read.pruned
        if pruned.tokens > read.budget
    ]


def never_given(read: Read) -> list[LeftOut]:
    """The optional parameters that no value can fit: no request says them."""
    return [
        LeftOut(pruned.tool.name, f"its parameter {name!r} is never given: nothing fits it: {why}")
        for pruned in read.pruned
        for name, schema in pruned.tool.parameters.get("properties", {}).items()
        if name not in pruned.tool.parameters.get("required", ()) and (why := contradiction(schema))
    ]


# --- requests -----------------------------------------------------------------------------------


def _specs(read: Read, split: Split, seed: int) -> dict[str, ToolSpec | str]:
    whole = {tool.name: tool.parameters for tool in read.imported.tools}
    return {p.tool.name: spec_of(p.tool, split, seed, whole[p.tool.name]) for p in read.pruned}


def _taken(read: Read) -> Callable[[ToolCall], bool]:
    """Whether a call fits its tool's schema, both as it is offered and as the source has it."""
    offered = {pruned.tool.name: json_schema.validator(pruned.tool.parameters) for pruned in read.pruned}
    whole = {tool.name: json_schema.validator(tool.parameters) for tool in read.imported.tools}
    return lambda call: all(of[call.name].is_valid(dict(call.arguments)) for of in (offered, whole))


def spec_of(tool: ImportedTool, split: Split, seed: int, whole: JSON | None = None) -> ToolSpec | str:
    """`tool` with values and requests of a split; or why there can be none.

    Args:
        whole: the parameters as the source has them, before they were pruned: calls fit them too.
    """
    try:
        return _spec_of(tool, split, seed, tool.parameters if whole is None else whole)
    except (*MALFORMED, ArithmeticError) as exc:  # one tool's loss, not all the others'
        return f"no request could be made for its schema ({type(exc).__name__}: {exc})"


def _spec_of(tool: ImportedTool, split: Split, seed: int, whole: JSON) -> ToolSpec | str:
    rng = random.Random(f"{seed}/{split}/{tool.name}")
    operation = operation_of(tool)
    properties, required = tool.parameters.get("properties", {}), tool.parameters.get("required", ())
    params, pools = [], {}
    for name, given in properties.items():
        schema = with_stated_format(name, given)
        param = parameter(name, schema if isinstance(schema, dict) else {}, name in required)
        pool = values_for(param, schema, operation.noun, operation.service, rng) if param else []
        if isinstance(pool, list) and given != (unpruned := whole.get("properties", {}).get(name, {})):
            pool = valid_entries(pool, unpruned)
        if param and pool:
            params.append(param)
            pools[name] = pool
        elif name in required:
            why = contradiction(schema)
            said = f"nothing fits it: {why}" if why else "has no value that is said in a sentence"
            return f"its parameter {name!r} is required, and {said}"
    requests, missing = requests_for(tool, operation, as_names(params, tool), split, rng)
    of_their_own = random.Random(f"{seed}/{split}/{tool.name}/conversions")
    conversions = conversions_of(tool, operation, params, pools, split, of_their_own)
    saying = [request for found in conversions.values() for one in found for request in one.phrasings]
    named = {slot for request in (*requests, *missing, *saying) for slot in request.slots}
    spec = ToolSpec(
        domain=singular(operation.noun)[0],
        name=tool.name,
        description=tool.description,
        parameters=tool.parameters,
        values={name: pool for name, pool in pools.items() if name in named},
        phrasings=requests,
        missing=missing,
        split=split,
        source="user-tools",
        # with the name in it, since tools that do nearly the same are offered together when they are served
        meaning=f"{operation.verb}/{tool.name} {' '.join(singular(operation.noun))}",
        repeatable=repeatable(params),
        conversions=conversions,
    )
    if whole == tool.parameters and not whole.keys() - _OF_EACH:
        return spec
    fitting, why = _fitting(spec, whole, random.Random(f"{seed}/{split}/{tool.name}/whole"))
    return replace(spec, phrasings=fitting) if fitting else f"no call fits its schema in the source: {why}"


def _fitting(spec: ToolSpec, whole: JSON, rng: random.Random) -> tuple[tuple[Phrasing, ...], str]:
    """The requests for a tool whose calls can fit it, as it is offered and as a whole; and what is wrong with the
    last call that does not. Those that say the same parameters are judged as one.
    """
    schemas = [json_schema.validator(spec.parameters), json_schema.validator(whole)]
    judged: dict[str, bool] = {}
    why = ""
    for phrasing in spec.phrasings:
        says = repr((sorted(phrasing.slots), sorted(phrasing.set.items(), key=str)))
        for _ in range(DRAWINGS if says not in judged else 0):
            _, arguments = render(spec, phrasing, rng)
            judged[says] = all(schema.is_valid(arguments) for schema in schemas)
            if judged[says]:
                break
            why = next((problem for schema in schemas if (problem := schema.problem(arguments))), "")
    kept = [p for p in spec.phrasings if judged[repr((sorted(p.slots), sorted(p.set.items(), key=str)))]]
    return tuple(kept), why


def alike(asked: ToolSpec, offered: ToolSpec) -> bool:
    """Whether a request for one tool might be meant for another: about the same thing, and not plainly another deed."""
    things = set(asked.thing.split()) or set(words_of(asked.name))
    others = {
        singular((word,))[0] for name in offered.parameters.get("properties", {}) for word in words_of(name)
    }
    deeds = {_deed(asked), _deed(offered)}
    if things & set(offered.thing.split()):
        return len(deeds) == 1 or "update" in deeds
    return bool(things & others) and "update" in deeds


def _deed(tool: ToolSpec) -> str:
    verb = tool.meaning.partition("/")[0]
    deed = frames.KINDS.get(verb, verb)
    return {"list": "get", "put": "update"}.get(deed, deed)


def _strangers(tools: Sequence[ToolSpec], split: Split) -> list[ToolSpec]:
    """Tools of our catalogue that have nothing to do with `tools`: requests for them fit none."""
    known = {singular((word,))[0] for tool in tools for word in (*tool.thing.split(), *words_of(tool.name))}

    def words(tool: ToolSpec) -> set[str]:
        return {singular((word,))[0] for word in (*words_of(tool.name), *words_of(tool.domain))}

    return [tool for tool in load_catalogue() if tool.split == split and not words(tool) & (known - VERBS)]
