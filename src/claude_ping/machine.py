"""Reports for machines: the JSON document, curl, GitHub Actions. Returns strings."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from claude_ping import __version__
from claude_ping.records import (
    Answer,
    Credential,
    ExitCode,
    Report,
    Request,
    Secret,
    Timing,
)
from claude_ping.render import inline, visible

SCHEMA_VERSION = 1
MAX_BODY_TEXT = 2000  # characters
_REPORTED_HEADERS = re.compile(
    r"request-id|anthropic-.*|retry-after(-ms)?|x-should-retry|cf-.*|server|via|date|location"
    r"|content-(type|length|encoding)|x-amzn-requestid"
)


def as_json(
    report: Report, *, time: str, client: Mapping[str, str], scrub: Callable[[str], str]
) -> str:
    """Return the one document: the same keys whatever happened, null where nothing is known."""
    diagnosis, settings = report.diagnosis, report.settings
    document = {
        "schema_version": SCHEMA_VERSION,
        "tool": f"claude-ping {__version__}",
        "time": time,
        "ok": diagnosis.exit_code is ExitCode.OK,
        "exit_code": diagnosis.exit_code.value,
        "class": diagnosis.exit_code.name.lower(),
        "retryable": diagnosis.retryable,
        "key_accepted": diagnosis.key_accepted,
        "simulated": report.simulated,
        "headline": diagnosis.headline,
        "hints": diagnosis.hints,
        "warnings": [*(settings.warnings if settings else ()), *report.notes],
        "credential": _credential(settings.credential) if settings else None,
        "request": _request(report.request, report.journey.via) if report.request else None,
        "response": _response(report.answer, scrub) if report.answer else None,
        "attempts": report.journey.attempts,
        "timing": _timing(report.timing),
        "client": client,
    }
    # Value by value: in the text of the document a secret could be the name of a key.
    clean = {name: _scrubbed(value, scrub) for name, value in document.items()}
    # The other way to write a hash sign keeps text of the network from being a workflow command.
    return json.dumps(clean, indent=2, allow_nan=False).replace("##[", "#\\u0023[")


def _scrubbed(value: Any, scrub: Callable[[str], str], *, is_foreign: bool = False) -> Any:
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, (list, tuple)):
        return [_scrubbed(item, scrub, is_foreign=is_foreign) for item in value]
    if isinstance(value, Mapping):
        return {
            scrub(name) if is_foreign else name: _scrubbed(
                item, scrub, is_foreign=is_foreign or name in ("body", "headers")
            )
            for name, item in value.items()
        }
    return value


def _credential(credential: Credential) -> dict[str, Any]:
    return {
        "kind": credential.kind,
        "source": credential.source,
        "length": len(credential.secret),
        "last4": credential.secret.last4,
    }


def _request(request: Request, proxy: str | None) -> dict[str, Any]:
    return {
        "method": request.method,
        "url": request.url,
        "headers": {name: str(value) for name, value in request.headers.items()},
        "body": request.body,
        "proxy": proxy,
    }


def _response(answer: Answer, scrub: Callable[[str], str]) -> dict[str, Any]:
    text = None
    if answer.json is None:
        # Scrubbed before it is cut, lest half of a key is left.
        text = scrub(answer.body.decode("utf-8", "replace"))[:MAX_BODY_TEXT]
    return {
        "status": answer.status,
        "request_id": answer.request_id,
        "headers": reported_headers(answer),
        "body": answer.json,
        "body_text": text,
    }


def reported_headers(answer: Answer) -> dict[str, str]:
    """Return the response headers that a bug report needs."""
    return {
        name: value for name, value in answer.headers.items() if _REPORTED_HEADERS.fullmatch(name)
    }


def _timing(timing: Timing) -> dict[str, float | None]:
    names = ("connect", "tls", "first_byte", "first_text", "total")
    figures = timing._asdict()
    return {name: None if figures[name] is None else round(figures[name], 6) for name in names}


def as_curl(request: Request, data: bytes | None) -> str:
    """Return the request as a curl command for sh, with variables in place of its secrets."""
    words = ["curl -sS"]
    if "[" in request.url:
        words[0] += " --globoff"  # the brackets of an IPv6 address are no pattern
    words[0] += f" -X {request.method} {shlex.quote(request.url)}"
    words += [f"-H {_curl_header(name, value)}" for name, value in request.headers.items()]
    if data is not None:
        words.append(f"--data-raw {shlex.quote(data.decode())}")
    return " \\\n  ".join(words)


def _curl_header(name: str, value: str | Secret) -> str:
    if isinstance(value, Secret):
        scheme = value.reveal().partition(" ")[0]
        prefix = f"{scheme} " if scheme.lower() in ("basic", "bearer") else ""
        if re.fullmatch(r"[\w-]+", name):
            return f'"{name}: {prefix}${curl_variable(name)}"'
        return f'{shlex.quote(f"{name}: {prefix}")}"${curl_variable(name)}"'
    # To curl, "name:" means to leave the header out.
    return shlex.quote(f"{name}: {value}" if value else f"{name};")


def curl_variable(header: str) -> str:
    """Name the shell variable that stands for a secret header."""
    usual = {"x-api-key": "ANTHROPIC_API_KEY", "authorization": "ANTHROPIC_AUTH_TOKEN"}
    return usual.get(header) or re.sub(r"\W", "_", header).upper()


def error_command(report: Report) -> str:
    """Return the GitHub Actions workflow command that marks the step with the failure."""
    diagnosis = report.diagnosis
    title = (
        f"claude-ping: {diagnosis.exit_code.name.lower()} (exit code {diagnosis.exit_code.value})"
    )
    message = "\n".join([short(report), *map(inline, [*diagnosis.known, *diagnosis.hints])])
    escaped_title = _escaped(title).replace(":", "%3A").replace(",", "%2C")
    return f"::error title={escaped_title}::{_escaped(message)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def short(report: Report) -> str:
    """Return the failure in one line: status, type, what is wrong, and the request-id."""
    request_id = report.answer.request_id if report.answer else None
    suffix = f" (request-id {request_id})" if request_id else ""
    prefix = "simulated: " if report.simulated else ""
    return inline(" ".join(f"{prefix}{report.diagnosis.headline}{suffix}".split()))


def as_markdown(report: Report) -> str:
    """Return a short table for the summary of a GitHub Actions step."""
    diagnosis, answer = report.diagnosis, report.answer
    message = answer.json if answer and isinstance(answer.json, dict) else {}
    rows = {
        "result": diagnosis.headline,
        "exit code": f"{diagnosis.exit_code.value} {diagnosis.exit_code.name.lower()}",
        "model": message.get("model"),
        "request-id": answer.request_id if answer else None,
        "took": f"{report.timing.total:.2f} s, attempts: {report.journey.attempts}",
    }
    advice = [*diagnosis.known, *diagnosis.hints]
    mark = "✓" if diagnosis.exit_code is ExitCode.OK else "✗"
    simulated = " (simulated)" if report.simulated else ""
    lines = [f"| {mark} | claude-ping{simulated} |", "|---|---|"]
    lines += [f"| {name} | {_cell(str(value))} |" for name, value in rows.items() if value]
    lines += [f"| what to do | {'<br>'.join(map(_cell, advice))} |"] if advice else []
    return "\n".join(lines) + "\n\n"


def _cell(text: str) -> str:
    """Keep text of the network from being Markdown or HTML."""
    folded = visible(" ".join(text.split()))
    return re.sub(r"([\\`*_{}\[\]<>()#!|~])", r"\\\1", folded).replace("&", "&amp;")
