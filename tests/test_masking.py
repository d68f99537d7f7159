"""No secret and no control character gets through, whatever the place and the form of output."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from helpers import KEY, Ran, Run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import MESSAGE, answer, error, serving, then

# `run` and `key` carry nothing from one example to the next.
each = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

FORMS = [[], ["-v"], ["--json"], ["--raw"], ["-q"], ["--models"], ["--models", "--raw"]]
STREAMS = [["--stream"], ["--stream", "-v"], ["--stream", "--json"]]
CONTROL = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# What an operating system can hand over: no NUL, but bytes that are no text.
CONTROLS = "".join(filter(CONTROL.fullmatch, map(chr, range(1, 0xD800)))) + "\udcff\udc9b"


def written(secret: str) -> set[str]:
    """As it is, and as JSON and percent-encoding write it."""
    return {secret, json.dumps(secret)[1:-1], quote(secret), quote(secret, safe="")}


def assert_clean(ran: Ran, form: list[str], *secrets: str) -> None:
    """No secret, no five characters in a row of KEY, no control character, no traceback."""
    shown = ran.out + ran.err
    # The beginning of a key is public, and its last four characters may be shown.
    pieces = {KEY[start : start + 5] for start in range(13, len(KEY) - 4)}
    forms = {form for secret in secrets for form in written(secret)}
    assert [form for form in forms | pieces if form in shown] == []
    assert not CONTROL.search(ran.err if "--raw" in form else shown)
    assert "Traceback" not in shown
    assert ran.code not in (1, 130)


def reply(**fields: Any) -> bytes:
    return answer(200, {**MESSAGE, **fields}, {"request-id": "req_1"})


def head(*names: str, value: str = "", reason: str = "X") -> bytes:
    """An empty 401 whose headers hold as much of the value as a server can put there."""
    value = re.sub("[\n\r\ud800-\udfff]", "", value)
    lines = [f"HTTP/1.1 401 {reason}", "content-length: 0", *(f"{name}: {value}" for name in names)]
    return "\r\n".join([*lines, "\r\n"]).encode("utf-8", "replace")


def page(status: int, text: str) -> bytes:
    body = text.encode("utf-8", "replace")
    return answer(status, body, {"content-type": "text/html", "retry-after-ms": "1"})


TOOL = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
BLOCKS: dict[str, tuple[dict[str, Any], str]] = {
    "text_delta": ({"type": "text", "text": ""}, "text"),
    "thinking_delta": ({"type": "thinking", "thinking": ""}, "thinking"),
    "input_json_delta": (TOOL, "partial_json"),
}


def streamed(*pieces: str, kind: str = "text_delta", failure: Any = None) -> bytes:
    """A stream of one block that comes in these pieces."""
    block, field = BLOCKS[kind]
    deltas = [{"type": kind, field: piece} for piece in pieces]
    events = [
        {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        failure or {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": MESSAGE["usage"]},
        {"type": "message_stop"},
    ]
    data = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    return answer(200, data.encode(), {"content-type": "text/event-stream", "request-id": "req_1"})


def dump(text: str) -> bytes:
    return json.dumps({"type": text, "message": text, "id": text, "display_name": text}).encode()


HEADERS = ("server", "via", "location", "retry-after", "www-authenticate", "cf-ray", "set-cookie")
OF_API = ("request-id", "anthropic-organization-id", "anthropic-ratelimit-requests-reset")
PLACES: dict[str, Callable[[str], bytes]] = {
    "the text": lambda s: reply(content=[{"type": "text", "text": s}]),
    "a tool": lambda s: reply(content=[{"type": "tool_use", "id": s, "name": s, "input": {s: s}}]),
    "an unknown block": lambda s: reply(content=[{"type": s, s: [s]}]),
    "model and stop reason": lambda s: reply(model=s, stop_reason=s, stop_sequence=s, id=s),
    "the usage": lambda s: reply(usage={"input_tokens": 1, "output_tokens": 2, s: 3, "tier": s}),
    "a stream": streamed,
    "an error in a stream": lambda s: streamed(s, failure=error(s, s)),
    "a list of models": lambda s: answer(200, b'{"data":[%b],"has_more":false}' % dump(s)),
    "a message": lambda s: answer(400, error("invalid_request_error", s)),
    "a type": lambda s: answer(400, error(s, "no", error_code=s)),
    "a message in a message": lambda s: answer(400, error("x", json.dumps(error(s, s)))),
    "an error twenty deep": lambda s: answer(400, b'[{"error":' * 20 + dump(s) + b"}]" * 20),
    "names": lambda s: answer(400, {s: {s: s}}),
    "details": lambda s: answer(422, {"detail": [{"msg": s, "loc": ["body", s]}]}),
    "a list of errors": lambda s: answer(400, [{"error": s, "code": s}]),
    "a missing model": lambda s: answer(404, error("not_found_error", f"model: {s}")),
    "what is tried again": lambda s: answer(529, error(s, s), {"retry-after-ms": "1"}),
    "other JSON": lambda s: answer(200, dump(s)),
    "a page": lambda s: page(502, s),
    "a page with a title": lambda s: page(200, f"<title>{s}</title><h1>{s}"),
    "the reason": lambda s: head(reason=re.sub("[\r\n]", "", s)),
    "headers": lambda s: head(*HEADERS, value=s),
    "headers of the API": lambda s: head(*OF_API, value=s),
    "a header's name": lambda s: head(f"x-{quote(s, '', errors='replace')}"),
}

SPACED = 'Zq8 gate/way"tok%en'
FOUND = {
    "ANTHROPIC_API_KEY": KEY,
    "ANTHROPIC_AUTH_TOKEN": "tok/Zq8+found-but-not-sent",
    "ANTHROPIC_CUSTOM_HEADERS": "x-custom: Zq8\\custom value",
    "HTTP_PROXY": "http://user:Zq8-proxy-word@proxy.test:8080",
}
SENT = ["-H", f"x-gate: {SPACED}", "-H", "x-odd: Bearer Zq8-bearer.value~1"]
SECRETS = [KEY, SPACED, "tok/Zq8+found-but-not-sent", "Zq8\\custom value", "Zq8-proxy-word"]
SECRETS += ["Zq8-bearer.value~1", "gw-Zq8-hidden-by-another"]
ECHOES = {
    "secrets": " ".join(form for secret in SECRETS for form in sorted(written(secret))),
    "control characters": f"\0{CONTROLS}\ud800",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("echo", ECHOES)
def test_nothing_echoed_is_shown_raw(run: Run, monkeypatch: Any, echo: str, place: str) -> None:
    for name, value in FOUND.items():
        monkeypatch.setenv(name, value)
    Path(".env").write_text("ANTHROPIC_API_KEY=gw-Zq8-hidden-by-another\n", "utf-8")

    with serving(PLACES[place](ECHOES[echo])) as server:
        for form in FORMS + STREAMS:
            ran = run(*form, "--base-url", server.url, "--retries", "1", *SENT)
            assert_clean(ran, form, *SECRETS)


PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=4, max_size=30)


@each
@given(PRINTABLE, st.sampled_from(sorted(PLACES)), st.sampled_from(FORMS + STREAMS))
def test_any_header_that_is_sent_is_a_secret(
    run: Run, key: str, middle: str, place: str, form: list[str]
) -> None:
    secret = f"Zq{middle}qZ"
    options = ["--retries", "1", "-H", f"x-gate: {secret}"]
    with serving(PLACES[place](f"<{secret}> ({quote(secret, safe='')})")) as server:
        assert_clean(run(*form, "--base-url", server.url, *options), form, secret)


BEFORE = ["", "a ", "key=", "\n", "sk-ant-", "sk-ant-api03-Zq Zq"]


@each
@given(st.lists(st.integers(0, 180)), st.sampled_from(BEFORE), st.sampled_from(sorted(BLOCKS)))
def test_a_stream_may_split_a_secret_anywhere(
    run: Run, key: str, cuts: list[int], before: str, kind: str
) -> None:
    text = f"{before}{KEY}, {before}{SPACED} and more"
    text = json.dumps({"x": text}) if kind == "input_json_delta" else text
    ends = itertools.pairwise([0, *sorted(cuts), len(text)])

    with serving(streamed(*(text[start:stop] for start, stop in ends), kind=kind)) as server:
        for form in STREAMS:
            ran = run(*form, "--base-url", server.url, "-H", f"x-gate: {SPACED}")
            assert_clean(ran, form, SPACED)
            assert ran.code == 0


@each
@given(st.integers(0, 2100), st.sampled_from(["-v", "--json", "-q"]))
def test_text_is_masked_before_it_is_cut(run: Run, key: str, before: int, form: str) -> None:
    text = "x" * before + KEY
    with serving(page(403, text)) as server:
        assert_clean(run(form, "--base-url", server.url, text), [form])


# Options; variables; `file < content`, then options. An @ stands for the text in question.
HERE = """
@    -k@    --@    --api-key=@    --api-key|@    --modle|@    hi|@    --timeout|@    --retries|@
--max-tokens|@    --temperature|@    --simulate|@    --env-file|@    --payload|@    -m|@    -s|@
-H|@    -H|@: x    -H|x-odd: @    -H|user-agent: @    -H|x-odd: Bearer @    --base-url|@
--base-url|@://127.0.0.1:1    --base-url|http://@:@@127.0.0.1:1    --base-url|http://127.0.0.1:@
--base-url|http://127.0.0.1:1/@    ANTHROPIC_API_KEY=@    ANTHROPIC_API_KEY='@'
ANTHROPIC_API_KEY=Bearer @    ANTHROPIC_API_KEY=@@    ANTHROPIC_API_KEY=@ @
ANTHROPIC_API_KEY=@\u200b@    ANTHROPIC_API_KEY=<@>    ANTHROPIC_API_KEY=ANTHROPIC_API_KEY=@
ANTHROPIC_API_KEY=long-enough-and-then-@    ANTHROPIC_AUTH_TOKEN=@    ANTHROPIC_BASE_URL=@
ANTHROPIC_CUSTOM_HEADERS=@    ANTHROPIC_CUSTOM_HEADERS=x: @    ANTHROPIC_WORKSPACE_ID=@
CLAUDE_API_KEY=@    HTTP_PROXY=@    HTTP_PROXY=http://u:@@h.test:1    HTTPS_PROXY=@    NO_PROXY=@
SSL_CERT_FILE=@    SSL_CERT_DIR=@    .env < @    .env < ANTHROPIC_API_KEY: @    .env < CLAUDE_KEY=@
.env < # ANTHROPIC_API_KEY=@    .env < ANTHROPIC_API_KEY='@    .env < HTTPS_PROXY=http://u:@@h:1
.env.@ < ANTHROPIC_API_KEY=gw-key-1    @ < ANTHROPIC_API_KEY=gw-key-1|--env-file|@
p < {"system": "@", "@": 1}|--payload|p    p < @|--payload|p
"""


@pytest.mark.parametrize("row", re.split(r" {4}|\n", HERE.strip()))
@pytest.mark.parametrize("text", [KEY, CONTROLS, CONTROLS[:-2]], ids=["key", "bytes", "controls"])
def test_nothing_typed_or_set_is_shown_raw(run: Run, monkeypatch: Any, text: str, row: str) -> None:
    first, *argv = (part.replace("@", text) for part in row.split("|"))
    file, is_file, content = first.partition(" < ")
    variables = dict([first.split("=", 1)]) if re.match(r"[A-Z_]+=", row) else {}
    if is_file:
        Path(file).write_bytes(content.encode("utf-8", "surrogateescape"))
    elif not variables:
        argv = [first, *argv]
    if not file.startswith(".env"):
        variables = {"ANTHROPIC_API_KEY": "gateway-key-of-nobody"} | variables

    with serving(answer(404, error("not_found_error", "model: x"))) as server:
        for name, value in ({"ANTHROPIC_BASE_URL": server.url} | variables).items():
            monkeypatch.setenv(name, value)
        for form in ["-v"], ["--json"], ["-n"], ["-q"]:
            assert_clean(run(*form, "--retries", "0", *argv), form)


WORDS = ["ANTHROPIC_API_KEY", "claude-ping", "environment", "${{ secrets.ANTHROPIC_API_KEY }}"]


@pytest.mark.parametrize("value", WORDS)
def test_the_tools_own_words_are_never_masked(run: Run, monkeypatch: Any, value: str) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", value)
    with serving(answer(401, error("authentication_error", f"what is <{value}>?"))) as server:
        ran, quiet = run("--base-url", server.url), run("-q", "--base-url", server.url)

    assert "ANTHROPIC_API_KEY" in ran.err
    assert "environment" in ran.err
    assert quiet.err.startswith("claude-ping: ")
    assert f"<{value}>" not in ran.err + quiet.err


def test_ordinary_text_stays_readable(run: Run, key: str) -> None:
    text = f"sk-ant-api03- and sk-ant-1234567: {KEY[-4:]}, {KEY[13:19]}, misuse, refused"
    with serving(reply(content=[{"type": "text", "text": text}])) as server:
        ran = run("--base-url", server.url, "-H", "x-short: use")

    assert f"│ {text}\n" in ran.out


# Text with lone surrogates too: JSON can write them.
LEAF = st.none() | st.booleans() | st.integers() | st.floats(-9e99, 9e99) | st.text(st.characters())
JSON = st.recursive(LEAF, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@each
@given(JSON, st.sampled_from([200, 400, 429]), st.booleans())
def test_the_report_holds_the_body_that_came(
    run: Run, key: str, body: Any, status: int, is_reply: bool
) -> None:
    body = {**MESSAGE, "extra": body} if is_reply else body
    with serving(answer(status, body)) as server:
        ran = run("--json", "--base-url", server.url, "--retries", "0")

    assert ran.report["response"]["body"] == json.loads(json.dumps(body))
    assert_clean(ran, ["--json"])


def test_a_secret_of_several_words_that_ends_a_piece_is_held(run: Run, key: str) -> None:
    data = streamed("It is open sesame-1234", " indeed")
    cut = data.index(b"event: content_block_delta", data.index(b"sesame"))
    with serving(then(data[:cut], data[cut:], pause=0.1)) as server:
        ran = run("--stream", "--base-url", server.url, "-H", "x-gate: open sesame-1234")

    assert "sesame" not in ran.out
    assert "│ It is open … indeed" in ran.out
