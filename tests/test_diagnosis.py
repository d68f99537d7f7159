"""Every rule speaks of something, and says whose move it is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
from helpers import KEY
from servers import error

from claude_ping import api, diagnosis
from claude_ping.diagnosis import Context
from claude_ping.records import (
    Answer,
    Credential,
    ExitCode,
    Failure,
    Fault,
    Journey,
    Phase,
    Reply,
    Request,
    Secret,
    Settings,
)
from claude_ping.rules import RULES


class Example(NamedTuple):
    """An answer as it has been seen, or a fault of the network, and its exit code."""

    exit_code: int
    status: int = 0
    body: Any = b""
    headers: Mapping[str, str] = {}
    fault: Fault = Fault.HTTP
    key_accepted: bool | None = None
    message: str = "words"

    def failure(self) -> Failure:
        if not self.status:
            return Failure(self.fault, self.message)
        data = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        parsed = None if isinstance(self.body, bytes) else self.body
        answer = Answer(self.status, "", self.headers, data, parsed)
        if self.fault is Fault.HTTP:
            return api.read_error(answer)
        return Failure(self.fault, "words", answer)


BY_API = {"request-id": "req_1"}
HTML = b"<!doctype html><html><head><title>%s</title></head></html>"


def refused(status: int, kind: str, message: str, **details: str) -> dict[str, Any]:
    return {"status": status, "body": error(kind, message, **details), "headers": BY_API}


def invalid(message: str, **details: str) -> dict[str, Any]:
    return refused(400, "invalid_request_error", message, **details)


EXAMPLES: dict[str, Example] = {
    "credential stripped": Example(
        4,
        **refused(401, "authentication_error", "x-api-key header is required"),
        key_accepted=False,
    ),
    "OAuth token refused": Example(
        4, **refused(401, "authentication_error", "OAuth token has expired."), key_accepted=False
    ),
    "origin refused": Example(
        4,
        **refused(
            401, "authentication_error", "CORS requests are not allowed for this Organization"
        ),
        key_accepted=False,
    ),
    "key not accepted": Example(
        4, **refused(401, "authentication_error", "invalid x-api-key"), key_accepted=False
    ),
    "no credit": Example(
        7,
        **invalid("Your credit balance is too low to access the Anthropic API."),
        key_accepted=True,
    ),
    "spend limit of your own": Example(
        7,
        **invalid(
            "You have reached your specified workspace API usage limits."
            " You will regain access on 2026-12-01 at 00:00 UTC."
        ),
        key_accepted=True,
    ),
    "spend cap of the tier": Example(
        7,
        **refused(429, "rate_limit_error", "cap", error_code="enforced_spend_limit_reached"),
        key_accepted=True,
    ),
    "spend cap of the contract": Example(
        7,
        **refused(429, "rate_limit_error", "cap", error_code="contract_spend_limit_reached"),
        key_accepted=True,
    ),
    "spend cap": Example(
        7,
        **refused(429, "rate_limit_error", "You have reached your API usage limits: your org…"),
        key_accepted=True,
    ),
    "organization disabled": Example(
        7, **invalid("This organization has been disabled."), key_accepted=True
    ),
    "organization on hold": Example(
        7,
        **invalid("On hold.", error_code="organization_on_hold", appeal_url="https://x/appeal"),
        key_accepted=True,
    ),
    "billing problem": Example(7, 402, b"pay", key_accepted=True),
    "billing problem by type": Example(
        7, **refused(403, "billing_error", "payment failed"), key_accepted=True
    ),
    "workspace needed": Example(
        9,
        **invalid(
            "anthropic-workspace-id is required when authenticating with an identity-linked API key"
        ),
    ),
    "API version": Example(9, **invalid('anthropic-version: "x, y" is not a valid version')),
    "beta header": Example(
        9, **invalid("Unexpected value(s) `x` for the `anthropic-beta` header.")
    ),
    "subscription token": Example(
        9, **invalid("This credential is only authorized for use with Claude Code and cannot be …")
    ),
    "Claude Code key orphaned": Example(
        9, **invalid("left", error_code="claude_code_key_creator_not_member")
    ),
    "encryption key": Example(9, **invalid("disabled", error_code="cmek_key_disabled")),
    "sampling parameter": Example(9, **invalid("`temperature` is deprecated for this model.")),
    "max_tokens too large": Example(
        9, **invalid("max_tokens: 128001 > 64000, which is the maximum allowed number of …")
    ),
    "prompt too long": Example(9, **invalid("prompt is too long: 3 tokens > 2 maximum")),
    "prefill": Example(9, **invalid("This model does not support assistant message prefill.")),
    "thinking": Example(9, **invalid('"thinking.type.enabled" is not supported for this model.')),
    "empty or misplaced message": Example(
        9, **invalid("messages: text content blocks must be non-empty")
    ),
    "data retention": Example(9, **invalid("not available with zero data retention")),
    "invalid field": Example(9, **invalid("messages.0.foo: Extra inputs are not permitted")),
    "body not read": Example(9, **invalid("The request body is not valid JSON: line 1")),
    "invalid request": Example(9, **invalid("something new")),
    "address not allowed": Example(
        4,
        **refused(
            403, "permission_error", "Your IP address isn't in this organization's allowed range."
        ),
    ),
    "sandbox": Example(
        4, **refused(403, "permission_error", "no", error_code="sandbox_egress_restricted")
    ),
    "OAuth not allowed": Example(
        4,
        **refused(403, "permission_error", "OAuth token does not meet scope requirement any_of(x)"),
    ),
    "permission": Example(4, 403, error("permission_error", "not allowed")),
    "blocked at the edge": Example(
        10,
        403,
        {"error": {"type": "forbidden", "message": "Request not allowed"}},
        {"cf-ray": "1-NRT"},
    ),
    "blocked by Cloudflare": Example(10, 403, HTML % b"Just a moment..."),
    "forbidden by the API": Example(4, **refused(403, "new_error", "no")),
    "blocked on the way": Example(10, 403, HTML % b"Company filter"),
    "model not found": Example(9, **refused(404, "not_found_error", "model: claude-3-opus")),
    "workspace not found": Example(9, **refused(404, "not_found_error", "workspace not found")),
    "not found by the API": Example(9, **refused(404, "not_found_error", "Not found")),
    "growing too fast": Example(
        8,
        **refused(429, "rate_limit_error", "ramp", error_code="ramp_limit_exceeded"),
        key_accepted=True,
    ),
    "too many at once": Example(
        8,
        **refused(
            429, "rate_limit_error", "Number of concurrent connections has exceeded your rate limit"
        ),
        key_accepted=True,
    ),
    "rate limit": Example(8, **refused(429, "rate_limit_error", "slow down"), key_accepted=True),
    "too many requests": Example(8, 429, HTML % b"Slow down"),
    "407 from a server": Example(6, 407, HTML % b"Proxy"),
    "request timeout": Example(9, 408),
    "conflict": Example(9, **refused(409, "conflict_error", "x")),
    "too large": Example(9, 413, HTML % b"413"),
    "page not found": Example(10, 404, HTML % b"404"),
    "wrong path": Example(9, 404, b"404 page not found"),
    "other request error": Example(9, 418, b"teapot"),
    "overloaded": Example(5, **refused(529, "overloaded_error", "Overloaded")),
    "encryption key unreachable": Example(
        5, **refused(503, "api_error", "x", error_code="cmek_key_unreachable")
    ),
    "processing took too long": Example(5, 504, HTML % b"504"),
    "server error": Example(5, **refused(500, "api_error", "Internal server error")),
    "bad gateway": Example(5, 520, HTML % b"520"),
    "redirect": Example(10, 302, b"", {"location": "https://login.example"}),
    "unexpected status": Example(10, 204),
    "not a message": Example(10, 200, HTML % b"Sign in", fault=Fault.NOT_A_MESSAGE),
    "not HTTP": Example(10, fault=Fault.NOT_HTTP),
    "reply too large": Example(10, fault=Fault.TOO_LARGE),
    "name not found": Example(6, fault=Fault.NAME_NOT_FOUND),
    "name look-up unavailable": Example(6, fault=Fault.NAME_UNAVAILABLE),
    "connection refused": Example(6, fault=Fault.REFUSED),
    "unreachable": Example(6, fault=Fault.UNREACHABLE),
    "connection lost": Example(6, fault=Fault.LOST),
    "answer cut": Example(6, fault=Fault.CUT),
    "proxy wants a password": Example(6, fault=Fault.PROXY, message="407 Authenticate"),
    "proxy refused": Example(6, fault=Fault.PROXY),
    "timeout": Example(6, fault=Fault.TIMEOUT),
    "TLS intercepted": Example(6, fault=Fault.TLS_INTERCEPTED),
    "TLS issuer unknown": Example(6, fault=Fault.TLS_UNKNOWN_ISSUER),
    "TLS certificate expired": Example(6, fault=Fault.TLS_EXPIRED),
    "TLS certificate not yet valid": Example(6, fault=Fault.TLS_NOT_YET_VALID),
    "TLS wrong host": Example(6, fault=Fault.TLS_WRONG_HOST),
    "TLS client certificate": Example(6, fault=Fault.TLS_CLIENT_CERTIFICATE),
    "TLS to a plain port": Example(6, fault=Fault.TLS_NOT_TLS),
    "TLS failed": Example(6, fault=Fault.TLS_OTHER),
    "not sent": Example(3, fault=Fault.CONFIG),
    "interrupted": Example(130, fault=Fault.INTERRUPTED),
    "a bug": Example(1, fault=Fault.INTERNAL),
}
NOT_RETRYABLE = {"407 from a server", "proxy wants a password"} | {
    name for name in EXAMPLES if name.startswith("TLS")
}

REQUEST = Request(
    "POST",
    "https://api.anthropic.com/v1/messages",
    {"anthropic-workspace-id": "wrkspc_1"},
    {"model": "claude-3.5-sonnet@latest", "max_tokens": 7},
)
SETTINGS = Settings(
    Credential("api_key", Secret(KEY), "ANTHROPIC_API_KEY", ".env (line 3)"),
    "https://api.anthropic.com",
    "the default",
    {},
)
JOURNEY = Journey(
    Phase.CONNECTING, sent=False, tried=("::2", "::3"), untried=("192.0.2.1",), via="p:1"
)


def test_every_rule_has_an_example_and_no_two_have_one_name() -> None:
    assert list(EXAMPLES) == [rule.name for rule in RULES]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_spoken_of_by_its_own_rule(name: str) -> None:
    example = EXAMPLES[name]
    failure = example.failure()

    found = diagnosis.diagnose(failure, Context(SETTINGS, REQUEST, JOURNEY, 30))

    assert diagnosis.rule_for(failure).name == name
    assert found.exit_code == example.exit_code
    assert found.key_accepted is example.key_accepted
    assert found.retryable is (example.exit_code in (5, 6, 8) and name not in NOT_RETRYABLE)
    assert len(found.hints) <= 3
    assert "{" not in found.headline
    assert (
        failure.message in found.headline
        or name in ("redirect", "reply too large")
        or not failure.answer
    )


def facts_that_can_be_known() -> set[str]:
    config = SETTINGS._replace(
        base_url="https://gateway.example/v1",
        credential=SETTINGS.credential._replace(secret=Secret("sk-ant-api03-short-one")),
        shadowed="x",
        suspicion="x",
        headers={"x-one": "1"},
    )
    other = {
        "retry-after": "1",
        "cf-ray": "1",
        "location": "/",
        "anthropic-ratelimit-x-remaining": "0",
    }
    known: set[str] = {"ca_file", "openssl"}
    for message in (
        "max_tokens: 9 > 8, which",
        "path: x. You will regain access on 2026-12-01 at 00:00 UTC.",
    ):
        example = Example(9, 400, error("t", message, appeal_url="x"), other)
        for model in ("claude-4.5", api.DEFAULT_MODEL):
            request = REQUEST._replace(body={"model": model})
            journey = JOURNEY._replace(unfit_wait=9.0)
            known |= diagnosis.facts(example.failure(), Context(config, request, journey, 3)).keys()
    page = Example(9, 404, HTML % b"x").failure()
    known |= {"closest", "offending"}  # see the tests of each below
    for settings in (config, SETTINGS):
        known |= diagnosis.facts(page, Context(settings, REQUEST, JOURNEY, 3)).keys()
    return known


def test_every_fact_is_used_and_every_one_that_is_used_can_be_known() -> None:
    used = {
        name
        for rule in RULES
        for template in (rule.headline, *rule.known, *rule.hints)
        for name in re.findall(r"\{(\w+)\}", template)
    }

    assert used == facts_that_can_be_known()


def test_every_status_has_a_class() -> None:
    classes = {
        range(200, 300): ExitCode.PROTOCOL,
        range(300, 400): ExitCode.PROTOCOL,
        range(500, 600): ExitCode.SERVER,
        range(600, 1000): ExitCode.PROTOCOL,
    }
    for statuses, exit_code in classes.items():
        for status in statuses:
            if status != 200:
                failure = Example(0, status).failure()
                assert diagnosis.diagnose(failure, Context()).exit_code is exit_code


@pytest.mark.parametrize(
    ("kind", "exit_code"),
    [
        ("authentication_error", ExitCode.AUTH),
        ("billing_error", ExitCode.ACCOUNT),
        ("permission_error", ExitCode.AUTH),
        ("rate_limit_error", ExitCode.RATE),
        ("overloaded_error", ExitCode.SERVER),
        ("invalid_request_error", ExitCode.REQUEST),
        ("brand_new_error", ExitCode.SERVER),
    ],
)
def test_an_error_inside_a_200_is_classed_by_its_type(kind: str, exit_code: ExitCode) -> None:
    failure = Example(0, **(refused(200, kind, "words"))).failure()

    assert diagnosis.diagnose(failure, Context()).exit_code is exit_code
    assert not diagnosis.is_worth_retrying(failure)


@pytest.mark.parametrize("name", ["invalid request", "model not found", "permission", "overloaded"])
def test_an_organization_in_the_headers_proves_the_key(name: str) -> None:
    example = EXAMPLES[name]._replace(headers={"anthropic-organization-id": "0123456789abcdef"})

    found = diagnosis.diagnose(example.failure(), Context(SETTINGS, REQUEST))

    assert found.key_accepted is True


@pytest.mark.parametrize(
    ("model", "hint"),
    [
        ("us.anthropic.claude-opus-4-v1:0", "Amazon Bedrock"),
        ("claude-sonnet-4@20250514", "Vertex AI"),
        ("anthropic/claude-sonnet-4", "OpenRouter"),
        ("claude-sonnet-4.5", "4-5, not 4.5"),
        ("claude-3-5-sonnet-latest", "-latest"),
        ("opus", "alias of Claude Code"),
        ("sonnet[1m]", "alias of Claude Code"),
    ],
)
def test_an_id_of_another_platform_is_recognized(model: str, hint: str) -> None:
    failure = EXAMPLES["model not found"].failure()
    request = REQUEST._replace(body={"model": model})

    found = diagnosis.diagnose(failure, Context(SETTINGS, request))

    assert hint in found.hints[0]


def test_the_limit_that_is_spent_is_named() -> None:
    prefix = "anthropic-ratelimit-"
    headers = {
        f"{prefix}requests-remaining": "5",
        f"{prefix}input-tokens-remaining": "0",
        f"{prefix}input-tokens-limit": "1000",
        f"{prefix}input-tokens-reset": "2026-11-21T12:00:00Z",
    }
    failure = EXAMPLES["rate limit"]._replace(headers=headers).failure()

    found = diagnosis.diagnose(failure, Context(SETTINGS, REQUEST))

    assert "Input tokens: 0 of 1000 left until 2026-11-21T12:00:00Z." in found.known


def test_an_ipv6_address_that_never_answers_is_suspected() -> None:
    found = diagnosis.diagnose(Failure(Fault.TIMEOUT), Context(SETTINGS, REQUEST, JOURNEY, 30))

    assert "Only IPv6 was tried (::2, ::3), not 192.0.2.1: IPv6 may be broken here." in found.known


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({"stop_reason": "max_tokens"}, "the reply is cut at --max-tokens 7"),
        ({"stop_reason": "refusal", "content": []}, "the model declined to answer; the API works"),
        (
            {"stop_reason": "refusal", "stop_details": {"category": "bio"}},
            "the model declined to answer (bio)",
        ),
        ({"content": []}, "the reply has no content; the API works (stop_reason end_turn)"),
        ({"content": None}, "content is not a list of blocks"),
        ({"model": "claude-other"}, "asked for m, answered by claude-other"),
    ],
)
def test_what_is_worth_saying_of_a_reply_is_a_note(fields: dict[str, Any], note: str) -> None:
    message = {"model": "m", "stop_reason": "end_turn", "content": [{"type": "text"}]} | fields
    request = REQUEST._replace(body={"model": "m", "max_tokens": 7})

    notes = diagnosis.notes(Reply(message, Answer(200, "OK", {}, b"")), request)

    assert len(notes) == 1
    assert note in notes[0]


PAYLOAD = {
    "model": "m",
    "messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}],
    "tools": [{"name": "t", "input_schema": {"type": "array"}}],
}


@pytest.mark.parametrize(
    ("message", "part"),
    [
        (
            "messages.0.content.0.text: Field required",
            'What was sent there: messages.0.content.0.text = ""',
        ),
        (
            "tools.0.custom.input_schema.type: Input should be 'object'",
            'What was sent there: tools.0.input_schema.type = "array"',
        ),
        ("messages.7.role: Field required", f"messages = {json.dumps(PAYLOAD['messages'])}"),
        ("nothing.of.this: Field required", None),
        ("metadata: Field required", None),
    ],
)
def test_the_part_of_the_body_that_was_refused_is_shown(message: str, part: str | None) -> None:
    failure = Example(9, **invalid(message)).failure()

    found = diagnosis.diagnose(failure, Context(SETTINGS, REQUEST._replace(body=PAYLOAD)))

    shown = [line for line in found.known if line.startswith("What was sent there: ")]
    assert [part in line for line in shown if part] == ([True] if part else [])


def test_a_long_part_is_cut() -> None:
    failure = Example(9, **invalid("messages.0: Field required")).failure()
    request = REQUEST._replace(body={"messages": ["x" * 999]})

    found = diagnosis.diagnose(failure, Context(SETTINGS, request))

    assert found.known[-1] == 'What was sent there: messages.0 = "' + "x" * 199 + "…"
