"""A row of every format that others publish, and what is read of a file of rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from agentlora.core.types import Example, ToolCall
from agentlora.plugins.datasets.jsonl import Jsonl, JsonlParams

WEATHER = {"name": "get_weather", "description": "Weather of a city."}
OPENAI_TOOL = {
    "type": "function",
    "function": {
        **WEATHER,
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
PLAIN_TOOL = {**WEATHER, "parameters": OPENAI_TOOL["function"]["parameters"]}  # type: ignore[index]
OSLO = ToolCall("get_weather", {"city": "Oslo"})

UNCLOSED = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}'
CLOSED = f"{UNCLOSED}</tool_call>"


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def says(text: str | None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


XLAM = {
    "query": "Weather in Oslo?",
    "answers": '[{"name": "get_weather", "arguments": {"city": "Oslo"}}]',
    "tools": json.dumps([{**WEATHER, "parameters": {"city": {"type": "str", "description": "Its name"}, "days": {"type":
             "int, optional", "default": 1}}}]),
}  # fmt: skip
SHAREGPT = {
    "conversations": [
        {"from": "human", "value": "Weather in Oslo?"},
        {"from": "function_call", "value": '{"name": "get_weather", "arguments": {"city": "Oslo"}}'},
        {"from": "observation", "value": '{"sky": "clear"}'},
        {"from": "gpt", "value": "It is clear."},
    ],
    "system": "You help.",
    "tools": json.dumps([PLAIN_TOOL]),
}
HERMES = {
    "conversations": [
        {"from": "system", "value": "You are kind. You are a function calling AI. You are provided with functions "
         "within <tools> </tools> XML tags. Here are the available tools: <tools>\n" + json.dumps([OPENAI_TOOL])
         + "\n</tools> For each function call return JSON within <tool_call> </tool_call> tags."},
        {"from": "human", "value": "Weather in Oslo?"},
        {"from": "gpt", "value": "<tool_call>\n{'name': 'get_weather', 'arguments': {'city': 'Oslo'}}\n</tool_call>"},
        {"from": "tool", "value": "<tool_response>\nclear\n</tool_response>"},
        {"from": "gpt", "value": "It is clear."},
    ],
}  # fmt: skip
GLAIVE = {
    "system": "SYSTEM: You are a helpful assistant with access to the following functions. Use them if required -\n"
    + json.dumps(PLAIN_TOOL, indent=4),
    "chat": "USER: Weather in Oslo?\n\n\n"
    "ASSISTANT: <functioncall> {\"name\": \"get_weather\", \"arguments\": '{\"city\": "
    "\"Oslo\"}'} <|endoftext|>\n\n\nFUNCTION RESPONSE: {\"sky\": \"clear\"}\n\n\nASSISTANT: It is clear. <|endoftext|>",
}  # fmt: skip
TOOLACE = {
    "system": "You are an expert. Here is a list of functions in JSON format that you can invoke:\n"
    + json.dumps([{"name": "Get Weather", "description": "Weather.", "parameters": {"type": "dict", "properties":
      {"city": {"type": "string"}, "days": {"type": "int"}}, "required": ["city"]}, "required": None}]) + "\nUse them.",
    "conversations": [
        {"from": "user", "value": "Weather in Oslo for 2 days?"},
        {"from": "assistant", "value": '[Get Weather(city="Oslo", days=2)]'},
        {"from": "tool", "value": "clear"},
        {"from": "assistant", "value": "It is clear."},
    ],
}  # fmt: skip
ALPACA = {"instruction": "Translate to French.", "input": "sea", "output": "mer"}
COMPLETION = {"prompt": "The sea is", "completion": "deep."}
CHAT_COMPLETION = {
    "prompt": [{"role": "user", "content": "Weather in Oslo?"}],
    "completion": [{"role": "assistant", "content": "It is clear."}],
}
PREFERENCE = {
    "prompt": [{"role": "user", "content": "Weather in Oslo?"}],
    "chosen": [{"role": "assistant", "content": "Clear."}],
    "rejected": [{"role": "assistant", "content": "No idea."}],
}
IMPLICIT = {
    "chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}],
    "rejected": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "What?"}],
}
TOOLS_AS_TEXT = {
    "messages": [{"role": "user", "content": "Weather in Oslo?"}, {"role": "assistant", "content": None, "tool_calls": [
        {"type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}]}],
    "tools": json.dumps([OPENAI_TOOL]),
}  # fmt: skip
OPENAI_PREFERENCE = {
    "input": {"messages": [{"role": "user", "content": "Weather in Oslo?"}], "tools": [OPENAI_TOOL],
              "parallel_tool_calls": True},
    "preferred_output": [{"role": "assistant", "content": "Clear."}],
    "non_preferred_output": [{"role": "assistant", "content": "No idea."}],
}  # fmt: skip
LOG = {
    "request": {"model": "big", "temperature": 0, "messages": [{"role": "user", "content": "Weather in Oslo?"}],
                "tools": [OPENAI_TOOL]},
    "response": {"choices": [{"finish_reason": "tool_calls", "message": {"role": "assistant", "content": None,
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "get_weather", "arguments":
        '{"city": "Oslo"}'}}]}}]},
}  # fmt: skip
LOG_AS_TEXT = {key: json.dumps(part) for key, part in LOG.items()}


def examples_of(path: Path, **settings: Any) -> list[Example]:
    builder = Jsonl()
    params = JsonlParams(path=str(path), dev_share=0, test_share=0, **settings)
    found = list(builder.build("train", params, 0))
    return sorted(found, key=lambda e: e.id)


def write(path: Path, *rows: Any) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path
