"""Requests for one of somebody's own tools, in words: from its name, its description and its parameters' own."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace

from agentlora.core.types import Split
from agentlora.tasks.tool_calling import api_frames as frames
from agentlora.tasks.tool_calling.api_kinds import kind_of
from agentlora.tasks.tool_calling.api_phrasing import PREPOSITIONS, Plan, Writer, plan_of
from agentlora.tasks.tool_calling.api_sources import Operation, Param, singular, split_words
from agentlora.tasks.tool_calling.importing.types import ImportedTool
from agentlora.tasks.tool_calling.toolspec import Phrasing
from agentlora.tasks.tool_calling.user_values import identifies
from agentlora.tasks.wording import Pair

PHRASINGS = {"train": 160, "dev": 16, "test": 16}
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
SAYING = {"train": 12, "dev": 6, "test": 6}  # requests that say a certain parameter
LASTING = 0.5  # of the requests with a duration: "for two hours", without a word for the parameter
LONGEST_DEED = 70  # characters of a description that somebody would say
VERBS = frames.KINDS.keys() | frames.VERBS.keys()
# what a description says the deed is done to: "Create a pull request for …"
OBJECT = re.compile(
    r"\S+ (?:(?:the|an?|one|all|some|your|new|existing|specified|given) )*([a-z]+(?: [a-z]+)*?)"
    r"(?=$|[.,;:(]|\s(?:for|from|to|with|in|into|of|on|at|by|that|which|using|under|as|and|or|is|are)\b)"
)
# what a description begins with → how somebody would ask for it
ASKED = {
    **dict.fromkeys(("return", "returns", "display", "displays"), "show me"),
    **dict.fromkeys(("provide", "provides"), "give me"),
    **dict.fromkeys(("retrieve", "retrieves", "fetch", "fetches", "gets"), "get"),
}


def requests_for(
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


def requests_saying(
    tool: ImportedTool,
    operation: Operation,
    params: Sequence[Param],
    name: str,
    split: Split,
    rng: random.Random,
    amount: bool = False,
    lasts: bool = False,
) -> tuple[Phrasing, ...]:
    """Requests that say the parameter `name` and all that is required.

    Args:
        amount: it is said as numbers are.
        lasts: "for {x}" says it.
    """
    writer = Writer(plan_of(operation, params), tuple(params), rng)
    writer.held_out = split != "train"
    if amount:
        writer.kinds[name] = "number"
    texts: dict[str, None] = {}
    for attempt in range(3 * SAYING[split]):
        if len(texts) == SAYING[split]:
            break
        also = {p.name for p in writer.mentioned(attempt)} | {name}
        if lasts and rng.random() < LASTING:
            said = [p for p in params if p.name in also - {name}]
            text = _at(_worded(writer, tool, said, "", rng), f"{{{name}}}", "<t> for <x>")
        else:
            text = _worded(writer, tool, [p for p in params if p.name in also], "", rng)
        if all(text.count(f"{{{p.name}}}") >= (p.required or p.name == name) for p in params):
            texts[text] = None
    return tuple(map(Phrasing, texts))


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
    odd = set("{}<>`*_.")  # "without the .git extension"
    plain = kind_of(param) not in ("bool", "struct") and not odd & set(sentence)
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
    verb, noun = _by_name(tool)
    if _verb(tool) and not set(PREPOSITIONS) & set(noun):
        noun = _described(tool, noun)
    return Operation("user", verb, noun, tool.name, tool.description, ())


def _by_name(tool: ImportedTool) -> tuple[str, tuple[str, ...]]:
    """Its verb, and its object in the words of the name."""
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
    return verb, noun


def _described(tool: ImportedTool, noun: tuple[str, ...]) -> tuple[str, ...]:
    """`noun` as the description says it: ``pull request`` for the ``pulls`` of "Create a pull request"."""
    said = OBJECT.match(tool.description.strip().lower())
    words = tuple(said[1].split()) if said else ()
    if not words or len(words) > 3 or max(map(len, words)) > 15 or words[-1].endswith("ed"):
        return noun
    stems = [singular((word,))[0] for word in words]
    named = [singular((word,))[0] for word in noun]
    # by the whole word, or by its beginning: repo, repository
    whole = all(
        any(stem == name or (len(name) > 3 and stem.startswith(name)) for stem in stems) for name in named
    )
    return words if whole and words[0] not in ("and", "or") else noun


def _without_tail(words: tuple[str, ...]) -> tuple[str, ...]:
    """``get pet by id`` → ``get pet``: what follows is said by the parameters, or is always the same."""
    if words[-3:] == ("for", "authenticated", "user"):
        words = words[:-3]
    cut = next((i for i, word in enumerate(words) if i > 1 and word in ("by", "using", "via")), len(words))
    kept = words[:cut]
    while len(kept) > 1 and kept[-1] in PREPOSITIONS:
        kept = kept[:-1]
    return kept


def as_names(params: Sequence[Param], tool: ImportedTool) -> list[Param]:
    """``issue_number`` as something that names an issue, whatever its type: people say "issue 12". Called as the tool's
    description calls it: ``pull_number`` names a pull request, and ``repo`` the repository that is starred.

    Not where two parameters would then be called alike.
    """
    short, whole = singular(_by_name(tool)[1]), singular(operation_of(tool).noun)
    renamed = [_as_name(p, short, whole) for p in params]
    return [
        replace(p, words=words, schema={"type": "string"})
        if (identifies(p) or words != p.words) and renamed.count(words) == 1
        else p
        for p, words in zip(params, renamed, strict=True)
    ]


def _as_name(param: Param, short: tuple[str, ...], whole: tuple[str, ...]) -> tuple[str, ...]:
    """The words of a parameter, where it names something as those of the thing and "id" or "name"."""
    words = param.words
    if identifies(param):
        return (*(whole if words[:-1] == short else words[:-1]), "id")
    plain = param.schema["type"] == "string" and not {"enum", "format"} & param.schema.keys()
    said = (short, ("".join(whole) + "name",))
    return (*whole, "name") if plain and words in said else words
