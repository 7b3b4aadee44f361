"""Secrets reach no file: what is cut out of values, texts and command lines, and what is not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from agentlora.core.config import RunConfig
from agentlora.core.provenance import REDACTED, redact, redact_argv, redact_text
from agentlora.core.run import create_run


def test_planted_secrets_reach_no_file_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_API_KEY", "planted-secret-value")
    config = RunConfig(
        task="t", data={"params": {"api_key": "other-planted-secret", "url": "x?k=planted-secret-value"}}
    )
    line = [
        "train",
        "t",
        "--set",
        "data.params.api_key=other-planted-secret",
        "--set=a.password=other-planted-secret",
    ]
    monkeypatch.setattr(
        sys, "argv", ["agentlora", *line, "--api-key", "other-planted-secret", "--lr", "2e-4"]
    )
    run = create_run(config, tmp_path / "run")
    run.note("train", "note", message="Bearer planted-secret-value")
    run.add_facts(reply="sk-abcdefghijklmnopqrstuvwxyz")
    text = "".join(path.read_text() for path in run.directory.rglob("*") if path.is_file())
    assert "planted-secret" not in text
    assert "sk-abc" not in text
    assert text.count(REDACTED) >= 7
    assert run.facts()["provenance"]["argv"][-2:] == ["--lr", "2e-4"]


@pytest.mark.parametrize("key", ["PGPASSWORD", "pwd", "http_auth", "bearer", "secretAccessKey", "apiKey"])
def test_keys_of_secrets(key: str) -> None:
    assert redact({key: "abc"}) == {key: REDACTED}


@pytest.mark.parametrize("key", ["author", "monkey", "auth_mode", "tokens_per_s", "bearing", "passive"])
def test_keys_of_no_secrets(key: str) -> None:
    assert redact({key: "abc"}) == {key: "abc"}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("postgres://me:p@ss@host/db", f"postgres://me:{REDACTED}@host/db"),
        ("https://abcdefghijklmnopqrst@host/x", f"https://{REDACTED}@host/x"),
        ("git clone https://user@host/x", "git clone https://user@host/x"),
        ("github_pat_11ABCDEFG0123456789xyz", REDACTED),
        ("glpat-abcdefghijklmnopqrst", REDACTED),
        ("xoxb-123456789012-abc", REDACTED),
        ("AIzaSyA1234567890abcdefghijklmnopqrstuv", REDACTED),
        ("eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.SflKxwRJSMeKKF", REDACTED),
    ],
)
def test_secrets_by_their_shape(text: str, kept: str) -> None:
    assert redact(text) == kept


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("mcp:python s.py --token hunter2", f"mcp:python s.py --token {REDACTED}"),
        ("mcp:python s.py --token hunter2 --port 80", f"mcp:python s.py --token {REDACTED} --port 80"),
        ("s.py --api-key=hunter2 x", f"s.py --api-key={REDACTED} x"),
        ("s.py -password 'hunter 2' x", f"s.py -password '{REDACTED}' x"),
        ('s.py --client-secret "hunter 2"', f's.py --client-secret "{REDACTED}"'),
        ("s.py --env TOKEN=hunter2 x", f"s.py --env TOKEN={REDACTED} x"),
        ("mcp:API_KEY=hunter2 python s.py", f"mcp:API_KEY={REDACTED} python s.py"),
        ("GH_TOKEN=hunter2 DEBUG=1 s", f"GH_TOKEN={REDACTED} DEBUG=1 s"),
        ("PGPASSWORD='hunter 2'\"x\" psql", f"PGPASSWORD={REDACTED} psql"),
        ("mcp:http://h/mcp?api_key=hunter2", f"mcp:http://h/mcp?api_key={REDACTED}"),
        ("http://h/?a=1&access_token=hunter2&b=2#c", f"http://h/?a=1&access_token={REDACTED}&b=2#c"),
        ("http://h/?key=hunter2&b=2", f"http://h/?key={REDACTED}&b=2"),
        ("https://h/b?sv=1&sig=hunter2%3D", f"https://h/b?sv=1&sig={REDACTED}"),
        ("mcp:http://me:hunter2@h/mcp", f"mcp:http://me:{REDACTED}@h/mcp"),
        ("curl -u me:hunter2 h", f"curl -u me:{REDACTED} h"),
        ("curl -H 'Authorization: Bearer hunter2' h", f"curl -H 'Authorization: Bearer {REDACTED}' h"),
        ("X-Api-Key: hunter2", f"X-Api-Key: {REDACTED}"),
        ("sent Bearer hunter2hunter2hunter2", f"sent Bearer {REDACTED}"),
        ('{"api_key": "hunter2", "n": 1}', f'{{"api_key": "{REDACTED}", "n": 1}}'),
        ("{'token': 'hunter2'}", f"{{'token': '{REDACTED}'}}"),
        ("data.params.token=hunter2", f"data.params.token={REDACTED}"),
        ("x=1;password=hunter2", f"x=1;password={REDACTED}"),
    ],
)
def test_secrets_in_commands_and_addresses_are_cut_out(text: str, kept: str) -> None:
    assert redact_text(text) == kept
    assert redact_text(kept) == kept
    assert "hunter" not in str(redact({"tools": [text], "argv": redact_argv([text])}))


@pytest.mark.parametrize(
    "text",
    [
        "eval.max_new_tokens=64 and --max-tokens 64, with tokens=12,345.",
        "--token and --api-key are options; pass --token to the server.",
        "s.py --token --port 80",
        "API_KEY=$KEY python s.py --token <your-token> --password '' --no-auth /srv",
        "eos_token=<|im_end|> pad_token=x",
        "PWD=/home/ann/x python s.py",
        "if token == 3 and token=='x'",
        "author=ann monkey=1 tokenizer=bpe keyboard=us",
        "the password: at least 8 characters",
        "mailto:ann@example.org skill@sha256:0123 image:tag@sha256:0123 user@host",
        "http://h/?monkey=1&page=2 auth=none password=null",
        '{"token": {"type": "string"}, "tokens": 3}',
        "Bearer tokens are sent in a header: Content-Type: text/plain",
        "uv run -u mcp-server x",
    ],
)
def test_texts_without_secrets_stay_as_they_are(text: str) -> None:
    assert redact_text(text) == text


def test_long_texts_are_looked_through_once() -> None:
    for part in (
        "a-",
        "token",
        "token=",
        "--token ",
        "'token",
        "-",
        "token='",
        "?key",
        "x-token:",
        "bearer ",
    ):
        redact_text(part * 30_000)


def test_the_shells_directories_are_no_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PWD", "/home/ann/project")
    monkeypatch.setenv("OLDPWD", "/home/ann/data")
    monkeypatch.setenv("DB_PWD", "hunter2hunter2")
    paths = ["/home/ann/project/tools.json", "/home/ann/data/rows.jsonl"]
    assert redact(paths) == paths
    assert redact("at hunter2hunter2") == f"at {REDACTED}"


def test_values_are_redacted_by_their_key() -> None:
    assert redact({"max_new_tokens": 64, "token": "abc"}) == {"max_new_tokens": 64, "token": REDACTED}
    assert redact({"password": 12345678, "api_keys": ["abc"]}) == {"password": REDACTED, "api_keys": REDACTED}
    assert redact({"secret": None, "credentials": {"user": "x", "password": "y"}}) == {
        "secret": None,
        "credentials": {"user": "x", "password": REDACTED},
    }


@pytest.mark.parametrize(
    "argument",
    [
        "data.params.api_key=hunter2hunter2",
        "data.params={api_key: hunter2hunter2}",
        "data.params={url: x, 'access-token': 'hunter2hunter2'}",
        "--set=a.password=hunter2hunter2",
        "--api-key=hunter2hunter2",
        "aws_secret_access_key=hunter2hunter2",
        "Authorization: Bearer hunter2hunter2",
        "https://me:hunter2hunter2@host/v1",
        "https://host/v1?token=hunter2hunter2",
    ],
)
def test_a_secret_on_the_command_line_is_cut_out(argument: str) -> None:
    (kept,) = redact_argv([argument])
    assert "hunter2" not in kept
    assert REDACTED in kept


def test_what_follows_a_secret_option_is_cut_out_and_nothing_else() -> None:
    assert redact_argv(["--api-key", "a", "--token", "b", "c"]) == [
        "--api-key",
        REDACTED,
        "--token",
        REDACTED,
        "c",
    ]
    harmless = [
        "train",
        "--max-tokens",
        "64",
        "eval.max_new_tokens=64",
        "--set=data.params.tokenizer=a",
        "--lr=2e-4",
    ]
    assert redact_argv(harmless) == harmless
