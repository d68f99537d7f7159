"""The Messages API on the wire: requests out, replies and errors in. No I/O."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from claude_ping import __version__
from claude_ping.records import Answer, Failure, Request, Secret, Settings
from claude_ping.screen import mask

DEFAULT_MODEL = "claude-haiku-5-5"
DEFAULT_PROMPT = "Reply with the single word: pong"
DEFAULT_MAX_TOKENS = 1024
API_VERSION = "2023-06-01"  # the one that every gateway knows
SDK_VERSION = "2026-10-21"  # the one that official SDKs send since 2.0
MAX_DEPTH = 200  # levels of JSON; deeper ones exhaust Python's own stack
LONG_TEXT = 1 << 14  # characters; more than any error says

# Where an error's sentence stands: within another object or list, else as a text.
_SENTENCES: tuple[tuple[Any, str], ...] = (
    (
        (dict, list),
        "error errors detail message metadata Error fault base_resp innererror result data",
    ),
    (str, "message msg detail error_description error_message description raw title error reason"),
    (str, "Message error_msg status_msg faultstring statusMessage"),
)
_QUOTED_FIELD = r"""["'](message|type|code)["']\s*:\s*(["'])((?:\\.|(?!\2).)*)"""


def message_body(
    prompt: str | None, payload: Mapping[str, Any] | None, overrides: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the body that asks for a message: of a payload, or of a prompt and the defaults."""
    usual = {
        "model": DEFAULT_MODEL,
        "max_tokens": DEFAULT_MAX_TOKENS,
        "messages": [{"role": "user", "content": prompt or DEFAULT_PROMPT}],
    }
    return {**(usual if payload is None else payload), **overrides}


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
        "anthropic-version": SDK_VERSION if sdk else API_VERSION,
        "content-type": "application/json",
        "user-agent": f"claude-ping/{__version__}",
        **settings.headers,
    }
    url = f"{settings.base_url}/v1/messages"
    return Request("POST", url, headers, body, encoded(body) if data is None else data)


def encoded(body: Mapping[str, Any]) -> bytes:
    """Return the body as JSON, in ASCII, so that no character can be lost on the way."""
    return json.dumps(body).encode()


def models_request_like(request: Request) -> Request:
    """Return the GET of the models from where a message was asked, in the same way."""
    headers = {name: value for name, value in request.headers.items() if name != "content-type"}
    url = f"{request.url.removesuffix('/messages')}/models?limit=1000"
    return Request("GET", url, headers)


def shown(request: Request) -> Request:
    """Return the request as reports show it; its `data` differs only where a secret was in it."""
    body, headers = masked(request.body), masked(request.headers)
    data = request.data if body == request.body else encoded(body)
    return request._replace(url=mask(request.url), headers=headers, body=body, data=data)


def _number(text: str) -> int | float | str:
    """Return a number of JSON, as its text where Python cannot hold or print it."""
    number = float(text)
    if abs(number) == math.inf:
        return text
    return int(text) if text.lstrip("-").isdigit() else number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_number, parse_int=_number)


def decode_json(text: str) -> Any:
    """Return what JSON stands for, a number that Python cannot hold as its text; or ValueError."""
    try:
        value = _DECODER.decode(text)
        is_deep = text.count("[") + text.count("{") > MAX_DEPTH and _depth(value) > MAX_DEPTH
    except RecursionError:
        is_deep = True
    if is_deep:
        raise ValueError(f"nested more than {MAX_DEPTH} levels deep")
    return value


def _depth(value: Any) -> int:
    children = value.values() if isinstance(value, dict) else value
    return 1 + max(map(_depth, children), default=0) if isinstance(value, (dict, list)) else 0


def parse_json(text: str) -> Any:
    """Return what JSON stands for; None where it is not JSON, or nested too deeply to print."""
    try:
        return decode_json(text)
    except ValueError:
        return None


def masked(value: Any) -> Any:
    """Return a JSON value with every text in it masked, names included."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, list):
        return [masked(item) for item in value]
    if isinstance(value, dict):
        return {mask(name): masked(item) for name, item in value.items()}
    return value


def readable_answer(head: Answer, body: bytes) -> Answer:
    """Return the answer with its body, which is read as JSON if it is that, and masked."""
    # An error says more with a broken character than not at all; a reply must be whole.
    errors = "strict" if head.status < 300 else "replace"
    try:
        text = body.decode("utf-8-sig", errors)
    except UnicodeDecodeError:
        return head._replace(body=body)
    return head._replace(body=body, json=masked(parse_json(text)))


def read_answer(answer: Answer, method: str, *, is_whole: bool = True) -> Answer:
    """Return the answer if it holds a message, to GET a list of models; or raise Failure.

    A message is not `is_whole` where a stream was asked for and none came.
    """
    content = _fields(answer.json)
    if answer.status != 200 or content.get("type") == "error":
        raise read_error(answer)
    data, fault = content.get("data"), "not a message"
    is_right = is_whole and content.get("type") == "message"
    if method == "GET":
        fault = "not a list of models"
        is_right = isinstance(data, list) and all(isinstance(model, dict) for model in data)
    if not is_right:
        raise Failure(fault, describe(answer))
    return answer


def _fields(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def read_error(answer: Answer) -> Failure:
    """Find the innermost message, and the type and code beside it, in any shape errors come in."""
    is_text = answer.json is None and _unreadable(answer) is None
    message, fields = _innermost(_text(answer) if is_text else answer.json)
    details, kind, beside = _fields(fields.get("details")), fields.get("type"), fields.get("error")
    code = details.get("error_code", fields.get("code"))
    if code is None and isinstance(beside, str) and re.fullmatch(r"[\w.-]+", beside):
        code = beside
    # An outer `type` says only "error"; that of RFC 9457 is a URL.
    is_kind = isinstance(kind, str) and kind != "error" and ":" not in kind
    return Failure(
        None,
        one_line(message) if message or is_kind else describe(answer),
        answer=answer,
        kind=kind if is_kind else None,
        code=str(code)[:200] if isinstance(code, (str, int)) else None,
        appeal_url=details.get("appeal_url"),
    )


def _innermost(value: Any, depth: int = 0) -> tuple[str, Mapping[str, Any]]:
    """Return the sentence that all the wrapping is about, and the object that it stood in."""
    if depth > 8:
        return "", {}
    if isinstance(value, str):
        return _unwrapped(value, depth)
    if isinstance(value, list):
        found = (_innermost(item, depth + 1) for item in value[:8])
        return next((pair for pair in found if pair[0]), ("", {}))
    deepest = fields = _fields(value)
    for kinds, names in _SENTENCES:
        for inner in map(fields.get, names.split()):
            if isinstance(inner, kinds):
                message, beside = _innermost(inner, depth + 1)
                if message:
                    return _placed(message, fields), beside or fields
                deepest = beside or deepest
    return "", deepest


def _placed(message: str, fields: Mapping[str, Any]) -> str:
    """Name the field that a validation error (FastAPI's) speaks of, as the API itself does."""
    place = fields.get("loc")
    path = [str(step) for step in place if step != "body"] if isinstance(place, list) else []
    return f"{'.'.join(path)}: {message}" if path else message


def _unwrapped(text: str, depth: int) -> tuple[str, Mapping[str, Any]]:
    """Return what a text says, or JSON (or Python's way to print it) within the text."""
    start = re.search(r"""\{\s*["']|\[\s*\{""", text)
    if start is None:
        return text.strip(), {}
    before, rest = text[: start.start()].rstrip(" -:,'\"b"), text[start.start() :]
    try:
        message, fields = _innermost(_DECODER.raw_decode(rest)[0], depth + 1)
    except (ValueError, RecursionError):
        fields = {found[1]: found[3] for found in re.finditer(_QUOTED_FIELD, one_line(rest))}
        message = fields.get("message", "")
    return (message, fields) if message else (before, {})


def one_line(text: str) -> str:
    """Fold white space; of a very long text the beginning, up to a whole word.

    A word is never cut here: half of a key could not be recognized any more.
    """
    if len(text) > LONG_TEXT:
        text = re.sub(r"\S*\Z", "", text[:LONG_TEXT]) + "…"
    return " ".join(text.split())


def _text(answer: Answer) -> str:
    return answer.body[: 4 * LONG_TEXT].decode("utf-8", "replace")


def _unreadable(answer: Answer) -> str | None:
    """Say what a body is that holds no words of a program's."""
    encoding = answer.headers.get("content-encoding", "identity")
    if not answer.body:
        return "an empty body"
    if encoding != "identity":
        return f"a body with content-encoding {encoding}, which was not asked for"
    start = _text(answer)[:8192].lstrip("\ufeff \t\r\n")
    is_page = re.match(r"(?i)<(!--|!doctype|html|head|body|title|center|h1)\b|<\?xml", start)
    if answer.json is not None or not is_page:
        return None
    from html import unescape  # noqa: PLC0415 its table of entities is large

    found = re.search(r"(?is)<(title|h1)[^>]*>(.*?)</\1>", start)
    title = one_line(unescape(re.sub(r"<[^>]*>", " ", found[2]))) if found else ""
    return f'an HTML page, "{title}"' if title else "an HTML page"


def describe(answer: Answer) -> str:
    """Say what a body is that holds no message of the API; nothing of a stream's own text."""
    if unreadable := _unreadable(answer):
        return unreadable
    if answer.json is not None:
        kind = _fields(answer.json).get("type")
        return f"JSON of type {kind!r}" if isinstance(kind, str) else "JSON of another kind"
    if re.match(rb"\s*(event|data):", answer.body):
        return "a stream of events"
    return f"text: {one_line(_text(answer))}"


def kind_of(value: object) -> str:
    """Say what a JSON value is that is no object."""
    kinds = {list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


_STOP_NOTES = {
    "max_tokens": "reply cut off at max_tokens {max_tokens} (thinking counts)",
    "refusal": "the model declined to answer{category}; the API works",
    "model_context_window_exceeded": "reply cut off: the model's context window is full",
    "pause_turn": "the model paused in the middle of its turn; the API works",
}


def reply_notes(answer: Answer, request: Request) -> Iterator[str]:
    """Yield what is worth saying of a reply that did come."""
    message, body = answer.json, request.body
    if body is None:
        return
    stop_reason, content = message.get("stop_reason"), message.get("content")
    category = _fields(message.get("stop_details")).get("category")
    if note := _STOP_NOTES.get(str(stop_reason)):
        category = f" ({category})" if category else ""
        yield note.format(max_tokens=body.get("max_tokens"), category=category)
    if not isinstance(content, list):
        yield "content is not a list of blocks, as it would be from the API"
    elif not content and stop_reason != "refusal":
        yield f"the reply has no content; the API works (stop_reason {stop_reason})"
    answered = message.get("model")
    if "model" in body and answered != body["model"]:
        yield f"asked for {body['model']}, answered by {answered or 'no model it names'}"
