"""Tools from the installed packages' own API descriptions: sound, diverse, the same every time."""

import json
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentlora.core import schema
from agentlora.core.errors import DataError, MissingExtra
from agentlora.tasks.tool_calling import api_frames, real_apis
from agentlora.tasks.tool_calling.api_kinds import about, kind_of, spoken
from agentlora.tasks.tool_calling.api_phrasing import usable
from agentlora.tasks.tool_calling.api_sources import (
    ApiSource,
    Operation,
    Param,
    first_sentence,
    plural,
    read_operations,
    service_files,
    singular,
    split_words,
)
from agentlora.tasks.tool_calling.api_values import enum_words
from agentlora.tasks.tool_calling.real_apis import MAX_SPEC_CHARS, load_real_tools, split_of
from agentlora.tasks.tool_calling.toolspec import ToolSpec, problems, render

pytest.importorskip("botocore")
pytest.importorskip("googleapiclient")


@pytest.fixture(scope="module", params=["botocore", "google"])
def tools(request: pytest.FixtureRequest) -> tuple[ToolSpec, ...]:
    return load_real_tools(request.param, 300, 5)


def test_every_tool_is_sound_and_small(tools: tuple[ToolSpec, ...]) -> None:
    assert len(tools) == 300
    for tool in tools:
        assert problems(tool) == []
        function = json.dumps(tool.openai()["function"], separators=(",", ":"))
        assert len(function) <= MAX_SPEC_CHARS
        assert len(tool.parameters["properties"]) <= 6
        assert re.fullmatch(r"[A-Za-z0-9_.\-]{1,64}", tool.name)
        assert 20 <= len(tool.description) <= 200
        assert "<" not in tool.description
        assert len(tool.phrasings) >= 8
        assert len({p.text for p in tool.phrasings}) == len(tool.phrasings)
        required = [tool.parameters["properties"][name] for name in tool.parameters.get("required", ())]
        if any(prop["type"] not in ("boolean", "object") for prop in required):
            assert tool.missing


def test_rendered_calls_fit_the_schema_and_are_said_in_the_request(tools: tuple[ToolSpec, ...]) -> None:
    rng = random.Random(0)
    for tool in tools:
        for phrasing in tool.phrasings:
            text, arguments = render(tool, phrasing, rng)
            assert schema.errors(tool.parameters, arguments) == []
            assert set(arguments) == set(phrasing.slots)
            assert not re.search(r"[{}<>]|  | ,|@(you|me|all)\b", text), text
            for name, value in arguments.items():
                pool = tool.values[name]
                if isinstance(value, str) and isinstance(pool, list) and value in pool:
                    assert value in text
        for phrasing in tool.missing:
            text, arguments = render(tool, phrasing, rng)
            assert phrasing.lacks not in arguments
            assert phrasing.ask is not None
            assert phrasing.ask.endswith(("?", "."))


def test_services_names_and_shapes_are_diverse(tools: tuple[ToolSpec, ...]) -> None:
    names = [tool.name for tool in tools]
    assert len(set(names)) == len(names)
    services = Counter(tool.domain for tool in tools)
    assert len(services) >= 60
    assert max(services.values()) <= 12
    styles = Counter(
        "dotted" if "." in n else "snake" if "_" in n else "Pascal" if n[0].isupper() else "camel"
        for n in names
    )
    assert min(styles[style] for style in ("dotted", "snake", "Pascal", "camel")) >= 15
    kinds = Counter(p["type"] for tool in tools for p in tool.parameters["properties"].values())
    assert {"string", "integer", "boolean", "array"} <= set(kinds)
    sizes = Counter(len(tool.parameters["properties"]) for tool in tools)
    assert sum(sizes[n] for n in (2, 3, 4, 5, 6)) > 150


def test_requests_rarely_repeat_the_tools_name(tools: tuple[ToolSpec, ...]) -> None:
    texts = [(tool, p.text.lower()) for tool in tools for p in tool.phrasings]
    verbatim = sum(" ".join(split_words(tool.name)) in text for tool, text in texts)
    assert verbatim < 0.12 * len(texts)


def test_splits_follow_services_and_dev_and_test_have_their_own_wording() -> None:
    tools = load_real_tools("botocore", 1200, 5)
    by_service = {(tool.domain, tool.split) for tool in tools}
    assert len(by_service) == len({domain for domain, _ in by_service})
    shares = Counter(tool.split for tool in tools)
    assert 0.70 < shares["train"] / len(tools) < 0.90
    assert shares["dev"] > 30
    assert shares["test"] > 60
    openers = [f.split("{c}")[0].split("{ctx}")[0].strip().lower() for f in api_frames.FRAMES_YOU[1]]
    openers = [o for o in openers if len(o.split()) > 1]

    def held_out(split: str) -> int:
        texts = [p.text.lower() for tool in tools if tool.split == split for p in tool.phrasings]
        return sum(any(text.startswith(opener) for opener in openers) for text in texts)

    assert held_out("train") == 0
    assert held_out("test") > 20


def test_related_services_share_a_split() -> None:
    assert split_of("botocore", "lex-models") == split_of("botocore", "lexv2-runtime")
    assert split_of("botocore", "apigateway") == split_of("botocore", "apigatewayv2")


def test_loading_is_deterministic_over_processes_and_changes_with_the_seed() -> None:
    code = (
        "from agentlora.tasks.tool_calling.real_apis import load_real_tools; import hashlib;"
        "print(hashlib.sha256(repr(load_real_tools('google', 60, 1)).encode()).hexdigest())"
    )
    digests = {subprocess.check_output([sys.executable, "-c", code], text=True) for _ in range(2)}
    assert len(digests) == 1
    assert load_real_tools("google", 60, 1) != load_real_tools("google", 60, 2)


def test_a_description_is_read_once_however_many_tools_of_it_are_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[str] = []

    def reading(source: ApiSource, service: str, path: Path) -> Iterator[Operation]:
        read.append(service)
        return read_operations(source, service, path)

    some = dict(list(service_files("botocore").items())[:20])
    monkeypatch.setattr(real_apis, "service_files", lambda source: some)
    monkeypatch.setattr(real_apis, "read_operations", reading)
    looks, collect = [], real_apis._collect

    def looking(*args: Any) -> Iterator[ToolSpec]:
        looks.append(args)
        return collect(*args)

    monkeypatch.setattr(real_apis, "_collect", looking)
    assert load_real_tools("botocore", 350, 7)
    assert len(looks) > 1
    assert len(read) == len(set(read)) == len(some)


def test_there_are_thousands_of_operations() -> None:
    counted = 0
    for source in ("botocore", "google"):
        files = service_files(source)
        for service in sorted(files)[::4]:
            counted += sum(usable(o) for o in read_operations(source, service, files[service]))
    assert counted * 4 > 10_000


def test_a_broken_description_is_named(tmp_path: Path) -> None:
    path = tmp_path / "service-2.json.gz"
    path.write_bytes(b"not gzip")
    with pytest.raises(DataError, match=r"service-2\.json\.gz is not a readable API description"):
        list(read_operations("botocore", "x", path))


def test_a_package_that_is_absent_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore", None)  # how Python marks a module that cannot be imported
    with pytest.raises(MissingExtra, match=r"botocore.*pip install 'agentlora\[train\]'"):
        service_files("botocore")


def test_the_newest_version_of_a_service_is_read() -> None:
    chosen = service_files("botocore")["dynamodb"]
    assert chosen.parent.name == max(p.name for p in chosen.parent.parent.iterdir())
    google = service_files("google")["compute"]
    assert google.name == "compute.v1.json"


def test_a_description_can_be_read_uncompressed(tmp_path: Path) -> None:
    packed = service_files("botocore")["sqs"]
    plain = tmp_path / "service-2.json"
    if packed.suffix == ".gz":
        import gzip

        plain.write_bytes(gzip.decompress(packed.read_bytes()))
    else:
        shutil.copy(packed, plain)
    assert list(read_operations("botocore", "sqs", plain)) == list(read_operations("botocore", "sqs", packed))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("DBInstanceIdentifier", ("db", "instance", "identifier")),
        ("IPv6CidrBlock", ("ipv6", "cidr", "block")),
        ("VPCIds", ("vpc", "ids")),
        ("s3Bucket", ("s3", "bucket")),
        ("max_results", ("max", "results")),
    ],
)
def test_names_are_split_into_words(name: str, words: tuple[str, ...]) -> None:
    assert split_words(name) == words


def test_words_are_said_as_people_say_them() -> None:
    assert spoken(("db", "instance", "ids")) == "DB instance IDs"
    assert enum_words("INFREQUENT_ACCESS") == "infrequent access"
    assert enum_words("t3.micro") == "t3.micro"
    assert singular(("proxies",)) == ("proxy",)
    assert singular(("access",)) == ("access",)
    assert plural(("policy",)) == ("policies",)
    assert about(("db", "cluster", "identifier")) == ("db", "cluster")


def test_first_sentences_are_plain() -> None:
    text = "<p>Required. Lists the <code>Foo</code> items, e.g. Bars. See also <a href='x'>this</a>.</p><p>More</p>"
    assert first_sentence(text, 90) == "Lists the Foo items, e.g. Bars."
    assert first_sentence("word " * 60, 40).endswith("...")
    assert len(first_sentence("word " * 60, 40)) <= 40


@pytest.mark.parametrize(
    ("name", "layout", "kind"),
    [
        ("BucketName", {"type": "string"}, "name"),
        ("ContactEmail", {"type": "string"}, "email"),
        ("RoleArn", {"type": "string"}, "arn"),
        ("StartTime", {"type": "string", "format": "date-time"}, "start"),
        ("MaxResults", {"type": "integer"}, "limit"),
        ("Description", {"type": "string"}, "text"),
        ("StorageClass", {"type": "string", "enum": ["A1", "B2"]}, "enum"),
        ("DeletionProtection", {"type": "boolean"}, "bool"),
    ],
)
def test_the_name_tells_the_kind_of_value(name: str, layout: dict[str, object], kind: str) -> None:
    assert kind_of(Param(name, split_words(name), layout, True, "")) == kind
