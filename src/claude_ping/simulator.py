"""A stand-in for the API on loopback, for `--simulate`: plays replies and the table of failures."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NoReturn

from claude_ping import failures
from claude_ping.records import Exchange, Failure, Phase

# As the API sends them, but for the model; of all but the first, what differs. The official SDK
# reads them in the tests: a fake that came from the rest of the program would agree with its slips.
_REPLIES: dict[str, dict[str, Any]] = json.loads("""{
"ok": {"id": "msg_01SimulatedMessage", "type": "message", "role": "assistant", "content": [
    {"type": "text", "text": "Hello! This reply is simulated: nothing left your machine."}],
  "stop_reason": "end_turn", "stop_sequence": null, "stop_details": null, "usage": {
    "input_tokens": 8, "output_tokens": 12, "output_tokens_details": {"thinking_tokens": 0},
    "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "service_tier": "standard"}},
"thinking": {"content": [{"type": "thinking", "thinking": "", "signature": "EqQBCgIYAhIkSimulated"},
    {"type": "text", "text": "pong"}], "usage": {
    "input_tokens": 8, "output_tokens": 43, "output_tokens_details": {"thinking_tokens": 31}}},
"tool_use": {"stop_reason": "tool_use", "content": [{"type": "text", "text": "I'll look that up."},
    {"type": "tool_use", "id": "toolu_01Sim", "name": "get_weather", "input": {"city": "Paris"}}]},
"truncated": {"stop_reason": "max_tokens", "content": [{"type": "text", "text": "Once upon a"}]},
"refusal": {"stop_reason": "refusal", "content": [],
  "stop_details": {"type": "refusal", "category": "cyber", "explanation": null}},
"overloaded-once": {}}""")
REPLIES = {name: _REPLIES["ok"] | changes for name, changes in _REPLIES.items()}
NAMES = (*REPLIES, *failures.BY_NAME)  # of everything that can be played
_MODELS = [
    {"type": "model", "id": f"claude-{line}-5-5", "display_name": f"Claude {line.title()} 5.5"}
    | {"created_at": f"{day}T00:00:00Z", "max_input_tokens": 1_000_000, "max_tokens": 128_000}
    for line, day in (("haiku", "2026-10-07"), ("sonnet", "2026-09-28"), ("opus", "2026-09-22"))
]
# Fields of blocks that a stream sends on their own, and how.
_DELTAS = {"text": "text_delta", "signature": "signature_delta", "input": "input_json_delta"}
# Headers of the API's edge, of every authenticated call, and of some failures.
_HEADERS: dict[str, dict[str, str]] = json.loads("""{
"edge": {"server": "cloudflare", "cf-ray": "9a1b2c3d4e5f6789-SIM"},
"account": {"anthropic-organization-id": "36561c0f-5a1e-4c58-9d2b-7be1f0ac2d12",
  "anthropic-workspace-id": "wrkspc_01SimulatedWorkspace"},
"redirect": {"location": "https://login.example/"},
"rate limit": {"retry-after": "1", "anthropic-ratelimit-requests-reset": "2026-11-24T19:26:40Z",
  "anthropic-ratelimit-requests-limit": "50", "anthropic-ratelimit-requests-remaining": "0"}}""")
# What the rows of failures without an answer may say.
_FACTS: dict[str, Any] = {"untrusted": 'issued by "Example Corp Root CA"', "expired": "1 day ago"}
_FACTS |= {"not_before": "2027-01-01 00:00:00 UTC", "proxy_offers": "Basic", "proxy_basic": True}


def listing() -> Iterator[str]:
    """Yield the names as --simulate lists them: replies, then each class with its failures."""
    yield f"  replies: {', '.join(REPLIES)}"
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
    name: str
    asked: list[object]  # the model of each message that was asked for

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet: a client that goes away is nothing to report."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        # Once a message was asked for, the list is what helps to choose another model.
        if not self.server.asked and self.server.name in failures.BY_NAME:
            self._fail(self.server.name, "?")
            return
        left = [model for model in _MODELS if model["id"] not in self.server.asked]
        ends = {"first_id": left[0]["id"], "last_id": left[-1]["id"]}
        self._send(200, {"data": left, "has_more": False, **ends})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
        name, asked, model = self.server.name, self.server.asked, request.get("model")
        asked.append(model)
        if name not in REPLIES or (name == "overloaded-once" and len(asked) == 1):
            self._fail(name.removesuffix("-once"), model)
        elif request.get("stream"):
            events = _events(REPLIES[name] | {"model": model})
            texts = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events]
            self._send(200, "".join(texts), **{"content-type": "text/event-stream; charset=utf-8"})
        else:
            self._send(200, REPLIES[name] | {"model": model})

    def _fail(self, name: str, model: object) -> None:
        row = failures.BY_NAME[name]
        specimen, headers = row.specimen, _HEADERS.get(row.name, {})
        message = specimen.message.replace("{model}", str(model))
        error = {"type": specimen.type, "message": message}
        body: Any = {"error": error | {"code": specimen.code}}
        if specimen.type == "html":
            headers = headers | {"content-type": "text/html; charset=UTF-8"}
            body = f"<!DOCTYPE html><html><head><title>{message}</title></head></html>"
        elif specimen.by == "api":
            details = {"error_code": specimen.code} if specimen.code else None
            body = {"type": "error", "error": error | {"details": details}}
        self._send(specimen.status, body, specimen.by, **headers)

    def _send(self, status: int, body: Any, by: str = "api", **headers: str) -> None:
        sent = {"date": self.date_time_string()}
        sent |= _HEADERS["edge"] if by in ("api", "edge") else {}
        if by == "api":
            sent["request-id"] = f"req_011CS1mu1atedAnswer{len(self.server.asked):04}"
            sent |= _HEADERS["account"] if status != 401 else {}
            body = body | {"request_id": sent["request-id"]} if status >= 400 else body
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        sent |= {"content-type": "application/json", **headers, "content-length": str(len(data))}
        self.send_response_only(status)
        for name, value in sent.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def _events(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the server-sent events that add up to the message."""
    start = {"content": [], "stop_reason": None, "usage": message["usage"] | {"output_tokens": 1}}
    yield {"type": "message_start", "message": message | start}
    yield {"type": "ping"}
    for index, block in enumerate(message["content"]):
        name, kind = next(pair for pair in _DELTAS.items() if pair[0] in block)
        is_json = name == "input"
        whole, key = (json.dumps(block[name]), "partial_json") if is_json else (block[name], name)
        begun = block | {name: {} if is_json else ""}
        yield {"type": "content_block_start", "index": index, "content_block": begun}
        delta = {"type": kind, key: whole}
        yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    end = {name: message[name] for name in ("stop_reason", "stop_sequence", "stop_details")}
    yield {"type": "message_delta", "delta": end, "usage": message["usage"]}
    yield {"type": "message_stop"}


@contextmanager
def serve(name: str) -> Iterator[str]:
    """Serve what is called so and yield the base URL; stop when the block ends."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.name, server.asked, poll = name, [], 0.01  # seconds
        threading.Thread(target=server.serve_forever, args=(poll,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
