"""A body of the user's own."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from helpers import Run
from servers import RawServer, answer, error, serving

PAYLOAD = b"""{
  "model": "claude-opus-5-5",
  "max_tokens": 100,
  "messages": [{"role": "user", "content": "h\\u00e9llo"}, {"role": "assistant", "content": 1.50}]
}"""


def body(server: RawServer) -> bytes:
    return server.requests[0].partition(b"\r\n\r\n")[2]


def test_a_payload_is_sent_to_the_letter(run: Run, key: str) -> None:
    Path("p.json").write_bytes(PAYLOAD)
    with serving(answer()) as server:
        ran = run("--base-url", server.url, "--payload", "p.json")

    assert ran.code == 0
    assert body(server) == PAYLOAD


def test_a_payload_may_come_from_standard_input(
    run: Run, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"{}")))
    with serving(answer()) as server:
        run("--base-url", server.url, "--payload", "-")

    assert body(server) == b"{}"


def test_options_override_the_fields_of_a_payload(run: Run, key: str) -> None:
    Path("p.json").write_bytes(PAYLOAD)
    options = ["-m", "m", "-s", "s", "--max-tokens", "0", "--temperature", "0", "--stream"]
    with serving(answer()) as server:
        run("--base-url", server.url, "--payload", "p.json", *options)

    assert json.loads(body(server)) == {
        **json.loads(PAYLOAD),
        "model": "m",
        "system": "s",
        "max_tokens": 0,
        "temperature": 0.0,
        "stream": True,
    }


def test_what_is_missing_in_a_payload_is_not_repaired(run: Run, key: str) -> None:
    Path("p.json").write_text('{"messages": []}', "utf-8")
    refusal = answer(400, error("invalid_request_error", "max_tokens: Field required"))
    with serving(refusal) as server:
        ran = run("--base-url", server.url, "--payload", "p.json")

    assert json.loads(body(server)) == {"messages": []}
    assert ran.code == 9
    assert "The API refused the field max_tokens" in ran.err


def test_a_payload_can_be_rehearsed_as_curl(run: Run, key: str) -> None:
    Path("p.json").write_bytes(PAYLOAD)

    assert f"--data-raw '{PAYLOAD.decode()}'" in run("-n", "--payload", "p.json").out


BAD: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "p.json is not JSON: Expecting value (line 1, column 1)"),
    "cut JSON": (b'{\n "a": [1,', "p.json is not JSON: Expecting value (line 2, column 10)"),
    "a trailing comma": (b'{"a": 1,}', "p.json is not JSON: "),
    "a list": (b"[1]", "p.json holds no JSON object, but a list"),
    "a string": (b'"x"', "p.json holds no JSON object, but a string"),
    "a number": (b"7", "p.json holds no JSON object, but a number"),
    "null": (b"null", "p.json holds no JSON object, but null"),
    "NaN": (b'{"a": NaN}', "p.json: NaN is not JSON"),
    "Latin-1": (b'{"a": "\xe9"}', "p.json is not UTF-8 text: byte 8"),
    "deep nesting": (b'{"a":' + b"[" * 300 + b"]" * 300 + b"}", "p.json is nested too deeply"),
    "very deep nesting": (b"[" * 100_000, "p.json is nested too deeply"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_json_object_is_a_usage_error(run: Run, key: str, name: str) -> None:
    data, problem = BAD[name]
    Path("p.json").write_bytes(data)
    with serving(answer()) as server:
        ran = run("--base-url", server.url, "--payload", "p.json")

    assert ran.code == 2
    assert f"argument --payload: {problem}" in ran.err
    assert server.requests == []


@pytest.mark.parametrize("path", ["missing.json", "."])
def test_a_file_that_cannot_be_read_is_a_usage_error(run: Run, path: str) -> None:
    ran = run("--payload", path)

    assert ran.code == 2
    assert f"argument --payload: cannot read {path}: " in ran.err


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["--payload", "p.json", "hello"], "--payload: not together with PROMPT"),
        (["--models", "hello"], "--models: not together with"),
        (["--models", "--stream"], "--models: not together with"),
        (["--models", "--payload", "p.json"], "--models: not together with"),
    ],
)
def test_what_excludes_each_other_is_a_usage_error(run: Run, argv: list[str], problem: str) -> None:
    ran = run(*argv)

    assert ran.code == 2
    assert problem in ran.err


def test_the_part_that_the_api_refused_is_shown(run: Run, key: str) -> None:
    Path("p.json").write_bytes(PAYLOAD)
    message = "messages.1.content: Input should be a valid string"
    with serving(answer(400, error("invalid_request_error", message))) as server:
        ran = run("--base-url", server.url, "--payload", "p.json")

    assert "What was sent there: messages.1.content = 1.5" in ran.err
