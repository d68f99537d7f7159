"""Which row of the table speaks of a failure: who spoke, what the words are about, raw facts."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from claude_ping import credential, endpoint
from claude_ping.failures import BY_NAME, MENTIONED, SUBJECTS, TABLE, Row
from claude_ping.records import DEFAULT_BASE_URL, Answer, Failure, Phase, Report, Request, told
from claude_ping.render import exhausted_limits, in_words

PHRASES = {status.value: status.phrase for status in HTTPStatus}


def explain(failure: Failure, report: Report) -> None:
    """Fill the report with the verdict: whose move it is, by the row that speaks."""
    answer, row = failure.answer, row_for(failure, report)
    report.answer = answer or report.answer
    report.fault, report.exit_code = row.name, row.exit_code
    report.speaker = speaker(answer, failure.kind, report) if answer else None
    if answer and report.speaker == "api":
        is_known = {"anthropic-organization-id", "anthropic-workspace-id"} & answer.headers.keys()
        is_proven = True if is_known or row.proves_key else None
        report.key_accepted = False if status_of(failure) == 401 else is_proven
    known = facts(failure, report)
    own = _answered(answer, failure.kind, known) if answer else failure.message or row.name
    report.headline = next(told([row.headline], known), "") or own
    said = [report.headline]
    report.explanation = _new((*failure.known, *told(row.known, known)), said)
    report.hints = _new((*failure.hints, *told(row.hints, known)), [*said, *report.explanation])[:3]
    report.warnings = list(_new(report.warnings, [*report.explanation, *report.hints]))


def _new(lines: Iterable[str], said: Iterable[str]) -> tuple[str, ...]:
    """Drop what has been said: nothing is said twice."""
    return tuple(line for line in dict.fromkeys(lines) if not any(line in one for one in said))


def row_for(failure: Failure, report: Report) -> Row:
    """Return the row that a failure names, or the first that matches what was answered."""
    if failure.fault is not None or failure.answer is None:
        return BY_NAME[failure.fault or "internal error"]
    said = f"{failure.message}\n{failure.kind} {failure.code}"
    status, by = str(status_of(failure)), speaker(failure.answer, failure.kind, report)
    signs = (status, by, subject(failure, report), said)
    matching = (row for row in TABLE if all(map(re.fullmatch, row.signs, signs)))
    return next(matching, BY_NAME["not a message"])


def status_of(failure: Failure) -> int:
    """Return the HTTP status, or for an error inside a 200 the one that its type stands for."""
    status = failure.answer.status if failure.answer else 0
    by_type = {row.specimen.type: row.specimen.status for row in TABLE} | {"conflict_error": 409}
    return by_type.get(failure.kind or "", 500) if status == 200 else status


def is_home(report: Report) -> bool:
    """Whether the API itself is asked, not a gateway; a rehearsal reads as the real thing would."""
    if report.simulated:
        row = BY_NAME.get(report.simulated)
        return row is None or row.specimen.by != "gateway"
    return report.settings is not None and endpoint.is_home(report.settings.base_url)


def speaker(answer: Answer, kind: str | None, report: Report) -> str:
    """Tell who answered: "api", its "edge", a "gateway", or something on the "way"."""
    # Only the header makes an answer the API's: a request_id in a body is copied.
    if answer.headers.get("request-id", "").startswith("req_"):
        return "api"
    if is_home(report):
        is_edge = "cf-ray" in answer.headers or kind in ("forbidden", "request_too_large")
        return "edge" if is_edge else "way"
    return "way" if answer.json is None or kind == "forbidden" else "gateway"


def subject(failure: Failure, report: Report) -> str:
    """Tell what an answer is about, whatever its status: see SUBJECTS; "" if none of it."""
    message, model = failure.message, report.request and report.request.model
    if model:
        message = re.sub(rf"(?<![\w.-]){re.escape(model)}(?![\w-])", "§", message)
    kind, code, status = (failure.kind or "")[:200], failure.code or "", status_of(failure)
    usual = {402: "money", 429: "rate"}.get(status, "")
    for name, (mark, says, unless) in SUBJECTS.items():
        is_said = re.search(says, message) and not re.search(unless, message)
        if is_said or re.fullmatch(mark, kind) or re.fullmatch(mark, code):
            return (usual or name) if name == "missing" else name
    bare = rf"(an |unknown )?error|an empty body|({status} )?{PHRASES.get(status, '')}|"
    is_bare = re.fullmatch(bare, re.sub(r"\W+", " ", message).strip(), re.IGNORECASE)
    return usual or ("nothing" if is_bare else "")


def _answered(answer: Answer, kind: str | None, known: Mapping[str, Any]) -> str:
    """Return the headline of an answer: status, type and message, or what came in their place."""
    message, content_type = known["message"] or "", answer.headers.get("content-type", "")
    if answer.status == 200:
        where = "during the stream" if "event-stream" in content_type else "with HTTP 200"
        return f"{kind or 'error'} {where}: {message}"
    if not message or re.match(r"(an HTML page|an empty body|a body with|JSON of)", message):
        reason = answer.reason or PHRASES.get(answer.status, "")
        what = "an HTML page" if reason and reason in message else message or "without a message"
        what += "" if "request-id" in answer.headers else ", not the API"
        return " ".join(filter(None, [str(answer.status), kind or reason, f"({what})"]))
    is_money = re.search(r"credit|usage|organization", message) and kind == "invalid_request_error"
    return f"{answer.status} {message if kind is None or is_money else f'{kind}: {message}'}"


def facts(failure: Failure, report: Report) -> dict[str, Any]:
    """Return what is known of a failed run, by the table's names; None and False are not."""
    settings, request, message = report.settings, report.request, failure.message
    found: dict[str, Any] = {
        "message": message[:1000] + "…" * (len(message) > 1000) or None,
        "timeout": f"{report.timeout:g}",
        "longer": f"{max(report.timeout * 2.5, 10):.0f}",
        "now": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "phase": report.exchange.phase.value,
        "page": message.startswith("an HTML page"),
        "client_certificate": "certificate required" in message,
    }
    if settings and request:
        found |= {**settings.facts, **_of_request(failure, request), **_of_host(report, request)}
    if failure.answer:
        found |= _of_answer(failure, failure.answer, report)
    return found | failure.facts


def _of_request(failure: Failure, request: Request) -> dict[str, Any]:
    model, closest = request.model or "", []
    others = [name for name in failure.facts.get("models", ()) if name != model]
    if others:
        from difflib import get_close_matches  # noqa: PLC0415 for this hint alone

        closest = get_close_matches(model.lower(), others[:1000], n=3, cutoff=0.4) or others[:3]
    corrected = re.sub(r"(\d)\.(?=\d)", r"\1-", re.sub(r"\s+", "-", model.strip()).lower())
    is_foreign = re.search(r"anthropic\.|-v\d+:\d|[@/]", model)
    is_alias = re.fullmatch(r"(opus|opusplan|sonnet|haiku|fable|default)(\[1m\])?", model)
    return {
        "list": request.method == "GET",
        "billable": request.method == "POST",
        "workspace": request.headers.get("anthropic-workspace-id"),
        "offending": _offending(failure.message, request.body),
        "model": model or None,
        "closest": ", ".join(closest) or None,
        "foreign_id": model if is_foreign else None,
        "alias": model if is_alias else None,
        "corrected": corrected if corrected != model and not is_foreign else None,
    }


def _offending(message: str, body: Any) -> str | None:
    """Show the part of the body that the API's path leads to, as far as it leads."""
    path, followed = re.match(r"([\w-]+(?:\.[\w-]+)*): ", message), []
    for step in path[1].split(".") if path else ():
        try:
            body = body[int(step)] if isinstance(body, list) else body[step]
        except (LookupError, TypeError, ValueError):
            continue  # a name of the API's own, such as the kind of a tool
        followed.append(step)
    shown = json.dumps(body, ensure_ascii=False)
    return f"{'.'.join(followed)} = {shown[:200]}{'…' * (len(shown) > 200)}" if followed else None


def _of_host(report: Report, request: Request) -> dict[str, Any]:
    from ipaddress import ip_address  # noqa: PLC0415 only when something failed

    home, exchange, by = is_home(report), report.exchange, report.speaker
    url = urlsplit(DEFAULT_BASE_URL if report.simulated and home else request.url)
    host, port, via, address = url.netloc, url.port, exchange.via, exchange.address
    host_and_port = host if port else f"{host}:{443 if url.scheme == 'https' else 80}"
    is_local = endpoint.is_loopback(url.hostname) and not report.simulated
    speakers = {"api": "The API", "edge": "The API's edge (Cloudflare)", "gateway": host}
    speakers["way"] = host if is_local else f"Something on the way to {host}"
    return {
        "host": host,
        "hostname": url.hostname,
        "host_and_port": host_and_port,
        "dialled": urlsplit(f"//{via or host}").hostname,
        "dialled_port": via or host_and_port,
        "address": address,
        "silent": ", ".join(exchange.silent) or None,
        "diverted": home and address and not via and ip_address(address.split("%")[0]).is_private,
        "via": via,
        "loopback": host if is_local else None,
        "gateway": not home,
        "remote": not is_local,
        "status_page": "https://status.claude.com" if home or by == "api" else None,
        "api": by == "api",
        "api_or_edge": by in ("api", "edge"),
        "not_api": by in ("gateway", "way"),
        "speaker": speakers.get(by or ""),
        "waited": in_words([0.0, *exchange.durations().values()][-1]),
        "connecting": not (is_local or via) and exchange.phase in (Phase.DNS, Phase.TCP),
    }


def _of_answer(failure: Failure, answer: Answer, report: Report) -> dict[str, Any]:
    headers, message, wait = answer.headers, failure.message, report.exchange.refused_wait
    found = {name: re.search(said, message, re.IGNORECASE) for name, said in MENTIONED.items()}
    sent = report.request.headers if report.request else {}
    versions = re.findall(r"\b20\d\d-\d\d-\d\d\b", message) if "version" in message else ()
    others = (version for version in versions if version != sent.get("anthropic-version"))
    return {
        **{name: match and match[match.lastindex or 0] for name, match in found.items()},
        **credential.wanted(message, answer, sent),
        "wanted_version": next(others, None),
        "status": answer.status,
        "organization": headers.get("anthropic-organization-id", "of this key"),
        "cf_ray": headers.get("cf-ray"),
        "location": headers.get("location", "nowhere"),
        "judged": status_of(failure) in (401, 403) or "disabled" in message,
        "mute": subject(failure, report) == "nothing",
        "limits": " ".join(exhausted_limits(headers)) or None,
        "unfit_wait": in_words(wait) if wait else None,
        "ample_timeout": f"{wait + report.timeout + 0.5:.0f}" if wait and wait < 86_400 else None,
    }
