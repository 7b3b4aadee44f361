"""A teacher without a model, and a student of it: requests for five tools of an office, answered over HTTP by rules.

The requests are drawn (a tool, a wording, values), so that it is known what is right; the teacher sees the text alone,
finds the tool by its words and the values by patterns, and is wrong where these mislead it. A tenth of the requests is
held out for dev and a tenth for test, where the base, the student and the teacher are judged by what is right.

    .venv/bin/python benchmarks/rule_teacher.py --output DIR [--prompts 3600] [--set KEY=VALUE]
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

JSON = dict[str, Any]
PER_GROUP = 24  # requests that share the list of tools, token for token


def tool(name: str, description: str, **parameters: JSON) -> JSON:
    schema = {"type": "object", "properties": parameters, "required": list(parameters)}
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": schema},
    }


TOOLS = [
    tool("set_temperature", "Heat or cool a room.", room={"type": "string"}, celsius={"type": "integer"}),
    tool("book_room", "Reserve a meeting room.", room={"type": "string"},
         date={"type": "string", "format": "date"}, people={"type": "integer"}),
    tool("open_ticket", "Report a fault to the technicians.", device={"type": "string"},
         priority={"enum": ["low", "normal", "urgent"]}),
    tool("find_invoice", "Look an invoice up.", number={"type": "string"}),
    tool("order_supplies", "Order something for the office.", item={"type": "string"}, count={"type": "integer"}),
]  # fmt: skip
ROOMS = (
    "Lisbon",
    "Oslo",
    "Kyoto",
    "Nairobi",
    "Quito",
    "the library",
    "the lab",
    "the attic",
    "Hanoi",
    "Turin",
)
DEVICES = (
    "printer",
    "projector",
    "coffee machine",
    "lift",
    "door lock",
    "scanner",
    "air conditioner",
    "router",
)
ITEMS = (
    "staplers",
    "whiteboard markers",
    "envelopes",
    "desk lamps",
    "notebooks",
    "batteries",
    "tea bags",
    "chairs",
)
MOODS = {
    "urgent": ("urgently", "right now", "it cannot wait"),
    "low": ("whenever you have time", "no hurry"),
    "normal": ("", "please"),
}
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December")  # fmt: skip
WORDINGS = {
    "set_temperature": (
        "Make {room} {celsius} degrees", "{celsius} degrees in {room}, please", "It should be {celsius} °C in {room}",
        "Could you warm {room} up to {celsius} degrees?", "Cool {room} down to {celsius}",
        "set the heating of {room} to {celsius}",
    ),
    "book_room": (
        "Book {room} on {date} for {people} people", "I need {room} for {people} of us on {date}",
        "Reserve {room}, {date}, {people} persons", "On {date} {people} people want to meet in {room}",
        "meeting in {room} on {date}, we are {people}", "Is {room} free on {date}? Take it, we'll be {people}",
    ),
    "open_ticket": (
        "The {device} is broken, {mood}", "Have somebody look at the {device} {mood}", "{device} out of order {mood}",
        "Please report that the {device} fails, {mood}", "the {device} makes a strange noise, {mood}",
        "Our {device} needs a technician {mood}",
    ),
    "find_invoice": (
        "Find invoice {number}", "Where is {number}?", "I'm looking for the bill {number}",
        "Show me invoice {number} again", "what did we pay with {number}", "Pull up {number} for me",
    ),
    "order_supplies": (
        "Order {count} {item}", "We are out of {item}, get {count}", "{count} {item} for the second floor",
        "Please buy {count} more {item}", "could we have {count} {item}?", "The team needs {item}: {count}",
    ),
}  # fmt: skip
# what no tool does; the rules take some of it for a fault
OTHER = (
    "What's the weather in {room}?",
    "Who invented the {device}?",
    "Tell me a joke about {item}",
    "Is {name} on holiday?",
    "Translate '{item}' into Finnish",
    "When is {name}'s birthday?",
    "Write {name} a poem about {item}",
    "What does {name} think of {room}?",
)
NAMES = ("Mira", "Tomas", "Aiko", "Ruth", "Devin", "Salma", "Joost", "Petra", "Noor", "Iker", "Lena", "Omar")
NO_TOOL = "I have no tool for that."


def counted(value: int, rng: random.Random) -> str:
    return NUMBERS[value - 1] if value <= len(NUMBERS) and rng.random() < 0.5 else str(value)


def drawn(rng: random.Random) -> tuple[str, JSON | None]:
    """(a request, the right call), which is None where no tool fits."""
    if rng.random() < 0.1:
        said = {"room": ROOMS, "device": DEVICES, "item": ITEMS, "name": NAMES}
        return rng.choice(OTHER).format(**{key: rng.choice(some) for key, some in said.items()}), None
    name = rng.choice(list(WORDINGS))
    day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(2026, 2028)
    said, call = {}, {}
    if name in ("set_temperature", "book_room"):
        said["room"] = call["room"] = rng.choice(ROOMS)
    if name == "set_temperature":
        call["celsius"] = rng.randint(14, 27)
        said["celsius"] = str(call["celsius"])
    elif name == "book_room":
        call |= {"date": f"{year}-{month:02}-{day:02}", "people": rng.randint(2, 40)}
        said["date"] = rng.choice(
            (call["date"], f"{day} {MONTHS[month - 1]} {year}", f"{MONTHS[month - 1]} {day}, {year}")
        )
        said["people"] = counted(call["people"], rng)
    elif name == "open_ticket":
        call |= {"device": rng.choice(DEVICES), "priority": rng.choice(list(MOODS))}
        said = {"device": call["device"], "mood": rng.choice(MOODS[call["priority"]])}
    elif name == "find_invoice":
        call["number"] = said["number"] = f"INV-{rng.randint(10_000, 99_999)}"
    else:
        call |= {"item": rng.choice(ITEMS), "count": rng.randint(1, 60)}
        said = {"item": call["item"], "count": counted(call["count"], rng)}
    text = " ".join(rng.choice(WORDINGS[name]).format(**said).split()).replace(" ,", ",").rstrip(", ")
    return text, {"name": name, "arguments": call}


# --- the teacher --------------------------------------------------------------------------------


def by_rule(text: str) -> JSON | None:
    """The call that the rules find in a request: right for what the tools do, and some of the rest is a fault to it."""
    low = text.lower()
    room = next((one for one in ROOMS if one.lower() in low), None)
    day, rest = _day(text)
    found = re.findall(rf"\b(?:\d+|{'|'.join(NUMBERS)})\b", rest.lower())
    numbers = [NUMBERS.index(one) + 1 if one in NUMBERS else int(one) for one in found]
    if number := re.search(r"INV-\d+", text):
        return {"name": "find_invoice", "arguments": {"number": number[0]}}
    if device := next((one for one in DEVICES if one in low), None):
        hurry = (
            "urgent"
            if re.search("urgent|now|wait", low)
            else "low"
            if re.search("time|hurry", low)
            else "normal"
        )
        return {"name": "open_ticket", "arguments": {"device": device, "priority": hurry}}
    if room and day and numbers:
        return {"name": "book_room", "arguments": {"room": room, "date": day, "people": numbers[0]}}
    if room and numbers:
        return {"name": "set_temperature", "arguments": {"room": room, "celsius": numbers[0]}}
    if (item := next((one for one in ITEMS if one in low), None)) and numbers:
        return {"name": "order_supplies", "arguments": {"item": item, "count": numbers[0]}}
    return None


def _day(text: str) -> tuple[str | None, str]:
    """(the first day in a text, the text without it)"""
    names = "|".join(MONTHS)
    for pattern, order in (
        (r"(\d{4})-(\d\d)-(\d\d)", (0, 1, 2)),
        (rf"(\d+) ({names}) (\d{{4}})", (2, 1, 0)),
        (rf"({names}) (\d+), (\d{{4}})", (2, 0, 1)),
    ):
        if found := re.search(pattern, text):
            year, month, day = (found.groups()[i] for i in order)
            number = int(month) if month.isdigit() else MONTHS.index(month) + 1
            return f"{year}-{number:02}-{int(day):02}", text.replace(found[0], " ")
    return None, text


class Teacher(BaseHTTPRequestHandler):
    """Chat completions by `by_rule`."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        call = by_rule(body["messages"][-1]["content"])
        message: JSON = {"role": "assistant", "content": None if call else NO_TOOL}
        if call:
            function = {"name": call["name"], "arguments": json.dumps(call["arguments"])}
            message["tool_calls"] = [{"id": "call_0", "type": "function", "function": function}]
        usage = {"prompt_tokens": 300, "completion_tokens": 30}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        said = json.dumps({"choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        pass


def rows(count: int, seed: int) -> Iterator[JSON]:
    """Prompts with the right answers, none of them twice."""
    rng, seen = random.Random(seed), set()
    while len(seen) < count:
        text, call = drawn(rng)
        if text in seen:
            continue
        seen.add(text)
        expected = {"calls": [call]} if call else {"text": NO_TOOL}
        group = f"office-{len(seen) // PER_GROUP}"
        messages = [{"role": "user", "content": text}]
        yield {"messages": messages, "tools": TOOLS, "expected": expected, "group": group}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="a new directory for prompts and run")
    parser.add_argument("--prompts", type=int, default=3600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], help="any further setting of the training")
    args = parser.parse_args()
    from agentlora.core.provenance import this_machine

    print(this_machine(), file=sys.stderr, flush=True)
    args.output.mkdir(parents=True)
    prompts, run = args.output / "prompts.jsonl", args.output / "run"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows(args.prompts, args.seed)))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Teacher)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    began = time.monotonic()
    agentlora = [sys.executable, "-m", "agentlora"]
    teacher = f"http://127.0.0.1:{server.server_address[1]}/v1#rules"
    train = [*agentlora, "train", "distillation", "--teacher", teacher, "--prompts", str(prompts)]
    train += ["--output", str(run), "--batch-size", str(PER_GROUP), "--lr", "1.5e-3"]
    subprocess.run([*train, *(part for one in args.set for part in ("--set", one))], check=True)
    print(f"trained in {(time.monotonic() - began) / 60:.1f} minutes", flush=True)
    subprocess.run([*agentlora, "eval", str(run), "--probes", "0"], check=True)


if __name__ == "__main__":
    main()
