"""Texts that say what a drawn value holds: forms, lists, sentences, letters.

What a text does not say is not in the value, or null where the schema asks for it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from agentlora.tasks.structured_output.converted import convert
from agentlora.tasks.structured_output.keys import Key
from agentlora.tasks.structured_output.labels import called, pick
from agentlora.tasks.structured_output.legend import (
    COUNTED,
    NAMED,
    PRICED,
    TOGETHER,
    Legend,
    short_description,
)
from agentlora.tasks.structured_output.nodes import (
    Entries,
    Leaf,
    Node,
    Record,
    words_in,
    words_of_path,
)
from agentlora.tasks.tool_calling.api_kinds import spoken
from agentlora.tasks.wording import Pair

STYLES = {"form": 0.23, "sentences": 0.28, "letter": 0.18, "line": 0.13, "order": 0.1, "converted": 0.08}
LISTED = 0.4  # of the orders: facts one a line
DESCRIBED = 0.15  # of the labels: what the description calls it
BARE = 0.5  # of the values that say by themselves what they are: without a label


# <l>: the label, <L>: the same with a capital, <v>: the value
SENTENCES: Pair = (
    ("The <l> is <v>.", "<L>: <v>.", "<v> is the <l>.", "<L> is <v>.", "We have <v> as the <l>.", "As <l>, put <v>.",
     "The <l> should be <v>.", "It says <v> for the <l>."),
    ("<v> was given as the <l>.", "I noted <v> under <l>.", "For the <l>, please use <v>.",
     "That would be <v> for the <l>.", "Their <l> reads <v>.", "<L>? <v>."),
)  # fmt: skip
FACTS: Pair = (
    ("<l> <v>", "<l>: <v>", "<v> as the <l>", "<v> (<l>)", "the <l> is <v>", "<l> = <v>", "with <v> as <l>"),
    ("<l> of <v>", "<l> being <v>", "<l> - <v>", "having <v> for the <l>"),
)
YES: Pair = (
    ("<L>: yes.", "<L>: true.", "Yes, <l>.", "<L>, yes."),
    ("<L> applies.", "<L> - indeed.", "That is a yes for <l>."),
)
NO: Pair = (
    ("<L>: no.", "<L>: false.", "Not <l>.", "<L>, no."),
    ("<L> does not apply.", "<L> - certainly not.", "That is a no for <l>."),
)
GROUPS: Pair = (
    ("<L>: <f>.", "The <l>: <f>.", "About the <l>: <f>.", "As for the <l>, <f>.", "For the <l> we have <f>."),
    ("Regarding the <l>: <f>.", "<L> details: <f>.", "On the <l>: <f>."),
)
# of what has a key that was drawn, which is said as it is
KEYED: Pair = (
    ("<l>: <v>", "<l> = <v>", "<v> for <l>", "<l> is <v>"),
    ("<l> - <v>", "<v> under <l>", "<l> being <v>"),
)
# <n>: how many, <f>: the entries
LISTS: Pair = (
    ("<L>: <f>.", "The <l> are <f>.", "There are <n> <l>: <f>.", "<L> (<n>): <f>.", "The <l>: <f>."),
    ("We counted <n> <l>: <f>.", "In the way of <l>: <f>.", "Listed under <l>: <f>."),
)
SINGLE: Pair = (
    ("<L>: <f>.", "The <l> is <f>.", "There is one <l>: <f>.", "Only one <l>: <f>."),
    ("A single <l>: <f>.", "Just the one <l>: <f>."),
)
SEPARATORS: Pair = ((": ", ": ", " = ", ":\t", " - "), (" .... ", " → ", " | "))
BULLETS: Pair = (("- ", "* ", "<i>. ", "<i>) "), ("• ", "#<i>: ", "(<i>) "))
OPENINGS: Pair = (
    ("Hi,", "Hello,", "Good morning,", "Dear team,", "Hi there!", "To whom it may concern,", ""),
    ("Hey folks,", "Good afternoon,", "Morning!", "Greetings,"),
)
CLOSINGS: Pair = (
    (
        "Thanks!",
        "Best regards",
        "Many thanks in advance.",
        "Let me know if anything is missing.",
        "Cheers",
        "",
    ),
    ("Have a good one!", "Kind regards from all of us", "Thank you for your help.", "Talk soon"),
)
ASIDES: Pair = (
    ("Sorry for the late reply.", "I hope you are well.", "We spoke on the phone yesterday.",
     "It has been a busy week.", "Please find everything below.", "I am writing from my phone.",
     "My colleague asked me to send this.", "The printer is broken again.", "Traffic was terrible this morning."),
    ("It was nice to meet you.", "As discussed in the meeting.", "I copied this from an old mail.",
     "The rain never stops here.", "My manager is on leave.", "Excuse the typos."),
)  # fmt: skip
ORDERS: Pair = (
    ("Make a <t> with this: <f>.", "Create a <t>: <f>.", "I need a <t> with <f>.", "Put together a <t>: <f>.",
     "Please write a <t> where <f>.", "Set up a <t>, <f>."),
    ("Draft me a <t>: <f>.", "Could I have a <t> with <f>?", "Prepare a <t> along these lines: <f>."),
)  # fmt: skip
FILLED: Pair = (
    ("Fill in a <t> from these facts:\n<f>", "Make me a <t> such that:\n<f>", "A new <t>, please:\n<f>"),
    ("Here is what I know. Write the <t>.\n<f>", "These facts belong in a <t>:\n<f>"),
)
COMBINED = 0.7  # of the parts that can be said together
UNLABELLED = 0.3  # of the groups and lists whose facts begin with what was said together or counted
COUNTS: Pair = (
    ("<q> x <v>", "<q> <v>", "<q>x <v>", "<v> x <q>"),
    ("<q> times <v>", "<v> (<q>)", "<v>, <q> of them"),
)
PRICES: Pair = (("at <p>", "at <p> each", "for <p> each"), ("costing <p> apiece", "@ <p>"))


@dataclass(frozen=True)
class Said:
    """A text and how it was written: `case` (extraction, generation, conversion) and `style`."""

    text: str
    case: str
    style: str


def write(node: Node, title: str, legend: Legend, held_out: bool, rng: random.Random) -> Said:
    """A text that says what `node` holds.

    Args:
        title: what a value of the schema is called.
        legend: what the schema's parts are called (`legend_of`).
        held_out: in the words of dev and test.
    """
    style = rng.choices(list(STYLES), list(STYLES.values()))[0]
    writer = _Writer(legend, held_out, rng)
    if style == "form":
        return Said("\n".join(writer.form(node)), "extraction", style)
    if style == "line":
        return Said(writer.inline(node, rng.choice((", ", ", ", "; ", " / "))), "extraction", style)
    called_ = " ".join(words_of_path((title,))) or "record"
    if style == "converted":
        return Said(convert(node, called_, writer.label, held_out, rng), "conversion", style)
    if style == "order" and rng.random() < LISTED:
        facts = "- " + writer.inline(node, "\n- ")
        return Said(writer.pick(FILLED).replace("<t>", called_).replace("<f>", facts), "generation", style)
    if style == "order":
        said = writer.pick(ORDERS).replace("<t>", called_)
        return Said(said.replace("<f>", writer.inline(node, ", ")), "generation", style)
    sentences = writer.sentences(node)
    if style == "letter":
        asides = [writer.pick(ASIDES) for _ in range(rng.choice((0, 1, 1, 2)))]
        for aside in asides:
            sentences.insert(rng.randint(0, len(sentences)), aside)
        parts = [writer.pick(OPENINGS), " ".join(sentences), writer.pick(CLOSINGS)]
        return Said("\n\n".join(part for part in parts if part), "extraction", style)
    return Said(" ".join(sentences), "extraction", style)


class _Writer:
    def __init__(self, legend: Legend, held_out: bool, rng: random.Random) -> None:
        self.legend, self.alone, self.held_out, self.rng = legend, legend.alone, held_out, rng
        self.raw = rng.random() < 0.08  # labels as the schema has them
        self.title = rng.random() < 0.25

    def pick(self, pair: Pair) -> str:
        return pick(pair, self.held_out, self.rng)

    # --- what parts are called ------------------------------------------------------------------

    def label(self, node: Node, plural: bool = True) -> str:
        """What a part is called; an array's entries in the singular unless `plural`."""
        name = next((part for part in reversed(node.path) if part), "")
        words = words_of_path(node.path if plural else (*node.path, ""))
        if self.raw or isinstance(name, Key):
            return name
        said = spoken(words)
        if self.rng.random() < DESCRIBED and not isinstance(node, Entries):
            short = short_description(node.schema)
            if short and self.legend.described[short.lower()] == 1 and self.legend.labels.may_be(short, said):
                return short
        said = called(said, self.legend.labels, self.held_out, self.rng)
        return said.title() if self.title and self.rng.random() < 0.5 else said

    # --- sentences ------------------------------------------------------------------------------

    def sentences(self, node: Node) -> list[str]:
        if isinstance(node, Record):
            return [text for member in self._ordered(node) for text in self._sentences_of(member)]
        return self._sentences_of(node)

    def _sentences_of(self, node: Node) -> list[str]:
        if isinstance(node, Leaf):
            return [self._sentence(node)] if node.said else []
        label = self.label(node)
        if isinstance(node, Entries):
            return [self._list(node)]
        if len(node.members) > 1 and self.rng.random() < 0.3:
            return [f"{_capital(label)}: {text}" for text in self.sentences(node)]
        facts = self.inline(node, ", ")
        if isinstance(label, Key):
            return [f"{label}: {facts}."] if facts else []
        if facts and self._known_alone(node) and self.rng.random() < UNLABELLED:
            return [f"{facts}."]
        return [_filled(self.pick(GROUPS), label, facts)] if facts else []

    def _known_alone(self, node: Record | Entries) -> bool:
        """Whether its facts say by themselves what they are: counted goods, or somebody's name and company."""
        records = (
            [entry for entry in node.entries if isinstance(entry, Record)]
            if isinstance(node, Entries)
            else [node]
        )
        if not records or node.path not in self.alone:
            return False
        for record in records:
            said = [member for _, member in record.members]
            counted = self._taken(record, said, COUNTED, (int,)) and self._taken(record, said, NAMED, (str,))
            if not counted and not any(self._pair(record, said, a, b) for a, b, _ in TOGETHER):
                return False
        return True

    def _list(self, node: Entries) -> str:
        several = len(node.entries) > 1
        facts = self._joined([self.inline(entry, ", ") for entry in node.entries], node)
        if not facts:
            return ""
        if isinstance(node.path[-1] if node.path else "", Key):
            return f"{node.path[-1]}: {facts}."
        if self._known_alone(node) and self.rng.random() < UNLABELLED:
            return f"{facts}."
        frame = self.pick(LISTS if several else SINGLE)
        count = str(len(node.entries))
        return _filled(frame, self.label(node, plural=several), facts).replace("<n>", count)

    def _joined(self, entries: Sequence[str], node: Entries) -> str:
        compound = any(not isinstance(entry, Leaf) for entry in node.entries)
        if compound and len(entries) > 1:
            form = self.rng.choice(("<i>) ", "(<i>) ", "", ""))
            marked = [form.replace("<i>", str(i)) + entry for i, entry in enumerate(entries, 1)]
            return "; ".join(marked)
        if any("," in entry or " and " in entry for entry in entries):
            return "; ".join(entries)
        if len(entries) > 1 and self.rng.random() < 0.6:
            return f"{', '.join(entries[:-1])} and {entries[-1]}"
        return ", ".join(entries)

    def _sentence(self, leaf: Leaf) -> str:
        if isinstance(leaf.path[-1], Key):
            return self._fact(leaf) + "."
        if isinstance(leaf.value, bool):
            if leaf.phrase and self.rng.random() < 0.5:
                return _capital(leaf.phrase) + "."
            return _filled(self.pick(YES if leaf.value else NO), self.label(leaf), "")
        if leaf.path in self.alone and self.rng.random() < BARE:
            return f"{leaf.said}." if self.rng.random() < 0.7 else f"It is {leaf.said}."
        return _with_value(self.pick(SENTENCES), self.label(leaf), leaf.said)

    # --- facts in a row -------------------------------------------------------------------------

    def inline(self, node: Node, joint: str) -> str:
        """What a part holds, as facts in a row."""
        if isinstance(node, Leaf):
            return node.said
        if isinstance(node, Entries):
            return self._joined([self.inline(entry, ", ") for entry in node.entries], node)
        left = self._ordered(node)
        facts = self._counted(node, left) if self.rng.random() < COMBINED else []
        facts += self._together(node, left)
        for member in left:
            fact = self._fact(member)
            if fact:
                facts.append(fact)
        return joint.join(facts)

    def _counted(self, record: Record, left: list[Node]) -> list[str]:
        """``2 x blue mug at 4.50``: takes out of `left` what it says."""
        count = self._taken(record, left, COUNTED, (int,))
        name = self._taken(record, left, NAMED, (str,)) if count else None
        if count is None or name is None or name.said[0].isdigit() or name.said[-1].isdigit():
            return []
        left.remove(count)
        left.remove(name)
        frame = self.pick(COUNTS)
        if not count.said.isdigit():
            frame = "<q> <v>"  # nobody writes "threex"
        said = frame.replace("<q>", count.said).replace("<v>", name.said)
        price = self._taken(record, left, PRICED, (float, int))
        if price and self.rng.random() < 0.7:
            left.remove(price)
            said += " " + self.pick(PRICES).replace("<p>", price.said)
        return [said]

    def _together(self, record: Record, left: list[Node]) -> list[str]:
        """``12 Mill Lane, Leeds`` and ``Ann Lee (Oak Ltd)``: takes out of `left` what it says."""
        facts = []
        for first, second, frames in TOGETHER:
            pair = self._pair(record, left, first, second)
            if pair is None or self.rng.random() >= COMBINED:
                continue
            one, other = pair
            left.remove(one)
            left.remove(other)
            facts.append(self.pick(frames).replace("<a>", one.said).replace("<b>", other.said))
        return facts

    def _pair(
        self, record: Record, left: Sequence[Node], first: re.Pattern[str], second: re.Pattern[str]
    ) -> tuple[Leaf, Leaf] | None:
        """Two texts that are said together: of the same thing (``pickup street`` and ``pickup city``)."""
        one, other = self._taken(record, left, first, (str,)), self._taken(record, left, second, (str,))
        if one is None or other is None or one is other:
            return None
        leads = [_lead(pattern, leaf) for pattern, leaf in ((first, one), (second, other))]
        return (one, other) if leads[0] == leads[1] else None

    def _taken(
        self, record: Record, left: Sequence[Node], named: re.Pattern[str], kinds: tuple[type, ...]
    ) -> Leaf | None:
        """What of `left` is called so and of these kinds, if the schema has no other part that is."""
        alike = [
            name for name in record.schema.get("properties", {}) if named.fullmatch(" ".join(words_in(name)))
        ]
        if len(alike) != 1:
            return None
        for node in left:
            if isinstance(node, Leaf) and node.path[-1] == alike[0] and node.said:
                fits = isinstance(node.value, kinds) and not isinstance(node.value, bool)
                return node if fits else None
        return None

    def _fact(self, node: Node) -> str:
        if isinstance(node, Leaf):
            if not node.said:
                return ""
            if isinstance(node.path[-1], Key):
                return _with_value(self.pick(KEYED), node.path[-1], node.said)
            if isinstance(node.value, bool):
                return node.phrase or _with_value(
                    self.rng.choice(("<l>: <v>", "<l> <v>")), self.label(node), node.said
                )
            if node.path in self.alone and self.rng.random() < BARE:
                return node.said
            return _with_value(self.pick(FACTS), self.label(node), node.said)
        facts = self.inline(node, ", ")
        if not facts:
            return ""
        several = isinstance(node, Record) or len(node.entries) > 1
        label = self.label(node, plural=several)
        return f"{label} ({facts})"  # so that it ends somewhere

    # --- forms ----------------------------------------------------------------------------------

    def form(self, node: Node) -> list[str]:
        """Lines of labels and values."""
        separator, bullet = self.pick(SEPARATORS), self.pick(BULLETS)
        if isinstance(node, Entries):
            return self._bullets(node, bullet)
        assert isinstance(node, Record)
        return self._lines(node, separator, bullet, "")

    def _lines(self, record: Record, separator: str, bullet: str, indent: str) -> list[str]:
        lines: list[str] = []
        for node in self._ordered(record):
            label = self.label(node)
            label = label if self.raw else _capital(label)
            if isinstance(node, Leaf):
                lines += [f"{indent}{label}{separator}{node.said}"] if node.said else []
            elif isinstance(node, Entries):
                if all(isinstance(entry, Leaf) for entry in node.entries) and self.rng.random() < 0.7:
                    lines.append(f"{indent}{label}{separator}{self.inline(node, ', ')}")
                else:
                    lines += [f"{indent}{label}:", *(indent + line for line in self._bullets(node, bullet))]
            else:
                inner = self._lines(node, separator, bullet, indent + "  ")
                lines += [f"{indent}{label}:", *inner] if inner else []
        return lines

    def _bullets(self, node: Entries, bullet: str) -> list[str]:
        return [
            bullet.replace("<i>", str(i)) + self.inline(entry, ", ")
            for i, entry in enumerate(node.entries, 1)
        ]

    def _ordered(self, record: Record) -> list[Node]:
        """Its members, mostly in the schema's order."""
        members = [member for _, member in record.members]
        if any(isinstance(member.path[-1], Key) for member in members):
            return members  # the answer has what no schema names in the text's order
        return self.rng.sample(members, len(members)) if self.rng.random() < 0.4 else members


def _lead(pattern: re.Pattern[str], leaf: Leaf) -> str:
    """What stands before the word that `pattern` looks for."""
    found = pattern.fullmatch(" ".join(words_of_path(leaf.path)))
    return (found[1] or "").strip() if found and pattern.pattern.startswith("(.*") else ""


def _capital(text: str) -> str:
    """With a capital; a key that was drawn stays as it is."""
    return text if isinstance(text, Key) else text[:1].upper() + text[1:]


def _filled(frame: str, label: str, facts: str) -> str:
    return _with_value(frame, label, facts).replace("<f>", facts)


def _with_value(frame: str, label: str, value: str) -> str:
    return frame.replace("<l>", label).replace("<L>", _capital(label)).replace("<v>", value)
