"""Requests that call an API operation, written from its verb, its noun and its parameters.

Every request mentions all required parameters and about half of the time some optional ones: inside the
object ("the bucket {Bucket}"), after the command, before it, or in a sentence of their own.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from agentlora.tasks.tool_calling import api_frames as frames
from agentlora.tasks.tool_calling.api_kinds import NAMING, kind_of, spoken, thing_of
from agentlora.tasks.tool_calling.api_sources import Operation, Param, is_plural, plural, singular
from agentlora.tasks.tool_calling.toolspec import Phrasing
from agentlora.tasks.wording import Pair

PREPOSITIONS = ("for", "from", "to", "with", "in", "of", "on", "by")
_CONTAINERS = {
    "account", "project", "group", "catalog", "folder", "cluster", "database", "bucket", "domain", "workspace", "app",
    "organization", "region", "namespace", "environment", "application", "space", "library", "network", "vpc", "table",
    "instance", "location", "repository", "store", "registry", "portal", "pool", "fleet", "site", "room", "channel",
    "directory", "dataset", "graph", "zone", "calendar", "course", "list", "property", "container", "farm", "server",
    "subnet", "vault", "portfolio", "queue", "parent", "drive", "agent", "bot", "campaign",
}  # fmt: skip
_SHORTER = {
    "repository": "repo", "repositories": "repos", "application": "app", "applications": "apps",
    "configuration": "config", "configurations": "configs", "organization": "org", "organizations": "orgs",
    "certificate": "cert", "certificates": "certs", "environment": "env", "environments": "envs",
    "document": "doc", "documents": "docs", "information": "info", "advertisement": "ad",
    "parameters": "params", "database": "DB", "databases": "DBs", "specification": "spec",
    "directory": "folder", "directories": "folders",
}  # fmt: skip
_UNFINISHED = ("url", "path", "version", "number", "domain", "resource", "email", "limit", "ip", "cidr")


@dataclass(frozen=True, slots=True)
class Plan:
    """What the requests of one tool are about: the object's words, and the parameter that names it."""

    verb: str
    kind: str
    noun: tuple[str, ...]
    tail: tuple[str, ...]
    subject: Param | None
    mode: str
    head: Param | None = None


def usable(operation: Operation) -> bool:
    """Whether the tables have words for this operation."""
    noun = operation.noun
    known = operation.verb in frames.KINDS or operation.verb in frames.VERBS
    odd = any(re.search(r"\d", w) and w not in ("s3", "ec2", "ipv4", "ipv6") for w in noun) or len(noun) > 5
    odd = odd or noun[-1] in PREPOSITIONS or any(len(w) == 1 or len(w) > 15 for w in noun)
    return known and not odd and not {"and", "or", "by", "with", "as", "batch"} & set(noun)


def phrasings(
    operation: Operation, params: Sequence[Param], n: int, held_out: bool, rng: random.Random
) -> tuple[tuple[Phrasing, ...], tuple[Phrasing, ...]]:
    """`n` requests and, where a parameter is required, up to two that lack one.

    With `held_out` every second request is built from the wording that training never uses.
    """
    writer = Writer(plan_of(operation, params), tuple(params), rng)
    texts: dict[str, None] = {}
    for attempt in range(6 * n):
        if len(texts) == n:
            break
        writer.held_out = held_out and len(texts) % 2 == 1
        texts[writer.request(writer.mentioned(attempt))] = None
    lacking = []
    required = [p for p in params if p.required and kind_of(p) not in ("bool", "struct")]
    for param in rng.sample(required, min(2, len(required))):
        writer.held_out = held_out and rng.random() < 0.5
        others = [p for p in params if p.required and p is not param]
        lacking.append(Phrasing(writer.request(others, param), {}, param.name, writer.question(param)))
    return tuple(Phrasing(text) for text in texts), tuple(lacking)


def plan_of(operation: Operation, params: Sequence[Param]) -> Plan:
    """What requests for `operation` say besides the other parameters: its object, and which parameter names it."""
    noun, tail = operation.noun, operation.noun[:0]
    cut = next((i for i, w in enumerate(noun) if w in PREPOSITIONS and 0 < i < len(noun) - 1), None)
    if cut is not None:
        noun, tail = operation.noun[:cut], operation.noun[cut:]
    kind = frames.KINDS.get(operation.verb, "verb")
    subject, mode = _subject(noun, tail, kind, params)
    if kind == "get" and is_plural(noun) and subject is None and noun == operation.noun:
        kind = "list"
    head = None
    if mode == "tail" and kind != "list":
        head, _ = _subject(noun, (), kind, [p for p in params if p is not subject and p.required])
        head = head if head is not None and head.schema["type"] == "string" else None
    return Plan(operation.verb, kind, noun, tail, subject, mode, head)


def _subject(
    noun: tuple[str, ...], tail: tuple[str, ...], kind: str, params: Sequence[Param]
) -> tuple[Param | None, str]:
    """The parameter that names the object (own), what it belongs to (owner) or what follows its preposition."""
    one = singular(noun)
    for param in sorted(params, key=lambda p: not p.required):
        listed = param.schema["type"] == "array"
        if kind_of(param) not in NAMING and not (listed and param.words[-1] in ("ids", "names", "arns")):
            continue
        thing = singular(thing_of(param))
        if listed and (not is_plural(noun) or not param.required):
            continue
        if tail and (thing == singular(tail[1:]) or (thing and tail[-1] == thing[-1])):
            return param, "tail"
        if tail:
            continue
        if kind == "list" and not (listed and thing == one):
            continue
        if (
            thing == one
            or (thing and len(thing) < len(one) and one[-len(thing) :] == thing)
            or (thing and thing[-len(one) :] == one)
        ):
            return param, "own"
        if param.words in (("name",), ("id",), ("arn",), ("identifier",), ("resource", "name")):
            return param, "own"
        if kind not in ("create", "list") and thing and len(thing) < len(one) and one[: len(thing)] == thing:
            return param, "owner"
    return None, "none"


class Writer:
    """Writes requests for one operation. `held_out` picks the second column of every table."""

    def __init__(self, plan: Plan, params: tuple[Param, ...], rng: random.Random) -> None:
        self.plan, self.params, self.rng = plan, params, rng
        self.kinds = {p.name: kind_of(p) for p in params}
        things = [thing_of(p) for p in params]
        self.twins = {p.name: sum(t in (thing_of(p), ()) for t in things) > 1 for p in params}
        self.held_out = False

    def pick(self, pair: Pair) -> str:
        return self.rng.choice(pair[self.held_out])

    def mentioned(self, attempt: int) -> list[Param]:
        """All required parameters, and in about half of the requests some optional ones."""
        optional = [p for p in self.params if not p.required]
        wanted = min(len(optional), self.rng.choice((1, 1, 2))) if attempt % 2 else 0
        chosen = self.rng.sample(optional, wanted)
        changes = self.plan.kind in ("create", "update", "put")
        beyond = [p for p in self.params if p.required and p is not self.plan.subject]
        if changes and not chosen and optional and (self.plan.kind == "update" or not beyond):
            chosen = self.rng.sample(optional, 1)
        return [p for p in self.params if p.required or p in chosen]

    # --- a request ------------------------------------------------------------------------------

    def request(self, mentioned: Sequence[Param], lacks: Param | None = None) -> str:
        """One request with a slot for each of `mentioned`."""
        rng, rest = self.rng, list(mentioned)
        subject = self.plan.subject if self.plan.subject in rest and rng.random() < 0.88 else None
        head = self.plan.head if subject and self.plan.head in rest else None
        rest = [p for p in rest if p is not subject and p is not head]
        unnamed = lacks is not None and lacks is self.plan.subject
        if len(rest) >= 2 and rng.random() < 0.12:
            return self.finish(self.terse(subject, head, rest, unnamed), rest[-1])
        lead, after = "", []
        if (
            self.plan.subject in rest and self.plan.mode != "none"
        ):  # it names the object: never a mere attribute
            rest.remove(self.plan.subject)
            if rng.random() < 0.5:
                lead = self.named(self.pick(frames.LEADS), self.plan.subject)
            else:
                after = [self.plan.subject]
        sayable = [p for p in rest if self.kinds[p.name] not in ("bool", "struct", "limit", "query", "list")]
        if sayable and not lead and rng.random() < 0.18:
            first = rng.choice(sayable)
            rest.remove(first)
            lead = self.named(self.pick(frames.LEADS), first)
        rest.sort(key=lambda p: (self.kinds[p.name] == "bool", rng.random() + self.lateness(p)))
        share = rng.random()
        while [p for p in rest if self.sentence_ok(p)] and (
            len(rest) > 3 or (share < 0.3 and len(after) < 2)
        ):
            moved = [p for p in rest if self.sentence_ok(p)][-1]
            rest.remove(moved)
            after.append(moved)
        command = self.command(subject, head, self.joined(rest), unnamed, framed=not lead)
        text = lead + command if not lead or lead.endswith(": ") else lead + _upper(command)
        for param in after:
            sentence = _upper(self.named(self.pick(frames.SENTENCES), param))
            text += (" " if text.endswith(("?", ".")) else ". ") + sentence
        last = after[-1] if after else rest[-1] if rest else subject
        return self.finish(text, last)

    def command(
        self, subject: Param | None, head: Param | None, joined: str, unnamed: bool, framed: bool
    ) -> str:
        """The sentence that asks, with the parameters that follow the object."""
        form = self.pick(frames.commands(self.plan.kind, self.plan.verb))
        who, _, form = form.rpartition("@")[2].partition(" ") if form.startswith("@") else ("", "", form)
        said = self.objects(form, subject, head, unnamed)
        if who == "all":
            core = said.replace("{m}", joined)
            if "{m}" not in said:
                core += joined
            return self.framed(frames.FRAMES_ALL, core, framed)
        speaker = (
            frames.FRAMES_ME
            if who == "me" or (who != "you" and self.rng.random() < 0.33)
            else frames.FRAMES_YOU
        )
        return self.framed(speaker, said + joined, framed)

    def framed(self, pair: Pair, core: str, context: bool) -> str:
        frame = self.pick(pair)
        if not context:
            frame = frame.replace("{ctx}", "").replace("hi, ", "").replace("hey, ", "")
        if core.endswith("?"):
            frame = frame.replace("?", "")
        special = frames.CONTEXTS.get(self.plan.kind)
        contexts = self.pick(special if special and self.rng.random() < 0.5 else frames.CONTEXTS["any"])
        rest = frame.replace("{ctx}", "")
        asked = rest.replace("{c}", core)
        if "{ctx}" not in frame:
            return asked
        return contexts + (_upper(asked) if contexts.endswith(". ") else asked)

    def objects(self, form: str, subject: Param | None, head: Param | None, unnamed: bool) -> str:
        """The form with object, plural and new thing filled in."""
        short = self.rng.random() < 0.3
        noun, tail = _shorter(self.plan.noun, short), _shorter(self.plan.tail, short)
        one = spoken(_shorter(singular(self.plan.noun), short))
        many = spoken(_shorter(plural(self.plan.noun), short))
        around = ""
        slot = f"<{subject.name}>" if subject else ""
        if tail:
            around = f" {tail[0]} the {spoken(tail[1:])}" if tail[1:] else ""
        if self.plan.mode == "tail" and subject:
            around = f" {tail[0]} the {spoken(singular(tail[1:]))} {slot}"
        if head:
            around = f" <{head.name}>{around}"
        if "{P}" in form:
            if self.plan.mode == "own" and subject:
                many = f"{many} {slot}"
            return form.replace("{P}", many + around)
        if "{N}" in form:
            return form.replace("{N}", self.new_thing(one, many, slot, around))
        return form.replace("{O}", self.thing(noun, one, many, slot, around, unnamed, subject))

    def new_thing(self, one: str, many: str, slot: str, around: str) -> str:
        rng = self.rng
        bulk = is_plural(self.plan.noun)
        new = "new " if rng.random() < 0.55 and not bulk else ""
        start = f"some {many}" if bulk else f"{_article(new + one)} {new}{one}"
        if not slot or self.plan.mode != "own":
            return start + around
        quoted = f'"{slot}"' if self.kinds[slot[1:-1]] == "title" else slot
        called = rng.choice(
            ("called", "named", "with the name", "by the name of")
            if self.held_out
            else ("called", "named", "called")
        )
        return f"{start} {called} {quoted}{around}"

    def thing(
        self,
        noun: tuple[str, ...],
        one: str,
        many: str,
        slot: str,
        around: str,
        unnamed: bool,
        subject: Param | None,
    ) -> str:
        rng = self.rng
        said = spoken(noun)
        if unnamed and self.plan.mode == "own":
            return self.pick(frames.UNNAMED).replace("{P}", many).replace("{o}", one) + around
        if not subject or self.plan.mode == "tail":
            return rng.choice(("the", "the", "our")) + f" {said}{around}"
        quoted = f'"{slot}"' if self.kinds[subject.name] == "title" else slot
        if self.plan.mode == "owner":
            owner = len(thing_of(subject))
            whose, what = spoken(noun[:owner]), spoken(noun[owner:])
            joints = (f"of the {whose} {quoted}", f"of {quoted}", f"for {whose} {quoted}")
            return f"the {what} {rng.choice(joints)}"
        if subject.schema["type"] == "array":
            return rng.choice((f"the {many} {slot}", f"{many} {slot}", f"these {many}: {slot}"))
        ways = [f"the {one} {quoted}", f"the {one} {quoted}", f"{one} {quoted}", f"our {one} {quoted}"]
        if self.alone() and self.kinds[subject.name] not in ("title", "name"):
            ways.append(quoted)
        if self.kinds[subject.name] in ("name", "title"):
            ways += [f"the {one} called {quoted}", f"the {quoted} {one}"]
        return rng.choice(ways)

    # --- parameters -----------------------------------------------------------------------------

    def joined(self, params: Sequence[Param]) -> str:
        """The parameters after the command, with a leading space."""
        said, before = "", ""
        for param in params:
            table = frames.JOINS[self.join_key(param)]
            form = self.pick(table)
            if form in ("inside {x}", "for {x}") and not self.alone():
                form = form.replace("{x}", "the {s} {x}")
            part = self.named(form, param)
            first = part.split()[0]
            if first == before == "with":
                part = "and " + part.removeprefix("with ")
            elif first == before == "and":
                said += ","
            before = first
            said += " " + part
        return said

    def join_key(self, param: Param) -> str:
        kind = self.kinds[param.name]
        lone = sum(k == kind for k in self.kinds.values()) == 1
        fixed = ("bool", "struct", "list", "id", "arn", "account", "resource")
        changing = self.plan.kind in ("update", "put") and kind not in fixed and not param.required
        if kind in ("text", "title"):
            return "text"
        if changing:
            return "change"
        if kind in ("region", "zone"):
            return "region" if lone else "generic"
        if kind == "limit":
            return "limit" if lone and self.plan.kind == "list" else "number"
        if kind == "query" and (self.plan.kind != "list" or not lone):
            return "text"
        if kind in ("start", "end") and not lone:
            return "date"
        if kind in frames.JOINS:
            return kind
        thing = thing_of(param)
        if (
            kind in NAMING
            and kind not in ("email", "domain", "path", "url", "phone")
            and thing
            and param.required
        ):
            return "in" if thing[-1] in _CONTAINERS else "for"
        return "generic"

    def alone(self) -> bool:
        """Whether only one parameter of the tool identifies anything, so that a bare value is clear."""
        return sum(k in NAMING for k in self.kinds.values()) == 1

    def sentence_ok(self, param: Param) -> bool:
        return self.kinds[param.name] not in ("bool", "struct", "limit", "query")

    def lateness(self, param: Param) -> float:
        """What names a place or an owner comes early, free text late."""
        key = self.join_key(param)
        return {"in": 0.0, "for": 0.0, "region": 0.2, "text": 1.5, "limit": 1.2}.get(key, 0.6)

    def named(self, form: str, param: Param) -> str:
        """The form with the parameter's words and slot."""
        words, short = self.words(param), thing_of(param)
        slot = f"<{param.name}>"
        if self.kinds[param.name] in ("text", "title", "query") and '"' not in form:
            slot = f'"{slot}"'
        several = param.schema["type"] == "array" or is_plural(param.words)
        form = form.replace("a {w} of", f"{_article(words)} {{w}} of").replace(
            "{is}", "are" if several else "is"
        )
        form = form.replace("has to be", "have to be") if several else form
        many = spoken(plural(short)) if param.schema["type"] == "array" else spoken(short)
        return (
            form.replace("{w}", words)
            .replace("{W}", _upper(words))
            .replace("{s}", many or words)
            .replace("{x}", slot)
        )

    def words(self, param: Param) -> str:
        words = _shorter(param.words, self.rng.random() < 0.3)
        if words in (("id",), ("name",), ("arn",), ("identifier",)):
            words = (*singular(self.plan.noun), *words)
        if words == ("parent",) and self.rng.random() < 0.6:
            words = thing_of(param)
        if words[-1] == "identifier" and self.rng.random() < 0.6:
            words = (*words[:-1], "id")
        if (
            len(words) > 1
            and words[-1] in ("id", "arn", "identifier")
            and not self.twins[param.name]
            and self.rng.random() < 0.3
        ):
            words = words[:-1]
        return spoken(words)

    def terse(self, subject: Param | None, head: Param | None, rest: Sequence[Param], unnamed: bool) -> str:
        """A request in note form: ``new bucket, region eu-west-1, owner maria``."""
        table = frames.commands(self.plan.kind, self.plan.verb)
        plain = [form for form in table[self.held_out] if not form.startswith("@")]
        start = self.objects(self.rng.choice(plain), subject, head, unnamed)
        mark, style = self.rng.choice((": ", ", ", " - ")), self.pick(frames.TERSE)
        rest = sorted(rest, key=lambda p: self.kinds[p.name] == "bool")
        said = [f"<{p.name}>" if self.kinds[p.name] == "bool" else self.named(style, p) for p in rest]
        return start + mark + ", ".join(said)

    def question(self, param: Param) -> str:
        """What a good answer asks when `param` is missing."""
        kind = self.kinds[param.name]
        key = self.join_key(param)
        if param is self.plan.subject and self.plan.mode == "own":
            key = "name" if self.plan.kind == "create" else "object"
        elif kind in ("text", "enum"):
            key = kind
        elif kind in ("start", "end", "date"):
            key = "date"
        elif key not in ("in", "for"):
            key = "generic"
        form = self.rng.choice(frames.QUESTIONS[key])
        one = spoken(singular(self.plan.noun))
        several = param.schema["type"] == "array" or is_plural(param.words)
        form = form.replace("What is the", "What are the") if several else form
        return (
            form.replace("{o}", one)
            .replace("{s}", spoken(thing_of(param)) or spoken(param.words))
            .replace(
                "{w}",
                spoken(
                    self.plan.noun + param.words if len(param.words) == 1 and kind in NAMING else param.words
                ),
            )
        )

    def finish(self, text: str, last: Param | None) -> str:
        """Capital and full stop, each as often as people bother; slots in braces."""
        if self.rng.random() < 0.8:
            text = _upper(text)
        open_end = last is not None and self.kinds[last.name] in _UNFINISHED
        if not text.endswith(("?", ".")) and not open_end and self.rng.random() < 0.6:
            text += "."
        if text.endswith(">.") and open_end:
            text = text[:-1]
        return re.sub(r"<(\w+)>", r"{\1}", " ".join(text.replace(" ,", ",").split()))


def _shorter(words: tuple[str, ...], really: bool) -> tuple[str, ...]:
    return tuple(_SHORTER.get(w, w) for w in words) if really else words


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _article(phrase: str) -> str:
    word = phrase.split()[0]
    if word.isupper():
        return "an" if word[0] in "AEFHILMNORSX" else "a"
    vowel = word[0].lower() in "aeio" or (
        word[0].lower() == "u" and not word.lower().startswith(("us", "uni", "url", "uti"))
    )
    return "an" if vowel else "a"
