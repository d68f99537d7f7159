"""Why there is no reply, whose move it is, and what is worth a note when there is one."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from claude_ping import api, checks
from claude_ping.records import (
    Answer,
    Diagnosis,
    ExitCode,
    Failure,
    Fault,
    Journey,
    Models,
    Outcome,
    Phase,
    Reply,
    Request,
    Settings,
)
from claude_ping.rules import CONSOLE, RULES, Rule

MAX_HINTS = 3
MAX_PART = 200  # characters of the request's own body
MAX_MESSAGE = 1000  # characters of an error's own text
RETRYABLE = (ExitCode.SERVER, ExitCode.NETWORK, ExitCode.RATE)

# An error inside a 200 has only its type to be classed by.
_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_MODEL_PATTERNS = (
    (
        r"(us|eu|apac|global)?\.?anthropic\.|-v\d+:\d",
        "That is an id of Amazon Bedrock; here it is claude-…",
    ),
    (r"@", "That is an id of Google Vertex AI; here it has no @."),
    (r"/", "That is an id of OpenRouter or LiteLLM; here it has no vendor and slash before it."),
    (r"\d\.\d", "Ids here have dashes for dots: 4-5, not 4.5."),
    (r"-latest$", "There are no -latest ids any more."),
    (
        r"(opus|sonnet|haiku|fable|default|opusplan)(\[1m\])?$",
        "That is an alias of Claude Code; here it is claude-…",
    ),
)
_STOP_NOTES = {
    "max_tokens": "the reply is cut at --max-tokens {max_tokens}, in which thinking counts too",
    "refusal": "the model declined to answer{refusal}; the API works",
    "model_context_window_exceeded": "the reply is cut: the model's context window is full",
    "pause_turn": "the model paused in the middle of its turn; the API works",
}


class Context(NamedTuple):
    """What surrounds an outcome."""

    settings: Settings | None = None
    request: Request | None = None
    journey: Journey = Journey()
    timeout: float = 0.0  # seconds
    tls_facts: Mapping[str, str | None] = {}


def diagnose(outcome: Outcome | None, context: Context) -> Diagnosis:
    """Say whose move it is; of a failure, by the first rule that matches."""
    if outcome is None:
        return Diagnosis(ExitCode.OK, "dry run: nothing was sent")
    if isinstance(outcome, Reply):
        return Diagnosis(ExitCode.OK, f"{outcome.answer.status} OK", key_accepted=True)
    if isinstance(outcome, Models):
        count = f"{len(outcome.models)} models"
        return Diagnosis(ExitCode.OK, f"{outcome.answer.status} OK, {count}", key_accepted=True)
    failure = outcome
    rule = rule_for(failure)
    known_facts = facts(failure, context)
    retryable = rule.exit_code in RETRYABLE if rule.retryable is None else rule.retryable
    return Diagnosis(
        rule.exit_code,
        next(_filled([rule.headline], known_facts), failure.message),
        (*_filled(rule.known, known_facts), *failure.known),
        (*_filled(rule.hints, known_facts), *failure.hints)[:MAX_HINTS],
        _key_accepted(rule, failure),
        retryable,
    )


def rule_for(failure: Failure) -> Rule:
    """Return the first rule that matches."""
    return next(rule for rule in RULES if matches(rule, failure))


def matches(rule: Rule, failure: Failure) -> bool:
    """Whether the rule speaks of this failure."""
    return (
        rule.fault is failure.fault
        and (failure.answer is None or effective_status(failure) in rule.status)
        and rule.type in (None, failure.error_type)
        and (not rule.code or failure.error_code in rule.code)
        and bool(re.search(rule.says, failure.message, re.IGNORECASE))
        and (
            rule.by is None
            or (failure.answer is not None and rule.by == answered_by(failure.answer))
        )
    )


def effective_status(failure: Failure) -> int:
    """Return the HTTP status, or for an error inside a 200 the one that its type stands for."""
    status = failure.status or 0
    if status == 200 and failure.fault is Fault.HTTP:
        return _STATUS_OF_TYPE.get(failure.error_type or "", 500)
    return status


def answered_by(answer: Answer) -> str:
    """Tell an answer of the API, which has a request-id, from a web page and from anything else."""
    if answer.request_id:
        return "api"
    return "html" if api.html_title(answer) is not None else "other"


def is_worth_retrying(failure: Failure) -> bool:
    """Whether the same request may fare better in a moment, as the contract of retries has it."""
    if failure.fault in (Fault.REFUSED, Fault.LOST):
        return True
    if failure.fault is not Fault.HTTP or failure.answer is None or failure.answer.status < 400:
        return False
    if rule_for(failure).exit_code is ExitCode.ACCOUNT:
        return False
    asked = failure.answer.headers.get("x-should-retry")
    if asked in ("true", "false"):
        return asked == "true"
    return failure.answer.status in (408, 409, 429) or failure.answer.status >= 500


def _key_accepted(rule: Rule, failure: Failure) -> bool | None:
    headers = failure.answer.headers if failure.answer else {}
    if (
        rule.key_accepted is None
        and {"anthropic-organization-id", "anthropic-workspace-id"} & headers.keys()
    ):
        return True
    return rule.key_accepted


def _filled(templates: Iterable[str], known_facts: Mapping[str, str]) -> Iterator[str]:
    for template in templates:
        try:
            yield template.format_map(known_facts)
        except KeyError:  # a fact that nobody knows
            continue


def facts(failure: Failure, context: Context) -> dict[str, str]:
    """Return what is known of a failed run, by the names that the rules use."""
    settings, answer = context.settings, failure.answer
    found = {
        "answerer": _answerer(settings, answer) if settings else None,
        "message": _cut(failure.message),
        **_settings_facts(context),
        **_answer_facts(failure),
        **_journey_facts(context),
        **_request_facts(context),
        **context.tls_facts,
        "expected": _string(failure.details.get("expected")) or "a message",
        "closest": _closest(failure, context),
        "offending": _offending(failure, context),
        "appeal_url": _string(failure.details.get("appeal_url")),
        "timeout": f"{context.timeout:g}",
        "date": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
    }
    return {name: value for name, value in found.items() if value is not None}


def _closest(failure: Failure, context: Context) -> str | None:
    """Name the models that the one asked for may have been meant to be."""
    identifiers = failure.details.get("models")
    model = (context.request.body or {}).get("model") if context.request else None
    if not isinstance(identifiers, list) or not identifiers or not isinstance(model, str):
        return None
    from difflib import get_close_matches  # noqa: PLC0415 for this hint alone

    closest = get_close_matches(model.lower(), identifiers, n=3, cutoff=0.4)
    return f"The closest that this key may use: {', '.join(closest or identifiers[:3])}"


def _offending(failure: Failure, context: Context) -> str | None:
    """Show the part of the body that the API's path leads to, as far as it leads."""
    path = re.match(r"([\w-]+(?:\.[\w-]+)*): ", failure.message)
    part: Any = context.request.body if context.request else None
    if path is None or part is None:
        return None
    followed: list[str] = []
    for step in path[1].split("."):
        try:
            part = part[int(step)] if isinstance(part, list) else part[step]
        except (LookupError, TypeError, ValueError):
            continue  # a name of the API's own, such as the kind of a tool
        followed.append(step)
    shown = json.dumps(part, ensure_ascii=False)
    shown = shown if len(shown) <= MAX_PART else f"{shown[:MAX_PART]}…"
    return f"What was sent there: {'.'.join(followed)} = {shown}" if followed else None


def _cut(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}…"


def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _settings_facts(context: Context) -> dict[str, str | None]:
    settings = context.settings
    if settings is None:
        return {}
    credential = settings.credential
    described = (
        f"{credential.noun} {credential.secret} ({len(credential.secret)} characters,"
        f" {credential.name} from {credential.source})"
    )
    is_unusual = checks.is_unusual_length(credential.secret.reveal())
    ends_in_v1 = re.search(r"/v1(/messages)?$", settings.base_url)
    whole = "Is it whole? Keys of its kind have had 108 characters so far."
    doubled = "The base URL must not end so: /v1/messages is appended to it."
    return {
        "credential": described,
        "Credential": described[0].upper() + described[1:],
        "credential_header": "x-api-key" if credential.kind == "api_key" else "authorization",
        "shadowed": settings.shadowed,
        "suspicion": settings.suspicion,
        "unusual_length": whole if is_unusual else None,
        "custom_headers": "Look at -H and ANTHROPIC_CUSTOM_HEADERS." if settings.headers else None,
        "doubled": doubled if ends_in_v1 else None,
        **(_home_facts() if is_home_of(settings) else _gateway_facts(settings)),
    }


def _home_facts() -> dict[str, str]:
    """Return what is so only where the API itself is asked."""
    return {
        "home_key": f"It was deleted, expired or mistyped: compare with {checks.CONSOLE_KEYS}",
        "billing": f"Look at {CONSOLE}/billing",
        "unseen": "The key was not looked at.",
        "resigned": "Something between here and there re-signs TLS: a company proxy or antivirus.",
    }


def _gateway_facts(settings: Settings) -> dict[str, str]:
    """Return what is so only where a gateway is asked."""
    place = f"{settings.base_url} ({settings.base_url_source})"
    return {
        "gateway": f"Is {place} the right base URL?",
        "gateway_key": "Is it a key for that gateway? It may not take Anthropic's own.",
        "unseen": "Whether it looked at the key is not known.",
        "resigned": (
            "The host's own certificate is self-signed, or something on the way re-signs TLS."
        ),
    }


def is_home_of(settings: Settings) -> bool:
    """Whether the API itself is asked, not a gateway; a rehearsal reads as the real thing would."""
    return checks.is_default_host(settings.base_url) or settings.base_url_source == "--simulate"


def _answerer(settings: Settings, answer: Answer | None) -> str:
    if not is_home_of(settings):
        return settings.base_url
    return "The API" if answer and answer.request_id else "What answered"


def _answer_facts(failure: Failure) -> dict[str, str | None]:
    answer = failure.answer
    if answer is None:
        return {}
    headers = answer.headers
    server = headers.get("server")
    organization = headers.get("anthropic-organization-id")
    who = f" (server: {server})" if server else ""
    reset = re.search(r"You will regain access on ([^.]+)", failure.message)
    limit = re.search(r"max_tokens: \d+ > (\d+)", failure.message)
    path = re.match(r"([\w.\[\]-]+): ", failure.message)
    wait = headers.get("retry-after")
    return {
        "status": str(answer.status),
        "reason": answer.reason or "OK",
        "type_": f"{failure.error_type}: " if failure.error_type else "",
        "organization": f"organization {_shortened(organization)}"
        if organization
        else "its organization",
        "no_request_id": (
            None
            if answer.request_id
            else f"No request-id came with the answer: it is not the API's own{who}."
        ),
        "cf_ray": f"Cloudflare's trace of it: cf-ray {headers['cf-ray']}"
        if "cf-ray" in headers
        else None,
        "location": headers.get("location", "nowhere"),
        "retry_after": f"The server asks to wait {wait} s." if wait and wait.isdigit() else None,
        "regain": f"Otherwise wait until {reset[1]}." if reset else None,
        "max_tokens_limit": limit[1] if limit else None,
        "path": path[1] if path else None,
        "limits": _exhausted_limits(headers),
    }


def _shortened(identifier: str) -> str:
    return f"{identifier[:4]}…{identifier[-4:]}" if len(identifier) > 12 else identifier


def _exhausted_limits(headers: Mapping[str, str]) -> str | None:
    prefix = "anthropic-ratelimit-"
    spent = [
        name.removeprefix(prefix).removesuffix("-remaining")
        for name, value in headers.items()
        if name.startswith(prefix) and name.endswith("-remaining") and value == "0"
    ]
    found = []
    for name in spent:
        limit, reset = (headers.get(f"{prefix}{name}-{part}", "?") for part in ("limit", "reset"))
        found.append(f"{name.replace('-', ' ').capitalize()}: 0 of {limit} left until {reset}.")
    return " ".join(found) or None


def _journey_facts(context: Context) -> dict[str, str | None]:
    journey, request = context.journey, context.request
    if request is None:
        return {}
    host = urlsplit(request.url).netloc
    dialled = journey.via or host
    unfit = f"{journey.unfit_wait:.1f} s" if journey.unfit_wait is not None else None
    return {
        "host": host,
        "host_and_port": host if re.search(r":\d+$", host) else f"{host}:443",
        "url": request.url,
        "phase": journey.phase.value,
        "dialled": f"{dialled} (the proxy)" if journey.via else host,
        "dialled_name": re.sub(r":\d+$", "", dialled),
        "sent": _sent(journey),
        "tried": f"Tried {', '.join(journey.tried)}." if len(journey.tried) > 1 else None,
        "ipv6": _ipv6(journey),
        "unfit_wait": (
            f"A wait of {unfit} does not fit into --timeout {context.timeout:g}." if unfit else None
        ),
        **(_proxy_facts(journey) if journey.via else {}),
    }


def _proxy_facts(journey: Journey) -> dict[str, str | None]:
    return {
        "proxy_host": journey.via,
        "proxy": f"Is the proxy {journey.via} the right one? See HTTPS_PROXY and NO_PROXY.",
        "via": f"It went by the proxy {journey.via}.",
        "proxy_login": (
            "The proxy did not accept the user and password that HTTPS_PROXY gives."
            if journey.has_proxy_login
            else "The proxy wants a user name and a password."
        ),
    }


def _ipv6(journey: Journey) -> str | None:
    """Suspect IPv6 where it alone was tried and never answered."""
    untried = [address for address in journey.untried if ":" not in address]
    is_stuck = journey.tried and all(":" in address for address in journey.tried)
    if journey.sent or not (is_stuck and untried):
        return None
    tried = ", ".join(journey.tried)
    return f"Only IPv6 was tried ({tried}), not {untried[0]}: IPv6 may be broken here."


def _sent(journey: Journey) -> str:
    if not journey.sent:
        return "The key was not sent."
    if journey.phase in (Phase.WAITING, Phase.READING):
        return "The request had been sent, with the key; it may be billed."
    return "An earlier attempt had sent the request, with the key."


def _request_facts(context: Context) -> dict[str, str | None]:
    request = context.request
    if request is None:
        return {}
    body: Mapping[str, Any] = request.body or {}
    model = _string(body.get("model"))
    workspace = _string(request.headers.get("anthropic-workspace-id"))
    pattern = next(
        (hint for pattern, hint in _MODEL_PATTERNS if re.search(pattern, model or "")), None
    )
    return {
        "model": model,
        "model_pattern": pattern,
        "sent_workspace": workspace,
        "sent_workspace_hint": f"Has the key access to the workspace {workspace}?"
        if workspace
        else None,
    }


def notes(reply: Reply, request: Request) -> tuple[str, ...]:
    """Return what is worth saying of a reply that did come."""
    message, body = reply.message, request.body or {}
    found = []
    stop_reason, content = message.get("stop_reason"), message.get("content")
    if isinstance(stop_reason, str) and stop_reason in _STOP_NOTES:
        details = message.get("stop_details")
        category = _string(details.get("category")) if isinstance(details, dict) else None
        refusal = f" ({category})" if category else ""
        found.append(
            _STOP_NOTES[stop_reason].format(max_tokens=body.get("max_tokens"), refusal=refusal)
        )
    if not isinstance(content, list):
        found.append("content is not a list of blocks, as it would be from the API")
    elif not content and stop_reason != "refusal":
        found.append(f"the reply has no content; the API works (stop_reason {stop_reason})")
    if "model" in body and message.get("model") != body["model"]:
        found.append(
            f"asked for {body['model']}, answered by {message.get('model') or 'no model it names'}"
        )
    return tuple(found)
