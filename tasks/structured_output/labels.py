"""What a part of a schema may be called in a text: other words for its name, shorter ones, other cases.

The answer's keys are always the schema's. A model that has seen few labels that differ from them copies the label.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from agentlora.tasks.wording import Pair

NEW = 0.75  # of what dev and test say: in their own words

OTHER_WORDS = 0.6  # of the labels that have any: in other words
SHORTENED = 0.05  # of the labels: with a word cut short
CAPITALS = 0.04  # of the labels: in capitals
SHORTENABLE = 7  # letters

# a word or some words of a name → what they may be called; the second are dev's and test's
THESAURUS: dict[str, Pair] = {
    "abstract": (("abstract", "summary"), ("synopsis",)),
    "address": (("address", "postal address"), ("whereabouts",)),
    "age": (("age", "age in years"), ("years",)),
    "amount": (("amount", "sum"), ("figure",)),
    "arrival": (("arrival", "arrival day"), ("check-in",)),
    "author": (("author", "writer"), ("creator",)),
    "begin": (("begin", "start"), ("commencement",)),
    "birth": (("birth", "birthday"), ("nativity",)),
    "brand": (("brand", "make"), ("label",)),
    "category": (("category", "group", "class"), ("section",)),
    "city": (("city", "town", "place"), ("municipality", "locality")),
    "code": (("code", "key"), ("token",)),
    "color": (("colour", "color"), ("shade", "hue")),
    "colour": (("colour", "color"), ("shade", "hue")),
    "comment": (("comment", "remark", "note"), ("annotation",)),
    "company": (("company", "firm", "business"), ("enterprise", "employer")),
    "contact": (("contact", "contact person"), ("liaison",)),
    "cost": (("cost", "price", "charge"), ("expense",)),
    "country": (("country", "nation"), ("land",)),
    "currency": (("currency", "money"), ("denomination",)),
    "customer": (("customer", "client"), ("buyer", "purchaser")),
    "date": (("date", "day"), ("calendar day",)),
    "date of birth": (("date of birth", "birthday"), ("birth date",)),
    "deadline": (("deadline", "last day"), ("cut-off",)),
    "delivery": (("delivery", "shipping"), ("shipment", "dispatch")),
    "department": (("department", "team"), ("division",)),
    "departure": (("departure", "departure day"), ("check-out",)),
    "description": (("description", "details"), ("explanation",)),
    "destination": (("destination", "goal"), ("end point",)),
    "discount": (("discount", "reduction"), ("rebate",)),
    "doctor": (("doctor", "physician"), ("medic",)),
    "due date": (("due date", "payment date", "deadline"), ("day of payment",)),
    "duration": (("duration", "length"), ("span",)),
    "email": (("email", "e-mail", "email address"), ("mail",)),
    "employee": (("employee", "worker", "staff member"), ("colleague",)),
    "end": (("end", "last day"), ("finish",)),
    "event": (("event", "occasion"), ("function",)),
    "first name": (("first name", "given name"), ("forename",)),
    "gender": (("gender", "sex"), ("m/f",)),
    "gift": (("gift", "present"), ("surprise",)),
    "guest": (("guest", "visitor"), ("lodger",)),
    "height": (("height", "elevation"), ("tallness",)),
    "id": (("id", "ID", "number"), ("identifier",)),
    "instructions": (("instructions", "directions"), ("guidance",)),
    "invoice": (("invoice", "bill"), ("statement",)),
    "items": (("items", "articles", "lines"), ("positions", "ordered goods")),
    "job title": (("job title", "position", "job"), ("occupation",)),
    "language": (("language", "tongue"), ("idiom",)),
    "last name": (("last name", "surname"), ("family name",)),
    "length": (("length", "extent"), ("reach",)),
    "level": (("level", "grade"), ("tier",)),
    "location": (("location", "place", "spot"), ("site",)),
    "manager": (("manager", "boss"), ("supervisor",)),
    "members": (("members", "people"), ("crew",)),
    "message": (("message", "text"), ("wording",)),
    "method": (("method", "way"), ("manner", "mode")),
    "mobile": (("mobile", "mobile phone", "cell phone"), ("handy number",)),
    "model": (("model", "type"), ("variant",)),
    "notes": (("notes", "note", "remark"), ("remarks", "comment")),
    "number": (("number", "no.", "nr."), ("num.", "#")),
    "order": (("order", "purchase"), ("commission",)),
    "owner": (("owner", "holder"), ("proprietor",)),
    "participants": (("participants", "people"), ("attendees",)),
    "party": (("party", "group"), ("company",)),
    "patient": (("patient", "sick person"), ("case",)),
    "payment": (("payment", "paying"), ("settlement",)),
    "people": (("people", "persons"), ("heads",)),
    "percent": (("percent", "%", "per cent"), ("percentage",)),
    "phone": (("phone", "phone number", "telephone"), ("tel.", "mobile")),
    "position": (("position", "post"), ("job",)),
    "postcode": (("postcode", "postal code", "post code"), ("zip",)),
    "price": (("price", "price tag"), ("cost",)),
    "priority": (("priority", "urgency"), ("importance",)),
    "product": (("product", "item", "article"), ("goods", "thing")),
    "quantity": (("quantity", "qty", "number", "pieces"), ("amount", "count")),
    "rating": (("rating", "score", "stars"), ("mark",)),
    "reason": (("reason", "motive"), ("cause",)),
    "reference": (("reference", "ref."), ("file mark",)),
    "return date": (("return date", "day of return"), ("homecoming",)),
    "role": (("role", "function"), ("part",)),
    "salary": (("salary", "pay"), ("wage",)),
    "size": (("size", "measure"), ("dimension",)),
    "skills": (("skills", "abilities"), ("competences",)),
    "start": (("start", "begin", "from"), ("commencing",)),
    "status": (("status", "state"), ("stage",)),
    "street": (("street", "street address", "road"), ("street line",)),
    "subject": (("subject", "matter"), ("re",)),
    "subtotal": (("subtotal", "net"), ("before tax",)),
    "summary": (("summary", "short version"), ("gist",)),
    "supplier": (("supplier", "vendor"), ("seller",)),
    "surname": (("surname", "last name"), ("family name",)),
    "tags": (("tags", "keywords"), ("labels",)),
    "tax": (("tax", "VAT"), ("duty",)),
    "time": (("time", "hour"), ("clock time",)),
    "title": (("title", "heading"), ("headline",)),
    "total": (("total", "total amount", "full amount"), ("grand total", "sum")),
    "type": (("type", "kind"), ("sort",)),
    "unit price": (("unit price", "price each", "single price"), ("price per unit", "cost apiece")),
    "url": (("URL", "link", "web address"), ("website",)),
    "venue": (("venue", "place"), ("premises",)),
    "website": (("website", "web page", "site"), ("homepage",)),
    "weight": (("weight", "load"), ("mass",)),
    "width": (("width", "breadth"), ("span",)),
    "year": (("year", "calendar year"), ("vintage",)),
}
# words that stand together for one thing: none of them is called otherwise
FIXED = frozenset(
    ["ip address", "mac address", "email address", "web address", "time zone", "postal code", "zip code", "area code",
     "country code", "end time", "start time", "id number", "phone number", "mobile number", "bar code", "source code",
     "error message", "text message", "street number", "house number", "account number", "version number"]
)  # fmt: skip
LONGEST = max(len(key.split()) for key in THESAURUS)


def pick(pair: Pair, held_out: bool, rng: random.Random) -> str:
    """One of the pair: for training of what every split says, for dev and test mostly of what only they say."""
    new = held_out and rng.random() < NEW
    return rng.choice(pair[1] if new else pair[0])


@dataclass(frozen=True)
class Labels:
    """What the parts of a schema are called, in lower case. `counts`: of how many of them a label can be the label."""

    names: frozenset[str]
    counts: Counter[str]

    def may_be(self, label: str, said: str) -> bool:
        """Whether a part whose name is `said` can be called `label`: no other part can, not by more or fewer words
        either (``number`` beside ``order number``).
        """
        if self.counts[label.lower()] > 1:
            return False
        words = set(label.lower().split())
        return not any(
            words <= set(name.split()) or words >= set(name.split()) for name in self.names - {said.lower()}
        )


def labels_of(names: Iterable[str]) -> Labels:
    """The labels of parts with these names."""
    known = frozenset(name.lower() for name in names)
    counts: Counter[str] = Counter()
    for name in known:
        counts.update({*_variants(name), name, *(_short(name, held_out) for held_out in (False, True))})
    return Labels(known, counts)


def called(said: str, known: Labels, held_out: bool, rng: random.Random) -> str:
    """A label for a part whose name is `said`, mostly the name itself.

    Args:
        known: what the schema's parts are called.
        held_out: mostly in the words of dev and test.
    """
    label = said
    if rng.random() < OTHER_WORDS:
        found = _variant(said, held_out, rng)
        label = found if known.may_be(found, said) else said
    way = rng.random()
    if way < SHORTENED and label == said:
        short = _short(said, held_out)
        label = short if known.may_be(short, said) else label
    elif way < SHORTENED + CAPITALS:
        label = label.upper()
    return label


def _variant(said: str, held_out: bool, rng: random.Random) -> str:
    spans = _spans(said.lower())
    if not spans:
        return said
    start, end, pair = rng.choice(spans)
    words = said.split()
    return " ".join((*words[:start], pick(pair, held_out, rng), *words[end:]))


@lru_cache(maxsize=4096)
def _spans(said: str) -> tuple[tuple[int, int, Pair], ...]:
    """Where words of a name stand that have others, the longest ones."""
    words = said.split()
    if said in FIXED:
        return ()
    for size in range(min(LONGEST, len(words)), 0, -1):
        found = tuple(
            (start, start + size, THESAURUS[part])
            for start in range(len(words) - size + 1)
            if (part := " ".join(words[start : start + size])) in THESAURUS
        )
        if found:
            return found
    return ()


def _variants(said: str) -> Iterator[str]:
    words = said.split()
    for start, end, pair in _spans(said.lower()):
        for other in (*pair[0], *pair[1]):
            yield " ".join((*words[:start], other, *words[end:])).lower()


def _short(said: str, held_out: bool) -> str:
    return " ".join(_shortened(word, held_out) for word in said.split())


def _shortened(word: str, held_out: bool) -> str:
    """``quantity`` → ``quant.``; in dev and test ``qntty``."""
    if len(word) < SHORTENABLE or not word.isalpha():
        return word
    if held_out:
        return word[0] + re.sub("[aeiou]", "", word[1:])
    found = re.match(r"..[a-z]*?[^aeiou](?=[aeiou])", word[: SHORTENABLE - 1])
    return (found[0] if found and len(found[0]) > 2 else word[:4]) + "."
