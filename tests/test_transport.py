"""Every way the network fails, on real sockets: the verdict, how far it got, whose move it is."""

from __future__ import annotations

import re
import socket
import ssl
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from helpers import KEY, Run
from servers import (
    MESSAGE,
    Answer,
    Authority,
    RawServer,
    answer,
    answering_anything,
    closed_port,
    drip,
    flood,
    hang,
    proxying,
    reset,
    serving,
    silent,
    then,
)

Patch = pytest.MonkeyPatch
pytestmark = pytest.mark.usefixtures("key")
linux = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux drops what a full queue cannot take"
)

OK = answer()
API_HOST = "api.anthropic.com"
BRIEF = ("--timeout", "0.3")
# Names that are not loopback, so that a proxy is used; they never leave the machine.
FAR, PROXY = "https://api.test", "http://proxy.test:3128"


def judge(run: Run, url: str, *argv: str, code: int, says: str = "", ladder: str = "") -> Any:
    """Fail in both forms, which must agree; the report's hints are seen as •1, •2, •3."""
    argv = ("--base-url", url, *argv)
    shown, printed = run(*argv), run(*argv, "--json")
    report = printed.report
    headline, rungs, *_ = [line for line in shown.err.splitlines() if "; retrying in" not in line]
    hints = [f"•{number} {hint}" for number, hint in enumerate(report["hints"], 1)]
    text = "\n".join([report["headline"], *report["explanation"], *hints, *report["warnings"]])
    assert (shown.code, printed.code, report["exit_code"], shown.out) == (code, code, code, "")
    assert re.sub(r"\d s\b", "", headline) == re.sub(r"\d s\b", "", f"✗ {report['headline']}")
    assert report["retryable"] == (code in (5, 6, 8))
    assert KEY not in shown.err + printed.out + printed.err
    assert (lacks(text, says), lacks(rungs, ladder)) == ([], [])
    assert not re.search(r"_ssl\.c|\[SSL|EOF_|Error\(", headline)
    return report


def lacks(text: str, words: str) -> list[str]:
    """The patterns, divided by `&`, that are not in the text, or are though `-` forbids them."""

    def fits(word: str) -> bool:
        found = re.search(word.removeprefix("-"), text, re.IGNORECASE)
        return (found is None) is word.startswith("-")

    return [word for word in words.split(" & ") if not fits(word)]


def resolve(monkeypatch: Patch, *found: tuple[str, int] | OSError) -> list[Any]:
    """Let every look-up find these addresses, or fail; list what was asked."""
    asked: list[Any] = []

    def look_up(host: Any, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        for failure in found:
            if isinstance(failure, OSError):
                raise failure
        kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(*kind, address) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


# Misbehaviour on the wire.

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
SHORT = b"content-length: 99\r\n\r\n{"
WIRE: dict[str, tuple[Answer, int, int | None, str]] = {  # exit code, HTTP status, words
    "closes before the status line": (b"", 6, None, ""),
    "resets before the status line": (reset, 6, None, "reset"),
    "speaks something else": (b"SSH-2.0-Made_Up\r\n", 10, None, "SSH-2.0-Made_Up"),
    "sends a status that is no number": (b"HTTP/1.1 ok fine\r\n\r\n", 10, None, ""),
    "sends an endless header line": (flood(HEAD + b"x: ", b"y" * 1000), 10, None, ""),
    "sends headers without end": (flood(HEAD, b"x: y\r\n" * 100), 10, None, ""),
    "sends less than it promised": (HEAD + SHORT, 6, 200, "ended early"),
    "cuts a chunk": (CHUNKED + b"9\r\n{", 6, 200, "ended early"),
    "sends no last chunk": (CHUNKED + b"1\r\n{\r\n", 6, 200, "ended early"),
    "resets within the body": (then(HEAD + SHORT, reset, 0.1), 6, 200, ""),
    "sends half of a document, whole": (answer(200, b'{"type": "mess'), 10, 200, ""),
    "sends more than 32 MiB": (flood(HEAD + b"\r\n", b" " * (1 << 20)), 10, 200, "32 MiB"),
}


@pytest.mark.parametrize("case", WIRE)
def test_a_misbehaving_server_gives_a_named_failure(run: Run, case: str) -> None:
    misbehaviour, code, status, words = WIRE[case]
    ladder = "TCP ✓ & key sent & -TLS"
    with serving(misbehaviour) as server:
        report = judge(run, server.url, "--retries", "0", code=code, says=words, ladder=ladder)

    assert (report["response"] or {"status": None})["status"] == status
    assert (report["attempts"], server.connections, report["key_accepted"]) == (1, 2, None)


BODY = OK.partition(b"\r\n\r\n")[2]
EARLY = (
    b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early\r\nlink: </x>\r\n\r\nHTTP/1.1 199 ?\r\n\r\n"
)
UNUSUAL: dict[str, Answer] = {
    "interim answers first": b"HTTP/1.1 100 Continue\r\n\r\n" + EARLY + OK,
    "more than was promised": OK + b"and more",
    "a body that the close ends": HEAD + b"\r\n" + BODY,
    "chunks": CHUNKED + b"%x;a=b\r\n%b\r\n0\r\nx: y\r\n\r\n" % (len(BODY), BODY),
}


@pytest.mark.parametrize("case", UNUSUAL)
def test_an_unusual_but_valid_answer_is_read(run: Run, case: str) -> None:
    with serving(UNUSUAL[case]) as server:
        ran = run("--base-url", server.url, "--json")

    assert (ran.code, ran.report["response"]["body"]) == (0, MESSAGE)


@pytest.mark.parametrize("end", [b"", hang], ids=["is cut", "stalls"])
def test_an_error_keeps_its_class_when_its_body(run: Run, end: Answer) -> None:
    with serving(then(b"HTTP/1.1 401 X\r\nrequest-id: req_7\r\n" + SHORT, end)) as server:
        report = judge(run, server.url, *BRIEF, code=4, ladder="API ✓ & key ✗")

    response = report["response"]
    assert (response["status"], response["request_id"]) == (401, "req_7")
    assert report["key_accepted"] is False


REPORTED = """request-id anthropic-organization-id anthropic-ratelimit-tokens-remaining retry-after
retry-after-ms x-should-retry cf-ray cf-cache-status server via date location www-authenticate
content-type content-length content-encoding x-amzn-requestid"""


def test_of_the_headers_a_report_holds_those_worth_reporting(run: Run) -> None:
    others = ["set-cookie", "x-internal-host", "x-server", "strict-transport-security"]
    sent = dict.fromkeys([*REPORTED.split(), *others], "0")
    with serving(answer(400, b"", sent)) as server:
        report = run("--base-url", server.url, "--json").report

    assert sorted(report["response"]["headers"]) == sorted(REPORTED.split())


@pytest.mark.parametrize("form", [(), ("--models",)], ids=["POST", "GET"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(run: Run, status: int, form: tuple[str, ...]) -> None:
    with serving(OK) as target:
        there = f"{target.url}/there"
        with serving(answer(status, b"", {"location": there})) as server:
            judge(run, server.url, *form, code=10, says=re.escape(there))

        assert (server.connections, target.connections) == (2, 0)


def test_an_answer_to_half_a_request_is_an_answer(run: Run) -> None:
    with answering_anything(answer(413, b"")) as address:
        ran = run("--base-url", f"http://{address}", "--json", "x" * (8 << 20))

    assert (ran.code, ran.report["response"]["status"]) == (9, 413)


# Names and addresses.

NO_NAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
OFFLINE = rf"could not resolve & {API_HOST} & •\d .*nslookup {API_HOST} & HTTPS_PROXY is not set"
DNS: dict[str, tuple[socket.gaierror, int, str]] = {
    "a name that does not exist": (NO_NAME, 11, OFFLINE),
    "the same, in the words of Windows": (socket.gaierror(11001, "failed"), 11, OFFLINE),
    "no name server": (socket.gaierror(socket.EAI_AGAIN, "Try again"), 6, API_HOST),
}


@pytest.mark.parametrize("case", DNS)
def test_a_name_that_is_not_resolved(run: Run, monkeypatch: Patch, case: str) -> None:
    error, code, words = DNS[case]
    asked = resolve(monkeypatch, error)
    argv = [f"https://{API_HOST}", "--retries", "2" if code == 11 else "0"]

    judge(run, *argv, code=code, says=words, ladder="DNS ✗ & key not sent & -TCP & -TLS & -API")

    assert len(asked) == 2  # two runs, and no retry


def test_a_closed_port_is_refused_by_an_address(run: Run) -> None:
    port = closed_port()
    url, words = f"http://127.0.0.1:{port}", rf"^connection refused: 127\.0\.0\.1:{port} & •1 .*"
    words += rf"is the gateway running.*\b{port}\b"

    report = judge(run, url, "--retries", "0", code=6, says=words, ladder="TCP ✗ & key not sent")

    assert report["request"]["address"].startswith("127.0.0.1")
    assert report["response"] is None


def test_the_api_at_a_loopback_address_is_told_of(run: Run, monkeypatch: Patch) -> None:
    resolve(monkeypatch, ("127.0.0.1", closed_port()))
    words = rf"^connection refused: {API_HOST}.* \(?127\.0\.0\.1 & \bhosts\b|DNS & -gateway running"

    judge(run, f"https://{API_HOST}", "--retries", "0", code=6, says=words)


@linux
@pytest.mark.parametrize("quiet", [False, True], ids=["refuses", "is silent"])
def test_the_next_address_is_tried_when_one(run: Run, monkeypatch: Patch, quiet: bool) -> None:
    with serving(OK) as server, silent("127.0.0.2", server.port) if quiet else nullcontext():
        resolve(monkeypatch, ("127.0.0.2", server.port), ("127.0.0.1", server.port))
        started = time.monotonic()
        ran = run("--base-url", f"http://localhost:{server.port}", "--json", "--retries", "0")
        took = time.monotonic() - started

    assert (ran.code, server.connections) == (0, 1)
    assert ran.report["request"]["address"].startswith("127.0.0.1")
    assert (4.5 < took < 7) is quiet  # as long as the SDK waits for one address
    assert any("127.0.0.2" in warning for warning in ran.report["warnings"]) is quiet


@pytest.mark.parametrize("code", [6, 11], ids=["refused", "no name"])
def test_a_proxy_for_the_other_scheme_is_the_first_hint(
    run: Run, monkeypatch: Patch, code: int
) -> None:
    monkeypatch.setenv("HTTP_PROXY", PROXY)
    resolve(monkeypatch, NO_NAME if code == 11 else ("127.0.0.1", closed_port()))

    report = judge(run, FAR, "--retries", "0", code=code, says="•1 HTTP_PROXY is set.*HTTPS_PROXY")

    assert report["request"]["proxy"] is None


def test_of_what_a_file_sets_for_the_network_a_proxy_is_named_first(
    run: Run, monkeypatch: Patch
) -> None:
    Path(".env").write_text(f"SSL_CERT_FILE=ca.pem\nHTTPS_PROXY={PROXY}\n", "utf-8")
    resolve(monkeypatch, NO_NAME)

    judge(run, FAR, "--retries", "0", code=11, says=r"•1 \.env line 2: HTTPS_PROXY=")


# The one clock.

BILLED = r"TCP ✓ & API [?] waited 0\.\d+ s  key sent, may be billed$"
UNSENT = "key not sent$"
MORE_TIME = "more time|longer|claude-ping --timeout"
SLOW: dict[str, tuple[Any, str, str, str]] = {  # the server, its scheme; words, ladder
    "a connect": (silent, "http", f"firewall|proxy & -{MORE_TIME} & -Tried", f"TCP ✗ & {UNSENT}"),
    "a handshake": (hang, "https", f"VPN & MTU & firewall & -{MORE_TIME}", f"TLS ✗ & {UNSENT}"),
    "an answer": (hang, "http", f"no response within 0.3 s & •1 .*({MORE_TIME})", BILLED),
    "a header": (drip(HEAD * 99), "http", "", BILLED),
    "a body": (drip(HEAD + b"\r\n" + b" " * 999), "http", "", "TCP ✓ & key sent"),
}


@pytest.mark.parametrize("case", [pytest.param("a connect", marks=linux), *list(SLOW)[1:]])
def test_the_time_ends_the_wait_for(run: Run, case: str) -> None:
    slow, scheme, words, ladder = SLOW[case]
    with silent() if slow is silent else serving(slow) as server:
        url = f"{scheme}://127.0.0.1:{server if slow is silent else server.port}"
        started = time.monotonic()
        report = judge(run, url, *BRIEF, code=6, says=words, ladder=ladder)
        took = time.monotonic() - started

    assert took < 4  # two runs
    assert slow is silent or server.connections == 2
    assert (report["retries"], report["key_accepted"]) == ([], None)


def test_what_came_in_time_is_kept(run: Run) -> None:
    part = '{"type": "message", "role":'
    beginning = HEAD + b"request-id: req_7\r\n\r\n" + part.encode() + b"\n"
    with serving(then(beginning, hang)) as server:
        raw = run("--base-url", server.url, *BRIEF, "--raw")
        response = run("--base-url", server.url, *BRIEF, "--json").report["response"]

    assert (raw.code, raw.out.strip(), raw.err[:2]) == (6, part, "✗ ")
    assert response["body_text"].strip() == part
    assert (response["status"], response["request_id"]) == (200, "req_7")


HEAVY: dict[str, bytes] = {
    "blanks": b" " * (32 << 20),
    "brackets": b"[" * (16 << 20),
    "digits": b"9" * (8 << 20),
    "an open tag": b"<html><title>" + b"<" * (8 << 20),
    "backslashes": b'{"error": {"message": "' + b"\\\\" * (2 << 20) + b'"}}',
}


@pytest.mark.parametrize("case", HEAVY)
def test_the_heaviest_body_gets_its_verdict_in_time(run: Run, case: str) -> None:
    with serving(answer(200, HEAVY[case])) as server:
        started = time.monotonic()
        ran = run("--base-url", server.url, "--timeout", "10")
        took = time.monotonic() - started

    assert (ran.code, ran.out) == (10, "")
    assert took < 10
    assert len(ran.err) < 10_000


# TLS, with a trusted authority and a stranger.


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> list[Authority]:
    folder = tmp_path_factory.mktemp("ca")
    return [Authority(folder, name) for name in ("Our Root", "Harbour Inspection")]


@pytest.fixture
def trusted(authorities: list[Authority], monkeypatch: Patch) -> list[Authority]:
    monkeypatch.setenv("SSL_CERT_FILE", str(authorities[0].file))
    return authorities


def test_a_certificate_trusted_through_ssl_cert_file_is_taken(run: Run, trusted: Any) -> None:
    with serving(OK, tls=trusted[0].server()) as server:
        ran = run("--base-url", server.url, "--json")

    timing = ran.report["timing"]
    assert ran.code == 0
    assert KEY.encode() in server.requests[0]
    assert 0 < timing["tls"] <= timing["total"]


def distrust(run: Run, server: RawServer, says: str, code: int = 11, retries: str = "2") -> None:
    """The handshake fails once, and the key is not sent."""
    argv = [server.url.replace("http://127.0.0.1", "https://localhost"), "--retries", retries]
    report = judge(run, *argv, code=code, says=says, ladder=r"TCP ✓ & TLS ✗\s+key not sent$")
    assert (report["key_accepted"], report["retries"], server.connections) == (None, [], 2)
    assert KEY.encode() not in b"".join(server.requests)


WITHOUT = r"issued by .*Harbour Inspection & •\d .*env -u SSL_CERT_FILE claude-ping"
CERTIFICATES: dict[str, tuple[int, dict[str, Any], str]] = {  # by whom, how
    "expired yesterday": (0, {"days": (-9, -1.2)}, "expired 1 day ago"),
    "expired long ago": (0, {"days": (-99, -12.2)}, "expired 12 days ago"),
    "not valid yet": (0, {"days": (1.2, 9)}, "not yet valid|not valid yet & clock"),
    "another host's": (0, {"host": "other.test"}, "presented is not for localhost"),
    "a stranger's": (1, {}, f"not trusted & {WITHOUT}"),
    "a stranger's, with its root": (1, {"rooted": True}, WITHOUT),
}


@pytest.mark.parametrize("case", CERTIFICATES)
def test_a_bad_certificate_is_named_and_the_key_kept(run: Run, trusted: Any, case: str) -> None:
    issuer, options, words = CERTIFICATES[case]
    with serving(OK, tls=trusted[issuer].server(**options)) as server:
        distrust(run, server, words)


def test_a_self_signed_certificate_is_named(run: Run, trusted: Any) -> None:
    with serving(OK, tls=trusted[1].itself()) as server:
        distrust(run, server, "self-signed")


def test_no_common_version_is_a_failure_of_tls(run: Run, trusted: Any) -> None:
    context = trusted[0].server()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")  # for a kind of key that it has not
    with serving(OK, tls=context) as server:
        distrust(run, server, "TLS")


def test_a_demand_for_a_client_certificate_is_named(run: Run, trusted: Any) -> None:
    context = trusted[0].server()
    context.verify_mode = ssl.CERT_REQUIRED
    with serving(OK, tls=context) as server:
        judge(run, server.url, code=11, says="certificate required")


def test_plain_http_to_https_is_named(run: Run) -> None:
    with serving(b"HTTP/1.0 400 Bad Request\r\n\r\n") as server:
        distrust(run, server, "plain|http:|not speak TLS")


@pytest.mark.parametrize("end", [b"", reset], ids=["closed", "reset"])
def test_python_is_not_quoted_when_a_handshake_is(run: Run, end: Answer) -> None:
    with serving(end) as server:
        distrust(run, server, "TLS", code=6, retries="0")


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"])
def test_another_bundle_is_offered(
    run: Run, monkeypatch: Patch, authorities: list[Authority], name: str
) -> None:
    monkeypatch.setenv(name, str(authorities[1].file))
    offer = rf'•\d .*SSL_CERT_FILE="\${name}" claude-ping'
    with serving(OK, tls=authorities[1].server()) as server:
        distrust(run, server, f"Harbour Inspection & {offer}")


# Proxies.


def test_a_proxy_gets_its_password_and_nobody_else_does(
    run: Run, monkeypatch: Patch, trusted: Any
) -> None:
    tls = trusted[0].server("api.test")
    with serving(OK, tls=tls) as server, proxying(credentials="user:p@ssw0rd-1") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:p%40ssw0rd-1@127.0.0.1:{proxy.port}")
        ran, shown = (run("--base-url", f"{FAR}:{server.port}", form) for form in ("--json", "-v"))

    assert (ran.code, shown.code) == (0, 0)
    assert proxy.requests[0].startswith(b"CONNECT api.test:%d " % server.port)
    assert KEY.encode() not in b"".join(proxy.requests)
    assert KEY.encode() in server.requests[0]
    assert f"127.0.0.1:{proxy.port}" in ran.report["request"]["proxy"]
    assert f"127.0.0.1:{proxy.port}" in shown.out + shown.err
    assert "ssw0rd" not in "".join([*ran[1:], *shown[1:]])


def test_a_failure_behind_a_proxy_shows_the_way(run: Run, monkeypatch: Patch, trusted: Any) -> None:
    page = answer(502, b"<html><title>Bad Gateway</title>", {"content-type": "text/html"})
    with serving(page, tls=trusted[0].server("api.test")) as server, proxying() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        way = rf"proxy ✓ 127\.0\.0\.1:{proxy.port}  TLS ✓  API ✗  key sent & -TCP"
        judge(run, f"{FAR}:{server.port}", "--retries", "0", code=5, ladder=way)


def refusal(status: str, *schemes: str) -> bytes:
    lines = "".join(f"Proxy-Authenticate: {scheme}\r\n" for scheme in schemes)
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode()


PASSWORD, HELPER = r"HTTPS_PROXY=http://user:password@", r"\b(px|cntlm)\b"
NO_PASSWORD = rf"407 & •\d .*{HELPER} & -user:password"
REFUSALS: dict[str, tuple[bytes, int, str]] = {
    "Basic": (refusal("407 Sign In", 'Basic realm="x"'), 11, rf"407 & •1 .*{PASSWORD} & -{HELPER}"),
    "Negotiate": (refusal("407 Sign In", "Negotiate", "NTLM"), 11, NO_PASSWORD),
    "NTLM": (refusal("407 Sign In", "NTLM"), 11, NO_PASSWORD),
    "NTLM or Basic": (refusal("407 Sign In", "NTLM", "Basic"), 11, rf"407 & •\d .*{PASSWORD}"),
    "policy": (refusal("403 Forbidden & -user:password"), 11, "403 Forbidden"),
    "no way to the host": (refusal("502 Bad Gateway"), 6, "502"),
    "no time": (refusal("504 Gateway Timeout"), 6, "504"),
    "no HTTP": (b"SSH-2.0-Made_Up\r\n", 11, "proxy"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_proxy_that_does_not_let_through(run: Run, monkeypatch: Patch, case: str) -> None:
    verdict, code, words = REFUSALS[case]
    with proxying(verdict) as proxy:
        address = f"127.0.0.1:{proxy.port}"
        says, ladder = f"{words} & {address}", f"proxy ✗ {address} & -TLS & key not sent$"
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        report = judge(run, FAR, "--retries", "0", code=code, says=says, ladder=ladder)

    assert address in report["request"]["proxy"]
    assert (report["response"], report["key_accepted"]) == (None, None)


def test_a_proxy_that_wants_another_http_is_pythons_matter(run: Run, monkeypatch: Patch) -> None:
    old = sys.version_info < (3, 12)
    with proxying(refusal("426 Upgrade Required")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        judge(run, FAR, code=11, says=rf"{'' if old else '-'}•\d This Python \(3\.1.*HTTP/1\.0")

    assert (b" HTTP/1.0\r" in proxy.requests[0]) is old


@pytest.mark.parametrize("code", [6, 11], ids=["refused", "no name"])
def test_a_proxy_that_is_not_there_is_named(run: Run, monkeypatch: Patch, code: int) -> None:
    resolve(monkeypatch, NO_NAME if code == 11 else ("127.0.0.1", closed_port()))
    monkeypatch.setenv("HTTPS_PROXY", PROXY)

    judge(run, FAR, "--retries", "0", code=code, says=r"^.*proxy\.test", ladder="key not sent$")


@pytest.mark.parametrize("far", [False, True], ids=["this machine", "NO_PROXY"])
def test_no_proxy_is_used_for(run: Run, monkeypatch: Patch, trusted: Any, far: bool) -> None:
    tls = trusted[0].server("api.test") if far else None
    with serving(OK, tls=tls) as server, proxying() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "api.test")
        if far:
            resolve(monkeypatch, ("127.0.0.1", server.port))
        ran = run("--base-url", f"{FAR}:{server.port}" if far else server.url, "--json")

    assert (ran.code, ran.report["request"]["proxy"], proxy.connections) == (0, None, 0)


PAUSED: dict[str, tuple[bytes, int, str]] = {
    "a reply": (b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", 6, "response unfinished"),
    "a refusal": (b"HTTP/1.1 400 X\r\ncontent-length: 99\r\n\r\n{", 9, "invalid request"),
    "an error": (b"HTTP/1.1 401 X\r\ncontent-length: 99\r\n\r\n{", 4, "key refused by the gateway"),
}


@pytest.mark.parametrize("name", PAUSED)
def test_a_pause_in_the_body_ends_at_the_deadline_with_what_had_come(run: Run, name: str) -> None:
    data, code, fault = PAUSED[name]
    # After the pause the socket's own patience would last beyond the deadline.
    with serving(then(data[:-1], then(data[-1:], hang), pause=0.5)) as server:
        started = time.monotonic()
        ran = run("--base-url", server.url, "--json", "--timeout", "0.8")

    assert (ran.code, ran.report["fault"]) == (code, fault)
    assert ran.report["response"]["body_text"] == "{"
    assert time.monotonic() - started < 1.8


def test_a_list_that_pauses_does_not_eat_the_404_at_the_deadline(run: Run) -> None:
    missing = answer(404, {"error": {"type": "not_found_error", "message": "model: m"}})
    slow = then(b"HTTP/1.1 200 OK\r\n", then(b"content-length: 9\r\n\r\n{", hang), pause=0.5)
    with serving(missing, slow) as server:
        ran = run("--base-url", server.url, "-m", "m", "--json", "--timeout", "0.8")

    assert (ran.code, ran.report["response"]["status"]) == (9, 404)


def test_a_handshake_that_took_too_long_for_sdks_is_told_of(run: Run, trusted: Any) -> None:
    context = trusted[0].server()
    context.sni_callback = lambda *_: time.sleep(5.2)
    with serving(OK, tls=context) as server:
        ran = run("--base-url", server.url, "--json")

    assert ran.code == 0
    assert any("TLS took 5." in warning for warning in ran.report["warnings"])


def test_an_empty_store_of_cas_and_a_keychain_are_hints(
    run: Run, authorities: list[Authority], monkeypatch: Patch, tmp_path: Any
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "empty"))
    monkeypatch.setenv("SSL_CERT_FILE", "")  # to OpenSSL a file that is not there
    monkeypatch.setattr("claude_ping.transport.sys.platform", "darwin")
    assert not ssl.create_default_context().cert_store_stats()["x509_ca"]
    with serving(OK, tls=authorities[0].server()) as server:
        judge(run, server.url, code=11, says="no CA certificates at all & macOS")
