"""The Messages API on the wire: requests out, replies and errors in. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html import unescape
from typing import Any, NamedTuple, NoReturn

from claude_ping import __version__
from claude_ping.records import (
    Answer,
    Failure,
    Fault,
    PingError,
    Reply,
    Request,
    Response,
    Secret,
    Settings,
)

DEFAULT_MODEL = "claude-haiku-5-5"
DEFAULT_PROMPT = "Reply with the single word: pong"
DEFAULT_MAX_TOKENS = 1024
API_VERSION = "2023-06-01"  # the one that every gateway knows
MAX_DEPTH = 200  # levels of JSON; deeper ones exhaust Python's own stack


class Question(NamedTuple):
    """What to ask of the model; None is not sent."""

    prompt: str = DEFAULT_PROMPT
    model: str = DEFAULT_MODEL
    max_tokens: int = DEFAULT_MAX_TOKENS
    system: str | None = None
    temperature: float | None = None


def message_request(settings: Settings, question: Question) -> Request:
    """Return the POST /v1/messages that asks the question."""
    optional = {"system": question.system, "temperature": question.temperature}
    body = {
        "model": question.model,
        "max_tokens": question.max_tokens,
        "messages": [{"role": "user", "content": question.prompt}],
        **{name: value for name, value in optional.items() if value is not None},
    }
    return Request("POST", f"{settings.base_url}/v1/messages", _headers(settings), body)


def _headers(settings: Settings) -> Mapping[str, str | Secret]:
    credential = settings.credential
    if credential.kind == "api_key":
        headers = {"x-api-key": credential.secret}
    else:
        headers = {"authorization": Secret(f"Bearer {credential.secret.reveal()}")}
    return {
        **headers,
        "anthropic-version": API_VERSION,
        "content-type": "application/json",
        "user-agent": f"claude-ping/{__version__}",
        **settings.headers,
    }


def encode(request: Request) -> bytes | None:
    """Return the body as it is sent: ASCII, so that no character can be lost on the way."""
    return None if request.body is None else json.dumps(request.body).encode()


def read_answer(response: Response) -> Answer:
    """Read the whole body; that of an error answer as far as it comes."""
    body = bytearray()
    try:
        for chunk in response.chunks:
            body += chunk
    except PingError as error:
        # The status of an error says the essential; a cut body must not hide it.
        if response.status < 400:
            raise PingError(error.failure._replace(answer=_whole(response, body))) from error
    return _whole(response, body)


def _whole(response: Response, body: bytearray) -> Answer:
    parsed = _parse_json(bytes(body), errors="strict" if response.status < 300 else "replace")
    return Answer(response.status, response.reason, response.headers, bytes(body), parsed)


def _parse_json(body: bytes, errors: str) -> Any:
    try:
        value = json.loads(body.decode("utf-8-sig", errors), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    level, depth = [value], 0
    while level:
        depth += 1
        level = [
            child
            for item in level
            if isinstance(item, (dict, list))
            for child in (item.values() if isinstance(item, dict) else item)
        ]
    return value if depth <= MAX_DEPTH else None


def _refuse_constant(name: str) -> NoReturn:
    message = f"{name} is not JSON"
    raise ValueError(message)


def read_reply(answer: Answer) -> Reply:
    """Return the message that the answer holds, or raise PingError with what it holds instead."""
    content = answer.json
    is_object = isinstance(content, dict)
    if answer.status == 200 and is_object and content.get("type") == "message":
        return Reply(content, answer)
    if answer.status == 200 and not (is_object and content.get("type") == "error"):
        raise PingError(Failure(Fault.NOT_A_MESSAGE, _describe(answer), answer))
    raise PingError(read_error(answer))


def read_error(answer: Answer) -> Failure:
    """Find type, code and message in any of the shapes that errors come in."""
    content = answer.json
    error = content.get("error", content) if isinstance(content, dict) else content
    fields = error if isinstance(error, dict) else {}
    kind = fields.get("type") if fields is not content else None
    details = fields.get("details")
    details = details if isinstance(details, dict) else {}
    message = next(
        (
            text
            for text in (fields.get("message"), fields.get("detail"), error)
            if isinstance(text, str) and text.strip()
        ),
        None,
    )
    return Failure(
        Fault.HTTP,
        message=one_line(message if message is not None else _describe(answer)),
        answer=answer,
        error_type=_text(kind),
        error_code=_text(details.get("error_code")),
        details=details,
    )


def _text(value: object) -> str | None:
    return one_line(value) if isinstance(value, str) else None


def one_line(text: str) -> str:
    """Fold white space."""
    return " ".join(text.split())


def html_title(answer: Answer) -> str | None:
    """Return the title of an HTML page, empty if it has none; None if the body is not HTML."""
    start = answer.body[:8192].decode("utf-8", "replace")
    if not re.match(r"(?i)\s*<(!doctype|html|head|body|title|center|h1)\b", start):
        return None
    title = re.search(r"(?is)<(title|h1)[^>]*>(.*?)</\1>", start)
    return one_line(unescape(re.sub(r"<[^>]*>", " ", title[2]))) if title else ""


def _describe(answer: Answer) -> str:
    """Say what a body is that holds no message of the API."""
    content, encoding = answer.json, answer.headers.get("content-encoding", "identity")
    if not answer.body:
        return "empty body"
    if encoding != "identity":
        return f"body with content-encoding {encoding}, which was not asked for"
    title = html_title(answer)
    if title is not None:
        return f"HTML page: {title}" if title else "HTML page"
    text = one_line(answer.body.decode("utf-8", "replace"))
    if answer.status >= 400:
        return text
    kind = content.get("type") if isinstance(content, dict) else None
    if isinstance(kind, str):
        return f"JSON of type {one_line(kind)!r}"
    return f"other JSON: {text}" if content is not None else f"not JSON: {text}"
