"""What gateways, proxies and the API itself really answer, and whose move it is then."""

from __future__ import annotations

import gzip
import json
import re
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest
import trustme
from helpers import Ran, Run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import MESSAGE, RawServer, answer, error, read_request, serving

import claude_ping

SCHEMA = json.loads(Path(claude_ping.__file__).with_name("report.schema.json").read_text("utf-8"))
M = "claude-sonnet-5-5"
LIST = {"data": [{"type": "model", "id": "claude-sonnet-5"}], "has_more": False}
HTML = b"<!doctype html><html><head><title>Staff only</title></head><body>Hello</body></html>"
OURS = {"request-id": "req_x"}
ORG = {"request-id": "req_x", "anthropic-organization-id": "0a1b2c3d-org"}
EDGE = {"cf-ray": "8f00-NRT", "server": "cloudflare"}
FORBIDDEN = {"error": {"type": "forbidden", "message": "Not from here"}}

# Of a loopback server that is not the API nobody may say this.
NEVER_OF_A_GATEWAY = (
    r"platform\.claude\.com|status\.claude\.com|mistyped|captive portal|\b32 MB"
    r"|(?i:(?<!of )\bthe API (says|is|read|refused|rejected|accepted|knows)\b)"
)
NOT_SENT = r"(?i:did not arrive|did not reach|removed|stripped|taken out)"
OTHER_MODEL = r"•\d .*(claude-sonnet-5(?!-)|--models)"
SAYS_NOTHING = r"(?i:another|other|different) model & (?i:request-id|support)"


class Row(NamedTuple):
    """One answer, and patterns (parted by " & ") that the verdict on it holds."""

    status: int
    body: Any
    says: str = ""
    headers: Mapping[str, str] = {}


class Kind(NamedTuple):
    """What is true of all its rows; hints are seen by the patterns as "•1 …", "•2 …"."""

    code: int
    key: bool | None
    rows: Mapping[str, Row]
    says: str = ""
    never: str = ""
    headers: Mapping[str, str] = {}


def said(message: Any, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, **fields}}


def invalid(message: str, **details: str) -> dict[str, Any]:
    return error("invalid_request_error", message, **details)


# fmt: off
MODEL = {
    "Ollama 404": Row(404, {**said(f"model '{M}' not found"), "request_id": "req_9f"}),
    "new-api 503": Row(503, said(f"No available channel for model {M}", code="model_not_found")),
    "one-api 503": Row(503, said(f"当前分组 vip 下对于模型 {M} 无可用渠道", type="one_api_error")),
    "new-api 403": Row(403, said(f"该令牌无权使用模型 {M}", type="new_api_error")),
    "a relay's plain 503": Row(503, f"no available channel for {M}\n".encode()),
    "Z.ai 400": Row(400, said("模型不存在", code="1211")),
    "LiteLLM 400": Row(400, said(f"Invalid model name passed in model={M}", code="400")),
    "LiteLLM 401": Row(401, said("not for this key", type="key_model_access_denied", code="401")),
    "OpenRouter 400": Row(400, said(f"{M} is not a valid model ID", code=400)),
    "OpenRouter 404": Row(404, said(f"No endpoints found for {M}.", code=404)),
    "vLLM 404": Row(404, {"message": f"The model `{M}` does not exist.", "type": "NotFoundError"}),
    "DeepSeek 400": Row(400, said("Model Not Exist", type="invalid_request_error")),
    "Copilot 400": Row(400, said("That one is not on offer", code="model_not_supported")),
    "a project's 403": Row(403, said(f"No access to {M} in p1", code="model_not_found")),
    "Workers AI 400": Row(400, {"errors": [{"code": 5007, "message": f"No such model {M}"}]}),
    "Bedrock 403": Row(403, {"message": "You don't have access to the model with this ID."}),
    "a Bedrock proxy's 400": Row(400, {"detail": f"Unsupported model {M}, see the models API"}),
    "Azure 400": Row(400, said(f"Unknown model: {M}", code="unknown_model")),
    "a plan's 429": Row(429, said(f"Model {M} is not allowed on the free plan")),
    "a plan's 402": Row(402, said(f"{M} is not supported on this tier", code="invalid_model")),
    "Envoy's plain 404": Row(404, b"No route matches: the model in the request is not configured"),
    "a 500": Row(500, {"error": f"model {M} not found"}),
    "wrapped": Row(500, error("api_error", json.dumps(said("gone", code="model_not_found")))),
}
MONEY = {
    "OpenRouter 402": Row(402, said("Out of credits: 1024 tokens asked, but can only afford 310."),
                          r"•1 .*--max-tokens 310\b"),
    "DeepSeek 402": Row(402, said("Insufficient Balance", type="unknown_error")),
    "Moonshot 429": Row(429, said("recharge first", type="exceeded_current_quota_error")),
    "Z.ai 429": Row(429, said("No resource package. Please recharge.", code="1113")),
    "Z.ai 429 in Chinese": Row(429, said("余额不足或无可用资源包", code="1113")),
    "LiteLLM 400": Row(400, said("Budget has been exceeded! Spent: 3.0", type="budget_exceeded")),
    "new-api 403": Row(403, said("预扣费额度失败", code="insufficient_user_quota")),
    "new-api 401": Row(401, said("该令牌额度已用尽", type="new_api_error")),
    "OpenAI 429": Row(429, said("Over your current quota: see plan", code="insufficient_quota")),
    "Vercel 403": Row(403, said("A valid credit card on file is required"), r"•1 .*\bcard\b"),
    "Portkey 412": Row(412, {"status": "failure", "message": "Usage budget exceeded for the key"}),
    "Bedrock 403": Row(403, {"message": "A valid payment method must be provided."}),
    "Copilot's plain 402": Row(402, b"You have no quota left\n"),
    "a relay's 503": Row(503, {"error": "No credits left on the account: top up"}),
    "a relay's plain 503": Row(503, b"upstream account: insufficient balance"),
    "an empty 402": Row(402, b""),
    "no credit, at second hand": Row(400, invalid("Your credit balance is too low to go on.")),
    "extra usage, at second hand": Row(400, {"detail": "You're out of extra usage."}),
}
MONEY_OF_THE_API = {
    "no credit": Row(400, invalid("Your credit balance is too low to access the Anthropic API."),
                     "The API says & 0a1b2c3d-org & (?i:console) & (?i:new key) & support", ORG),
    "out of extra usage": Row(400, invalid("You're out of extra usage. Add more and go on.")),
    "a limit": Row(400, invalid("You have reached your specified workspace API usage limits.")),
    "a tier": Row(429, error("rate_limit_error", "x", error_code="enforced_spend_limit_reached")),
    "contract": Row(429, error("rate_limit_error", "", error_code="contract_spend_limit_reached")),
    "a cap": Row(429, error("rate_limit_error", "You have reached your API usage limits: later")),
    "disabled": Row(400, invalid("This organization has been disabled.")),
    "on hold": Row(400, invalid("Held", error_code="organization_on_hold", appeal_url="https://a.x"),
                   r"https://a\.x"),
    "billing": Row(402, error("billing_error", "The payment failed.")),
}
RATE = {
    "a window": Row(429, said("You have exceeded the 20 req/min quota")),
    "without a key": Row(429, said("The free limit is reached without API key")),
    "a wait": Row(429, said("Quota exceeded. Try again in 12 seconds.")),
    "at the same time": Row(429, said("Concurrent request quota exceeded")),
    "a busy model": Row(429, said(f"Too many requests for model {M}, not allowed for now")),
    "requests per minute": Row(429, said("Quota exceeded: 10 requests per minute", code=429)),
    "tokens per minute": Row(429, said("Your quota of 9000 tokens per minute is used up")),
    "Azure": Row(429, said("You have exceeded the token rate limit of your pricing tier")),
    "LiteLLM": Row(429, said("Crossed TPM / RPM limit: current rpm 6, limit 5", code="429")),
    "new-api in Chinese": Row(429, said(f"模型 {M} 负载已饱和 请稍后再试", type="new_api_error")),
    "plain text": Row(429, b"Too Many Requests"),
}
MISSING = {
    "the API's words": Row(401, error("authentication_error", "x-api-key header is required")),
    "Kong": Row(401, {"message": "No API key found in request", "request_id": "8f1c"}),
    "LiteLLM": Row(401, said("Authentication Error, No api key passed in.", code="401")),
}
INVALID = {
    "invalid or missing": Row(401, {"detail": "Invalid or missing API key"}),
    "LiteLLM": Row(401, said("Authentication Error, invalid proxy token passed", code="401")),
    "new-api": Row(401, said("无效的令牌", type="new_api_error")),
    "the API's words": Row(401, error("authentication_error", "invalid x-api-key")),
    "a request_id in the body": Row(401, {**said("Bad key"), "request_id": "req_011Cx"}),
    "a request-id of another form": Row(401, said("Bad key"), headers={"request-id": "7c9e-66"}),
    "an x-request-id": Row(401, said("Bad key"), headers={"x-request-id": "req_1"}),
    "an organization": Row(401, said("Bad key"), headers={"anthropic-organization-id": "0a1b-org"}),
}
WANTED = {
    "Authorization": Row(401, said("Token not found in the 'Authorization' field"),
                         "•1 .*--sdk & ANTHROPIC_AUTH_TOKEN"),
    "Cloudflare": Row(401, {"errors": [{"code": 2009, "message": "cf-aig-authorization required"}]},
                      "•1 .*-H .*cf-aig-authorization"),
    "a key": Row(401, {"detail": "No header 'subscription-key'"}, "•1 .*-H .*subscription-key"),
    "a token": Row(401, {"detail": "Add the proxy-token header"}, "•1 .*-H .*proxy-token"),
    "an auth": Row(401, {"detail": "The gw-auth header is empty"}, "•1 .*-H .*gw-auth"),
    "a team": Row(401, {"detail": "Missing header: x-team"}, "•1 .*-H .*x-team"),
    "a company": Row(401, {"detail": "X-Corp-Team is required"}, "•1 .*-H .*(?i:x-corp-team)"),
    "Bearer": Row(401, b"", "•1 .*--sdk", {"www-authenticate": 'Bearer realm="gw"'}),
    "a scheme with a header's name": Row(
        401, {"message": "Access denied"}, "•1 .*-H .*Ocp-Apim-Subscription-Key",
        {"www-authenticate": 'ApiKey realm="gw",name="Ocp-Apim-Subscription-Key",type="header"'}),
    "Basic": Row(401, HTML, "Basic", {"www-authenticate": 'Basic realm="x"'}),
}
WANTED_400 = {
    "Portkey": Row(400, {"message": "Either x-portkey-config or x-portkey-provider is required"},
                   "•1 .*-H .*x-portkey-"),
    "a version": Row(400, invalid("anthropic-version: 2023-06-01 is not supported, use 2026-10-21"),
                     "•1 .*(--sdk|2026-10-21)"),
    "a version that must be": Row(400, invalid("anthropic-version must be 2026-10-21"),
                                  "•1 .*-H 'anthropic-version: 2026-10-21'"),
    "a parameter": Row(400, said("'max_tokens' is unknown. Use 'max_completion_tokens' instead."),
                       "•1 .*max_completion_tokens"),
    "a missing one": Row(400, said("Missing required parameter: 'top_q'."), "•1 .*top_q"),
    "one that is required": Row(400, said("The field 'seed_q' is required"), "•1 .*seed_q"),
    "one of a schema": Row(400, said("metadata.user_q: Field required"), r"•1 .*metadata\.user_q"),
}
PARAMETER = {
    "a budget of thinking": Row(400, said("thinking.budget_tokens: budget must not exceed it")),
    "a page's token": Row(400, said("Invalid pagination token: token has expired")),
    "OpenAI": Row(400, said("'seed' is not supported by this model", code="unsupported_value")),
    "LiteLLM": Row(400, said(f"{M} does not support parameters: ['thinking'], for model={M}")),
    "beside the id": Row(400, said(f"Parameter top_k is not supported by {M}.", param="top_k")),
    "vLLM": Row(422, {"detail": [{"loc": ["body", "stream"], "msg": "Extra inputs", "type": "x"}]}),
}
NO_PATH = {
    "Kong": Row(404, {"message": "no Route matched with those values", "request_id": "8f1c"}),
    "FastAPI": Row(404, {"detail": "Not Found"}),
    "Go": Row(404, b"404 page not found\n"),
    "Cloudflare": Row(404, {"errors": [{"code": 7000, "message": "No route for that URI"}]}),
}
BLOCKED = {
    "forbidden": Row(403, FORBIDDEN, "(?i)short|plain", EDGE),
    "forbidden without cf-ray": Row(403, FORBIDDEN),
    "a page of Cloudflare's": Row(403, HTML, "(?i)short|plain", EDGE),
    "a page": Row(403, HTML),
    "nothing": Row(403, b""),
    "a filter's text": Row(403, b"Blocked by web filter: category AI"),
    "error code: 1010": Row(403, b"error code: 1010", "Cloudflare", EDGE),
}
FORBIDDEN_IN_JSON = {
    "Kong": Row(403, {"message": "You cannot consume this service"}),
    "FastAPI": Row(403, {"detail": "Not yours"}),
    "AWS": Row(403, {"Message": "User is not authorized to invoke this"}),
    "the API's type": Row(403, error("permission_error", "Not allowed here.")),
}
KEY_STATE = {
    "expired": Row(400, said("Key expired at noon", type="expired_key", code="400")),
    "blocked": Row(400, said("Key is blocked.", type="key_blocked", code="400")),
    "Gemini": Row(400, [said("API key not valid. Please pass a valid API key.", code=400)]),
}
LOAD = {
    "a model that loads": Row(503, said(f"Model {M} is currently loading, service unavailable")),
    "an unknown error": Row(500, said(f"Unknown error while calling model {M}")),
    "a cache's key": Row(500, said("Internal error: cache key invalid")),
    "529": Row(529, error("overloaded_error", "Overloaded")),
    "Cloudflare": Row(522, {"title": "Error 522: Connection timed out"}, "(?i:522 .*timed out)"),
}
BY_THE_API: dict[str, tuple[int, bool | None, Row]] = {
    "no such model": (9, None, Row(404, error("not_found_error", f"model: {M}"), OTHER_MODEL)),
    "a rate": (8, True, Row(429, error("rate_limit_error", "Over 5,000 tokens per minute"))),
    "no key": (4, False, Row(401, error("unauthorized", "x-api-key header is required"), NOT_SENT)),
    "a bad key": (4, False, Row(401, error("authentication_error", "invalid x-api-key"),
                                r"platform\.claude\.com/settings/keys")),
    "load": (5, None, Row(529, error("overloaded_error", "Overloaded"), r"status\.claude\.com")),
    "a bad field": (9, True, Row(400, invalid("new_field: Field required"), "new_field", ORG)),
    "too large": (9, None, Row(413, error("request_too_large", "Too large"), "32 MB")),
    **{f"no more than {word!r}": (9, None, Row(400, invalid(word), SAYS_NOTHING))
       for word in ("Error", "", "Bad Request")},
}
BARE: dict[str, tuple[Any, dict[int, int]]] = {
    "HTML": (HTML, {200: 10, 302: 10, 400: 10, 401: 4, 402: 7, 404: 10, 413: 9, 429: 8, 500: 5,
                    502: 5, 503: 5, 504: 5, 522: 5, 529: 5}),
    "nothing": (b"", {200: 10, 204: 10, 400: 9, 401: 4, 429: 8, 500: 5, 529: 5}),
    "text": (b"no", {200: 10, 400: 9, 401: 4, 413: 9, 418: 9, 500: 5, 502: 5}),
    "other JSON": ({"ok": 1}, {200: 10, 201: 10, 400: 9, 401: 4, 403: 4, 409: 9, 413: 9, 503: 5}),
}
SENTENCE = "Field gizmo is unknown."
WRAPPED = json.dumps(said(SENTENCE, type="x"))
UNWRAP: dict[str, Any] = {
    "AWS": {"Error": {"Message": SENTENCE}},
    "Baidu": {"error_code": 17, "error_msg": SENTENCE},
    "error, an object": said(SENTENCE),
    "error, a string": {"error": SENTENCE},
    "error, a list": {"error": [SENTENCE]},
    "error, a list of objects": {"error": [{"message": SENTENCE}]},
    "code beside message": {"code": "bad_field", "message": SENTENCE},
    "detail, a string": {"detail": SENTENCE},
    "detail, an object": {"detail": said(SENTENCE)},
    "detail, a list": {"detail": [{"loc": ["body", "x"], "msg": SENTENCE, "type": "extra"}]},
    "errors": {"success": False, "errors": [{"code": 1, "message": SENTENCE}]},
    "an array": [said(SENTENCE, status="INVALID")],
    "JSON in message": said(WRAPPED, type="upstream_error"),
    "JSON behind a prefix": said(f"litellm.BadRequestError: AnthropicException - {WRAPPED}"),
    "JSON between words": said(f"AnthropicException - b'{WRAPPED}'. Received group=x"),
    "JSON in a string": {"error": WRAPPED},
    "problem+json": {"type": "about:blank", "title": "Bad", "status": 422, "detail": SENTENCE},
    "msg": {"success": False, "code": 422, "msg": SENTENCE},
    "OAuth": {"error": "invalid_request", "error_description": SENTENCE},
    "OpenRouter's metadata": said("Provider returned error", metadata={"raw": WRAPPED}),
    "text": SENTENCE.encode(),
}
KINDS: dict[str, Kind] = {
    "a model": Kind(9, None, MODEL, f"(?i:this key) & {OTHER_MODEL}",
                    "(?i)try again later|check the base URL|is it right|OpenRouter|hyphens"),
    "money": Kind(7, None, MONEY, r"127\.0\.0\.1", "(?i)try again later"),
    "money, the API": Kind(7, True, MONEY_OF_THE_API, "", "(?i)try again later", OURS),
    "a rate": Kind(8, None, RATE, "", OTHER_MODEL),
    "no credential arrived": Kind(4, None, MISSING, NOT_SENT),
    "a credential unknown to a gateway": Kind(4, None, INVALID, "--sdk", NOT_SENT),
    "a credential's state under 400": Kind(4, None, KEY_STATE),
    "403 in JSON": Kind(4, None, FORBIDDEN_IN_JSON, "", "(?i)administrator|country|VPN"),
    "a wish": Kind(4, None, WANTED),
    "a wish under 400": Kind(9, None, WANTED_400, "", OTHER_MODEL),
    "a parameter": Kind(9, None, PARAMETER, "", f"{OTHER_MODEL}|does not offer"),
    "a path": Kind(9, None, NO_PATH, "(?i:base.url)", f"{OTHER_MODEL}|does not offer"),
    "a block": Kind(10, None, BLOCKED),
    "load": Kind(5, None, LOAD, "", "Anthropic (is|has)"),
    "a sentence": Kind(9, None, {name: Row(422, body) for name, body in UNWRAP.items()},
                       rf"\A.*{re.escape(SENTENCE)}"),
    **{f"the API, {name}": Kind(code, key, {"": row}, headers=OURS)
       for name, (code, key, row) in BY_THE_API.items()},
    **{f"{name} with {status}": Kind(code, None, {"": Row(status, body)})
       for name, (body, codes) in BARE.items() for status, code in codes.items()},
}
CASES = {f"{name}: {row}": (kind, kind.rows[row]) for name, kind in KINDS.items()
         for row in kind.rows}
# fmt: on


def reported(run: Run, *argv: str) -> Ran:
    """Run with --json; the report must be valid and agree with the exit code."""
    ran = run(*argv, "--json")
    jsonschema.validate(ran.report, SCHEMA)
    assert ran.report["exit_code"] == ran.code
    return ran


def verdict(report: dict[str, Any]) -> str:
    hints = [f"•{number} {hint}" for number, hint in enumerate(report["hints"], 1)]
    return "\n".join([report["headline"], *report["explanation"], *hints])


@pytest.mark.parametrize("name", CASES)
def test_an_answer_is_judged_by_who_spoke_and_what_was_said(run: Run, key: str, name: str) -> None:
    kind, row = CASES[name]
    said_so = answer(row.status, row.body, {**kind.headers, **row.headers})
    with serving(said_so, answer(200, LIST)) as server:
        report = reported(run, "--base-url", server.url, "-m", M, "--retries", "0").report
    with serving(said_so, answer(200, LIST)) as server:
        text = run("--base-url", server.url, "-m", M, "--retries", "0")

    assert (report["exit_code"], report["key_accepted"]) == (kind.code, kind.key)
    for pattern in f"{kind.says} & {row.says}".split(" & "):
        assert re.search(pattern, verdict(report)), pattern
    assert not re.search(r'[{}]|\\"|<html', report["headline"])
    for pattern in filter(None, [kind.never, "" if kind.headers else NEVER_OF_A_GATEWAY]):
        assert not re.search(pattern, verdict(report) + text.err), pattern
    assert (text.code, text.out) == (kind.code, "")
    assert text.err.startswith(f"✗ {report['headline']}\n")
    assert f"exit {kind.code} ({report['class']}: {report['fault']})" in text.err


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("words", [f"No available channel for model {M}", "Insufficient balance"])
def test_what_will_not_pass_is_asked_once(run: Run, key: str, words: str, status: int) -> None:
    with serving(answer(status, said(words), {"retry-after": "0"})) as server:
        report = reported(run, "--base-url", server.url, "-m", M).report

    assert (report["attempts"], report["retries"]) == (1, [])
    assert len([sent for sent in server.requests if sent.startswith(b"POST")]) == 1


def encode(events: list[Any], *, named: bool = True) -> bytes:
    return b"".join(
        (b"event: %s\n" % event["type"].encode() if named else b"")
        + b"data: %s\n\n" % json.dumps(event).encode()
        for event in events
    )


def block(content: dict[str, Any], /, **delta: Any) -> list[Any]:
    return [
        {"type": "content_block_start", "index": 0, "content_block": content},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
    ]


def tool(name: str, partial: str) -> list[Any]:
    content = {"type": "tool_use", "id": name, "name": "look", "input": {}}
    return block(content, type="input_json_delta", partial_json=partial)


START = {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}}
TEXT = block({"type": "text", "text": ""}, type="text_delta", text="Hel")
END = [
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
    {"type": "message_stop"},
]
WHOLE, BEGUN = encode([START, *TEXT, *END]), encode([START, *TEXT[:2]])
SSE = {"content-type": "text/event-stream", **OURS}
# fmt: off
ERROR_TYPES = {"authentication_error": 4, "permission_error": 4, "overloaded_error": 5,
               "billing_error": 7, "rate_limit_error": 8, "invalid_request_error": 9}
HEL = [{"type": "text", "text": "Hel"}]
STREAMS: dict[str, tuple[Any, dict[str, str], int, Any]] = {
    "compressed": (gzip.compress(WHOLE), {**SSE, "content-encoding": "gzip"}, 10, None),
    "compressed, not declared": (gzip.compress(WHOLE), SSE, 10, None),
    "a page": (HTML, {"content-type": "text/html"}, 10, None),
    "a page that says it is a stream": (HTML, SSE, 10, None),
    "an error in JSON": (said("no stream today"), {}, 10, None),
    "an error in JSON that says it is a stream": (said("no stream today"), SSE, 10, None),
    "a plain message": (MESSAGE, OURS, 10, None),
    "a line that is no JSON": (BEGUN + b"event: x\ndata: oops\n\n", SSE, 10, None),
    "cut in the text": (BEGUN, SSE, 6, HEL),
    "cut before its end": (encode([START, *TEXT]), SSE, 6, HEL),
    "a second message_start": (
        encode([START, *tool("t1", '{"city": "Pa')[:2], START, *tool("t2", '{"city": "Rome"}'),
                *END]), SSE, 0,
        [{"type": "tool_use", "id": "t2", "name": "look", "input": {"city": "Rome"}}]),
    "a compaction": (
        encode([START, *block({"type": "compaction", "content": None}, type="compaction_delta",
                              content="So far: hello."), *END]), SSE, 0,
        [{"type": "compaction", "content": "So far: hello."}]),
    **{kind: (BEGUN + encode([error(kind, "Some words")]), SSE, code, HEL)
       for kind, code in ERROR_TYPES.items()},
}
# fmt: on


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_judged_by_its_events(run: Run, key: str, name: str) -> None:
    body, headers, code, content = STREAMS[name]
    with serving(answer(200, body, headers)) as server:
        report = reported(run, "--base-url", server.url, "--stream").report

    assert (report["exit_code"], report["attempts"]) == (code, 1)
    assert content is None or report["response"]["body"]["content"] == content
    if name in ERROR_TYPES:
        assert report["headline"] == f"{name} during the stream: Some words"


def test_events_without_names_are_never_a_silent_success(run: Run, key: str) -> None:
    with serving(answer(200, encode([START, *TEXT, *END], named=False), SSE)) as server:
        report = reported(run, "--base-url", server.url, "--stream").report

    assert report["exit_code"] == 10 or any("event" in warning for warning in report["warnings"])


def test_a_stream_that_was_not_asked_for_is_no_answer(run: Run, key: str) -> None:
    with serving(answer(200, WHOLE, SSE)) as server:
        report = reported(run, "--base-url", server.url).report

    assert report["exit_code"] == 10
    assert not re.search("Hel|message_start", report["headline"])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"All is well", "text: All is well"),
        (b"<h1>All is well</h1>", 'an HTML page, "All is well"'),
    ],
)
def test_what_comes_in_place_of_a_message_is_quoted(
    run: Run, key: str, body: bytes, words: str
) -> None:
    with serving(answer(200, body)) as server:
        report = reported(run, "--base-url", server.url).report

    assert report["headline"] == f"not the Messages API: HTTP 200 with {words}"


@pytest.mark.parametrize("status", [400, 401, 403])
def test_another_key_in_a_file_is_the_first_hint_where_a_key_is_judged(
    run: Run, key: str, status: int
) -> None:
    Path(".env").write_text(f"ANTHROPIC_API_KEY={key[:-4]}xxAA", "utf-8")
    with serving(answer(status, error("some_error", "No."), OURS)) as server:
        report = reported(run, "--base-url", server.url).report

    told = r".env line 1 has a different key (…xxAA); the environment wins"
    assert "".join(report["hints"]).startswith(told) is (status > 400)
    assert any(warning.startswith(told) for warning in report["warnings"]) is (status == 400)


AT_THE_API: dict[str, tuple[Row, str, int, str]] = {
    "the edge, 413": (Row(413, said("!", type="request_too_large"), "32 MB", EDGE), M, 9, "1 MB"),
    "the edge without its trace": (Row(403, FORBIDDEN, "ountr & hort|plain"), M, 10, "mistyped"),
    "a page of the edge": (Row(403, HTML, "ountr & hort|plain", EDGE), M, 10, "administrator"),
    "the edge, 403": (Row(403, FORBIDDEN, "ountr & hort|plain", EDGE), M, 10, "mistyped"),
    "a 401 without a request-id": (Row(401, said("no")), M, 4, "mistyped"),
    "an id of OpenRouter's": (Row(404, error("not_found_error", "model: it"), "OpenRouter", OURS),
                              f"anthropic/{M}", 9, "base URL"),
}  # fmt: skip


@pytest.mark.parametrize("name", AT_THE_API)
def test_what_is_true_of_the_apis_own_host_only(
    run: Run, key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    row, model, code, never = AT_THE_API[name]
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("api.anthropic.com").configure_cert(tls)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    answers = iter([answer(row.status, row.body, {**row.headers}), answer(200, LIST, OURS)])

    def tunnel(connection: socket.socket, _server: RawServer) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with tls.wrap_socket(connection, server_side=True) as secured:
            read_request(secured)
            secured.sendall(next(answers))

    with serving(tunnel) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        report = reported(run, "-m", model, "--retries", "0").report

    assert (report["exit_code"], report["key_accepted"]) == (code, None)
    for pattern in row.says.split(" & "):
        assert re.search(pattern, verdict(report)), pattern
    assert never not in verdict(report)


SPECIMEN = WHOLE.decode() + json.dumps([error("", ""), LIST])
KEYS = ["code", "detail", "errors", "msg", *re.findall(r'"(\w+)": ', SPECIMEN)]
ODD = ["model_not_found", f"model {M} not found", "top up", WRAPPED, "\ud800", "\x1b[2J", "{", ""]
WORDS = st.text(max_size=8) | st.sampled_from([*re.findall(r': "(\w+)"', SPECIMEN), *ODD])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=15,
)
EVENTS = st.lists(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4), max_size=5)
BODIES = (
    st.binary()
    | VALUES.map(lambda value: json.dumps(value).encode())
    | EVENTS.map(lambda events: encode(events, named=False))
    | EVENTS.map(lambda events: encode([START, *events, *END], named=False))
)


@given(
    status=st.sampled_from([200, 400, 401, 403, 404, 429, 529]) | st.integers(100, 999),
    body=BODIES,
    kind=st.sampled_from(["application/json", "text/event-stream", "text/html", ""]),
    extra=st.sampled_from([{}, OURS, ORG, EDGE, {"location": "//["}, {"www-authenticate": "a b="}]),
    argv=st.sampled_from([(), ("--stream",), ("--models",)]),
)
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
def test_any_answer_gets_a_verdict_on_which_text_and_json_agree(
    run: Run, key: str, *, status: int, body: bytes, kind: str, extra: Any, argv: Any
) -> None:
    with serving(answer(status, body, {"content-type": kind, **extra})) as server:
        argv = (*argv, "--base-url", server.url, "--retries", "0")
        ran = reported(run, *argv)
        text = run(*argv)

    assert ran.code in {0, 4, 5, 6, 7, 8, 9, 10, 11}
    assert text.code == ran.code
    assert "Traceback" not in ran.err + text.err
    if ran.code:
        assert f"exit {ran.code} ({ran.report['class']}: {ran.report['fault']})" in text.err
