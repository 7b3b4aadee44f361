"""Prompts with answers, as OpenAI, TRL, Alpaca and logs of APIs write them, in OpenAI's fine-tuning format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentlora.core.types import JSON
from agentlora.plugins.datasets.parts import (
    Converted,
    every_answer,
    modern,
    objects,
    openai_tools,
    read_json,
)

CUT = {
    "length": "was cut off at the token limit",
    "max_tokens": "was cut off at the token limit",
    "content_filter": "was cut off by the filter for unwanted content",
    "error": "was cut off by an error",
    "abort": "was cut off: the request was aborted",
}
"""Why an answer of a log is none, by its ``finish_reason``."""


def modern_row(row: JSON) -> JSON:
    """A row with ``messages``, with OpenAI's older ``functions`` and ``function_call`` in the format of today; its
    ``tools`` may be their JSON text, as TRL keeps them.
    """
    kept = {key: part for key, part in row.items() if key not in ("functions", "function_call")}
    if isinstance(row.get("tools"), str):
        kept["tools"] = openai_tools(row["tools"])
    if row.get("functions") and not row.get("tools"):
        kept["tools"] = openai_tools(row["functions"])
    if isinstance(row.get("messages"), list):
        kept["messages"] = [modern(message) for message in row["messages"]]
    return kept


def openai(row: JSON) -> Converted:
    """OpenAI's ``messages``. What is no conversation with an answer at its end stays as it is, for who says what is
    wrong with it.
    """
    said = row.get("messages")
    messages: list[JSON] = said if isinstance(said, list) and all(isinstance(m, dict) for m in said) else []
    roles = [message.get("role") for message in messages]
    if "user" not in roles or roles[-1] != "assistant":
        yield row
        return
    for part in every_answer(messages, []):
        yield {**row, **part}


def alpaca(row: JSON) -> Converted:
    """Alpaca's ``instruction``, ``input`` and ``output``."""
    asked = "\n\n".join(part for part in (row["instruction"], row.get("input") or "") if part)
    messages: list[JSON] = [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": row["output"]},
    ]
    if isinstance(row.get("system"), str) and row["system"]:
        messages.insert(0, {"role": "system", "content": row["system"]})
    yield {"messages": messages}


def completion(row: JSON) -> Converted:
    """TRL's ``prompt`` and ``completion``, as texts or as messages; answers in the prompt are not trained."""
    if row.get("label") is False:
        raise ValueError(
            "its answer is labelled as a bad one, and there is none to prefer to it. --trainer kto and dpo learn from "
            "pairs: write the good and the bad answer to a prompt as 'chosen' and 'rejected' of one row"
        )
    prompt = _turns(row["prompt"], "user")
    for part in every_answer([*prompt, *_turns(row["completion"], "assistant")], [], len(prompt)):
        yield _with_tools(part, row)


def preference(row: JSON) -> Converted:
    """TRL's ``chosen`` and ``rejected``, with a ``prompt`` or with all turns in both. What both have before their last
    turn is what these answer.
    """
    prompt = _turns(row["prompt"], "user") if row.get("prompt") is not None else []
    if not prompt and (isinstance(row["chosen"], str) or isinstance(row["rejected"], str)):
        raise ValueError(
            "'chosen' and 'rejected' are texts without a 'prompt', so that nobody knows where the answers begin. Give "
            "the 'prompt', or write both as lists of messages"
        )
    chosen, rejected = _turns(row["chosen"], "assistant"), _turns(row["rejected"], "assistant")
    if chosen[-1].get("role") != "assistant" or rejected[-1].get("role") != "assistant":
        raise ValueError("'chosen' and 'rejected' end with an answer of the assistant")
    chosen, rejected = _behind(prompt, chosen, "chosen"), _behind(prompt, rejected, "rejected")
    if _said(chosen[:-1]) != _said(rejected[:-1]):
        raise ValueError(
            "'chosen' and 'rejected' answer different conversations: they differ before their last turn"
        )
    if _said(chosen[-1:]) == _said(rejected[-1:]):
        raise ValueError("'chosen' and 'rejected' are the same answer")
    yield _with_tools({"messages": chosen, "rejected": rejected[-1]}, row)


def openai_preference(row: JSON) -> Converted:
    """OpenAI's rows for its own DPO: ``input`` (a request), ``preferred_output`` and ``non_preferred_output``."""
    asked = row["input"]
    if not isinstance(asked, Mapping):
        raise ValueError("the 'input' of a preference is an object with 'messages'")
    said = {"chosen": row["preferred_output"], "rejected": row["non_preferred_output"]}
    tools = {key: asked[key] for key in ("tools", "functions") if key in asked}
    weighed = {key: row[key] for key in ("group", "weight") if key in row}
    for part in preference({"prompt": asked.get("messages"), **said, **tools}):
        yield part | weighed


def _behind(prompt: list[JSON], turns: list[JSON], name: str) -> list[JSON]:
    """The conversation of a prompt and of the turns behind it, which may begin with the prompt's own. Raises ValueError
    where they begin with other ones.
    """
    if not prompt or turns[0].get("role") == "assistant":
        return [*prompt, *turns]
    asked, told = _without_system(prompt), _without_system(turns)
    if _said(told[: len(asked)]) != _said(asked) or len(told) == len(asked):
        raise ValueError(f"{name!r} begins neither with its 'prompt' nor with an answer to it")
    system = prompt[: len(prompt) - len(asked)] or turns[: len(turns) - len(told)]
    return [*system, *told]


def _without_system(turns: list[JSON]) -> list[JSON]:
    begin = next((n for n, turn in enumerate(turns) if turn.get("role") not in ("system", "developer")), 0)
    return turns[begin:]


def _said(turns: list[JSON]) -> list[Any]:
    """Turns without what is no part of them (scores, ids) and without white space around their texts."""
    texts = [turn.get("content") or "" for turn in turns]
    return [
        (turn.get("role"), text.strip() if isinstance(text, str) else text, turn.get("tool_calls") or [])
        for turn, text in zip(turns, texts, strict=True)
    ]


def log(row: JSON) -> Converted:
    """A request to a chat completion API and its response; answers in the request are not trained."""
    request, response = (
        read_json(part, "a log") for part in (row.get("request", row.get("body")), row.get("response"))
    )
    if (
        isinstance(request, Mapping)
        and "messages" not in request
        and isinstance(request.get("body"), Mapping)
    ):
        request = request["body"]
    if not isinstance(request, Mapping) or not isinstance(response, Mapping):
        raise ValueError("a log has a 'request' and a 'response', both objects")
    status = response.get("status_code", row.get("status_code"))
    if str(status).isdecimal() and not 200 <= int(status) < 300:
        raise ValueError(f"the request failed with status {status}")
    if isinstance(response.get("body"), Mapping):
        response = response["body"]  # of a batch
    if row.get("error") or response.get("error"):
        raise ValueError("the request failed: the log has an 'error'")
    choices = response.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        raise ValueError("the response has no choices")
    if (reason := choices[0].get("finish_reason")) in CUT:
        raise ValueError(f"the answer {CUT[reason]}")
    answer = modern(choices[0].get("message"))
    if not isinstance(answer, Mapping):
        raise ValueError("the response has no message")
    kept = {key: answer[key] for key in ("role", "content", "tool_calls") if answer.get(key)}
    asked = [modern(message) for message in objects(request.get("messages"), "messages")]
    yield _with_tools({"messages": [*asked, {"role": "assistant", "content": None, **kept}]}, dict(request))


def _turns(value: Any, role: str) -> list[JSON]:
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    turns = objects(value, "a conversation")
    if not turns:
        raise ValueError("a conversation is empty")
    return [modern(turn) for turn in turns]


def _with_tools(converted: JSON, row: JSON) -> JSON:
    tools = openai_tools(row.get("tools") or row.get("functions"))
    return converted | ({"tools": tools} if tools else {})
