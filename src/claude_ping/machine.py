"""Reports for programs: the JSON document, curl, GitHub Actions, one line. Returns strings."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from claude_ping import __version__, render
from claude_ping.records import Answer, Credential, ExitCode, Phase, Report, Request, Secret
from claude_ping.screen import inline, mask

MAX_BODY_TEXT = 2000  # characters
MAX_ARGUMENT = 100_000  # bytes; Linux takes 128 KiB
_REPORTED_HEADERS = (
    r"request-id|anthropic-.*|retry-after(-ms)?|x-should-retry|cf-.*|server|via|date|location"
    r"|content-(type|length|encoding)|x-amzn-requestid|www-authenticate"
)


def as_json(report: Report, client: Mapping[str, str]) -> str:
    """Return the one document: the same keys whatever happened, null where nothing is known."""
    exchange, settings, code = report.exchange, report.settings, report.exit_code
    document = {
        "schema_version": 1,
        "tool": f"claude-ping {__version__}",
        "time": render.timestamp("%Y-%m-%dT%H:%M:%SZ"),
        "ok": code is ExitCode.OK,
        "exit_code": code.value,
        "class": code.name.lower(),
        "retryable": code.is_retryable,
        "key_accepted": report.key_accepted,
        "simulated": report.simulated is not None,
        "headline": " ".join(report.headline.split()),
        "explanation": report.explanation,
        "hints": report.hints,
        "warnings": report.warnings,
        "fault": report.fault,
        "credential": settings and _credential(settings.credential),
        "request": report.request and _request(report, report.request),
        "response": report.answer and _response(report.answer),
        "attempts": exchange.attempts,
        "retries": [{"reason": one.reason, "wait": round(one.wait, 3)} for one in exchange.retries],
        "timing": _timing(report),
        "client": client,
    }
    text = json.dumps(document, indent=2, allow_nan=False)
    # The same to a parser, but no command to a runner that reads along.
    return text.replace("##[", "#\\u0023[").replace("##vso[", "#\\u0023vso[")


def _credential(credential: Credential) -> dict[str, Any]:
    kind, secret, _, source = credential
    return {"kind": kind, "source": source, "length": len(secret), "last4": secret.last4}


def _request(report: Report, request: Request) -> dict[str, Any]:
    headers = {name: str(value) for name, value in request.headers.items()}
    sent = {"method": request.method, "url": request.url, "headers": headers, "body": request.body}
    return {**sent, "proxy": report.exchange.via, "address": report.exchange.address}


def _response(answer: Answer) -> dict[str, Any]:
    # Masked before it is cut, lest half of a key is left.
    text = mask(answer.body.decode("utf-8", "replace")) if answer.json is None else None
    worth = {name: x for name, x in answer.headers.items() if re.fullmatch(_REPORTED_HEADERS, name)}
    return {
        "status": answer.status,
        "request_id": answer.request_id,
        "headers": worth,
        "organization": answer.headers.get("anthropic-organization-id"),
        "body": answer.json,
        "body_text": text and text[:MAX_BODY_TEXT],
    }


def _timing(report: Report) -> dict[str, float | None]:
    exchange = report.exchange
    # The phase that it stopped in has not come to its end.
    done = {phase: took for phase, took in exchange.durations().items() if phase != exchange.phase}
    seconds = {
        "connect": done[Phase.DNS] + done[Phase.TCP] if Phase.TCP in done else None,
        "tls": done.get(Phase.TLS),
        "first_byte": done.get(Phase.WAITING),
        "first_text": render.first_text(report),
        "total": report.total,
    }
    return {name: value and round(value, 6) for name, value in seconds.items()}


def as_curl(report: Report) -> str:
    """Return the request as a command for sh, with variables in place of its secrets."""
    request, settings = report.request, report.settings
    if request is None or settings is None:
        return ""
    url, data, credential = request.url, request.data or b"", settings.credential
    options = " --globoff" if re.search(r"[\[\]{}]", url) else ""
    options += " --path-as-is" if "/." in url else ""
    headers = [_curl_header(name, value, credential) for name, value in request.headers.items()]
    words = [f"curl -sS{options} -X {request.method} {shlex.quote(url)}"]
    words += [f"-H {header}" for header in headers]
    if len(data) < MAX_ARGUMENT and re.fullmatch(rb"[ -~]*", data) and b"##" not in data:
        words += [f"--data-raw {shlex.quote(data.decode())}"] if data else []
        return " \\\n  ".join(words)
    # printf is the shell's own: it takes any length, and octal escapes survive any locale.
    escaped = re.sub(rb"[^ A-Za-z0-9_.,:;{}\[\]\"()=+*/<>-]", lambda m: b"\\%03o" % m[0][0], data)
    words[0] = f"printf '{escaped.decode()}' | {words[0]}"
    return " \\\n  ".join([*words, "--data-binary @-"])


def _curl_header(name: str, value: str | Secret, credential: Credential) -> str:
    if not len(value):  # to curl, "name:" means to leave the header out
        return shlex.quote(f"{name};")
    if not isinstance(value, Secret):
        return shlex.quote(f"{name}: {value}")
    variable = re.sub(r"\W", "_", name).upper()
    if name in ("x-api-key", "authorization") and credential.name.startswith("ANTHROPIC_"):
        variable = credential.name
    scheme = value.reveal().partition(" ")[0]
    prefix = f"{scheme} " if scheme.lower() in ("basic", "bearer") else ""
    if re.fullmatch(r"[\w-]+", name):
        return f'"{name}: {prefix}${variable}"'
    return f'{shlex.quote(f"{name}: {prefix}")}"${variable}"'


def workflow_command(report: Report) -> str:
    """Return the GitHub Actions workflow command that marks the step with the failure."""
    code = report.exit_code
    kind = "warning" if code.is_retryable else "error"
    title = f"claude-ping%3A {code.name.lower()} (exit code {code.value})"
    lines = [short(report), *map(inline, [*report.explanation, *report.hints])]
    return f"::{kind} title={title}::{'%0A'.join(line.replace('%', '%25') for line in lines)}"


def short(report: Report) -> str:
    """Return the failure in one line."""
    code, answer = report.exit_code, report.answer
    told = [f"exit {code.value} {code.name.lower()}"]
    if report.settings and report.request:
        credential = report.settings.credential
        told += [f"{credential.noun} {credential.secret} from {credential.source}"]
        told += [urlsplit(report.request.url).netloc]
    if answer and answer.request_id:
        told += [f"request-id {answer.request_id}"]
    return inline(f"claude-ping: {' '.join(report.headline.split())} ({'; '.join(told)})")
