"""Decide each setting's value, remember where it came from, and tell what SDKs do differently."""

from __future__ import annotations

import os
import re
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from claude_ping import credential, endpoint
from claude_ping.credential import API_KEY, AUTH_TOKEN
from claude_ping.records import Credential, Failure, Found, Layer, Secret, Settings
from claude_ping.screen import mask, read_text

BASE_URL = "ANTHROPIC_BASE_URL"
WORKSPACE_ID = "ANTHROPIC_WORKSPACE_ID"
CUSTOM_HEADERS = "ANTHROPIC_CUSTOM_HEADERS"
VARIABLES = (API_KEY, AUTH_TOKEN, BASE_URL, WORKSPACE_ID, CUSTOM_HEADERS)
MAX_TOKENS_UNSTREAMED = 21_333  # more than SDKs send without a stream


def environment(values: Mapping[str, str] = os.environ, label: str = "the environment") -> Layer:
    """Return the layer of variables that are in no file, the process's own unless given."""
    return Layer(label, {name: Found(name, value, label) for name, value in values.items()})


def read_layers(env_file: str | None) -> list[Layer]:
    """Return the places to look in, the strongest first; a file that nobody named comes last."""
    if env_file is not None:
        return [_read_file(env_file, mask(env_file)), environment()]
    folder = os.getcwd()
    while not os.path.exists(path := os.path.join(folder, ".env")) or os.path.isdir(path):
        if folder == os.path.dirname(folder):
            return [environment()]
        folder = os.path.dirname(folder)
    return [environment(), _read_file(path, mask(os.path.relpath(path)))]


def _read_file(path: str, label: str) -> Layer:
    """Read a `.env` file as load_dotenv() does, and remember the line of each name."""
    from io import StringIO  # noqa: PLC0415

    from dotenv.main import resolve_variables  # noqa: PLC0415
    from dotenv.parser import parse_stream  # noqa: PLC0415

    try:
        text = read_text(path, 1 << 16)
    except ValueError as error:
        named = "--env-file " * ("No such file" in str(error))
        encode = "Save it as UTF-8 (in PowerShell: Set-Content -Encoding utf8)"
        other = "Name another file: --env-file PATH"
        remedies = [encode, other] if "UTF" in str(error) else [other]
        raise endpoint.refuse(f"cannot read {named}{label}: {error}", *remedies) from None
    bindings = list(parse_stream(StringIO(text)))
    pairs = [(binding.key, binding.value) for binding in bindings if binding.key]
    values = resolve_variables(pairs, override=False)  # the environment's before the file's
    found: dict[str, Found] = {}
    ignored = []
    for name, value, original, is_error in bindings:
        before = original.string.partition(name or original.string.strip())[0]
        line = original.line + before.count("\n")
        place = f"{label} line {line}"
        if name and value is not None:
            taken = re.findall(r"\$\{([^}:]*)", value)
            own = found.keys() - os.environ.keys()
            is_foreign = any(one not in own or found[one].is_foreign for one in taken)
            found[name] = Found(name, values[name] or "", place, label, is_foreign)
        elif is_error or name:
            ignored.append(f"{place} is not NAME=value and is ignored, as by python-dotenv")
    return Layer(label, found, text, ignored)


def secrets(layers: Iterable[Layer], headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return every value that no output may show, used or not, and what stands for it."""
    hidden: list[Secret] = []
    pairs = list(headers)
    for one in (one for layer in layers for one in layer.found.values()):
        if one.is_foreign or credential.is_misnamed(one.name):
            hidden.append(one._replace(value=one.value.strip().strip("'\"`")).secret)
        if one.name == BASE_URL or one.name.lower().endswith("_proxy"):
            parts = endpoint.url_secrets(one.value)
            hidden += [Secret(part, shows_end=False) for part in parts]
        if one.name == CUSTOM_HEADERS:
            pairs += _header_lines(one.value)
    values = [endpoint.header_value(name, value) for name, value in pairs]
    hidden += [value for value in values if isinstance(value, Secret)]
    return {secret.reveal(): str(secret) for secret in hidden}


def resolve(args: Namespace, layers: Sequence[Layer], body: Mapping[str, object]) -> Settings:
    """Decide every setting, or raise Failure with what to change and where."""
    if args.base_url and args.base_url.strip():
        option = Found("--base-url", args.base_url, "command line")
        layers = [Layer("command line", {BASE_URL: option}), *layers]
    found = {name: one for name in VARIABLES if (one := next(_find(name, layers), None))}
    headers = _headers(args, found)
    _refuse_hidden(found, layers)
    given = found.get(API_KEY) or found.get(AUTH_TOKEN)
    carried = _carried(headers, given)
    if carried is None:
        raise credential.no_key(layers)
    typed = [f"-H {name}" for name, _ in args.header if isinstance(headers[name.lower()], Secret)]
    base = found.get(BASE_URL, endpoint.HOME)
    endpoint.check_base_url(base)
    _refuse_collecting(typed, found, layers[-1])
    base_url, is_home = base.value.removesuffix("/"), endpoint.is_home(base.value)
    if given:
        credential.check(given.value, given.where, is_home=is_home)
    sampling = [name for name in ("temperature", "top_p", "top_k") if name in body and not args.sdk]
    most = 0 if body.get("stream") else body.get("max_tokens")
    seen = _seen(layers)
    facts = {
        **credential.facts(carried, sdk=args.sdk, is_home=is_home),
        **_other(given, layers),
        **endpoint.network_facts(seen, base),
        "typed": ", ".join(typed) or None,
        "sampling": ", ".join(sampling) or None,
        "long_reply": isinstance(most, int) and most > MAX_TOKENS_UNSTREAMED and most,
        "custom_headers": bool(headers),
        "key": API_KEY in found and found[API_KEY].where,
        "dialect": not (is_home or args.sdk) and "x-api-key and 2023-06-01",
    }
    ignored = [warning for one in layers for warning in one.ignored]
    warnings = (*ignored, *endpoint.differences(seen, found, facts))
    return Settings(carried, base_url, headers, warnings, facts)


def _find(name: str, layers: Iterable[Layer]) -> Iterator[Found]:
    every = (layer.found[name] for layer in layers if name in layer.found)
    return (one for one in every if one.value.strip())


def _carried(headers: Mapping[str, str | Secret], given: Found | None) -> Credential | None:
    """Return the credential that is sent; one in a custom header takes the place of any other."""
    for name, kind in (("authorization", "auth_token"), ("x-api-key", "api_key")):
        if isinstance(value := headers.get(name), Secret):
            return Credential(kind, value, name, "a custom header")
    if given is None:
        return None
    kind = "api_key" if given.name == API_KEY else "auth_token"
    return Credential(kind, given.secret, given.name, given.place)


def _header_lines(text: str) -> list[tuple[str, str]]:
    """Split custom headers as the official SDKs do: at line feeds only, leaving out other lines."""
    pairs = (line.split(":", 1) for line in text.split("\n") if ":" in line)
    return [(name.strip(), value.strip()) for name, value in pairs]


def _headers(args: Namespace, found: Mapping[str, Found]) -> dict[str, str | Secret]:
    headers: dict[str, str | Secret] = {}
    workspace, custom = found.get(WORKSPACE_ID), found.get(CUSTOM_HEADERS)
    lines = [(workspace, "anthropic-workspace-id", workspace.value.strip())] if workspace else []
    lines += [(custom, *pair) for pair in _header_lines(custom.value)] if custom else []
    for one, name, value in lines:
        if problem := endpoint.header_problem(name, value):
            form = "Headers are ASCII, one a line: Name: value"
            raise endpoint.refuse(f"{one.where}: {problem}", form)
        shown = endpoint.header_value(name, value)
        headers[name.lower()] = Secret(value, shows_end=False) if one.is_foreign else shown
    for name, value in args.header:
        headers[name.lower()] = endpoint.header_value(name, value)
    return headers


def _refuse_hidden(found: Mapping[str, Found], layers: Sequence[Layer]) -> None:
    """Refuse an empty variable that load_dotenv() would leave in the way of the file's."""
    for name in (API_KEY, AUTH_TOKEN):
        one = found.get(name)
        if one and one.file and one.file == layers[-1].label and name in layers[-2].found:
            message = f"no API key: {name} is empty in the environment, which hides {one.place}"
            remedy = f"Unset it: env -u {name} claude-ping, or claude-ping --env-file {one.file}"
            raise Failure("no key", f"{message} from load_dotenv()", hints=(remedy,))


def _refuse_collecting(typed: list[str], found: Mapping[str, Found], last: Layer) -> None:
    """Let a found file choose where to send, by URL or Host, only what it holds itself."""
    sent = [found.get(API_KEY) or found.get(AUTH_TOKEN), *map(found.get, VARIABLES[2:])]
    base, custom = found.get(BASE_URL), found.get(CUSTOM_HEADERS)
    if base and base.file == last.label and base.value.removesuffix("/") != endpoint.HOME.value:
        chooser, target = base, "" if base.is_foreign else mask(base.value.removesuffix("/"))
    elif custom and custom.file == last.label and re.search(r"(?im)^\s*host\s*:", custom.value):
        chooser, target = custom, ""
        sent.remove(base)
    else:
        return
    foreign = [one.where for one in sent if one and (one.file != last.label or one.is_foreign)]
    if foreign := foreign + typed:
        raise endpoint.refuse(
            f"{chooser.place} would send {' and '.join(foreign)} to {target or 'another host'}",
            "A .env that came with a folder must not collect what is set elsewhere. If intended:"
            f" claude-ping --base-url {target or 'URL'}",
            f"Or take everything from the file: claude-ping --env-file {last.label}",
        )


def _other(given: Found | None, layers: Sequence[Layer]) -> dict[str, Any]:
    """Tell of a different credential that the one in use hides."""
    names = "other_place", "other_key", "other_file"
    for one in _find(given.name, layers) if given else ():
        is_same = given is not None and one.value == given.value
        if not (is_same or re.fullmatch(credential.PLACEHOLDER, one.value.strip())):
            return dict(zip(names, (one.place, str(one.secret), one.file), strict=True))
    return dict.fromkeys(names)


def _seen(layers: Sequence[Layer]) -> dict[str, Found]:
    """Return what a program sees after load_dotenv(), which overrides nothing that is set."""
    seen: dict[str, Found] = {}
    for one in sorted(layers, key=lambda layer: layer.text is not None):
        for name, found in sorted(one.found.items(), reverse=True):  # lower case first
            seen.setdefault(re.sub(r"^\w+_proxy$", lambda proxy: proxy[0].upper(), name), found)
    return seen
