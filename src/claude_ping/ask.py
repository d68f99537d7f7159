"""What is asked of the API: a message, or the models that the credential may use."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from claude_ping import api, ping
from claude_ping.api import Question
from claude_ping.ping import Caller
from claude_ping.records import (
    Answer,
    Failure,
    Models,
    Outcome,
    Reply,
    Request,
    Response,
    Settings,
    Text,
)
from claude_ping.stream import Accumulator
from claude_ping.transport import Trace

MAX_PAGES = 100
MAX_ID = 100  # characters of a model's id
HINT_TIMEOUT = 5.0  # seconds
LONG_TEXT = 40  # characters that no model writes in a moment
LONG_SILENCE = 1.0  # seconds
AT_ONCE = 0.05  # of the silence before


def ask_message(
    settings: Settings, question: Question, request: Request, caller: Caller, *, keep: bool
) -> Outcome:
    """Ask for a message; if the model is not there, look which ones are."""
    outcome = _ask_once(request, caller, keep=keep)
    if not isinstance(outcome, Failure) or not _is_model_missing(outcome):
        return outcome
    caller.post(outcome)  # what to say, should the rest not come in time
    models = _list_quietly(settings, caller)
    newest = _newest_of_default_line(models) if question.is_of_default_model else None
    if newest and request.body and newest != request.body["model"]:
        instead = request._replace(body={**request.body, "model": newest})
        second = _ask_once(instead, caller, keep=keep)
        if not (isinstance(second, Failure) and _is_model_missing(second)):
            caller.post(instead)
        if isinstance(second, Reply):
            gone = f"{api.DEFAULT_MODEL}, the default, is gone; asked {newest} instead"
            return second._replace(notes=(gone, *second.notes))
        if isinstance(second, Failure) and not _is_model_missing(second):
            return second
    identifiers = [_identifier(model) for model in models]
    return outcome._replace(details={**outcome.details, "models": list(filter(None, identifiers))})


def _identifier(model: Mapping[str, Any]) -> str | None:
    identifier = model.get("id")
    return identifier if isinstance(identifier, str) and len(identifier) <= MAX_ID else None


def _ask_once(request: Request, caller: Caller, *, keep: bool) -> Outcome:
    if not (request.body or {}).get("stream"):
        return ping.converse(
            request, lambda response: api.read_reply(api.read_answer(response)), caller
        )
    return ping.converse(
        request, lambda response: _read_stream(response, caller, keep=keep), caller
    )


def _read_stream(response: Response, caller: Caller, *, keep: bool) -> Reply:
    """Read a stream, pass its text on, and notice when something held it back."""
    if not api.is_stream(response):
        reply = api.read_reply(api.read_answer(response))
        return reply._replace(notes=("asked for a stream, but a plain answer came",))
    trace, accumulator = caller.trace, Accumulator()
    trace.partial = accumulator.result
    moments: list[float] = []
    length = 0

    def timed() -> Iterator[bytes]:
        for chunk in response.chunks:
            moments.append(time.monotonic())
            yield chunk

    def on_text(block: int, text: str) -> None:
        nonlocal length
        length += len(text)
        trace.first_text = trace.first_text or time.monotonic()
        caller.post(Text(block, text))

    reply = api.read_stream(response._replace(chunks=timed()), accumulator, on_text, keep=keep)
    silence, writing = moments[0] - trace.started, moments[-1] - moments[0]
    if length < LONG_TEXT or silence < LONG_SILENCE or writing > silence * AT_ONCE:
        return reply
    buffered = (
        f"the whole stream came at once, after {silence:.1f} s:"
        " something between here and the API buffers it"
    )
    return reply._replace(notes=(*reply.notes, buffered))


def _is_model_missing(failure: Failure) -> bool:
    return failure.status == 404 and failure.message.startswith("model:")


def _list_quietly(settings: Settings, caller: Caller) -> tuple[Mapping[str, Any], ...]:
    """List the models for a hint: one page, one attempt, and no word of its own failure."""
    deadline = min(caller.trace.deadline, time.monotonic() + HINT_TIMEOUT)
    trace = Trace(caller.trace.route, deadline)
    once = caller._replace(trace=trace, retries=0)
    page = ping.converse(api.models_request(settings), _read_page, once)
    return () if isinstance(page, Failure) else page.models


def _newest_of_default_line(models: tuple[Mapping[str, Any], ...]) -> str | None:
    """Return the first model, newest first, of the line that the default belongs to."""
    line = api.DEFAULT_MODEL.split("-")[1]
    for model in models:
        identifier = _identifier(model) or ""
        # Older gateways do not tell the line.
        own_line = model.get("line", "-".join(identifier.split("-")[1:2]))
        if identifier and own_line == line:
            return identifier
    return None


def ask_models(settings: Settings, request: Request, caller: Caller) -> Outcome:
    """List the models, every page of them."""
    pages: list[Models] = []
    seen: set[object] = set()
    while len(pages) < MAX_PAGES:
        page = ping.converse(request, _read_page, caller)
        if isinstance(page, Failure):
            return page
        pages.append(page)
        last = page.answer.json.get("last_id")
        if not page.answer.json.get("has_more") or not isinstance(last, str) or last in seen:
            break
        seen.add(last)
        request = api.models_request(settings, last)
    models = _joined(pages)
    if models.answer.json.get("has_more"):
        return models._replace(notes=("there are more models than this list was given",))
    return models


def _read_page(response: Response) -> Models:
    answer = api.read_answer(response)
    return Models(tuple(api.read_models(answer)), answer)


def _joined(pages: list[Models]) -> Models:
    """Make one answer of the pages, as a page that held them all would have been."""
    if len(pages) == 1:
        return pages[0]
    first, last = pages[0].answer, pages[-1].answer
    models = tuple(model for page in pages for model in page.models)
    joined = {**last.json, "data": list(models), "first_id": first.json.get("first_id")}
    body = b"\n".join(page.answer.body for page in pages)
    return Models(models, Answer(last.status, last.reason, last.headers, body, joined))
