"""Reports as text for people. Returns strings, prints nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from claude_ping.records import ExitCode, Models, Reply, Report, Retry, Timing

Paint = Callable[[str, str], str]

_COLOURS = {"good": "32", "bad": "31", "warn": "33", "dim": "2", "bold": "1"}
BAR = 30  # columns of the timeline, where there is so much room

# Control characters, lone surrogates and whatever turns the direction of text around.
_INVISIBLE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# The fields of a block that hold its text; anything else is shown as JSON.
_TEXT_FIELDS = {"text": "text", "thinking": "thinking"}
_OPAQUE_TYPES = ("redacted_thinking",)
_HEADING_FIELDS = ("name", "id", "tool_use_id")
_QUIET_FIELDS = ("type", "signature", "citations", "encrypted_content", "caller")


class Look(NamedTuple):
    """How the stream that is written to shows things."""

    paint: Paint
    width: int | None = None  # columns to wrap at; None leaves lines whole


def plain(_style: str, text: str) -> str:
    """Leave the text as it is."""
    return text


def ansi(style: str, text: str) -> str:
    """Colour the text."""
    return f"\x1b[{_COLOURS[style]}m{text}\x1b[0m"


def visible(text: str) -> str:
    """Show control characters other than newline and tab as escapes."""
    return _INVISIBLE.sub(lambda match: repr(match[0])[1:-1], text)


def success(reply: Reply, report: Report, look: Look, *, is_text_shown: bool = False) -> str:
    """Return the whole report of a reply, or what is left of it when its text was streamed."""
    answer, message = reply.answer, reply.message
    status = inline(f"{answer.status} {answer.reason}".strip())
    rows = {
        "model": message.get("model"),
        "stop_reason": message.get("stop_reason"),
        "stop_sequence": message.get("stop_sequence"),
        "usage": usage(message.get("usage")),
        "request-id": answer.request_id,
    }
    shown = {
        name: value for name, value in rows.items() if value is not None or name == "stop_reason"
    }
    lines = [
        *([] if is_text_shown else [origin_line(report, look)]),
        f"{look.paint('good', f'✓ {status}')} in {report.timing.total:.2f} s",
        *(f"  {look.paint('dim', f'{name:13}')} {inline(value)}" for name, value in shown.items()),
    ]
    for block in blocks(message.get("content")):
        if not (is_text_shown and isinstance(block, dict) and block.get("type") == "text"):
            lines += ["", *block_lines(block, look)]
    return "\n".join(lines)


def models(found: Models, report: Report, look: Look) -> str:
    """Return the list of models, in the API's order."""
    count = f"{len(found.models)} model{'' if len(found.models) == 1 else 's'}"
    status = inline(f"{found.answer.status} {found.answer.reason}".strip())
    mark = look.paint("good", f"✓ {status}")
    lines = [origin_line(report, look), f"{mark} in {report.timing.total:.2f} s, {count}"]
    rows = [_model_row(model) for model in found.models]
    widths = [max(len(row[column]) for row in rows) for column in range(4)] if rows else []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  " + "  ".join([*cells, look.paint("warn", row[4])]).rstrip())
    if found.answer.request_id:
        lines.append(look.paint("dim", f"  request-id {inline(found.answer.request_id)}"))
    return "\n".join(lines)


def _model_row(model: Mapping[str, Any]) -> tuple[str, str, str, str, str]:
    """Return id, name, day of creation, sizes, and what its lifecycle says against it."""
    created = model.get("created_at")
    day = created[:10] if isinstance(created, str) and not created.startswith("1970-") else ""
    context, output = model.get("max_input_tokens"), model.get("max_tokens")
    sizes = [f"{_size(context)} in"] if context else []
    sizes += [f"{_size(output)} out"] if output else []
    lifecycle, retires = model.get("lifecycle"), model.get("retires_at")
    against = inline(lifecycle) if lifecycle not in (None, "active") else ""
    if isinstance(retires, str):
        against = f"{against or 'retiring'}, retires {inline(retires[:10])}"
    return (
        inline(model.get("id", "")),
        inline(model.get("display_name", "")),
        inline(day),
        ", ".join(sizes),
        against,
    )


def _size(tokens: object) -> str:
    if not isinstance(tokens, int) or tokens >= 10**12:
        text = inline(tokens)
        return text if len(text) <= 12 else f"{text[:12]}…"
    if tokens >= 1_000_000:
        return f"{tokens / 1_000_000:g}M"
    return f"{tokens / 1000:g}k"


def origin_line(report: Report, look: Look) -> str:
    """Return the first line of a report."""
    return "\n".join(wrapped(origin(report), "", "  ", look, "dim"))


def heading(kind: str, look: Look) -> str:
    """Return the line over a content block."""
    return f"  {look.paint('bold', kind)}"


def origin(report: Report) -> str:
    """Say what was sent where, and with which credential."""
    request, settings = report.request, report.settings
    if request is None or settings is None:
        return ""
    credential = settings.credential
    return (
        f"{request.method} {request.url}   {credential.noun} {credential.secret}"
        f" from {credential.source}"
    )


def inline(value: object) -> str:
    """Show any value in one line."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def usage(counts: object) -> str | None:
    """Show the token counts: input, cache and output, and how much of it was thinking."""
    if not isinstance(counts, dict):
        return None if counts is None else inline(counts)
    cache = [
        f"{_count(counts.get(f'cache_{kind}_input_tokens'))} cache {kind}"
        for kind in ("read", "creation")
        if counts.get(f"cache_{kind}_input_tokens")
    ]
    details = counts.get("output_tokens_details")
    thinking = details.get("thinking_tokens") if isinstance(details, dict) else None
    return (
        _count(counts.get("input_tokens"))
        + (f" input (+ {' + '.join(cache)})" if cache else " input")
        + f", {_count(counts.get('output_tokens'))} output tokens"
        + (f" ({_count(thinking)} thinking)" if thinking else "")
    )


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else inline(value)


def blocks(content: object) -> Iterator[Any]:
    """Yield the content blocks, or whatever stands in their place."""
    if isinstance(content, list):
        yield from content
    elif content is not None:
        yield content


def block_lines(block: object, look: Look) -> Iterator[str]:
    """Yield a heading and the block's text behind a gutter, so it can't pass for ours."""
    if not isinstance(block, dict):
        yield "  (not a content block)"
        yield from gutter(_json(block), look)
        return
    kind = inline(block.get("type"))
    names = [inline(block[name]) for name in _HEADING_FIELDS if isinstance(block.get(name), str)]
    field = _TEXT_FIELDS.get(kind)
    text = block.get(field) if field else None
    is_empty = isinstance(text, str) and not text
    yield f"{heading(' '.join([kind, *names]), look)}{' (empty)' if is_empty else ''}"
    if kind in _OPAQUE_TYPES:
        return
    if not isinstance(text, str):
        hidden = {*_QUIET_FIELDS, *_HEADING_FIELDS} if names else _QUIET_FIELDS
        rest = {name: value for name, value in block.items() if name not in hidden}
        text = _json(rest) if rest else ""
    if text:
        yield from gutter(text, look)


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def gutter(text: str, look: Look) -> Iterator[str]:
    """Yield remote text line by line behind a bar, folded to the terminal if it is one."""
    for line in visible(text).split("\n"):
        for part in fold(line, look.width - 4) if look.width else [line]:
            yield f"  {look.paint('dim', '│')} {part}".rstrip()


def fold(line: str, columns: int) -> Iterator[str]:
    """Break a line at its blanks, or within a word that is too long, by the room that it takes."""
    start = used = 0
    blank = -1
    for position, character in enumerate(line):
        room = _room(character)
        if used + room > columns and position > start:
            stop = blank + 1 if blank >= start else position
            yield line[start:stop]
            start = stop
            used = sum(map(_room, line[start:position]))
        used += room
        if character == " ":
            blank = position
    yield line[start:]


def _room(character: str) -> int:
    if character < "\u0300":
        return 1
    import unicodedata  # noqa: PLC0415 only for what is not Latin, on a terminal

    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def failure(report: Report, look: Look) -> str:
    """Return headline, what is known, the hints, and what support will ask for."""
    diagnosis = report.diagnosis
    if diagnosis.exit_code is ExitCode.INTERRUPTED:
        return diagnosis.headline
    lines = [*wrapped(inline(diagnosis.headline), "✗ ", "  ", look, "bad")]
    for known in diagnosis.known:
        lines += wrapped(inline(known), "  ", "  ", look)
    for hint in diagnosis.hints:
        lines += wrapped(inline(hint), "  • ", "    ", look)
    trail = []
    if report.request:
        trail.append(inline(origin(report)))
    if report.answer and report.answer.request_id:
        trail.append(f"request-id {inline(report.answer.request_id)}")
    if report.journey.attempts > 1:
        trail.append(f"{report.journey.attempts} attempts in {report.timing.total:.1f} s")
    for line in trail:
        lines += wrapped(line, "  ", "  ", look, "dim")
    return "\n".join(lines)


def details(report: Report, look: Look) -> Iterator[str]:
    """Yield headers both ways, the way there, and where the time of the last attempt went."""
    request, answer, journey = report.request, report.answer, report.journey
    if request:
        yield look.paint("bold", f"  > {request.method} {request.url}")
        yield from _header_lines(request.headers, ">", look)
    if answer:
        yield look.paint("bold", f"  < {answer.status} {inline(answer.reason)}")
        cookie = {"set-cookie": "…"} if "set-cookie" in answer.headers else {}
        yield from _header_lines({**answer.headers, **cookie}, "<", look)
    rows = {
        "attempts": f"{journey.attempts}{_waits(report.retries)}",
        "address": ", ".join(journey.tried),
        "proxy": journey.via or "none",
        "CA": report.ca,
    }
    for name, value in rows.items():
        if value:
            yield f"  {look.paint('dim', f'{name:10}')} {inline(value)}"
    yield from _timeline(report.timing, look)


def _waits(retries: tuple[Retry, ...]) -> str:
    waits = [f"{_reason(notice)}, then {notice.wait:.1f} s of waiting" for notice in retries]
    return f" ({'; '.join(waits)})" if waits else ""


def _header_lines(headers: Mapping[str, object], mark: str, look: Look) -> Iterator[str]:
    for name, value in headers.items():
        yield f"  {look.paint('dim', mark)} {inline(name)}: {inline(str(value))}"


def _timeline(timing: Timing, look: Look) -> Iterator[str]:
    """Draw one bar per phase, each beginning where the one before ended."""
    phases = {
        "connect": timing.connect,
        "TLS": timing.tls,
        "first byte": timing.first_byte,
        "rest": timing.rest,
    }
    known = {name: seconds for name, seconds in phases.items() if seconds is not None}
    columns = max(min(BAR, (look.width or 80) - 24), 5)
    whole, passed = sum(known.values()) or 1.0, 0.0
    for name, seconds in known.items():
        start, end = (round(columns * moment / whole) for moment in (passed, passed + seconds))
        bar = " " * min(start, columns - 1) + "▇" * max(end - start, 1)
        passed += seconds
        label, shown = look.paint("dim", f"{name:10}"), look.paint("good", f"{bar:{columns}}")
        yield f"  {label} {shown} {seconds:.3f} s"
    yield f"  {look.paint('dim', 'total     ')} {'':{columns}} {timing.total:.3f} s"


def wrapped(text: str, first: str, rest: str, look: Look, style: str | None = None) -> list[str]:
    """Break a line at blanks where the stream has a width; never inside a URL."""
    lines = [first + text]
    if look.width:
        import textwrap  # noqa: PLC0415 only for terminals

        lines = (
            textwrap.wrap(
                text,
                look.width,
                initial_indent=first,
                subsequent_indent=rest,
                break_long_words=False,
                break_on_hyphens=False,
            )
            or lines
        )
    return [look.paint(style, line) for line in lines] if style else lines


def note(kind: str, text: str, look: Look) -> str:
    """Return a line beside the report: a note, or a warning."""
    styles = {"note": "dim", "warning": "warn"}
    return "\n".join(wrapped(f"{kind}: {inline(text)}", "", "  ", look, styles[kind]))


def retry(notice: Retry, look: Look) -> str:
    """Announce a wait."""
    text = (
        f"{_reason(notice)}: waiting {notice.wait:.1f} s,"
        f" then attempt {notice.attempt} of {notice.attempts}"
    )
    return "\n".join(wrapped(text, "", "  ", look))


def _reason(notice: Retry) -> str:
    status, kind = notice.failure.status, notice.failure.error_type or ""
    if status is None:
        return f"connection {notice.failure.fault.value}"
    return inline(f"{status} {kind}".strip())
