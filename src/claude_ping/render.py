"""Reports as text for people. Returns strings, prints nothing."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from claude_ping import __version__
from claude_ping.records import DEFAULT_BASE_URL, Credential, ExitCode, Phase, Report, Retry
from claude_ping.screen import inline, visible

Paint = Callable[[str, str], str]

BAR = 30  # columns of the timeline
MAX_BODY = 2000  # characters of the request that -v shows
_PHASES = ("settings", "DNS", "TCP", "proxy", "TLS", "waiting", "download", "pause")
_LABELS = dict(zip(Phase, _PHASES, strict=True))


def success(report: Report, paint: Paint) -> str:
    """Return the whole report of a reply, or what is left of it when its text was streamed."""
    answer, request, settings = report.answer, report.request, report.settings
    if answer is None or request is None or settings is None:
        return ""
    message, seconds = answer.json, first_text(report)
    is_usual = report.simulated or settings.base_url == DEFAULT_BASE_URL
    rows = {
        "url": None if is_usual else request.url,
        "key": f"{settings.credential.secret} ({origin(settings.credential)})",
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


def origin(credential: Credential) -> str:
    """Say which variable holds the credential, and where that was set."""
    word = " from" if credential.source == "the environment" else ","
    return inline(f"{credential.name}{word} {credential.source}")


def first_text(report: Report) -> float | None:
    """Return after how many seconds the first text of a stream came."""
    exchange = report.exchange
    return exchange.first_text and exchange.first_text - exchange.started


def timestamp(form: str = "%Y-%m-%d %H:%M:%S UTC") -> str:
    """Return the time of day in UTC."""
    return time.strftime(form, time.gmtime())


def models(found: list[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each model, in the API's order."""
    names = ("id", "display_name", "created_at", "lifecycle")
    rows = [[inline(model.get(name) or "") for name in names] for model in found]
    ids, titles = (max((len(row[column]) for row in rows), default=0) for column in (0, 1))
    for name, title, created, lifecycle in rows:
        more = "" if lifecycle == "active" else lifecycle
        yield f"  {name:{ids}}  {title:{titles}}  {created[:10]}  {more}".rstrip()


def usage(counts: object) -> str | None:
    """Show the token counts: input, cache and output, and how much of it was thinking."""
    if not isinstance(counts, dict):
        return None if counts is None else inline(counts)
    cached = {kind: counts.get(f"cache_{kind}_input_tokens") for kind in ("read", "creation")}
    cache = " + ".join(f"{_count(count)} cache {kind}" for kind, count in cached.items() if count)
    details = counts.get("output_tokens_details")
    thinking = details.get("thinking_tokens") if isinstance(details, dict) else None
    given = f"{_count(counts.get('input_tokens'))} input" + (f" (+ {cache})" if cache else "")
    made = f"{_count(counts.get('output_tokens'))} output tokens"
    return f"{given}, {made}" + (f" ({_count(thinking)} thinking)" if thinking else "")


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else inline(value)


def block_lines(block: object, paint: Paint) -> Iterator[str]:
    """Yield a heading and the block's text behind a gutter, so it can't pass for ours."""
    fields = block if isinstance(block, dict) else {"type": "(not a content block)", "value": block}
    names = [name for name in ("type", "name", "id", "tool_use_id") if name in fields]
    kind = fields.get("type")
    text = fields.get(kind) if kind in ("text", "thinking") else None
    title = " ".join(inline(fields[name]) for name in names) or "(no type)"
    yield f"  {paint('bold', title)}" + (" (empty)" if text == "" else "")
    if not isinstance(text, str) and kind != "redacted_thinking":
        rest = {name: value for name, value in fields.items() if name not in names}
        text = json.dumps(rest, indent=2, ensure_ascii=False) if rest else ""
    for line in visible(str(text)).split("\n") if text else ():
        yield f"  {paint('dim', '│')} {line}".rstrip()


def failure(report: Report, paint: Paint) -> str:
    """Return headline, ladder, what is known, the hints, and what support will ask for."""
    if report.exit_code is ExitCode.INTERRUPTED:
        return inline(report.headline)
    lines = [f"{paint('bad', '✗')} {inline(report.headline)}"]
    if report.exchange.attempts:
        lines.append(f"  {'  '.join(ladder(report, paint))}")
    lines += [f"  {inline(line)}" for line in report.explanation]
    lines += [f"  • {inline(line)}" for line in report.hints]
    trailer = () if report.fault == "usage" else _trailer(report)
    return "\n".join([*lines, *trailer])


def ladder(report: Report, paint: Paint) -> Iterator[str]:
    """Yield how far the exchange got, rung by rung, and what became of the key."""
    exchange, answer = report.exchange, report.answer
    good, bad = paint("good", "✓"), paint("bad", "✗")
    # Where there is a proxy, TCP leads to it.
    reached = [Phase.TCP if at is Phase.PROXY else at for at, _ in exchange.moments]
    last = reached[-1] if reached else Phase.SETTINGS
    hop = ("proxy", exchange.via) if exchange.via else ("TCP", None if answer else exchange.address)
    rungs = {Phase.DNS: ("DNS", ""), Phase.TCP: hop, Phase.TLS: ("TLS", "")}
    for phase, (name, where) in rungs.items():
        if phase in reached:
            yield f"{name} {bad if phase is last else good} {inline(where or '')}".rstrip()
    if report.speaker == "api":
        yield f"API {good}"
    elif answer and report.request:
        host = urlsplit(report.request.url).netloc if report.speaker == "gateway" else ""
        yield f"API {bad} {host}".rstrip()
    elif last is Phase.WAITING:
        yield f"API ? waited {exchange.durations()[last]:.1f} s"
    yield from _key_rungs(report, good, bad)


def _key_rungs(report: Report, good: str, bad: str) -> Iterator[str]:
    is_post = report.request is not None and report.request.method == "POST"
    if report.key_accepted:
        yield from (f"key {good}", f"{'message' if is_post else 'list'} {bad}")
    elif report.key_accepted is False and report.settings:
        credential = report.settings.credential
        length = len(credential.secret)
        yield f"key {bad} {credential.secret} ({length} characters, {origin(credential)})"
    elif not report.exchange.sent:
        yield "key not sent"
    else:
        fate = ", may be billed" if is_post else ""
        yield "key sent, not judged" if report.answer else f"key sent{fate}"


def _trailer(report: Report) -> Iterator[str]:
    """Yield what a pipeline's log and support need."""
    request, answer, exchange = report.request, report.answer, report.exchange
    end = f"exit {report.exit_code.value} ({report.exit_code.name.lower()}: {report.fault})"
    if request is None or not exchange.attempts:
        yield f"  {end}"
        return
    organization = answer and answer.headers.get("anthropic-organization-id")
    request_id = answer and answer.request_id
    asked = [f"{request.method} {request.url}", request.model]
    asked += [organization and f"organization {organization}"]
    told = [request_id and f"request-id {request_id}", timestamp()]
    if exchange.attempts > 1:
        told += [f"{exchange.attempts} attempts, {report.total:.1f} s"]
    for parts in (asked, [*told, end]):
        yield f"  {' · '.join(inline(part) for part in parts if part)}"


def details(report: Report, client: Mapping[str, str], paint: Paint) -> Iterator[str]:
    """Yield what a bug report needs: both messages, the way there, and where the time went."""
    request, answer, exchange = report.request, report.answer, report.exchange
    if request:
        mark = ">" if exchange.sent else " "
        head = f"{request.method} {request.url}"
        yield paint("bold", inline(f"> {head}" if exchange.sent else f"(not sent) {head}"))
        for name, value in request.headers.items():
            yield inline(f"{mark} {name}: {value}")
        if body := inline(request.body or ""):
            yield f"{mark} {body[:MAX_BODY]}{'…' if len(body) > MAX_BODY else ''}"
    if answer:
        yield paint("bold", inline(f"< {answer.status} {answer.reason}".rstrip()))
        for name, value in answer.headers.items():
            yield inline(f"< {name}: {'…' if name == 'set-cookie' else value}")
    if request:
        is_https = request.url.startswith("https:")
        authorities = " · CA " + (exchange.ca_file or "the system's") if is_https else ""
        yield inline(f"  proxy {exchange.via or 'none'}{authorities}")
    yield from _timeline(report, paint)
    versions = [f"claude-ping {__version__}", f"Python {client['python']}", client["openssl"]]
    yield f"  {' · '.join([*versions, client['platform'], timestamp()])}"


def _timeline(report: Report, paint: Paint) -> Iterator[str]:
    """Draw one bar a phase, scaled to the whole run, each beginning where the last one ended."""
    exchange, begun, scale = report.exchange, 0.0, BAR / (report.total or 1)
    attempts = [*exchange.earlier, exchange.durations()]
    is_cut = report.speaker is None or report.exit_code is ExitCode.NETWORK
    failed = exchange.phase if is_cut and report.exit_code is not ExitCode.OK else None
    for number, phases in enumerate(attempts, 1):
        label = f"attempt {number}"
        for phase, seconds in phases.items():
            start = min(round(begun * scale), BAR - 1)
            length = min(round(seconds * scale), BAR - start)
            bar = f"{' ' * start}{'▇' * length or '▏'}".ljust(BAR)
            row = f"{_LABELS[phase]:9} {bar} {seconds:7.3f} s"
            is_failed = phase is failed and number == len(attempts)
            yield f"  {label:10} {paint('bad', f'{row}  ✗') if is_failed else row}"
            label, begun = "", begun + seconds


def retry(notice: Retry) -> str:
    """Announce a wait."""
    attempt = f"attempt {notice.attempt} of {notice.attempts}"
    return inline(f"{notice.reason}; retrying in {notice.wait:.1f} s ({attempt})")


def in_words(seconds: float) -> str:
    """Say how long, as people do."""
    for unit, name in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def exhausted_limits(headers: Mapping[str, str]) -> Iterator[str]:
    """Yield the rate limits of which nothing is left, and when they are reset (RFC 3339)."""
    from datetime import UTC, datetime  # noqa: PLC0415 for this line alone

    for header, value in headers.items():
        name = header.removeprefix("anthropic-ratelimit-").removesuffix("-remaining")
        if value != "0" or header != f"anthropic-ratelimit-{name}-remaining":
            continue
        most = headers.get(f"anthropic-ratelimit-{name}-limit", "?")
        reset = ""
        with contextlib.suppress(ValueError, OverflowError):
            moment = datetime.fromisoformat(headers.get(f"anthropic-ratelimit-{name}-reset", ""))
            seconds = max(moment.timestamp() - time.time(), 0)
            day = f"on {moment.astimezone(UTC):%d %B %Y}".replace(" 0", " ")
            hour = f"{moment.astimezone(UTC):%H:%M:%S} UTC (in {in_words(seconds)})"
            reset = f"; resets {day if seconds > 86_400 else hour}"
        yield f"{name.replace('-', ' ').capitalize()}: 0 of {most} left{reset}."
