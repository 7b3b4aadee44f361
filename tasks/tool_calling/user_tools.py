"""Requests over somebody's own tools: from an OpenAPI document, Python functions, an MCP server and so on.

All of the tools are trained on, each as it will be offered when it is served. Dev and test ask in wording that training
never uses.
"""

from __future__ import annotations

import fnmatch
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from agentlora.core.errors import ConfigError, DataError, nearest
from agentlora.core.files import sha256_json
from agentlora.core.types import JSON, Example, Split
from agentlora.tasks.tool_calling import api_frames as frames
from agentlora.tasks.tool_calling import groups
from agentlora.tasks.tool_calling.api_kinds import kind_of
from agentlora.tasks.tool_calling.api_phrasing import PREPOSITIONS, Plan, Writer, plan_of
from agentlora.tasks.tool_calling.api_sources import Operation, Param, singular, split_words
from agentlora.tasks.tool_calling.builder import CATALOGUE, for_training
from agentlora.tasks.tool_calling.importing.pruning import Pruned, prune
from agentlora.tasks.tool_calling.importing.services import SOURCES
from agentlora.tasks.tool_calling.importing.source import import_tools
from agentlora.tasks.tool_calling.importing.types import Imported, ImportedTool, LeftOut
from agentlora.tasks.tool_calling.styles import restyle, words_of
from agentlora.tasks.tool_calling.toolspec import Phrasing, ToolSpec, load_catalogue
from agentlora.tasks.tool_calling.user_values import identifies, parameter, values_for
from agentlora.tasks.tool_calling.written import written_requests
from agentlora.tasks.wording import Pair

PHRASINGS = {"train": 40, "dev": 16, "test": 16}
MISSING = {"train": 6, "dev": 3, "test": 3}
DESCRIBED = 0.35  # of the training requests that say what the description says
EXPLAINED = 0.08  # of the parameters that a training request mentions in the words of their descriptions
JOINED = 0.8  # of the requests that name a pair say it as one
PLACED = 0.6  # of these, in a place of its own
# what all splits say and what dev and test say beside it, as in `api_frames`; <t>: the request, <x>: the place
PLACES: Pair = (
    ("<t> in <x>", "<t> in <x>", "<t> of <x>", "<t> for <x>", "<x>: <t>", "<t> (<x>)"),
    ("<t> at <x>", "<t> on <x>", "<x> - <t>", "<t>, in <x>"),
)
LONGEST_DEED = 70  # characters of a description that somebody would say
VERBS = frames.KINDS.keys() | frames.VERBS.keys()
# what a description begins with → how somebody would ask for it
ASKED = {
    **dict.fromkeys(("return", "returns", "display", "displays"), "show me"),
    **dict.fromkeys(("provide", "provides"), "give me"),
    **dict.fromkeys(("retrieve", "retrieves", "fetch", "fetches", "gets"), "get"),
}


class UserToolParams(groups.RequestParams):
    """How much of what, over the tools of a source."""

    tools: str = ""
    """Where the tools are: an OpenAPI document, a file or folder of functions, a Python file or module, ``mcp:…`` …"""
    only: list[str] = Field([])
    """Of a larger source, the tools to take: names, or patterns such as ``issues_*``; all when empty."""
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
    tools_chars_max: int = Field(4080, ge=200)
    """Characters of JSON that a tool list may take: 3.4 a token, so 1,200 tokens."""
    answer_chars_max: int = Field(420, ge=60)
    """Characters that the answer of a dev or test request may take."""
    none_fits_share: float = Field(0.2, ge=0, le=1)
    none_fits_weight: float = Field(2.0, gt=0)
    steps_share: float = Field(0.06, ge=0, le=1)


class UserTools:
    """The dataset builder ``user-tools``. Its calls can be long, and so can lists of its tools."""

    Params = UserToolParams
    defaults: ClassVar[JSON] = {
        "training": {"max_len": 2048, "batch_size": 48, "lr": 1.5e-3},
        "eval": {"max_new_tokens": 192},
    }

    def build(self, split: Split, params: UserToolParams, seed: int) -> Iterator[Example]:
        """See `agentlora.core.types.DatasetBuilder`."""
        read = read_tools(params.tools, params.tool_tokens, tuple(params.only))
        asked = [
            tool for pruned in read.pruned if isinstance(tool := spec_of(pruned.tool, split, seed), ToolSpec)
        ]
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
            yield from written_requests(Path(params.requests), params, split, seed, offered)

    def card(self, params: UserToolParams) -> JSON:
        """Where the tools are from, and what was left out or pruned of them."""
        read = read_tools(params.tools, params.tool_tokens, tuple(params.only))
        source = read.imported
        left_out = [*source.left_out, *unspoken(read, 0)]
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
    """A source as it is trained on. `digest`: of the pruned tools."""

    imported: Imported
    pruned: tuple[Pruned, ...]
    digest: str


@lru_cache(maxsize=4)
def read_tools(source: str, tool_tokens: int, only: tuple[str, ...] = ()) -> Read:
    """The tools of a source, each within its budget.

    Args:
        only: names or patterns (``issues_*``) of those that are taken; all when empty.

    Raises:
        ConfigError: no source is given, or one of `only` is no tool of it.
        DataError, MissingExtra: see `import_tools`.
    """
    if not source:
        raise ConfigError("data.params.tools says where the tools are, and it is empty. Give --tools.")
    imported = import_tools(source)
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
    return Read(imported, pruned, sha256_json([p.tool.openai() for p in pruned])[:12])


def unspoken(read: Read, seed: int) -> list[LeftOut]:
    """The tools that nobody can ask for in a sentence, each with its reason."""
    found = ((pruned.tool.name, spec_of(pruned.tool, "train", seed)) for pruned in read.pruned)
    return [LeftOut(name, f"not trained on: {why}") for name, why in found if isinstance(why, str)]


# --- requests -----------------------------------------------------------------------------------


def spec_of(tool: ImportedTool, split: Split, seed: int) -> ToolSpec | str:
    """`tool` with values and requests of a split; or why there can be none."""
    rng = random.Random(f"{seed}/{split}/{tool.name}")
    operation = operation_of(tool)
    properties, required = tool.parameters.get("properties", {}), tool.parameters.get("required", ())
    params, pools = [], {}
    for name, schema in properties.items():
        param = parameter(name, schema if isinstance(schema, dict) else {}, name in required)
        pool = values_for(param, schema, operation.noun, operation.service, rng) if param else []
        if param and pool:
            params.append(param)
            pools[name] = pool
        elif name in required:
            return f"its parameter {name!r} is required, and has no value that is said in a sentence"
    requests, missing = _requests(tool, operation, _as_names(params), split, rng)
    named = {slot for request in (*requests, *missing) for slot in request.slots}
    return ToolSpec(
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
    )


def _as_names(params: Sequence[Param]) -> list[Param]:
    """``issue_number`` as something that names an issue, whatever its type: people say "issue 12".

    Not where two parameters would then be called alike.
    """
    renamed = [(*p.words[:-1], "id") if identifies(p) else p.words for p in params]
    return [
        replace(p, words=words, schema={"type": "string"})
        if identifies(p) and renamed.count(words) == 1
        else p
        for p, words in zip(params, renamed, strict=True)
    ]


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


def _requests(
    tool: ImportedTool, operation: Operation, params: Sequence[Param], split: Split, rng: random.Random
) -> tuple[tuple[Phrasing, ...], tuple[Phrasing, ...]]:
    """(requests, requests that lack a required parameter)"""
    writer = Writer(plan_of(operation, params), tuple(params), rng)
    writer.held_out = split != "train"
    deed = "" if writer.held_out else asked_for(tool)
    texts: dict[str, None] = {}
    for attempt in range(6 * PHRASINGS[split]):
        if len(texts) == PHRASINGS[split]:
            break
        text = _worded(writer, tool, writer.mentioned(attempt), deed, rng)
        if all(f"{{{p.name}}}" in text for p in params if p.required):
            texts[text] = None
    lacking = []
    needed = [p for p in params if p.required and kind_of(p) not in ("bool", "struct")]
    for param in rng.choices(needed, k=MISSING[split]) if needed else ():
        others = [p for p in params if p.required and p is not param]
        text = _worded(writer, tool, others, "", rng, param)
        if f"{{{param.name}}}" not in text and all(f"{{{p.name}}}" in text for p in others):
            lacking.append(Phrasing(text, {}, param.name, writer.question(param)))
    return tuple(map(Phrasing, texts)), tuple(lacking)


def _worded(
    writer: Writer,
    tool: ImportedTool,
    mentioned: Sequence[Param],
    deed: str,
    rng: random.Random,
    lacks: Param | None = None,
) -> str:
    """A request that mentions parameters: a pair of them in a place of its own (``in owner/repo``), some in a sentence
    of their own in the words of their description, the others as the tables of `api_frames` say it.
    """
    names = {p.name for p in mentioned}
    pairs = [pair for pair in tool.joined if set(pair) <= names and rng.random() < JOINED]
    subject = writer.plan.subject.name if writer.plan.subject else ""
    placed = pairs[0] if len(pairs) == 1 and subject not in pairs[0] and rng.random() < PLACED else ()
    gone = {first for first, _ in pairs} | set(placed)
    explained = [p for p in mentioned if rng.random() < EXPLAINED and _explanation(p) and p.name not in gone]
    if writer.held_out or lacks:
        explained = []
    said = [p for p in mentioned if p.name not in gone and p not in explained]
    if deed and rng.random() < DESCRIBED:
        text = _by_description(deed, writer.params, said, rng)
    else:
        text = writer.request(said, lacks)
    if placed:
        text = _at(text, f"{{{placed[0]}}}/{{{placed[1]}}}", writer.pick(PLACES))
    return _with_pairs(_explaining(text, explained), pairs if not placed else [])


def _at(text: str, place: str, form: str) -> str:
    """`text` with a place before it or behind it, before its last mark."""
    mark = text[-1:] if text.endswith((".", "?")) else ""
    if form.startswith("<x>"):
        text = text[:1].lower() + text[1:] if not text.startswith(("I ", "I'")) else text
    return form.replace("<t>", text.removesuffix(mark)).replace("<x>", place) + mark


def _explanation(param: Param) -> str:
    """What a parameter's description calls it: ``The branch to merge into.`` → ``the branch to merge into``."""
    sentence = re.split(r"[.!?](?=\s|$)|[;(:]", param.description.strip(), maxsplit=1)[0].strip()
    if not re.match(r"(the|a|an) ", sentence, re.IGNORECASE):  # "Can be the name of a user" is no name for it
        return ""
    plain = kind_of(param) not in ("bool", "struct") and not set("{}<>`*_") & set(sentence)
    return sentence[:1].lower() + sentence[1:] if plain and 8 <= len(sentence) <= 60 else ""


def _explaining(text: str, params: Sequence[Param]) -> str:
    """With a sentence for each of `params`, in the words of its description."""
    for param in params:
        words, slot = _explanation(param), f"{{{param.name}}}"
        slot = f'"{slot}"' if kind_of(param) in ("text", "title", "query") else slot
        text = f"{text}{'' if text.endswith(('.', '?')) else '.'} {words[:1].upper()}{words[1:]}: {slot}"
    return text


def _with_pairs(text: str, pairs: Sequence[tuple[str, str]]) -> str:
    """With both of a pair where the text has its second."""
    for first, second in reversed(pairs):  # of x/y/z the second pair first, so that the first finds its y
        text = text.replace(f"{{{second}}}", f"{{{first}}}/{{{second}}}", 1)
    return text


def _by_description(
    deed: str, params: Sequence[Param], mentioned: Sequence[Param], rng: random.Random
) -> str:
    """A request in the words of the tool's own description, with the parameters behind it."""
    plan = Plan(deed.split()[0], "verb", ("request",), (), None, "none")
    writer = Writer(plan, tuple(params), rng)
    asked = writer.framed(frames.FRAMES_YOU, deed + writer.joined(mentioned), True)
    return writer.finish(asked, mentioned[-1] if mentioned else None)


def asked_for(tool: ImportedTool) -> str:
    """What a tool's description says that it does, as somebody would ask for it: ``Lists orders.`` → ``list orders``.

    Empty where its first sentence is none that can be turned so.
    """
    text = tool.description.strip()
    sentence = re.split(r"[.!?](?=\s|$)|[;(]|,\s| which | that ", text, maxsplit=1)[0].strip(" .")
    sentence = re.sub(r"\b(the|an) (authenticated|current|logged-in) user\b", "me", sentence)
    first, _, rest = sentence.partition(" ")
    verb = ASKED.get(first.lower()) or _verb(tool)
    if not verb or not rest or len(sentence) > LONGEST_DEED or set('{}<>"') & set(sentence):
        return ""
    return f"{verb} {rest}"


def _verb(tool: ImportedTool) -> str:
    """The verb that a description begins with (``Searches`` → ``search``); empty where it begins with none.

    A word that no table knows is one where the tool's name has it and a determiner follows: "Star a repository".
    """
    first, _, rest = tool.description.strip().lower().partition(" ")
    first = first.strip(".,")
    forms = (first, first.removesuffix("s"), first.removesuffix("es"), f"{first.removesuffix('ies')}y")
    if known := next((form for form in forms if form in VERBS), ""):
        return known
    named = next((form for form in forms if form in _words(tool.name)), "")
    return named if named != first or re.match(r"(a|an|the|all|your|one|some|several)\b", rest) else ""


def _words(name: str) -> tuple[str, ...]:
    return split_words(re.sub(r"[^A-Za-z0-9]+", "_", name))


def operation_of(tool: ImportedTool) -> Operation:
    """What a tool does, by its name, or by its description where the name has no verb."""
    words = _without_tail(_words(tool.name)) or ("tool",)
    first = tool.description.split(" ", 1)[0].lower().strip(".,")
    of_description = _verb(tool)
    known = [word for word in words if word in VERBS]
    verb = of_description if of_description in words else known[0] if known else of_description
    if verb in words:
        at = words.index(verb)
        noun = words[at + 1 :]
        if not noun or noun[0] in PREPOSITIONS:
            noun = words[:at]
    else:
        verb = verb or ("get" if first in ASKED else words[0])
        noun = tuple(word for word in words if word != verb)
    noun = tuple(word for word in noun if not re.fullmatch(r"v?\d+", word)) or ("request",)
    return Operation("user", verb, noun, tool.name, tool.description, ())


def _without_tail(words: tuple[str, ...]) -> tuple[str, ...]:
    """``get pet by id`` → ``get pet``: what follows is said by the parameters, or is always the same."""
    if words[-3:] == ("for", "authenticated", "user"):
        words = words[:-3]
    cut = next((i for i, word in enumerate(words) if i > 1 and word in ("by", "using", "via")), len(words))
    kept = words[:cut]
    while len(kept) > 1 and kept[-1] in PREPOSITIONS:
        kept = kept[:-1]
    return kept
