"""Talking to people: replies that fit and are polite, from ``chat.txt``."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from agentlora.eval.probes.making import Item, like, table


def items() -> Iterator[Item]:
    rng = Random("chat")
    tables = table("chat")
    for count in (3, 2):  # each with other wrong replies
        for topic, said, reply in tables["reply"]:
            others = (other for subject, _, other in tables["reply"] if subject != topic)
            yield Item("reply", said, reply, like(reply, others, rng, count), said)
    for said, reply, *rude in tables["polite"]:
        yield Item("polite", said, reply, tuple(rude), said)
