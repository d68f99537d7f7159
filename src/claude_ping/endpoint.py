"""Where requests go and what they carry beside the credential."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote, urlsplit

from claude_ping.records import DEFAULT_BASE_URL, Exchange, Failure, Found, Secret
from claude_ping.screen import mask, unprintable

# The headers whose values are known to be harmless; any other may hold a secret.
_SHOWN_HEADER = (
    r"(?i)anthropic-(version|beta|workspace-id|dangerous-direct-browser-access)|content-type|accept"
    r"|accept-(language|encoding)|user-agent|host|origin|x-stainless-[\w-]+|idempotency-key"
)


def refuse(message: str, *hints: str, known: tuple[str, ...] = ()) -> Failure:
    """Return the Failure of a setting that cannot work."""
    return Failure("unusable setting", message, known=known, hints=hints)


def check_base_url(url: str, where: str) -> None:
    """Refuse a URL that requests cannot be sent to, or that would expose the key on the way."""
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
            raise refuse(f"{where} {fault}: {shown}", remedy)


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
    exchange.ca_file = environ.get("SSL_CERT_FILE") or None
    if exchange.ca_file:
        _check_ca_file(exchange.ca_file)
    import urllib.request  # noqa: PLC0415 not for what is refused before

    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if is_loopback(parts.hostname) or not proxy or urllib.request.proxy_bypass(parts.netloc):
        return
    variable, shown = f"{parts.scheme.upper()}_PROXY", mask(without_login(proxy))
    scheme, separator, _ = proxy.rpartition("://")
    address = _host_and_port(proxy.rpartition("@")[2].rpartition("//")[2].rstrip("/"))
    if separator and scheme.lower() != "http":
        raise refuse(
            f"the proxy {shown} ({variable}) is of a kind that urllib cannot use",
            f"urllib speaks plain HTTP to proxies: {variable}=http://HOST:PORT",
            f"Or go without one: NO_PROXY={parts.hostname}",
        )
    if address is None:
        raise refuse(
            f"the proxy of {variable} has a bad host or port (not shown: it may hold a password)",
            "Write it as http://HOST:PORT; # / and @ in a password as %23 %2F and %40",
        )
    # http.client takes the port of the scheme asked for where the proxy names none.
    exchange.proxy, exchange.via = proxy, f"{address[0]}:{address[1] or 443}"


def _check_ca_file(path: str) -> None:
    import ssl  # noqa: PLC0415 only where the variable is set

    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:
        is_text = isinstance(error, ssl.SSLError)
        why = "holds no PEM certificate" if is_text else f"cannot be read: {error.strerror}"
        raise refuse(
            f"SSL_CERT_FILE={mask(path)} {why}: the SDKs stop there, too",
            "Without it: env -u SSL_CERT_FILE claude-ping",
        ) from None


def shown(found: Found) -> str:
    """Return a value to be printed: of a proxy without its login, nothing of another variable's."""
    return "…" if found.is_foreign else mask(without_login(found.value))


def without_login(url: str) -> str:
    """Show a URL without user and password."""
    return re.sub(r"^(\w+:/*)?.*@", r"\1…@", url, flags=re.DOTALL)


def url_secrets(url: str) -> Iterator[Secret]:
    """Yield the login and the query of a URL, in each form they may be echoed."""
    login = re.sub(r"^\w+:/+", "", url).rpartition("@")[0]
    for form in (login, unquote(login)):
        yield Secret(form, shows_end=False)
        yield Secret(form.partition(":")[2], shows_end=False)
    for mark in "?#":
        yield Secret(url.partition(mark)[2], shows_end=False)


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
# which variables or group, with what known (! not known), for what values; and then the words.
_DIFFERENCES = r"""
ANTHROPIC_API_KEY | | ^\s+$
  {where} is blank: the Python SDK sends it all the same, and fails
ANTHROPIC_AUTH_TOKEN | key | \S
  {where} is set beside {key}, which is sent; SDKs before 2.0 send both, Claude Code the token
ANTHROPIC_BASE_URL | | ^\s*$
  {where} is empty: the Python SDK uses it as it is, and fails; here it counts as not set
ANTHROPIC_BASE_URL | | //$
  {where} ends in //: requests go to //v1/messages, as with SDKs
ANTHROPIC_BASE_URL | | (?P<ending>/v1(/messages)?)/?$
  {where} ends in {ending}, and /v1/messages is appended to it, as by SDKs
ANTHROPIC_BASE_URL | dialect |
  a gateway may take one only: {dialect} (sent), or authorization: Bearer and 2026-10-21 (--sdk)
ANTHROPIC_WORKSPACE_ID | | \S
  {where} is sent here, but not by SDKs: ANTHROPIC_CUSTOM_HEADERS='anthropic-workspace-id: …'
ANTHROPIC_CUSTOM_HEADERS | | (?im)^\s*(?P<credential>authorization|x-api-key)\s*:
  {where} has {credential}: it alone is sent here; SDKs send x-api-key beside the key
ANTHROPIC_CUSTOM_HEADERS | | (?m)^[^:\n]*[^:\s][^:\n]*$
  {where}: a line has no colon and is ignored, as by SDKs
ANTHROPIC_BASE_URL ANTHROPIC_WORKSPACE_ID ANTHROPIC_CUSTOM_HEADERS | hidden | ^\s*$
  {where} is empty, which hides {hidden} from load_dotenv()
PROXIES | | ^(?!((?i:https?)://|(?!\w+://))([^/?#]*@)?(\[[^]]*\]|[^:\[\]/?#]*)(:\d*)?\s*([/?#].*)?$).
  {name}={value} ({place}) stops the Python SDK, used or not: no http URL (SOCKS needs socksio)
NO_PROXY | | (^|,)(?!\s*([\da-f:.]+|(\w*://)?[^:\[\],]*(:\d*)?(/[^,]*)?)\s*(,|$))(?P<entry>[^,]+)
  {where} has an entry that stops the Python SDK: {entry}
ALL_PROXY | https !HTTPS_PROXY | .
  {name}={value} ({place}): the Python SDK goes by it, urllib and claude-ping do not
HTTP_PROXY ALL_PROXY | loopback | .
  {name}={value} ({place}): the Python SDK takes it even to {loopback}, which NO_PROXY lacks
NETWORK | in_file | .
  {place} sets {name}={value}: load_dotenv() hands it to your program, not to claude-ping
BUNDLES | https !SSL_CERT_FILE | .
  {where} is set, but Python's ssl and the SDK read only SSL_CERT_FILE and SSL_CERT_DIR
other_key | other_file | .
  {other_place} has a different {noun} ({other_key}); {source} wins. Try --env-file {other_file}
-H | | .
  {value}: other users see command lines (ps), but not ANTHROPIC_CUSTOM_HEADERS
sampling | | .
  {value}: current SDKs send anthropic-version 2026-10-21, which refuses it; see --sdk
max_tokens | | .
  max_tokens {value}: SDKs refuse more than 21,333 without --stream
"""


def watched() -> Iterator[str]:
    """Yield every variable that a row speaks of."""
    for head in _DIFFERENCES.strip().split("\n")[::2]:
        names = head.partition("|")[0].strip()
        yield from filter(str.isupper, _GROUPS.get(names, names.split()))


def differences(
    seen: Mapping[str, Found],
    found: Mapping[str, Found],
    facts: Mapping[str, str | None],
    url: str,
) -> Iterator[str]:
    """Yield how the user's program would fare otherwise, by what it sees and by what is used."""
    texts = {name: "…" if one.is_foreign else one.value for name, one in seen.items()}
    facts = {**texts, **facts, "https": url if url.startswith("https:") else None}
    facts["loopback"] = _loopback_by_proxy(url, texts.get("NO_PROXY", ""))
    lines = _DIFFERENCES.strip().split("\n")
    for head, words in zip(lines[::2], lines[1::2], strict=True):
        names, conditions, pattern = map(str.strip, head.split("|", 2))
        for name in filter(seen.__contains__, _GROUPS.get(names, names.split())):
            known = facts | _facts(seen[name], found.get(name, seen[name]))
            matters = all(
                not known.get(condition[1:]) if condition[0] == "!" else known.get(condition)
                for condition in conditions.split()
            )
            if matters and (match := re.search(pattern, texts[name])):
                quoted = {name: mask(text) for name, text in match.groupdict("").items()}
                yield words.strip().format_map(known | quoted)


def _facts(one: Found, used: Found) -> dict[str, str | None]:
    return {
        "name": one.name,
        "place": one.place,
        "where": one.where,
        "value": shown(one),
        "in_file": one.place if one.is_in_file else None,
        "hidden": used.place if used.layer is not one.layer else None,
    }


def _loopback_by_proxy(url: str, no_proxy: str) -> str:
    """Return the URL's host if it is this machine, and NO_PROXY does not exempt it for httpx."""
    from ipaddress import ip_address, ip_network  # noqa: PLC0415 few hosts are addresses

    host = urlsplit(url).hostname or ""
    for entry in map(str.strip, no_proxy.split(",") if is_loopback(host) else ()):
        try:
            is_exempt = ip_address(host) in ip_network(entry, strict=False)
        except ValueError:
            is_exempt = entry.rpartition("://")[2].partition(":")[0] in ("*", host)
        if is_exempt:
            return ""
    return host if is_loopback(host) else ""


def network_facts(seen: Mapping[str, Found]) -> dict[str, str | None]:
    """Return what the table of failures may say of proxies and certificates."""
    named = {name: one for name, one in seen.items() if one.value}
    from_file = (
        f"{one.place}: {one.name}={shown(one)}"
        for name, one in named.items()
        if name in NETWORK and one.is_in_file
    )
    proxy, ca_file = named.get("HTTPS_PROXY"), named.get("SSL_CERT_FILE")
    ca_file = None if ca_file and ca_file.is_in_file else ca_file
    return {
        "env_network": next(from_file, None),
        "http_proxy_only": "" if "HTTP_PROXY" in named and not proxy else None,
        "no_proxy_set": "" if not {"HTTP_PROXY", "HTTPS_PROXY"} & named.keys() else None,
        "proxy_login": "" if proxy and "@" in proxy.value else None,
        "ca_file": f"{shown(ca_file)} (SSL_CERT_FILE)" if ca_file else None,
        "other_bundle": next((name for name in BUNDLES if name in named), None),
    }
