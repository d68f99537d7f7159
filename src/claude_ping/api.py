"""The Messages API on the wire: requests out, replies and errors in. No I/O."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from claude_ping import __version__
from claude_ping.records import Answer, Failure, Request, Secret, Settings, members
from claude_ping.screen import mask

DEFAULT_MODEL = "claude-haiku-5-5"
MAX_DEPTH = 200  # levels of JSON; deeper ones exhaust Python's own stack
LONG_TEXT = 1 << 14  # characters; more than any error says

# Fields that hold an error's sentence, or an object or a list that holds it.
_TELLING = (
    "message msg detail error_description error_message description raw title error errors metadata"
    " reason Message Error error_msg status_msg base_resp fault faultstring innererror result data"
)
_QUOTED_FIELD = r"""["'](message|type|code)["']\s*:\s*(["'])((?:\\.|(?!\2).)*)"""


def default_body(prompt: str | None) -> dict[str, Any]:
    """Return the body that asks for a message where there is no payload."""
    return {
        "model": DEFAULT_MODEL,
        "max_tokens": 1024,
        "messages": [{"role": "user", "content": prompt or "Reply with the single word: pong"}],
    }


def message_request(
    settings: Settings, body: Mapping[str, Any], *, data: bytes | None = None, sdk: bool = False
) -> Request:
    """Return the POST /v1/messages; `data` is the body where it is sent to the letter."""
    credential = settings.credential
    headers: dict[str, str | Secret] = {}
    if not {"authorization", "x-api-key"} & settings.headers.keys():
        if credential.kind == "api_key" and not sdk:
            headers["x-api-key"] = credential.secret
        else:
            headers["authorization"] = Secret(f"Bearer {credential.secret.reveal()}")
    headers |= {
        "anthropic-version": "2026-10-21" if sdk else "2023-06-01",  # which every gateway knows
        "content-type": "application/json",
        "user-agent": f"claude-ping/{__version__}",
        **settings.headers,
    }
    url = f"{settings.base_url}/v1/messages"
    return Request("POST", url, headers, body, data or json.dumps(body).encode())


def models_request_like(request: Request) -> Request:
    """Return the GET of the models from where a message was asked, in the same way."""
    headers = {name: value for name, value in request.headers.items() if name != "content-type"}
    return Request("GET", f"{request.url.removesuffix('/messages')}/models?limit=1000", headers)


def shown(request: Request) -> Request:
    """Return the request as reports show it; its `data` differs only where a secret was in it."""
    body, headers = masked(request.body), masked(request.headers)
    data = request.data if body == request.body else json.dumps(body).encode()
    return request._replace(url=mask(request.url), headers=headers, body=body, data=data)


def masked(value: Any) -> Any:
    """Return a JSON value with every text in it masked, names included."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, list):
        return [masked(item) for item in value]
    if isinstance(value, dict):
        return {mask(name): masked(item) for name, item in value.items()}
    return value


def _number(text: str) -> int | float | str:
    """Return a number of JSON, as its text where Python cannot hold or print it."""
    if not text[-1].isdigit():
        raise ValueError(f"{text} is not JSON")  # but Infinity, or NaN
    number = float(text)
    if math.isinf(number):
        return text
    return int(text) if text.lstrip("-").isdigit() else number


_DECODER = json.JSONDecoder(parse_constant=_number, parse_float=_number, parse_int=_number)


def decode_json(text: str) -> Any:
    """Return what JSON stands for; ValueError where it is none, or too deep to be printed."""
    with suppress(RecursionError):
        value = _DECODER.decode(text)
        if text.count("[") + text.count("{") <= MAX_DEPTH or _depth(value) <= MAX_DEPTH:
            return value
    raise ValueError(f"nested more than {MAX_DEPTH} levels deep")


def _depth(value: Any) -> int:
    children = value.values() if isinstance(value, dict) else value
    return 1 + max(map(_depth, children), default=0) if isinstance(value, (dict, list)) else 0


def parse_json(text: str) -> Any:
    """Return what JSON stands for; None where `decode_json` raises an error."""
    with suppress(ValueError):
        return decode_json(text)
    return None


def readable_answer(head: Answer, body: bytes) -> Answer:
    """Return the answer with its body, which is read as JSON if it is that, and masked."""
    # An error says more with a broken character than not at all; a reply must be whole.
    errors = "strict" if head.status < 300 else "replace"
    value = None
    with suppress(ValueError):
        value = decode_json(body.decode("utf-8", errors).removeprefix("\ufeff"))
    return head._replace(body=body, json=masked(value))


def read_answer(answer: Answer, method: str, *, is_whole: bool) -> Answer:
    """Return the answer if it holds a whole message, to GET a list of models; or raise Failure."""
    content = members(answer.json)
    if answer.status != 200 or content.get("type") == "error":
        raise read_error(answer)
    if method == "GET":
        models = content.get("data")
        is_right = isinstance(models, list) and all(isinstance(model, dict) for model in models)
    else:
        is_right = is_whole and content.get("type") == "message"
    if not is_right:
        raise Failure("not a message", describe(answer))
    return answer


def read_error(answer: Answer) -> Failure:
    """Find the innermost message, and the type and code beside it, in any shape errors come in."""
    what, text = describe(answer), answer.body[: 4 * LONG_TEXT].decode("utf-8-sig", "replace")
    message, fields = _innermost(text if what.startswith("text: ") else answer.json)
    details, kind, beside = members(fields.get("details")), fields.get("type"), fields.get("error")
    code = details.get("error_code", fields.get("code"))
    if code is None and isinstance(beside, str) and re.fullmatch(r"[\w.-]+", beside):
        code = beside
    # An outer `type` says only "error"; that of RFC 9457 is a URL.
    is_kind = isinstance(kind, str) and kind != "error" and ":" not in kind
    return Failure(
        None,
        one_line(message) if message or is_kind else what,
        answer=answer,
        kind=kind if is_kind else None,
        code=str(code)[:200] if isinstance(code, (str, int)) else None,
        appeal_url=details.get("appeal_url"),
    )


def _innermost(value: Any, depth: int = 0) -> tuple[str, dict[str, Any]]:
    """Return the sentence that all the wrapping is about, and the object that it stood in."""
    before, fields = "", members(value)
    held = [fields[name] for name in _TELLING.split() if name in fields]
    parts = sorted(held, key=lambda part: isinstance(part, str))  # texts come last
    if isinstance(value, list):
        parts = value[:8]
    elif isinstance(value, str):
        start = re.search(r"""\{\s*["']|\[\s*\{""", value)
        if start is None:
            return value.strip(), {}
        before, rest = value[: start.start()].rstrip(" -:,'\"b"), value[start.start() :]
        try:
            parts = [_DECODER.raw_decode(rest)[0]]
        except (ValueError, RecursionError):  # it was cut, or is Python's way to print it
            parts = [{found[1]: found[3] for found in re.finditer(_QUOTED_FIELD, one_line(rest))}]
    deepest, place = fields, fields.get("loc")
    for part in parts if depth < 8 else ():
        message, beside = _innermost(part, depth + 1)
        if message and place and isinstance(place, list):  # what a validation error is about
            message = f"{'.'.join(map(str, place)).removeprefix('body.')}: {message}"
        if message:
            return message, beside or fields
        deepest = beside or deepest
    return before, deepest


def one_line(text: str) -> str:
    """Fold white space; cut a very long text, but no word: half of a key is not recognized."""
    words = text[:LONG_TEXT].split()
    if len(text) > LONG_TEXT:
        words[-1:] = ["…"]
    return " ".join(words)


def describe(answer: Answer) -> str:
    """Say what a body is that holds no message of the API."""
    encoding = answer.headers.get("content-encoding", "identity")
    text = answer.body[: 4 * LONG_TEXT].decode("utf-8-sig", "replace")
    if not answer.body:
        return "an empty body"
    if encoding != "identity":
        return f"a body with content-encoding {encoding}, which was not asked for"
    if answer.json is not None:
        kind = members(answer.json).get("type")
        return f"JSON of type {kind!r}" if isinstance(kind, str) else "JSON of another kind"
    if re.match(r"(?i)\s*<[!?a-z]", text):
        from html import unescape  # noqa: PLC0415 its table of entities is large

        found = re.search(r"(?is)<(title|h1)[^>]*>(.*?)</\1>", text[:8192])
        title = one_line(unescape(re.sub(r"<[^>]*>", " ", found[2]))) if found else ""
        return f'an HTML page, "{title}"' if title else "an HTML page"
    if answer.status == 200 and re.match(r"\s*(event|data):", text):
        return "a stream of events"  # its own text is no headline
    return f"text: {one_line(text)}"


def reply_notes(answer: Answer, request: Request) -> Iterator[str]:
    """Yield what is worth saying of a reply that did come."""
    message, body = answer.json, request.body
    if body is None:
        return
    stop_reason, content, model = map(message.get, ("stop_reason", "content", "model"))
    category = members(message.get("stop_details")).get("category") or "without a reason"
    notes = {
        "max_tokens": f"reply cut off at max_tokens {body.get('max_tokens')} (thinking counts)",
        "refusal": f"the model declined to answer ({category}); the API works",
        "model_context_window_exceeded": "reply cut off: the model's context window is full",
        "pause_turn": "the model paused in the middle of its turn; the API works",
    }
    if str(stop_reason) in notes:
        yield notes[stop_reason]
    if not isinstance(content, list):
        yield "content is not a list of blocks, as it would be from the API"
    elif not content and stop_reason != "refusal":
        yield f"the reply has no content; the API works (stop_reason {stop_reason})"
    if "model" in body and model != body["model"]:
        yield f"asked for {body['model']}, answered by {model or 'no model it names'}"
