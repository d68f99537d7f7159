"""The Messages API on the wire: requests out, replies and errors in. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

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
from claude_ping.stream import STRICT_JSON, Accumulator, accumulate

DEFAULT_MODEL = "claude-haiku-5-5"
DEFAULT_PROMPT = "Reply with the single word: pong"
DEFAULT_MAX_TOKENS = 1024
LONG_TEXT = 1 << 16  # characters; more than any error says
PAGE = 1000  # models; the most that one page holds
API_VERSION = "2023-06-01"  # the one that every gateway knows
MAX_DEPTH = 200  # levels of JSON; deeper ones exhaust Python's own stack


class Question(NamedTuple):
    """What to ask of the model; None is not sent, or left to the payload."""

    prompt: str | None = None
    model: str | None = None
    max_tokens: int | None = None
    system: str | None = None
    temperature: float | None = None
    stream: bool = False
    payload: Mapping[str, Any] | None = None

    @property
    def is_of_default_model(self) -> bool:
        """Whether nobody chose the model."""
        return self.model is None and self.payload is None


def message_request(settings: Settings, question: Question) -> Request:
    """Return the POST /v1/messages that asks the question."""
    given = {
        "model": question.model,
        "max_tokens": question.max_tokens,
        "system": question.system,
        "temperature": question.temperature,
        "stream": question.stream or None,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    usual = {
        "model": DEFAULT_MODEL,
        "max_tokens": DEFAULT_MAX_TOKENS,
        "messages": [{"role": "user", "content": question.prompt or DEFAULT_PROMPT}],
    }
    body = {**(usual if question.payload is None else question.payload), **chosen}
    return Request("POST", f"{settings.base_url}/v1/messages", _headers(settings), body)


def models_request(settings: Settings, after_id: str | None = None) -> Request:
    """Return the GET /v1/models for the page after the given model, or for the first."""
    page = f"&after_id={quote(after_id, safe='')}" if after_id else ""
    url = f"{settings.base_url}/v1/models?limit={PAGE}{page}"
    headers = {name: value for name, value in _headers(settings).items() if name != "content-type"}
    return Request("GET", url, headers)


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
    if request.data is not None:
        return request.data
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
        value = STRICT_JSON.decode(body.decode("utf-8-sig", errors))
    except (ValueError, RecursionError):
        return None
    return None if is_too_deep(value) else value


def is_too_deep(value: object) -> bool:
    """Whether JSON is nested so deeply that Python's own stack could not print it again."""
    level, depth = [value], 0
    while level and depth <= MAX_DEPTH:
        depth += 1
        level = [
            child
            for item in level
            if isinstance(item, (dict, list))
            for child in (item.values() if isinstance(item, dict) else item)
        ]
    return depth > MAX_DEPTH


def read_reply(answer: Answer) -> Reply:
    """Return the message that the answer holds, or raise PingError with what it holds instead."""
    content = _content(answer)
    if content.get("type") != "message":
        raise PingError(Failure(Fault.NOT_A_MESSAGE, _describe(answer), answer))
    return Reply(content, answer)


def read_models(answer: Answer) -> list[Mapping[str, Any]]:
    """Return the page of models that the answer holds, or raise PingError."""
    data = _content(answer).get("data")
    models: list[Mapping[str, Any]] = []
    if isinstance(data, list):
        models = [model for model in data if isinstance(model, dict)]
    if not isinstance(data, list) or (data and not models):
        expected = {"expected": "a list of models"}
        raise PingError(Failure(Fault.NOT_A_MESSAGE, _describe(answer), answer, details=expected))
    return models


def _content(answer: Answer) -> Mapping[str, Any]:
    content = answer.json
    if not isinstance(content, dict):
        content = {}
    if answer.status != 200 or content.get("type") == "error":
        raise PingError(read_error(answer))
    return content


def is_stream(response: Response) -> bool:
    """Whether the answer is a stream of events."""
    kind = response.headers.get("content-type", "").lower()
    return response.status == 200 and "event-stream" in kind


def read_stream(
    response: Response,
    accumulator: Accumulator,
    on_text: Callable[[int, str], None],
    *,
    keep: bool = False,
) -> Reply:
    """Return the message that a stream adds up to; with `keep`, its bytes too."""
    body = bytearray()

    def copied() -> Iterator[bytes]:
        for chunk in response.chunks:
            body.extend(chunk)
            yield chunk

    failure = Failure(Fault.CUT, "the stream ended without message_stop and stop_reason")
    chunks = copied() if keep else response.chunks
    has_length = "content-length" in response.headers
    try:
        accumulate(chunks, accumulator, on_text, to_the_end=has_length)
    except PingError as error:
        failure = error.failure
    message = accumulator.result()
    answer = Answer(200, response.reason, response.headers, bytes(body), message)
    if accumulator.error is not None:
        failure = read_error(answer._replace(json=accumulator.error))
    elif accumulator.is_complete and not is_too_deep(message):
        return read_reply(answer)
    raise PingError(failure._replace(answer=answer))


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
    """Fold white space; of a very long text the beginning, up to a whole word.

    A word is never cut here: half of a key could not be recognized any more.
    """
    if len(text) > LONG_TEXT:
        text = text[:LONG_TEXT]
        last_blank = max(text.rfind(blank) for blank in " \t\r\n")
        text = text[: last_blank if last_blank > 0 else LONG_TEXT]
    return " ".join(text.split())


def html_title(answer: Answer) -> str | None:
    """Return the title of an HTML page, empty if it has none; None if the body is not HTML."""
    start = answer.body[:8192].decode("utf-8", "replace")
    if not re.match(r"(?i)\s*<(!doctype|html|head|body|title|center|h1)\b", start):
        return None
    title = re.search(r"(?is)<(title|h1)[^>]*>(.*?)</\1>", start)
    if not title:
        return ""
    from html import unescape  # noqa: PLC0415 its table of entities is large

    return one_line(unescape(re.sub(r"<[^>]*>", " ", title[2])))


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
