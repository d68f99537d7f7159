"""A stand-in for the API on loopback, for `--simulate`: real shapes, no key, no network.

It imports nothing of ours, so it can never agree with a mistake in the rest.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

ORGANIZATION = "36561c0f-5a1e-4c58-9d2b-7be1f0ac2d12"
WORKSPACE = "wrkspc_01SimulatedWorkspace"
MODELS = (
    ("claude-haiku-5-5", "Claude Haiku 5.5", "2026-10-07T00:00:00Z", "haiku"),
    ("claude-sonnet-5-5", "Claude Sonnet 5.5", "2026-09-28T00:00:00Z", "sonnet"),
    ("claude-opus-5-5", "Claude Opus 5.5", "2026-09-22T00:00:00Z", "opus"),
)


class Scenario(NamedTuple):
    """What every request is answered with."""

    about: str
    status: int = 200
    body: Any = None  # a JSON value, or the text of a page
    headers: Mapping[str, str] = {}
    is_from_api: bool = True  # False: an edge or a proxy answers, without request-id
    does: str = "answer"  # or "drop", "hang"
    once: bool = False  # only the first request; then as ok


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _message(*content: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "id": "msg_01SimulatedMessage",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-5-5",
        "content": list(content),
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "stop_details": None,
        "usage": {
            "input_tokens": 8,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": 12,
            "output_tokens_details": {"thinking_tokens": 0},
            "service_tier": "standard",
            "inference_geo": "global",
        },
    } | fields


def _error(kind: str, message: str, **details: str) -> dict[str, Any]:
    return {
        "type": "error",
        "error": {"type": kind, "message": message, "details": details or None},
    }


_HELLO = _message(_text("Hello! This reply is simulated: nothing left your machine."))
_OVERLOADED = _error("overloaded_error", "Overloaded")
_BAD_GATEWAY = (
    "<!DOCTYPE html><html><head><title>api.anthropic.com | 502: Bad gateway</title></head>"
    "<body><h1>Bad gateway</h1></body></html>"
)

SCENARIOS: Mapping[str, Scenario] = {
    "ok": Scenario("a reply", body=_HELLO),
    "thinking": Scenario(
        "a reply with a thinking block before the text",
        body=_message(
            {"type": "thinking", "thinking": "", "signature": "EqQBCgIYAhIkSimulated"},
            _text("pong"),
            usage=_HELLO["usage"]
            | {"output_tokens": 40, "output_tokens_details": {"thinking_tokens": 31}},
        ),
    ),
    "tool_use": Scenario(
        "a reply that calls a tool",
        body=_message(
            _text("I'll look that up."),
            {
                "type": "tool_use",
                "id": "toolu_01Simulated",
                "name": "get_weather",
                "input": {"city": "Paris"},
            },
            stop_reason="tool_use",
        ),
    ),
    "truncated": Scenario(
        "a reply cut at max_tokens",
        body=_message(_text("Once upon a time there was"), stop_reason="max_tokens"),
    ),
    "refusal": Scenario(
        "a refusal, with HTTP 200 and no content",
        body=_message(
            stop_reason="refusal",
            stop_details={"type": "refusal", "category": "cyber", "explanation": None},
        ),
    ),
    "400": Scenario(
        "an invalid field",
        400,
        _error(
            "invalid_request_error",
            "max_tokens: {max_tokens} > 512, which is the maximum allowed number of output tokens"
            " for {model}",
        ),
    ),
    "credit": Scenario(
        "a good key without credit",
        400,
        _error(
            "invalid_request_error",
            "Your credit balance is too low to access the Anthropic API. Please go to Plans &"
            " Billing to upgrade or purchase credits.",
        ),
    ),
    "401": Scenario(
        "a key that is not accepted", 401, _error("authentication_error", "invalid x-api-key")
    ),
    "403": Scenario(
        "a key that may not do this",
        403,
        _error(
            "permission_error",
            "Your API key does not have permission to use the specified resource.",
        ),
    ),
    "404": Scenario("an unknown model", 404, _error("not_found_error", "model: {model}")),
    "413": Scenario(
        "a request that is too large, refused at the edge",
        413,
        {"error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}},
        is_from_api=False,
    ),
    "429": Scenario(
        "a rate limit",
        429,
        _error(
            "rate_limit_error",
            "This request would exceed your organization's rate limit of 1,000 requests per minute"
            f" (org: {ORGANIZATION}, model: {{model}}).",
        ),
        {
            "retry-after": "1",
            "x-should-retry": "true",
            "anthropic-ratelimit-requests-limit": "1000",
            "anthropic-ratelimit-requests-remaining": "0",
            "anthropic-ratelimit-requests-reset": "2026-11-21T12:00:01Z",
        },
    ),
    "spend-cap": Scenario(
        "a spend cap: a 429 that no waiting ends",
        429,
        _error(
            "rate_limit_error",
            "You have reached your API usage limits: your organization has crossed its monthly API"
            " usage threshold.",
            error_code="enforced_spend_limit_reached",
        ),
    ),
    "500": Scenario("an internal error", 500, _error("api_error", "Internal server error")),
    "529": Scenario("an overloaded API", 529, _OVERLOADED),
    "overloaded-once": Scenario("an overloaded API, then a reply", 529, _OVERLOADED, once=True),
    "html": Scenario(
        "a web page instead of the API",
        body=_BAD_GATEWAY.replace("502: Bad gateway", "Sign in"),
        is_from_api=False,
    ),
    "502": Scenario("a bad gateway's web page", 502, _BAD_GATEWAY, is_from_api=False),
    "drop": Scenario("a connection closed without an answer", does="drop"),
    "hang": Scenario("no answer at all (see --timeout)", does="hang"),
}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.scenario = scenario
        self.requests = 0
        self.missing: object = None  # the model that was asked for in vain
        self.stopping = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet: a client that goes away is nothing to report."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the library's name
        """Keep stderr for the program."""

    def do_GET(self) -> None:
        self._respond(None)

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", 0))
        self._respond(json.loads(self.rfile.read(length)))

    def _respond(self, asked: dict[str, Any] | None) -> None:
        self.server.requests += 1
        scenario = self.server.scenario
        if scenario.once and self.server.requests > 1:
            scenario = SCENARIOS["ok"]
        if scenario.does == "hang":
            self.server.stopping.wait()
        if scenario.does != "answer":
            self.close_connection = True
            return
        refusal = self._refusal()
        if refusal:
            self._send(*refusal, {}, is_from_api=True)
        elif self.path.startswith("/v1/models") and asked is None:
            self._send(200, _models(self.server.missing), {}, is_from_api=True)
        else:
            self.server.missing = (asked or {}).get("model") if scenario.status == 404 else None
            body = _addressed(scenario.body, asked or {})
            is_reply = scenario.status == 200 and scenario.is_from_api
            if is_reply and (asked or {}).get("stream"):
                body = b"".join(_events(body))
            self._send(scenario.status, body, scenario.headers, is_from_api=scenario.is_from_api)

    def _refusal(self) -> tuple[int, Any] | None:
        """Return what the real API refuses before it looks at the body."""
        path = self.path.partition("?")[0]
        if (self.command, path) not in (("POST", "/v1/messages"), ("GET", "/v1/models")):
            return 404, _error("not_found_error", "Not found")
        if not (self.headers.get("x-api-key") or self.headers.get("authorization")):
            return 401, _error("authentication_error", "x-api-key header is required")
        if not self.headers.get("anthropic-version"):
            return 400, _error("invalid_request_error", "anthropic-version: header is required")
        return None

    def _send(
        self, status: int, body: Any, headers: Mapping[str, str], *, is_from_api: bool
    ) -> None:
        request_id = f"req_011CS1mu1atedAnswer{self.server.requests:04}"
        own = {
            "date": self.date_time_string(),
            "server": "cloudflare",
            "cf-ray": "9a1b2c3d4e5f6789-SIM",
        }
        if is_from_api:
            own |= {"request-id": request_id}
            if status != 401:
                own |= {
                    "anthropic-organization-id": ORGANIZATION,
                    "anthropic-workspace-id": WORKSPACE,
                }
            if status >= 400:
                body = body | {"request_id": request_id}
        if isinstance(body, bytes):
            own["content-type"], data = "text/event-stream; charset=utf-8", body
        elif isinstance(body, str):
            own["content-type"], data = "text/html; charset=UTF-8", body.encode()
        else:
            own["content-type"], data = "application/json", json.dumps(body).encode()
        self.send_response_only(status)
        for name, value in {**own, "content-length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def _addressed(body: Any, asked: Mapping[str, Any]) -> Any:
    """Let the answer speak of what was asked for."""
    if not isinstance(body, dict):
        return body
    if body["type" if "type" in body else "error"] == "message":
        return body | {"model": asked.get("model")}
    message = body["error"]["message"]
    for name in ("model", "max_tokens"):
        message = message.replace(f"{{{name}}}", str(asked.get(name)))
    return body | {"error": body["error"] | {"message": message}}


def _events(message: dict[str, Any]) -> Iterator[bytes]:
    """Yield the server-sent events that add up to the message."""
    usage = message["usage"]
    empty = message | {"content": [], "stop_reason": None, "usage": usage | {"output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": empty}, {"type": "ping"}]
    for index, block in enumerate(message["content"]):
        begun = block | {name: "" for name in ("text", "thinking", "signature") if name in block}
        begun |= {"input": {}} if "input" in block else {}
        events.append({"type": "content_block_start", "index": index, "content_block": begun})
        events += [
            {"type": "content_block_delta", "index": index, "delta": delta}
            for delta in _deltas(block)
        ]
        events.append({"type": "content_block_stop", "index": index})
    names = ("stop_reason", "stop_sequence", "stop_details")
    delta = {name: message[name] for name in names}
    events.append({"type": "message_delta", "delta": delta, "usage": usage})
    events.append({"type": "message_stop"})
    for event in events:
        yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def _deltas(block: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    for word in re.findall(r"\S+\s*", block.get("text", "")):
        yield {"type": "text_delta", "text": word}
    if "signature" in block:
        yield {"type": "signature_delta", "signature": block["signature"]}
    if "input" in block:
        text = json.dumps(block["input"])
        for piece in (text[:5], text[5:]):
            yield {"type": "input_json_delta", "partial_json": piece}


def _models(missing: object) -> dict[str, Any]:
    data = [
        {
            "type": "model",
            "id": name,
            "display_name": display_name,
            "created_at": created_at,
            "line": line,
            "lifecycle": "active",
            "deprecated_at": None,
            "retires_at": None,
            "max_input_tokens": 1_000_000,
            "max_tokens": 128_000,
        }
        for name, display_name, created_at, line in MODELS
        if name != missing
    ]
    return {
        "data": data,
        "has_more": False,
        "first_id": data[0]["id"],
        "last_id": data[-1]["id"],
    }


@contextmanager
def serve(name: str) -> Iterator[str]:
    """Serve the named scenario and yield the base URL; stop when the block ends."""
    server = _Server(SCENARIOS[name])
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
    ).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.stopping.set()
        server.shutdown()
        server.server_close()
