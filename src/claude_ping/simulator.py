"""A stand-in for the API on loopback, for `--simulate`: it plays the table's specimens and replies.

The replies are written here, as the API sends them, and the official SDK reads them in the tests:
a fake that came from the rest of the program would agree with its mistakes.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NoReturn

from claude_ping import failures
from claude_ping.records import Exchange, Failure, Phase

OVERLOADED_ONCE = "overloaded-once"  # then a reply
# The first one whole, of the others what differs.
_REPLIES: dict[str, dict[str, Any]] = json.loads("""{
"ok": {"id": "msg_01SimulatedMessage", "type": "message", "role": "assistant",
  "model": "claude-haiku-5-5", "stop_reason": "end_turn", "stop_sequence": null,
  "stop_details": null, "usage": {"input_tokens": 8, "output_tokens": 12,
    "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
    "output_tokens_details": {"thinking_tokens": 0},
    "service_tier": "standard", "inference_geo": "global"}, "content": [
  {"type": "text", "text": "Hello! This reply is simulated: nothing left your machine."}]},
"thinking": {"usage": {"input_tokens": 8, "output_tokens": 43,
    "output_tokens_details": {"thinking_tokens": 31}}, "content": [
  {"type": "thinking", "thinking": "", "signature": "EqQBCgIYAhIkSimulated"},
  {"type": "text", "text": "pong"}]},
"tool_use": {"stop_reason": "tool_use", "content": [
  {"type": "text", "text": "I'll look that up."},
  {"type": "tool_use", "id": "toolu_01Simulated", "name": "get_weather",
    "input": {"city": "Paris"}}]},
"truncated": {"stop_reason": "max_tokens", "content": [
  {"type": "text", "text": "Once upon a time there was"}]},
"refusal": {"stop_reason": "refusal", "content": [],
  "stop_details": {"type": "refusal", "category": "cyber", "explanation": null}}
}""")
REPLIES = {name: _REPLIES["ok"] | changes for name, changes in _REPLIES.items()}
_MODEL = {"type": "model", "max_input_tokens": 1_000_000, "max_tokens": 128_000}
_MODELS = [
    {**_MODEL, "id": f"claude-{line}-5-5", "display_name": f"Claude {line.title()} 5.5"}
    | {"created_at": f"{day}T00:00:00Z", "line": line, "lifecycle": "active"}
    for line, day in (("haiku", "2026-10-07"), ("sonnet", "2026-09-28"), ("opus", "2026-09-22"))
]
# How the fields of a block that arrive piece by piece do so.
_DELTAS = {
    "text": ("text_delta", "text"),
    "signature": ("signature_delta", "signature"),
    "input": ("input_json_delta", "partial_json"),
}
_EDGE = {"server": "cloudflare", "cf-ray": "9a1b2c3d4e5f6789-SIM"}
_ACCOUNT = {  # what only an authenticated call gets
    "anthropic-organization-id": "36561c0f-5a1e-4c58-9d2b-7be1f0ac2d12",
    "anthropic-workspace-id": "wrkspc_01SimulatedWorkspace",
}
_OF_FAILURE = {
    "redirect": {"location": "https://login.example/"},
    "rate limit": {
        "retry-after": "1",
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": "2026-11-24T19:26:40Z",
    },
}
# What the rows of failures without an answer may say.
_FACTS: dict[str, Any] = {
    "untrusted": 'issued by "Example Corp Root CA"',
    "expired": "1 day ago",
    "not_before": "2027-01-01 00:00:00 UTC",
    "proxy_offers": "Basic",
    "proxy_basic": "",
}


def names() -> list[str]:
    """Return every name that can be played."""
    return [*REPLIES, OVERLOADED_ONCE, *failures.BY_NAME]


def listing() -> Iterator[str]:
    """Yield the names as --simulate lists them: replies, then each class with its failures."""
    yield f"  replies: {', '.join([*REPLIES, OVERLOADED_ONCE])}"
    for code in sorted({row.exit_code for row in failures.TABLE}):
        rows = [(row.name, *row.aliases) for row in failures.TABLE if row.exit_code is code]
        listed = [f"{name} ({', '.join(others)})" if others else name for name, *others in rows]
        yield f"  exit {code.value} {code.name.lower()}: {', '.join(listed)}"


def rehearse(name: str, exchange: Exchange) -> None:
    """Let the exchange fail as the named row's specimen does where that is no answer."""
    row = failures.BY_NAME.get(name)
    if row is None or row.specimen.phase is None:
        return
    failure, last = Failure(row.name, row.specimen.message, **_FACTS), Phase[row.specimen.phase]
    if last is Phase.SETTINGS:
        raise failure
    phases = [phase for phase in Phase if phase is not Phase.PROXY or last is Phase.PROXY]

    def fail() -> NoReturn:
        for phase in phases[1 : phases.index(last) + 1]:
            exchange.enter(phase)
        exchange.address = "160.79.104.10"
        exchange.via = "proxy.example:3128" if last is Phase.PROXY else None
        exchange.sent = last in (Phase.WAITING, Phase.READING)
        raise failure

    exchange.rehearsal = fail


class _Server(ThreadingHTTPServer):
    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.name = name
        self.asked: list[object] = []  # the model of each message that was asked for

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet: a client that goes away is nothing to report."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        # Once a message was asked for, the list is what helps to choose another model.
        if self.server.asked or self.server.name not in failures.BY_NAME:
            self._send(200, _models(self.server.asked))
        else:
            self._fail(self.server.name, "?")

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
        name, asked, model = self.server.name, self.server.asked, request.get("model")
        asked.append(model)
        if name == OVERLOADED_ONCE:
            name = "overloaded" if len(asked) == 1 else "ok"
        if name not in REPLIES:
            self._fail(name, model)
        elif request.get("stream"):
            events = _events(REPLIES[name] | {"model": model})
            texts = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events]
            self._send(200, "".join(texts), {"content-type": "text/event-stream; charset=utf-8"})
        else:
            self._send(200, REPLIES[name] | {"model": model})

    def _fail(self, name: str, model: object) -> None:
        row = failures.BY_NAME[name]
        specimen, code, headers = row.specimen, row.specimen.code, _OF_FAILURE.get(row.name, {})
        message = specimen.message.replace("{model}", str(model))
        details = {"error_code": code} if code else None
        error = {"type": specimen.type, "message": message, "details": details}
        body: Any = {"error": error | {"code": code}}
        if specimen.is_html:
            headers = headers | {"content-type": "text/html; charset=UTF-8"}
            body = f"<!DOCTYPE html><html><head><title>{message}</title></head></html>"
        elif specimen.by == "api":
            body = {"type": "error", "error": error, "request_id": self._request_id()}
        self._send(specimen.status or 500, body, headers, by=specimen.by)

    def _request_id(self) -> str:
        return f"req_011CS1mu1atedAnswer{len(self.server.asked):04}"

    def _send(
        self, status: int, body: Any, headers: Mapping[str, str] = {}, *, by: str = "api"
    ) -> None:
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        sent = {"date": self.date_time_string()} | (_EDGE if by in ("api", "edge") else {})
        if by == "api":
            sent |= {"request-id": self._request_id()} | (_ACCOUNT if status != 401 else {})
        sent |= {"content-type": "application/json", **headers, "content-length": str(len(data))}
        self.send_response_only(status)
        for name, value in sent.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def _events(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the server-sent events that add up to the message."""
    usage = message["usage"]
    start = message | {"content": [], "stop_reason": None, "usage": usage | {"output_tokens": 1}}
    yield {"type": "message_start", "message": start}
    yield {"type": "ping"}
    for index, block in enumerate(message["content"]):
        growing = [name for name in _DELTAS if name in block]
        begun = block | {name: {} if name == "input" else "" for name in growing}
        yield {"type": "content_block_start", "index": index, "content_block": begun}
        for name in growing:
            kind, field = _DELTAS[name]
            whole = json.dumps(block[name]) if name == "input" else block[name]
            for word in re.findall(r"\S+\s*", whole):
                delta = {"type": kind, field: word}
                yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    delta = {name: message[name] for name in ("stop_reason", "stop_sequence", "stop_details")}
    yield {"type": "message_delta", "delta": delta, "usage": usage}
    yield {"type": "message_stop"}


def _models(asked: list[object]) -> dict[str, Any]:
    left = [model for model in _MODELS if model["id"] not in asked]
    return {"data": left, "has_more": False, "first_id": left[0]["id"], "last_id": left[-1]["id"]}


@contextmanager
def serve(name: str) -> Iterator[str]:
    """Serve what is called so and yield the base URL; stop when the block ends."""
    with _Server(name) as server:
        poll = 0.01  # seconds
        threading.Thread(target=server.serve_forever, args=(poll,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
