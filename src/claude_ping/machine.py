"""Reports for programs: the JSON document, curl, GitHub Actions, one line. Returns strings."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from claude_ping import __version__, render
from claude_ping.records import Answer, Credential, ExitCode, Phase, Report, Request, Secret
from claude_ping.screen import inline, mask

_REPORTED = (
    r"request-id|anthropic-.*|retry-after(-ms)?|x-should-retry|cf-.*|server|via|date|location"
    r"|content-(type|length|encoding)|x-amzn-requestid|www-authenticate"
)


def as_json(report: Report, client: Mapping[str, str]) -> str:
    """Return the one document: the same keys whatever happened, null where nothing is known."""
    exchange, settings, code = report.exchange, report.settings, report.exit_code
    document = {
        "schema_version": 1,
        "tool": f"claude-ping {__version__}",
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "ok": code is ExitCode.OK,
        "exit_code": code.value,
        "class": code.name.lower(),
        "retryable": code.is_retryable,
        "key_accepted": report.key_accepted,
        "simulated": report.simulated is not None,
        "headline": " ".join(report.headline.split()),
        **{name: getattr(report, name) for name in ("explanation", "hints", "warnings", "fault")},
        "credential": settings and _credential(settings.credential),
        "request": report.request and _request(report, report.request),
        "response": report.answer and _response(report.answer),
        "attempts": exchange.attempts,
        "retries": [{"reason": why, "wait": round(wait, 3)} for why, wait in exchange.retries],
        "timing": _timing(report),
        "client": client,
    }
    text = json.dumps(document, indent=2, allow_nan=False)
    return text.replace("##", r"#\u0023")  # no command to a runner that reads along


def _credential(credential: Credential) -> dict[str, Any]:
    kind, secret, _, source = credential
    return {"kind": kind, "source": source, "length": len(secret), "last4": secret.last4}


def _request(report: Report, request: Request) -> dict[str, Any]:
    headers = {name: str(value) for name, value in request.headers.items()}
    sent = {"method": request.method, "url": request.url, "headers": headers, "body": request.body}
    return {**sent, "proxy": report.exchange.via, "address": report.exchange.address}


def _response(answer: Answer) -> dict[str, Any]:
    headers, text = answer.headers, None
    if answer.json is None:  # masked before it is cut, lest half of a key is left
        text = mask(answer.body.decode("utf-8", "replace"))[: render.MAX_BODY]
    worth = {name: value for name, value in headers.items() if re.fullmatch(_REPORTED, name)}
    head = {"status": answer.status, "request_id": answer.request_id, "headers": worth}
    organization = headers.get("anthropic-organization-id")
    return {**head, "organization": organization, "body": answer.json, "body_text": text}


def _timing(report: Report) -> dict[str, float | None]:
    done = report.exchange.durations()
    done.pop(report.exchange.phase, None)  # it has not come to its end
    connect = done[Phase.DNS] + done[Phase.TCP] if Phase.TCP in done else None
    tls, first_byte = done.get(Phase.TLS), done.get(Phase.WAITING)
    seconds = {"connect": connect, "tls": tls, "first_byte": first_byte, "total": report.total}
    seconds["first_text"] = report.exchange.first_text
    return {name: value and round(value, 6) for name, value in seconds.items()}


def as_curl(report: Report) -> str:
    """Return the request as a command for sh, with variables in place of its secrets."""
    request, settings = report.request, report.settings
    if request is None or settings is None:
        return ""
    url, credential = request.url, settings.credential
    literally = " --globoff --path-as-is" if re.search(r"[\[\]{}]|/\.", url) else ""
    words = [f"curl -sS{literally} -X {request.method} {shlex.quote(url)}"]
    for name, value in request.headers.items():
        if not value:  # to curl, "name:" means to leave the header out
            header = shlex.quote(f"{name};")
        elif not isinstance(value, Secret):
            header = shlex.quote(f"{name}: {value}")
        elif name in ("x-api-key", "authorization") and credential.name.startswith("ANTHROPIC_"):
            scheme = "Bearer " * value.reveal().startswith("Bearer ")
            header = f'"{name}: {scheme}${credential.name}"'
        else:
            variable = re.sub(r"\W", "_", name).upper()
            header = f'{shlex.quote(f"{name}: ")}"${variable}"'
        words.append(f"-H {header}")
    if request.data:
        # Bare line breaks stand between tokens; all else that is odd in strings, which can say so.
        text = re.sub(r"[\n\r\t]", " ", request.data.decode()).replace("##", r"#\u0023")
        text = re.sub("[^ -~]", lambda match: json.dumps(match[0])[1:-1], text)
        words.append(f"-d @- <<'EOF'\n{text}\nEOF")
    return " \\\n  ".join(words)


def workflow_command(report: Report) -> str:
    """Return the GitHub Actions workflow command that marks the step with the failure."""
    code, lines = report.exit_code, [short(report), *report.explanation, *report.hints]
    kind = "warning" if code.is_retryable else "error"
    told = "%0A".join(inline(line).replace("%", "%25") for line in lines)
    return f"::{kind} title=claude-ping%3A {code.name.lower()} (exit code {code.value})::{told}"


def short(report: Report) -> str:
    """Return the failure in one line."""
    told = [f"exit {report.exit_code.value} {report.exit_code.name.lower()}"]
    if report.settings and report.request:
        key, host = report.settings.credential, urlsplit(report.request.url).netloc
        told += [f"{key.noun} {key.secret} from {key.source}", host]
    if report.answer and report.answer.request_id:
        told += [f"request-id {report.answer.request_id}"]
    return inline(f"claude-ping: {' '.join(report.headline.split())} ({'; '.join(told)})")
