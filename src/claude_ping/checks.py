"""Values that cannot work, refused before anything is sent; nothing is ever repaired."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NoReturn
from urllib.parse import urlsplit

from claude_ping.records import Credential, Failure, Fault, PingError, Secret

DEFAULT_BASE_URL = "https://api.anthropic.com"
CONSOLE_KEYS = "https://platform.claude.com/settings/keys"

_PLACEHOLDER = re.compile(
    r"""(?ix) <.*> | .*(\.\.\.|…).* | (sk-)?(ant-)?(api\d\d-)?[x*_-]+
    | (.*[-_ ])?(your|my|replace|insert|change|paste|enter|add)[-_ ]?
      (me|this|here|with|anthropic|claude|api|key|secret|token)([-_ ].*)?
    | (sk-ant-)?(api\d\d-)?
      (placeholder|dummy|example|secret|token|key|api[-_]?key|none|null|todo)"""
)
_LONGEST_PLACEHOLDER = 60  # characters; what is longer may be a key that looks like one by chance
_UNEXPANDED = re.compile(r"\$\{\{.*\}\}|\$\{?\w+\}?|\{\{.*\}\}|%\w+%")
_LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}|::1")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FRAMING_HEADERS = ("content-length", "transfer-encoding", "connection")
_SECRET_HEADER = re.compile(
    r"(?i)(?!idempotency-key$).*(key|token|secret|auth|cookie|password|credential|session).*"
)
_HOST_LABELS = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_CHARACTER_NAMES = {"\n": "a line break", "\r": "a line break", "\t": "a tab", " ": "a blank"}
_USUAL_KEY = re.compile(r"sk-ant-api03-.{95}", re.DOTALL)

# What a credential's first characters say against it.
_SUSPICIOUS_PREFIXES = (
    ("sk-ant-admin", "an Admin API key, which cannot send messages"),
    ("sk-ant-api01-", "an Enterprise admin key, which cannot send messages"),
    ("sk-ant-oat", "an OAuth access token, not an API key"),
    ("sk-ant-ort", "an OAuth refresh token, which no request may carry"),
    ("sk-ant-sid", "a browser session, not an API key"),
    ("sk-proj-", "an OpenAI key"),
    ("sk-or-", "an OpenRouter key"),
    ("AIza", "a Google key"),
    ("AKIA", "an AWS access key"),
    ("gsk_", "a Groq key"),
    ("xai-", "an xAI key"),
    ("hf_", "a Hugging Face token"),
    ("ghp_", "a GitHub token"),
    ("github_pat_", "a GitHub token"),
)


def refuse(message: str, *hints: str, known: Sequence[str] = ()) -> NoReturn:
    """Raise the PingError of a setting that cannot work."""
    raise PingError(Failure(Fault.CONFIG, message, known=tuple(known), hints=hints[:3]))


def check_credential(value: str, where: str) -> None:
    """Refuse a key or token that no API could accept, saying why but never showing it."""
    size = f"({len(value)} characters; the value is not shown)"
    bare = value.strip()
    if _UNEXPANDED.fullmatch(bare):
        refuse(
            f"{where} is the name of a variable that nothing expanded {size}",
            "Put the value itself there: python-dotenv expands ${NAME}, but not $NAME.",
            "In GitHub Actions: env: ANTHROPIC_API_KEY: ${{ secrets.ANTHROPIC_API_KEY }}",
        )
    if is_placeholder(value):
        refuse(
            f"{where} is a placeholder, not a key {size}", f"Put your own key there: {CONSOLE_KEYS}"
        )
    if re.match(r"(?i)bearer\b", bare):
        refuse(
            f"{where} begins with the word Bearer {size}",
            "Remove the word and the blank after it; the header is made here.",
        )
    if bare[0] in "'\"`" or bare[-1] in "'\"`":
        refuse(
            f"{where} has quotes around it {size}",
            "Remove them: docker --env-file, CI variables and Windows' set keep quotes.",
        )
    if character := unprintable(value, allowed=""):
        is_foreign = character.startswith("a non-ASCII")
        refuse(
            f"{where} contains {character} of {len(value)} (the value is not shown)",
            f"Documents and chats put it there: copy the key anew from {CONSOLE_KEYS}"
            if is_foreign
            else "Set it anew in one line: in a shell by printf %s, not echo; in a CI secret, too.",
        )


def is_placeholder(value: str) -> bool:
    """Whether the value is what an example has in place of a key."""
    bare = value.strip()
    return len(bare) <= _LONGEST_PLACEHOLDER and bool(_PLACEHOLDER.fullmatch(bare))


def unprintable(text: str, allowed: str = " \t") -> str | None:
    """Name the first character that is neither visible ASCII nor allowed, and its position."""
    for position, character in enumerate(text, 1):
        if "!" <= character <= "~" or character in allowed:
            continue
        kind = "control" if character < " " or character == "\x7f" else "non-ASCII"
        name = _CHARACTER_NAMES.get(character, f"a {kind} character")
        return f"{name} (U+{ord(character):04X}) at position {position}"
    return None


def suspicion(credential: Credential) -> str | None:
    """Say what kind of other credential this one looks like; a guess, as gateways take any."""
    value = credential.secret.reveal()
    for prefix, kind in _SUSPICIOUS_PREFIXES:
        is_at_home = prefix == "sk-ant-oat" and credential.kind == "auth_token"
        if value.startswith(prefix) and not is_at_home:
            return (
                f"{credential.name} ({credential.source}) looks like {kind};"
                f" make a key at {CONSOLE_KEYS}"
            )
    return None


def is_unusual_length(value: str) -> bool:
    """Whether a key of the common kind has not the length that all of them have had so far."""
    return value.startswith("sk-ant-api03-") and not _USUAL_KEY.fullmatch(value)


def check_base_url(url: str, where: str) -> None:
    """Refuse a URL that requests cannot be sent to, or that would expose the key on the way."""
    shown = _without_secrets(url)
    example = f"For example {DEFAULT_BASE_URL}"
    if "@" in url:
        refuse(
            f"{where} has a user name or password in it: {shown}",
            "Send it as a header instead: ANTHROPIC_CUSTOM_HEADERS='authorization: Basic …'",
        )
    if character := unprintable(url, allowed=""):
        refuse(f"{where} contains {character}", example)
    scheme, separator, rest = url.partition("://")
    if not separator:
        refuse(f"{where} has no scheme: {shown}", f"Write https://{shown}")
    if scheme.lower() not in ("http", "https"):
        refuse(f"{where} is not an http or https URL: {shown}", example)
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(?::(\d{1,5}))?", authority)
    if not match or not _is_host(match[1]) or not 1 <= int(match[2] or 1) <= 65535:
        refuse(f"{where} has a bad host or port: {shown}", example)
    if "?" in rest or "#" in rest:
        refuse(f"{where} has a query or a fragment, but /v1/messages follows it: {shown}", example)
    if scheme.lower() == "http" and not is_loopback(match[1].strip("[]")):
        refuse(
            f"{where} is plain http to a host that is not this machine: {shown}",
            f"Use https://{rest}",
            known=["The key would cross the network readable by everyone on the way."],
        )


def _without_secrets(url: str) -> str:
    """Show no user and password, no query and no fragment."""
    shown = re.sub(r"^(\w+:/+)?.*@", r"\1…@", url)
    return re.sub(r"[?#].*", "?…", shown)


def _is_host(host: str) -> bool:
    if not host.startswith("["):
        return bool(_HOST_LABELS.fullmatch(host))
    from ipaddress import IPv6Address  # noqa: PLC0415 few hosts are addresses

    try:
        return bool(IPv6Address(host[1:-1]))
    except ValueError:
        return False


def is_loopback(host: str | None) -> bool:
    """Whether the host, as a URL names it, is this machine itself."""
    return bool(_LOOPBACK.fullmatch((host or "").lower()))


def is_default_host(base_url: str) -> bool:
    """Whether requests go to the API itself, not to a gateway."""
    return urlsplit(base_url).hostname == urlsplit(DEFAULT_BASE_URL).hostname


def header_problem(name: str, value: str) -> str | None:
    """Say what keeps a header from being sent, if anything does."""
    if not _HEADER_NAME.fullmatch(name):
        # Not shown: it may be a line that was meant to be something else.
        return "a header's name is empty, or holds more than letters, digits and -"
    if name.lower() in ("x-api-key", "authorization") and not value:
        return f"the value of {name} is empty"
    if name.lower() in _FRAMING_HEADERS:
        return f"{name} follows from the request and cannot be set"
    if character := unprintable(value):
        return f"the value of {name} contains {character}"
    return None


def masked(name: str, value: str) -> str | Secret:
    """Wrap the value of a header whose name says that it is nobody's business."""
    return Secret(value, shows_end=False) if _SECRET_HEADER.fullmatch(name) else value


def url_secrets(url: str) -> Iterator[Secret]:
    """Yield what stands before the @ of a URL, the password in it, and its query."""
    userinfo = re.sub(r"^\w+:/+", "", url).rpartition("@")[0]
    for value in (
        userinfo,
        userinfo.partition(":")[2],
        url.partition("?")[2],
        url.partition("#")[2],
    ):
        yield Secret(value, shows_end=False)
