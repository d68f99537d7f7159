"""Where requests go and what they carry beside the credential."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from claude_ping.records import DEFAULT_BASE_URL, Exchange, Failure, Found, Secret, told
from claude_ping.screen import mask, unprintable

# The headers whose values are known to be harmless; any other may hold a secret.
_SHOWN_HEADER = (
    r"(?i)anthropic-(version|beta|workspace-id|dangerous-direct-browser-access)|content-type|accept"
    r"|accept-(language|encoding)|user-agent|host|origin|x-stainless-[\w-]+|idempotency-key"
)
HOME = Found("ANTHROPIC_BASE_URL", DEFAULT_BASE_URL, "the default")


def refuse(message: str, *hints: str) -> Failure:
    """Return the Failure of a setting that cannot work."""
    return Failure("unusable setting", message, hints=hints)


def check_base_url(base: Found) -> None:
    """Refuse a URL that requests cannot be sent to, or that would expose the key on the way."""
    url = base.value
    shown = mask(re.sub(r"[?#].*", "?…", without_login(url), flags=re.DOTALL))
    scheme, separator, rest = url.rpartition("://")
    address = _host_and_port(re.split("[/?#]", rest, maxsplit=1)[0])
    is_local = address is not None and is_loopback(address[0])
    is_exposed = scheme.lower() == "http" and not is_local
    example, secure = f"For example {DEFAULT_BASE_URL}", f"Use https://{mask(rest)}"
    basic = "Send it as a header: ANTHROPIC_CUSTOM_HEADERS='authorization: Basic …'"
    faults = (
        (url.strip()[0] in "'\"`" and "has quotes around it", "Remove them."),
        ("@" in url and "has a user name or password in it", basic),
        (unprintable(url, allowed=""), example),
        (not separator and "has no scheme", f"Write http{'s' * (not is_local)}://{shown}"),
        (scheme.lower() not in ("http", "https") and "is not an http or https URL", example),
        (address is None and "has a bad host or port", example),
        (re.search("[?#]", url) and "has a query or fragment: /v1/messages follows it", example),
        (is_exposed and "would send the key in plain http, for all to read", secure),
    )
    for fault, remedy in faults:
        if fault:
            raise refuse(f"{base.where} {fault}: {shown}", remedy)


def _host_and_port(authority: str) -> tuple[str, int | None] | None:
    """Split what a URL has between // and /; None where either part cannot be."""
    try:
        parts = urlsplit(f"//{authority}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    is_host = re.fullmatch(r"[\da-f:.]*:[\da-f:.]*|[\w-]{1,63}(\.[\w-]{1,63})*\.?", host, re.ASCII)
    return (host, port) if is_host and port != 0 else None


def is_loopback(host: str | None) -> bool:
    """Whether the host, as a URL names it, is this machine itself."""
    return bool(re.fullmatch(r"localhost|127(\.\d{1,3}){3}|::1", (host or "").lower()))


def is_home(base_url: str) -> bool:
    """Whether requests go to the API itself, not to a gateway."""
    return urlsplit(base_url).hostname == urlsplit(DEFAULT_BASE_URL).hostname


def route(url: str, environ: Mapping[str, str], exchange: Exchange) -> None:
    """Decide on the CA file, and on the proxy as urllib would; refuse what cannot be used."""
    path = exchange.ca_file = environ.get("SSL_CERT_FILE") or None
    if path:
        import ssl  # noqa: PLC0415 only where the variable is set

        try:
            ssl.create_default_context(cafile=path)
        except OSError as error:
            is_text = isinstance(error, ssl.SSLError)
            why = "holds no PEM certificate" if is_text else f"cannot be read: {error.strerror}"
            problem = f"SSL_CERT_FILE={mask(path)} {why}: the SDKs stop there, too"
            raise refuse(problem, "Without it: env -u SSL_CERT_FILE claude-ping") from None
    import urllib.request  # noqa: PLC0415 not for what is refused before

    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if is_loopback(parts.hostname) or not proxy or urllib.request.proxy_bypass(parts.netloc):
        return
    scheme, separator, rest = proxy.rpartition("://")
    if separator and scheme.lower() != "http":
        raise refuse(
            f"the proxy {mask(without_login(proxy))} (HTTPS_PROXY) is of a kind urllib cannot use",
            "urllib speaks plain HTTP to proxies: HTTPS_PROXY=http://HOST:PORT",
            f"Or go without one: NO_PROXY={parts.hostname}",
        )
    address = _host_and_port(rest.rpartition("@")[2].rstrip("/"))
    if address is None:
        raise refuse(
            "the proxy of HTTPS_PROXY has a bad host or port (not shown: it may hold a password)",
            "Write it as http://HOST:PORT; # / and @ in a password as %23 %2F and %40",
        )
    # http.client takes the port of the scheme asked for where the proxy names none.
    exchange.proxy, exchange.via = proxy, f"{address[0]}:{address[1] or 443}"


def without_login(url: str) -> str:
    """Show a URL without user and password."""
    return re.sub(r"^(\w+:/*)?.*@", r"\1…@", url, flags=re.DOTALL)


def url_secrets(url: str) -> Iterator[str]:
    """Yield the login and the query of a URL, in each form they may be echoed."""
    login = re.sub(r"^\w+:/+", "", url).rpartition("@")[0]
    for form in (login, unquote(login)):
        yield from (form, form.partition(":")[2])
    yield from (url.partition(mark)[2] for mark in "?#")


def header_problem(name: str, value: str) -> str | None:
    """Say what keeps a header from being sent, if anything does."""
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
        # Not shown: it may be a line that was meant to be something else.
        return "a header's name is empty, or holds more than letters, digits and -"
    if name.lower() in ("x-api-key", "authorization") and not value:
        return f"the value of {name} is empty"
    if name.lower() in ("content-length", "transfer-encoding", "connection"):
        return f"{name} follows from the request and cannot be set"
    problem = unprintable(value)
    return f"the value of {name} {problem}" if problem else None


def header_value(name: str, value: str) -> str | Secret:
    """Wrap the value of a header that is not known to be harmless."""
    is_shown = re.fullmatch(_SHOWN_HEADER, name) and not value.lower().startswith("bearer ")
    return value if is_shown else Secret(value, shows_end=False)


PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
NETWORK = (*PROXIES, "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
_GROUPS = {"PROXIES": PROXIES, "NETWORK": NETWORK, "BUNDLES": BUNDLES}
# What official SDKs (the Python SDK 2.13 unless said) do otherwise with what is set. A row says of
# which variables or group, for what values, and the words, as in the table of failures, with
# the variable's name, value, place, where, part (of the pattern), file and hidden beside the facts.
_DIFFERENCES = r"""
ANTHROPIC_API_KEY | ^\s+$ | {where} is blank: the Python SDK sends it all the same, and fails
ANTHROPIC_AUTH_TOKEN | \S | {where} is set beside {key}, which is sent; SDKs before 2.0 send both, Claude Code the token
ANTHROPIC_BASE_URL | ^\s*$ | {where} is empty: the Python SDK uses it as it is, and fails; here it counts as not set
ANTHROPIC_BASE_URL | //$ | {where} ends in //: requests go to //v1/messages, as with SDKs
ANTHROPIC_BASE_URL | (?P<part>/v1(/messages)?)/?$ | {where} ends in {part}, and /v1/messages is appended to it, as by SDKs
ANTHROPIC_WORKSPACE_ID | \S | {where} is sent here, but not by SDKs: ANTHROPIC_CUSTOM_HEADERS='anthropic-workspace-id: …'
ANTHROPIC_CUSTOM_HEADERS | (?im)^\s*(?P<part>authorization|x-api-key)\s*: | {where} has {part}: it alone is sent here; SDKs send x-api-key beside the key
ANTHROPIC_CUSTOM_HEADERS | (?m)^[^:\n]*[^:\s][^:\n]*$ | {where}: a line has no colon and is ignored, as by SDKs
ANTHROPIC_BASE_URL ANTHROPIC_WORKSPACE_ID ANTHROPIC_CUSTOM_HEADERS | ^\s*$ | {where} is empty, which hides {hidden} from load_dotenv()
PROXIES | ^(?!((?i:https?)://|(?!\w+://))([^/?#]*@)?(\[[^]]*\]|[^:\[\]/?#]*)(:\d*)?\s*([/?#].*)?$). | {name}={value} ({place}) stops the Python SDK, used or not: no http URL (SOCKS needs socksio)
NO_PROXY | (^|,)(?!\s*([\da-f:.]+|(\w*://)?[^:\[\],]*(:\d*)?(/[^,]*)?)\s*(,|$))(?P<part>[^,]+) | {where} has an entry that stops the Python SDK: {part}
ALL_PROXY | . | [proxyless] {name}={value} ({place}): the Python SDK goes by it, urllib and claude-ping do not
HTTP_PROXY ALL_PROXY | . | {name}={value} ({place}): the Python SDK takes it even to {proxied}, which NO_PROXY lacks
NETWORK | . | [file] {place} sets {name}={value}: load_dotenv() hands it to your program, not to claude-ping
BUNDLES | . | [default_ca] {where} is set, but Python and the SDK read only SSL_CERT_FILE and SSL_CERT_DIR
"""
# What else may surprise.
_DOUBTS = """
some gateways accept only one of: {dialect} (sent), or authorization: Bearer and 2026-10-21 (--sdk)
{suspicion}
{other_place} has a different {noun} ({other_key}); {source} wins. Try it: claude-ping --env-file {other_file}
{typed}: other users see command lines (ps), but not ANTHROPIC_CUSTOM_HEADERS
{sampling}: current SDKs send anthropic-version 2026-10-21, which refuses it; see --sdk
max_tokens {long_reply}: SDKs refuse more than 21,333 without --stream
"""


def differences(
    seen: Mapping[str, Found], used: Mapping[str, Found], facts: Mapping[str, Any]
) -> Iterator[str]:
    """Yield how the user's program would fare otherwise, by what it sees and by what is used."""
    yield from told(_DOUBTS.strip().split("\n"), facts)
    for row in _DIFFERENCES.strip().split("\n"):
        names, pattern, words = row.split(" | ")
        for one in (seen[name] for name in _GROUPS.get(names, names.split()) if name in seen):
            if match := re.search(pattern, "…" if one.is_foreign else one.value):
                other = used.get(one.name, one).place
                about_it = one._asdict() | {"where": one.where, "value": shown(one)}
                about_it["place"] = one.place.removeprefix("the ")
                about_it["part"] = mask(match.groupdict().get("part", ""))
                about_it["hidden"] = other if other != one.place else None
                yield from told([words], {**facts, **about_it})


def shown(found: Found) -> str:
    """Return a value to be printed: of a proxy without its login, nothing of another variable's."""
    return "…" if found.is_foreign else mask(without_login(found.value))


def network_facts(seen: Mapping[str, Found], base: Found) -> dict[str, Any]:
    """Return what both tables may say of the base URL, proxies and certificates."""
    url, place = base.value.removesuffix("/"), base.place.removeprefix("the ")
    root = re.sub(r"/v1(/messages)?/?$", "", url)
    named = {name: one for name, one in seen.items() if one.value}
    in_file = [named[name] for name in NETWORK if name in named and named[name].file]
    proxy, ca_file = named.get("HTTPS_PROXY"), named.get("SSL_CERT_FILE")
    is_https, host = url.startswith("https:"), urlsplit(url).hostname or ""
    exempt = rf"(^|[,/\s])({re.escape(host)}|\*|127\.[\d.]+/\d+)(:\d*)?\s*(,|$)"
    no_proxy = named["NO_PROXY"].value if "NO_PROXY" in named else ""
    is_proxied = is_loopback(host) and not re.search(exempt, no_proxy)
    return {
        "env_network": next((f"{one.place}: {one.name}={shown(one)}" for one in in_file), None),
        "http_proxy_only": "HTTP_PROXY" in named and not proxy,
        "no_proxy_set": not {"HTTP_PROXY", "HTTPS_PROXY"} & named.keys(),
        "proxy_login": proxy is not None and "@" in proxy.value,
        "ca_file": ca_file and not ca_file.file and f"{shown(ca_file)} (SSL_CERT_FILE)",
        "other_bundle": next((name for name in BUNDLES if name in named), None),
        "proxyless": is_https and not proxy,
        "default_ca": is_https and "SSL_CERT_FILE" not in named,
        "base_url_setting": url != DEFAULT_BASE_URL and f"{base.name}={mask(url)} ({place})",
        "undoubled": root != url and f"{base.name}={mask(root)} ({place})",
        "proxied": host if is_proxied else None,
    }
