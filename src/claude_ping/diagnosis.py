"""Which row of the table speaks of a failure: who spoke, what the words are about, raw facts."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from claude_ping import credential, endpoint
from claude_ping.failures import BY_NAME, FACTS, MENTIONED, STATUS_OF_TYPE, SUBJECTS, TABLE, Row
from claude_ping.records import DEFAULT_BASE_URL, Answer, Failure, Phase, Report, Request, told
from claude_ping.render import exhausted_limits, in_words

MAX_HINTS = 3
MAX_PART = 200  # characters of the request's own body
MAX_MESSAGE = 1000  # characters of an error's own text
CONSOLE = "https://platform.claude.com/settings"


def explain(failure: Failure, report: Report) -> None:
    """Fill the report with the verdict: whose move it is, by the row that speaks."""
    answer, row, known = failure.answer, row_for(failure, report), facts(failure, report)
    report.answer = answer or report.answer
    report.fault, report.exit_code = row.name, row.exit_code
    report.speaker = speaker(answer, report) if answer else None
    report.key_accepted = _key_accepted(failure, report, row)
    own = _answered(failure, answer, report) if answer else failure.message or row.name
    report.headline = next(told([row.headline or ""], known), "") or own
    said = [report.headline, *report.warnings]
    report.explanation = _new((*failure.known, *told(row.known, known)), said)
    hints = _new((*failure.hints, *told(row.hints, known)), [*said, *report.explanation])
    report.hints = hints[:MAX_HINTS]


def _new(lines: Iterable[str], said: Iterable[str]) -> tuple[str, ...]:
    """Drop what has been said: nothing is said twice."""
    return tuple(line for line in dict.fromkeys(lines) if not any(line in one for one in said))


def row_for(failure: Failure, report: Report) -> Row:
    """Return the row that a failure names, or the first that matches what was answered."""
    if failure.fault is not None or failure.answer is None:
        return BY_NAME[failure.fault or "internal error"]
    conditions = {"by": speaker(failure.answer, report), "about": subject(failure, report)}
    status = str(effective_status(failure))
    said = f"{failure.message}\n{failure.kind} {failure.code}"
    return next(
        row
        for row in TABLE
        if row.status
        and re.fullmatch(row.status, status)
        and all(
            re.fullmatch(row.conditions.get(name, ".*"), value)
            for name, value in conditions.items()
        )
        and re.search(row.conditions.get("says", ""), said, re.IGNORECASE)
    )


def effective_status(failure: Failure) -> int:
    """Return the HTTP status, or for an error inside a 200 the one that its type stands for."""
    status = failure.answer.status if failure.answer else 0
    return STATUS_OF_TYPE.get(failure.kind or "", 500) if status == 200 else status


def is_home(report: Report) -> bool:
    """Whether the API itself is asked, not a gateway; a rehearsal reads as the real thing would."""
    if report.simulated:
        row = BY_NAME.get(report.simulated)
        return row is None or row.specimen.by != "gateway"
    return report.settings is not None and endpoint.is_home(report.settings.base_url)


def speaker(answer: Answer, report: Report) -> str:
    """Tell who answered: "api", its "edge", a "gateway", or something on the "way".

    Only a request-id header of its own form makes an answer the API's; one in a body is copied.
    """
    if answer.headers.get("request-id", "").startswith("req_"):
        return "api"
    error = answer.json.get("error") if isinstance(answer.json, dict) else None
    kind = error.get("type") if isinstance(error, dict) else None
    if is_home(report):
        is_edge = "cf-ray" in answer.headers or kind in ("forbidden", "request_too_large")
        return "edge" if is_edge else "way"
    return "way" if answer.json is None or kind == "forbidden" else "gateway"


def subject(failure: Failure, report: Report) -> str:
    """Tell what an answer is about, whatever its status: see SUBJECTS; "" if none of it."""
    message, model = failure.message, report.request and report.request.model
    if model:
        message = re.sub(rf"(?<![\w.-]){re.escape(model)}(?![\w-])", "§", message)
    for name, patterns in SUBJECTS.items():
        mark, says, unless = (
            re.compile(patterns[kind], re.IGNORECASE) for kind in ("mark", "says", "unless")
        )
        if any(mark.fullmatch(text or "") for text in (failure.kind, failure.code)):
            return name
        if says.search(message) and not unless.search(message):
            return name
    if effective_status(failure) == 402:
        return "money"
    return "nothing" if _says_nothing(failure) else ""


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""


def _says_nothing(failure: Failure) -> bool:
    bare = re.sub(r"\W+", " ", failure.message).strip().lower()
    status = failure.answer.status if failure.answer else 0
    name = _phrase(status).lower()
    return bare in (
        "",
        "error",
        "an error",
        "an empty body",
        "unknown error",
        name,
        f"{status} {name}",
    )


def _key_accepted(failure: Failure, report: Report, row: Row) -> bool | None:
    answer = failure.answer
    if answer is None or speaker(answer, report) != "api":
        return None
    if effective_status(failure) == 401:
        return False
    is_known = {"anthropic-organization-id", "anthropic-workspace-id"} & answer.headers.keys()
    return True if is_known or row.says_key_accepted else None


def _answered(failure: Failure, answer: Answer, report: Report) -> str:
    """Return the headline of an answer: status, type and message, or what came in their place."""
    message, kind, reason = (
        _cut(failure.message),
        failure.kind,
        answer.reason or _phrase(answer.status),
    )
    if answer.status == 200:
        is_stream = report.request and report.request.body and report.request.body.get("stream")
        where = "during the stream" if is_stream else "with HTTP 200"
        return f"{kind or 'error'} {where}: {message}"
    if not message or re.match(r"(an HTML page|an empty body|a body with|JSON of)", message):
        what = "an HTML page" if reason and reason in message else message or "without a message"
        what = what if "request-id" in answer.headers else f"{what}, not the API"
        return " ".join(filter(None, [str(answer.status), kind or reason, f"({what})"]))
    is_money = re.search(r"credit|usage|organization", message) and kind == "invalid_request_error"
    return f"{answer.status} {message if kind is None or is_money else f'{kind}: {message}'}"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}…"


def _flag(holds: object) -> str | None:
    return "" if holds else None


def _found(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text, re.IGNORECASE)
    return next(filter(None, match.groups()), None) if match else None


def facts(failure: Failure, report: Report) -> dict[str, Any]:
    """Return what is known of a failed run, by every name that the table uses.

    A name that is only a condition stands for an empty text where it holds.
    """
    settings, request, answer = report.settings, report.request, failure.answer
    found: dict[str, Any] = dict.fromkeys(FACTS.split())
    found |= {
        "console": CONSOLE,
        "support": "https://support.claude.com",
        "message": _cut(failure.message) or None,
        "timeout": f"{report.timeout:g}",
        "longer": f"{max(report.timeout * 2.5, 10):.0f}",
        "now": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "phase": report.exchange.phase.value,
    }
    if settings and request:
        found |= settings.facts
        found |= _request_facts(failure, request)
        found |= _host_facts(failure, report, request)
    if answer and request:
        found |= _answer_facts(failure, answer, report, request)
    return found | {name: value for name, value in failure.facts.items() if name in found}


def _request_facts(failure: Failure, request: Request) -> dict[str, Any]:
    model, workspace = request.model, request.headers.get("anthropic-workspace-id")
    is_literal = request.body is not None and request.data != json.dumps(request.body).encode()
    found = {
        "model": model,
        "workspace": workspace if isinstance(workspace, str) else None,
        "list": _flag(request.method == "GET"),
        "billable": _flag(request.method == "POST"),
        "payload": _flag(is_literal),
        "offending": _offending(failure.message, request.body),
    }
    if not model:
        return found
    cleaned, ids = re.sub(r"\s+", "-", model.strip()).lower(), failure.facts.get("models", [])
    if ids:
        from difflib import get_close_matches  # noqa: PLC0415 for this hint alone

        others = [identifier for identifier in ids if identifier != model]
        closest = get_close_matches(cleaned, others[:1000], n=3, cutoff=0.4) or others[:3]
        found["closest"] = ", ".join(closest) or None
        found["listed"] = model if model in ids else None
    is_foreign = re.search(r"anthropic\.|-v\d+:\d|@|/", model)
    is_alias = re.fullmatch(r"(opus|sonnet|haiku|fable|default|opusplan)(\[1m\])?", model)
    hyphenated = re.sub(r"(\d)\.(?=\d)", r"\1-", model)
    return found | {
        "foreign_id": model if is_foreign else None,
        "alias": model if is_alias else None,
        "hyphenated": hyphenated if hyphenated != model and not is_foreign else None,
        "cleaned": cleaned if cleaned != model else None,
    }


def _offending(message: str, body: Any) -> str | None:
    """Show the part of the body that the API's path leads to, as far as it leads."""
    path = re.match(r"([\w-]+(?:\.[\w-]+)*): ", message)
    if path is None or body is None:
        return None
    part, followed = body, []
    for step in path[1].split("."):
        try:
            part = part[int(step)] if isinstance(part, list) else part[step]
        except (LookupError, TypeError, ValueError):
            continue  # a name of the API's own, such as the kind of a tool
        followed.append(step)
    shown = json.dumps(part, ensure_ascii=False)
    shown = shown if len(shown) <= MAX_PART else f"{shown[:MAX_PART]}…"
    return f"{'.'.join(followed)} = {shown}" if followed else None


def _host_facts(failure: Failure, report: Report, request: Request) -> dict[str, Any]:
    """Return whom the request went to and how far, and who answered."""
    home, exchange, url = is_home(report), report.exchange, request.url
    host = urlsplit(DEFAULT_BASE_URL if report.simulated and home else url).netloc
    port = ":443" if url.startswith("https:") or home else ":80"
    host_and_port = host if re.search(r":\d+$", host) else host + port
    by = speaker(failure.answer, report) if failure.answer else None
    is_local = endpoint.is_loopback(urlsplit(url).hostname) and not report.simulated
    speakers = {"api": "The API", "edge": "The API's edge (Cloudflare)", "gateway": host}
    tried = [*exchange.silent, exchange.address]
    is_diverted = home and not exchange.via and _is_private(exchange.address)
    found = {
        "host": host,
        "hostname": urlsplit(f"//{host}").hostname,
        "host_and_port": host_and_port,
        "gateway": _flag(not home),
        "remote": _flag(not is_local),
        "remote_page": _flag(not is_local and failure.message.startswith("an HTML page")),
        "status_page": "https://status.claude.com" if home or by == "api" else None,
        "api_console": CONSOLE if by == "api" else None,
        "speaker": speakers.get(by, f"Something on the way to {host}") if by else None,
        "by_api": _flag(by in ("api", "edge")),
        "not_api": _flag(by in ("gateway", "way")),
        "dialled": urlsplit(f"//{exchange.via or host}").hostname,
        "dialled_port": exchange.via or host_and_port,
        "address": exchange.address,
        "tried": ", ".join(map(str, tried)) if len(tried) > 1 else None,
        "diverted": exchange.address if is_diverted else None,
        "via": exchange.via,
        "loopback": host if is_local and not exchange.via else None,
        "waited": in_words([0.0, *exchange.durations().values()][-1]),
    }
    if is_local or exchange.via or exchange.phase not in (Phase.DNS, Phase.TCP):
        found["no_proxy_set"] = None
    if effective_status(failure) not in (401, 403) and "disabled" not in failure.message:
        found["other_place"] = None
    return found


def _is_private(address: str | None) -> bool:
    from ipaddress import ip_address  # noqa: PLC0415 for this hint alone

    return address is not None and ip_address(address.partition("%")[0]).is_private


def _answer_facts(
    failure: Failure, answer: Answer, report: Report, request: Request
) -> dict[str, Any]:
    headers, message = answer.headers, failure.message
    organization = headers.get("anthropic-organization-id")
    versions = re.findall(r"\b20\d\d-\d\d-\d\d\b", message) if "version" in message else []
    sent = request.headers.get("anthropic-version")
    asked = {"retry-after", "retry-after-ms"} & headers.keys()
    wait = report.exchange.refused_wait if asked else None
    fits = (wait or 0) + report.timeout
    found = {name: _found(pattern, message) for name, pattern in MENTIONED.items()}
    return {
        **found,
        **credential.wanted(message, answer, request.headers),
        "wanted_version": next((date for date in versions if date != sent), None),
        "status": str(answer.status),
        "request_id": answer.request_id,
        "organization": f"organization {organization}" if organization else "its organization",
        "cf_ray": headers.get("cf-ray"),
        "location": headers.get("location", "nowhere"),
        "mute": _flag(_says_nothing(failure)),
        "timed_out": _flag(answer.status in (408, 409, 504)),
        "limits": " ".join(exhausted_limits(headers)) or None,
        "unfit_wait": in_words(wait) if wait else None,
        "timeout_that_fits": f"{-(-fits // 10) * 10:.0f}" if wait and fits <= 86_400 else None,
    }
