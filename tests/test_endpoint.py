"""Where requests go, which way, and with which headers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import trustme
from helpers import KEY, Run

from claude_ping import endpoint, options, settings

Patch = pytest.MonkeyPatch
GATEWAY = {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}
HEADERS = "ANTHROPIC_CUSTOM_HEADERS"
pytestmark = pytest.mark.usefixtures("key")


def lacks(text: str, words: str) -> list[str]:
    """The patterns, divided by `&`, that are not in the text."""
    return [word for word in words.split(" & ") if not re.search(word, text, re.IGNORECASE)]


def rehearse(run: Run, patch: Patch, env: dict[str, str], *argv: str) -> Any:
    """The report of a dry run in this environment."""
    for name, value in env.items():
        patch.setenv(name, value)
    ran = run("-n", "--json", *argv)
    assert ran.code == 0, ran.err
    return ran.report


URLS: dict[str, tuple[str, str]] = {  # what the headline says // what the rest says
    "no scheme": ("api.anthropic.com", "scheme // https://api.anthropic.com"),
    "no scheme, this machine": ("localhost:4000", "scheme // http://localhost:4000"),
    "no scheme, an address": ("127.0.0.1:4000/x", "scheme // http://127.0.0.1:4000/x"),
    "another scheme": ("ftp://host.example", "ftp // "),
    "a port that is a word": ("https://host.example:port", "port // "),
    "port 65536": ("https://host.example:65536", "port // "),
    "half an address": ("https://[::1", "host|address // "),
    "a password": ("https://user:hunter2-@host.example", "user|password // "),
    "and a slash in it": ("https://user:hunter2-/x@host.example", "user|password // "),
    "a query": ("https://host.example?code=hunter2-", "query // "),
    "a fragment": ("https://host.example/#top", "fragment // "),
    "a space": ("https://host.example/ x", r"space|blank // "),
    "a line break at the end": ("https://host.example\n", "line break // "),
    "quotes": ("'https://host.example'", "quot|scheme|http // "),
    "a letter that is not ASCII": ("https://h\u00f6st.example", r"U\+00F6 // "),
    "plain http": ("http://host.example", "http & host.example // https://host.example"),
    "plain http to a name like an address": ("http://127.evil.example", "127.evil.example // "),
    "plain http to every address": ("http://0.0.0.0:4000", "0.0.0.0 // "),
}


@pytest.mark.parametrize("case", URLS)
def test_a_bad_base_url_is_refused(run: Run, monkeypatch: Patch, case: str) -> None:
    url, words = URLS[case]
    monkeypatch.setenv("ANTHROPIC_BASE_URL", url)

    ran = run()

    headline, _, rest = ran.err.partition("\n")
    said, _, hint = words.partition(" // ")
    assert (ran.code, ran.out) == (3, "")
    assert lacks(headline, f"^✗ & ANTHROPIC_BASE_URL & environment & {said}") == []
    assert lacks(rest, f"• & {hint}") == []
    assert "hunter2-" not in ran.err
    assert "--base-url" in run("--base-url", url).err.partition("\n")[0]


API = "https://api.anthropic.com/v1/messages"
SENT: dict[str, tuple[str, str, str]] = {  # the URL that is asked, a warning
    "a path": ("https://h.example:8443/a/", "https://h.example:8443/a/v1/messages", "--sdk"),
    "two slashes": ("https://h.example//", "https://h.example//v1/messages", "//"),
    "the API's path": ("https://h.example/v1", "https://h.example/v1/v1/messages", "/v1"),
    "and a slash": ("https://h.example/v1/", "https://h.example/v1/v1/messages", "/v1"),
    "plain http to this machine": ("http://127.1.2.3:1", "http://127.1.2.3:1/v1/messages", "--sdk"),
    "plain http to IPv6": ("http://[::1]:80", "http://[::1]:80/v1/messages", "--sdk"),
    "nothing": ("", API, "ANTHROPIC_BASE_URL & empty|blank"),
    "blanks": ("  ", API, "ANTHROPIC_BASE_URL & empty|blank"),
}


@pytest.mark.parametrize("case", SENT)
def test_a_base_url_is_taken_as_it_stands(run: Run, monkeypatch: Patch, case: str) -> None:
    given, asked, words = SENT[case]

    report = rehearse(run, monkeypatch, {"ANTHROPIC_BASE_URL": given})

    assert report["request"]["url"] == asked
    assert lacks("\n".join(report["warnings"]), words) == []


def test_the_api_itself_is_no_warning(run: Run, monkeypatch: Patch) -> None:
    trustme.CA().cert_pem.write_to_path("ca.pem")
    for env in [{}, {"SSL_CERT_FILE": "ca.pem"}, {"ANTHROPIC_BASE_URL": API[:-11]}]:
        report = rehearse(run, monkeypatch, env)
        assert (report["request"]["url"], report["warnings"]) == (API, [])


PROXY = "http://proxy.example:3128"
SOCKS = {"HTTPS_PROXY": "socks5://p:1", "NO_PROXY": "api.anthropic.com"}
WARNED: dict[str, tuple[dict[str, str], str]] = {
    "SOCKS for another scheme": ({"HTTP_PROXY": "socks5://p:1"}, "HTTP_PROXY & socks"),
    "SOCKS for all": ({"ALL_PROXY": "socks5h://p:1"}, "ALL_PROXY & socks"),
    "SOCKS, exempted": (SOCKS, "HTTPS_PROXY & socks"),
    "SOCKS, this machine": (GATEWAY | {"all_proxy": "socks4://p:1"}, "all_proxy & socks"),
    "a proxy for all, which urllib ignores": ({"ALL_PROXY": PROXY}, "ALL_PROXY"),
    "an unknown scheme": ({"HTTP_PROXY": "htp://p:1"}, "HTTP_PROXY & htp://p:1"),
    "a port that is a word": ({"HTTP_PROXY": "http://p:port"}, "HTTP_PROXY & p:port"),
    "brackets": ({"NO_PROXY": "localhost,[::1]"}, r"NO_PROXY & \[::1\]"),
    "a network of IPv6": ({"no_proxy": "localhost, fe80::/10"}, "no_proxy & fe80::/10"),
    "a word for a port": ({"NO_PROXY": "a.example:port"}, "NO_PROXY & a.example:port"),
    "this machine by a proxy": (GATEWAY | {"HTTP_PROXY": PROXY}, "HTTP_PROXY & NO_PROXY"),
    "this machine by one for all": (GATEWAY | {"ALL_PROXY": PROXY}, "ALL_PROXY & NO_PROXY"),
}


@pytest.mark.parametrize("case", WARNED)
def test_a_proxy_sdks_fail_on_is_warned_of(run: Run, monkeypatch: Patch, case: str) -> None:
    env, words = WARNED[case]

    report = rehearse(run, monkeypatch, env)

    assert report["request"]["proxy"] is None
    assert [] in [lacks(warning, words) for warning in report["warnings"]]


@pytest.mark.parametrize(
    "env",
    [
        {"HTTPS_PROXY": "http://user:hunter2-@proxy.example:3128"},
        {"HTTPS_PROXY": PROXY, "NO_PROXY": "localhost,127.0.0.1,::1,.corp.example,10.0.0.0/8"},
        {**GATEWAY, "HTTP_PROXY": PROXY, "NO_PROXY": "localhost,127.0.0.1"},
    ],
)
def test_a_password_of_a_proxy_is_not_told(
    run: Run, monkeypatch: Patch, env: dict[str, str]
) -> None:
    report = rehearse(run, monkeypatch, env)

    assert ("proxy.example:3128" in str(report["request"]["proxy"])) is ("HTTPS_PROXY" in env)
    assert not any("PROXY" in warning for warning in report["warnings"])
    assert "hunter2-" not in str(report) + run("-n", "-v").err


REFUSED: dict[str, tuple[str, str, str]] = {
    "a SOCKS proxy": ("HTTPS_PROXY", "socks5://p.example:1", "socks"),
    "a proxy behind TLS": ("https_proxy", "https://user:hunter2-@p.example:1", "https"),
    "a proxy of an unknown scheme": ("HTTPS_PROXY", "htp://p.example:1", "htp"),
    "a proxy's bad port": ("HTTPS_PROXY", "http://p.example:port", "port"),
    "certificates that are missing": ("SSL_CERT_FILE", "none.pem", "none.pem"),
    "certificates that are a folder": ("SSL_CERT_FILE", "folder", "folder"),
    "a file without a certificate": ("SSL_CERT_FILE", "text.pem", "text.pem & certificate"),
    "a header of JSON": (HEADERS, '{"x-token": "hunter2-"}', "name"),
    "a space in a name": (HEADERS, "x one: hunter2-", "name"),
    "a carriage return between two": (HEADERS, "x-one: 1\rx-two: hunter2-", "carriage return"),
    "a vertical tab between two": (HEADERS, "x-one: 1\vx-two: hunter2-", r"x-one & U\+000B"),
    "a line separator between two": (HEADERS, "x-one: 1\u2028x: hunter2-", r"x-one & U\+2028"),
    "an empty credential": (HEADERS, "authorization:", "authorization & empty"),
    "what follows from the request": (HEADERS, "content-length: 3", "content-length"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_bad_variables_are_refused(run: Run, monkeypatch: Patch, case: str) -> None:
    Path("folder").mkdir()
    Path("text.pem").write_text("-----BEGIN CERTIFICATE-----\nno\n", "utf-8")
    name, value, words = REFUSED[case]
    monkeypatch.setenv(name, value)

    ran = run()

    assert (ran.code, ran.out) == (3, "")
    assert lacks(ran.err.partition("\n")[0], f"^✗ & {name} & {words}") == []
    assert "• " in ran.err
    assert "hunter2-" not in ran.err


VERSION, BETA = "anthropic-version", "anthropic-beta"
OURS = {VERSION: "2023-06-01", "content-type": "application/json"}
# The custom headers, an option -H, what is shown of them, a warning.
SHOWN: dict[str, tuple[str, str, dict[str, str], str]] = {
    "our own": ("", "", OURS, ""),
    "one of ours, replaced": ("Anthropic-Version: 2026-10-21", "", {VERSION: "2026-10-21"}, ""),
    "harmless ones": ("user-agent: me", "accept: x/y", {"user-agent": "me", "accept": "x/y"}, ""),
    "a carriage return": ("anthropic-beta: a\r\nx-secret: hunter2-", "", {BETA: "a"}, ""),
    "the last of two": ("anthropic-beta: a\nAnthropic-Beta: b", "", {BETA: "b"}, ""),
    "an option above it": ("anthropic-beta: a", "Anthropic-Beta: c", {BETA: "c"}, ""),
    "no colon": ("anthropic-beta: a\nno hunter2-", "", {BETA: "a"}, f"{HEADERS} & colon"),
    "a secret in an option": ("", "x-secret: hunter2-", {}, f"x-secret & {HEADERS} & ps"),
    "a bearer beside the key": ("Authorization: Bearer hunter2-", "", {}, "authorization"),
    "a key beside the key": ("X-Api-Key: hunter2-", "", {}, "x-api-key"),
}


@pytest.mark.parametrize("case", SHOWN)
def test_only_harmless_headers_are_shown(run: Run, monkeypatch: Patch, case: str) -> None:
    custom, option, shown, words = SHOWN[case]
    argv = ["-H", option] if option else []

    report = rehearse(run, monkeypatch, {HEADERS: custom} if custom else {}, *argv)

    headers = {name.lower(): value for name, value in report["request"]["headers"].items()}
    assert shown.items() <= headers.items()
    assert ("x-secret" in headers) is ("x-secret" in custom + option)
    assert len({"x-api-key", "authorization"} & headers.keys()) == 1
    assert headers["user-agent"].startswith(("claude-ping/", "me"))
    assert lacks("\n".join(report["warnings"]), words) == []
    assert bool(report["warnings"]) is bool(words)
    for form in ["--json", "-v"]:
        ran = run("-n", form, *argv)
        assert "hunter2-" not in ran.out + ran.err
        assert KEY not in ran.out + ran.err


def test_sdk_sends_as_the_sdks_do(run: Run, monkeypatch: Patch) -> None:
    headers = rehearse(run, monkeypatch, {}, "--sdk")["request"]["headers"]

    headers = {name.lower(): value for name, value in headers.items()}
    assert headers["anthropic-version"] == "2026-10-21"
    assert headers["authorization"].startswith("Bearer ")
    assert "x-api-key" not in headers


def test_a_gateway_may_take_one_dialect_only(run: Run, monkeypatch: Patch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    dry = ("-n", "--json", "--base-url", "https://gateway.example")

    (warning,) = run(*dry).report["warnings"]

    assert "x-api-key and 2023-06-01 (sent), or authorization: Bearer and 2026-10-21" in warning
    assert run(*dry, "--sdk").report["warnings"] == []


def test_every_row_of_what_sdks_do_speaks_of_known_facts() -> None:
    rows = endpoint._DIFFERENCES + endpoint._DOUBTS  # noqa: SLF001 the tables themselves
    known = settings.resolve(options.parse([]), [settings.environment()], {}).facts.keys()

    names = set(re.findall(r"(?<!-)\[(\w+)\] |\{(\w+)\}", rows))
    of_a_variable = {"where", "name", "value", "place", "part", "file", "hidden"}
    assert {condition or fact for condition, fact in names} <= known | of_a_variable
