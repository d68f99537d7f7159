"""Bytes in, a reply or a failure out; no sockets."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from typing import Any

import pytest
from helpers import KEY
from hypothesis import given
from hypothesis import strategies as st
from servers import MESSAGE, error

from claude_ping import api, diagnosis, render
from claude_ping.diagnosis import Context
from claude_ping.records import (
    Answer,
    Credential,
    ExitCode,
    Failure,
    Fault,
    PingError,
    Reply,
    Report,
    Request,
    Response,
    Secret,
    Settings,
)

REQUEST = Request("POST", "https://api.anthropic.com/v1/messages", {}, {"model": "m"})


def read(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> Reply | Failure:
    """What the program makes of an answer."""
    try:
        return api.read_reply(api.read_answer(Response(status, "", headers or {}, iter([body]))))
    except PingError as caught:
        return caught.failure


def test_a_message_is_a_reply() -> None:
    reply = read(200, json.dumps(MESSAGE).encode())

    assert isinstance(reply, Reply)
    assert reply.message == MESSAGE


DEEP = b'{"type": "message", "content": ' + b"[" * 300 + b"]" * 300 + b"}"
NO_MESSAGE: dict[str, tuple[bytes, Mapping[str, str], str]] = {
    "nothing": (b"", {}, "empty body"),
    "a page": (b"<!doctype html><title>Sign\n in</title>", {}, "HTML page: Sign in"),
    "a page without title": (b"<html><body>hi</body></html>", {}, "HTML page"),
    "text": (b"it works!\n", {}, "not JSON: it works!"),
    "other JSON": (b'{"status": "up"}', {}, 'other JSON: {"status": "up"}'),
    "other type": (b'{"type": "completion"}', {}, "JSON of type 'completion'"),
    "a list": (b"[1]", {}, "other JSON: [1]"),
    "null": (b"null", {}, "not JSON: null"),
    "NaN": (b'{"type": "message", "x": NaN}', {}, "not JSON"),
    "deep nesting": (DEEP, {}, "not JSON"),
    "very deep nesting": (b"[" * 100_000, {}, "not JSON"),
    "cut JSON": (b'{"type": "message", "con', {}, "not JSON"),
    "invalid UTF-8": (b'{"type": "message", "x": "\xff"}', {}, "not JSON"),
    "gzip": (gzip.compress(b"{}"), {"content-encoding": "gzip"}, "body with content-encoding gzip"),
}


@pytest.mark.parametrize("name", NO_MESSAGE)
def test_a_200_that_is_no_message_is_a_failure(name: str) -> None:
    body, headers, message = NO_MESSAGE[name]

    failure = read(200, body, headers)

    assert isinstance(failure, Failure)
    assert failure.fault is Fault.NOT_A_MESSAGE
    assert failure.message.startswith(message)
    assert diagnosis.diagnose(failure, Context()).exit_code is ExitCode.PROTOCOL


ERRORS: dict[str, tuple[bytes, tuple[str | None, str | None, str]]] = {
    "the API's": (
        json.dumps(error("a_type", "words", error_code="a_code")).encode(),
        ("a_type", "a_code", "words"),
    ),
    "details null": (
        b'{"error": {"type": "t", "message": "m", "details": null}}',
        ("t", None, "m"),
    ),
    "error a string": (b'{"error": "no"}', (None, None, "no")),
    "error null": (b'{"error": null}', (None, None, '{"error": null}')),
    "error a list": (b'{"error": [1]}', (None, None, '{"error": [1]}')),
    "error empty": (b'{"error": {}}', (None, None, '{"error": {}}')),
    "a detail": (b'{"detail": "no route"}', (None, None, "no route")),
    "a message": (b'{"message": "no\\n route"}', (None, None, "no route")),
    "an outer type": (b'{"type": "error", "message": "m"}', (None, None, "m")),
    "types that are none": (b'{"error": {"type": 1, "message": 2}}', (None, None, "{")),
    "a JSON string": (b'"no"', (None, None, "no")),
    "a JSON list": (b"[]", (None, None, "[]")),
    "a JSON number": (b"7", (None, None, "7")),
    "text": (b"upstream connect error", (None, None, "upstream connect error")),
    "a page": (b"<html><h1>502 <b>Bad</b></h1>", (None, None, "HTML page: 502 Bad")),
    "nothing": (b"", (None, None, "empty body")),
    "invalid UTF-8": (b'{"error": {"type": "t", "message": "\xff!"}}', ("t", None, "�!")),
    "invalid UTF-8 text": (b"\xff!", (None, None, "�!")),
}


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_read_in_any_shape(name: str, status: int) -> None:
    body, (kind, code, message) = ERRORS[name]

    failure = read(status, body)

    assert isinstance(failure, Failure)
    assert (failure.error_type, failure.error_code) == (kind, code)
    assert failure.message.startswith(message)


def test_the_request_id_is_the_headers_or_the_bodys() -> None:
    body = b'{"error": "x", "request_id": "req_body"}'
    by_body, by_header = read(400, body), read(400, body, {"request-id": "req_header"})
    neither = read(400, b'{"request_id": 7}')

    assert isinstance(by_body, Failure)
    assert isinstance(by_header, Failure)
    assert isinstance(neither, Failure)
    assert by_body.answer
    assert by_body.answer.request_id == "req_body"
    assert by_header.answer
    assert by_header.answer.request_id == "req_header"
    assert neither.answer
    assert neither.answer.request_id is None


SETTINGS = Settings(
    Credential("api_key", Secret(KEY), "ANTHROPIC_API_KEY", "the environment"),
    "https://api.anthropic.com",
    "the default",
    {},
)


def shown(outcome: Reply | Failure, settings: Settings = SETTINGS) -> str:
    """The whole report, whichever it is."""
    found = diagnosis.diagnose(outcome, Context(settings, REQUEST))
    report = Report(outcome, found, REQUEST, settings)
    look = render.Look(render.plain)
    if isinstance(outcome, Reply):
        diagnosis.notes(outcome, REQUEST)
        return render.success(outcome, report, look)
    return render.failure(report, look)


STATUSES = st.sampled_from([200, 200, 200, 204, 302, 400, 401, 403, 404, 418, 429, 500, 529, 999])
NAMES = st.sampled_from(
    """type error message content text name usage input_tokens details output_tokens stop_reason
    model id request_id error_code thinking stop_details output_tokens_details category detail
    input tool_use""".split()  # noqa: SIM905 thirty quotes are no clearer
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | NAMES
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=6)
)
HEADERS = st.dictionaries(
    st.sampled_from(["request-id", "content-type", "retry-after", "location", "cf-ray", "server"]),
    st.text(st.characters(max_codepoint=255)),
)


@given(STATUSES, st.binary(), HEADERS)
def test_any_bytes_give_an_outcome(status: int, body: bytes, headers: dict[str, str]) -> None:
    assert shown(read(status, body, headers))


@given(STATUSES, st.dictionaries(NAMES, VALUES), st.booleans())
def test_any_json_gives_an_outcome(status: int, value: dict[str, Any], is_message: bool) -> None:
    if is_message:
        value = {**value, "type": "message"}

    assert shown(read(status, json.dumps(value).encode()))


@given(st.dictionaries(st.sampled_from(sorted(MESSAGE)), VALUES))
def test_a_message_with_anything_in_its_fields_is_still_a_reply(fields: dict[str, Any]) -> None:
    body = json.dumps({**MESSAGE, **fields, "type": "message"}).encode()

    reply = read(200, body)

    assert isinstance(reply, Reply)
    assert shown(reply).splitlines()[1].startswith("✓ 200")


def test_an_answer_is_read_in_pieces() -> None:
    body = json.dumps(MESSAGE).encode()

    answer = api.read_answer(Response(200, "OK", {}, iter([body[:5], body[5:]])))

    assert answer == Answer(200, "OK", {}, body, dict(MESSAGE))


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=20), STATUSES)
def test_no_report_contains_the_key(key: str, status: int) -> None:
    credential = SETTINGS.credential._replace(secret=Secret(key))

    assert key not in shown(read(status, b""), SETTINGS._replace(credential=credential))
    assert key not in repr(SETTINGS._replace(credential=credential))
