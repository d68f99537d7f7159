"""Reports as text for people. Returns strings, prints nothing."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from claude_ping import __version__
from claude_ping.records import DEFAULT_BASE_URL, ExitCode, Phase, Report
from claude_ping.screen import inline, visible

Paint = Callable[[str, str], str]

CLOCK = "%Y-%m-%d %H:%M:%S UTC"
BAR = 30  # columns of the timeline
MAX_BODY = 2000  # characters of the request that -v shows
_PHASES = ("settings", "DNS", "TCP", "proxy", "TLS", "waiting", "download", "pause")
_LABELS = dict(zip(Phase, _PHASES, strict=True))


def success(report: Report, paint: Paint) -> str:
    """Return the whole report of a reply, or what is left of it when its text was streamed."""
    answer, request, settings = report.answer, report.request, report.settings
    if answer is None or request is None or settings is None:
        return ""
    message, seconds, key = answer.json, report.exchange.first_text, settings.credential
    is_usual = report.simulated or settings.base_url == DEFAULT_BASE_URL
    rows = {
        "url": None if is_usual else request.url,
        "key": f"{key.secret} ({key.name} from {key.source})",
        "organization": answer.headers.get("anthropic-organization-id"),
        **{name: message.get(name) for name in ("model", "stop_reason", "stop_sequence")},
        "usage": usage(message.get("usage")),
        "first text": None if seconds is None else f"{seconds:.2f} s",
        "request-id": answer.request_id,
    }
    lines = [f"{paint('good', f'✓ {report.headline}')} in {report.total:.2f} s"]
    lines += [f"  {name:13} {inline(value)}" for name, value in rows.items() if value is not None]
    if request.method == "GET":
        return "\n".join([*lines, "", *models(message["data"])])
    content = message.get("content") or []
    for block in content if isinstance(content, list) else [content]:
        if seconds is None or not (isinstance(block, dict) and block.get("type") == "text"):
            lines += ["", *block_lines(block, paint)]
    return "\n".join(lines)


def models(found: list[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each model, in the API's order."""
    names = ("id", "display_name", "created_at", "lifecycle")
    for model in found:
        name, title, created, state = (inline(model.get(field) or "") for field in names)
        more = "" if state == "active" else state
        yield f"  {name:26}  {title:20}  {created[:10]}  {more}".rstrip()


def usage(counts: Any) -> Any:
    """Show the token counts by the API's names, and how much of the output was thinking."""
    if not isinstance(counts, dict):
        return counts
    numbers = {name: n for name, n in counts.items() if isinstance(n, int) and n}
    told = [f"{n:,} {name.replace('_tokens', '').replace('_', ' ')}" for name, n in numbers.items()]
    details = counts.get("output_tokens_details")
    count = details.get("thinking_tokens") if isinstance(details, dict) else None
    thinking = f" ({count} thinking)" if count else ""
    return f"{', '.join(told)} tokens{thinking}" if told else counts


def block_lines(block: object, paint: Paint) -> Iterator[str]:
    """Yield a heading and the block's text behind a gutter, so it can't pass for ours."""
    fields = block if isinstance(block, dict) else {"type": "(not a content block)", "value": block}
    names = [name for name in ("type", "name", "id", "tool_use_id") if name in fields]
    title = " ".join(inline(fields[name]) for name in names) or "(no type)"
    kind = fields.get("type")
    rest = {name: value for name, value in fields.items() if name not in names}
    text = rest.get(kind) if kind in ("text", "thinking") else rest
    yield f"  {paint('bold', title)}" + (" (empty)" if text == "" else "")
    if not isinstance(text, str):
        text = json.dumps(text, indent=2, ensure_ascii=False)
    for line in visible(text).split("\n") if text and kind != "redacted_thinking" else ():
        yield f"  {paint('dim', '│')} {line}".rstrip()


def failure(report: Report, paint: Paint) -> str:
    """Return headline, ladder, what is known, the hints, and what support will ask for."""
    if report.exit_code is ExitCode.INTERRUPTED:
        return inline(report.headline)
    request, answer, attempts = report.request, report.answer, report.exchange.attempts
    lines = [f"{paint('bad', '✗')} {inline(report.headline)}"]
    lines += [f"  {'  '.join(ladder(report, paint))}"] if attempts else []
    lines += [f"  {inline(line)}" for line in report.explanation]
    lines += [f"  • {inline(line)}" for line in report.hints]
    organization = answer and answer.headers.get("anthropic-organization-id")
    asked = [f"{request.method} {request.url}", request.model] if request else []
    asked += [organization and f"organization {organization}"]
    request_id = answer and answer.request_id
    told = [request_id and f"request-id {request_id}", time.strftime(CLOCK, time.gmtime())]
    told += [f"{attempts} attempts, {report.total:.1f} s"] if attempts > 1 else []
    told += [f"exit {report.exit_code.value} ({report.exit_code.name.lower()}: {report.fault})"]
    for parts in () if report.fault == "usage" else (asked, told):
        lines += [f"  {inline(' · '.join(filter(None, parts)))}"] if any(parts) else []
    return "\n".join(lines)


def ladder(report: Report, paint: Paint) -> Iterator[str]:
    """Yield how far the exchange got, rung by rung, and what became of the key."""
    exchange, answer, request = report.exchange, report.answer, report.request
    good, bad = paint("good", "✓"), paint("bad", "✗")
    last = Phase.TCP if exchange.phase is Phase.PROXY else exchange.phase  # TCP leads there
    hop = ("proxy", exchange.via) if exchange.via else ("TCP", None if answer else exchange.address)
    for phase, name, where in ((Phase.DNS, "DNS", ""), (Phase.TCP, *hop), (Phase.TLS, "TLS", "")):
        if phase in exchange.durations():
            yield f"{name} {bad if phase is last else good} {inline(where or '')}".rstrip()
    if report.speaker == "api":
        yield f"API {good}"
    elif answer and request:
        host = urlsplit(request.url).netloc if report.speaker == "gateway" else ""
        yield f"API {bad} {host}".rstrip()
    elif last is Phase.WAITING:
        yield f"API ? waited {exchange.durations()[last]:.1f} s"
    is_post = request is not None and request.method == "POST"
    if report.key_accepted:
        yield f"key {good}  {'message' if is_post else 'list'} {bad}"
    elif report.key_accepted is False and report.settings:
        key = report.settings.credential
        told = inline(f"({len(key.secret)} characters, {key.name} from {key.source})")
        yield f"key {bad} {key.secret} {told}"
    elif exchange.sent:
        fate = ", may be billed" if is_post else ""
        yield "key sent, not judged" if answer else f"key sent{fate}"
    else:
        yield "key not sent"


def details(report: Report, client: Mapping[str, str], paint: Paint) -> Iterator[str]:
    """Yield what a bug report needs: both messages, the way there, and where the time went."""
    request, answer, exchange = report.request, report.answer, report.exchange
    if request:
        mark, body = ">" if exchange.sent else "(not sent)", inline(request.body or "")
        yield paint("bold", inline(f"{mark} {request.method} {request.url}"))
        for name, value in request.headers.items():
            yield inline(f"{mark} {name}: {value}")
        if body:
            yield f"{mark} {body[:MAX_BODY]}{'…' if len(body) > MAX_BODY else ''}"
        is_https = request.url.startswith("https:")
        authorities = " · CA " + (exchange.ca_file or "the system's") if is_https else ""
        yield inline(f"  proxy {exchange.via or 'none'}{authorities}")
    if answer:
        yield paint("bold", inline(f"< {answer.status} {answer.reason}".rstrip()))
        for name, value in answer.headers.items():
            yield inline(f"< {name}: {'…' if name == 'set-cookie' else value}")
    yield from _timeline(report, paint)
    versions = [f"claude-ping {__version__}", f"Python {client['python']}", client["openssl"]]
    now = time.strftime(CLOCK, time.gmtime())
    yield f"  {' · '.join([*versions, client['platform'], now])}"


def _timeline(report: Report, paint: Paint) -> Iterator[str]:
    """Draw one bar a phase, scaled to the whole run, each beginning where the last one ended."""
    exchange, begun, scale = report.exchange, 0.0, BAR / (report.total or 1)
    attempts = [*exchange.earlier, exchange.durations()]
    is_cut = report.exit_code and (report.speaker is None or report.exit_code is ExitCode.NETWORK)
    for number, phases in enumerate(attempts, 1):
        label = f"attempt {number}"
        for phase, seconds in phases.items():
            start = min(round(begun * scale), BAR - 1)
            bar = f"{' ' * start}{'▇' * round(seconds * scale) or '▏'}"[:BAR]
            row = f"{_LABELS[phase]:9} {bar:{BAR}} {seconds:7.3f} s"
            is_failed = is_cut and phase is exchange.phase and phases is attempts[-1]
            yield f"  {label:10} {paint('bad', f'{row}  ✗') if is_failed else row}"
            label, begun = "", begun + seconds


def in_words(seconds: float) -> str:
    """Say how long, as people do."""
    for unit, name in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def exhausted_limits(headers: Mapping[str, str]) -> Iterator[str]:
    """Yield the rate limits of which nothing is left, and when they are reset (RFC 3339)."""
    from datetime import UTC, datetime  # noqa: PLC0415 for this line alone

    for header in headers:
        limit, reset = header.removesuffix("-remaining"), ""
        if limit == header or headers[header] != "0" or not limit.startswith("anthropic-"):
            continue
        with contextlib.suppress(ValueError, OverflowError):
            moment = datetime.fromisoformat(headers.get(f"{limit}-reset", "")).astimezone(UTC)
            seconds = max(moment.timestamp() - time.time(), 0)
            reset = f"; resets {moment:{CLOCK}}" + (f" (in {in_words(seconds)})" if seconds else "")
        name = limit.removeprefix("anthropic-ratelimit-").replace("-", " ").capitalize()
        yield f"{name}: 0 of {headers.get(f'{limit}-limit', '?')} left{reset}."
