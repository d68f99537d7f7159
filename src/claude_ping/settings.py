"""Decide each setting's value, remember where it came from, and tell what SDKs do differently."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from claude_ping import credential, endpoint
from claude_ping.credential import API_KEY, AUTH_TOKEN
from claude_ping.records import (
    DEFAULT_BASE_URL,
    Credential,
    Failure,
    Found,
    Layer,
    Secret,
    Settings,
)
from claude_ping.screen import mask

if TYPE_CHECKING:
    from argparse import Namespace

BASE_URL = "ANTHROPIC_BASE_URL"
WORKSPACE_ID = "ANTHROPIC_WORKSPACE_ID"
CUSTOM_HEADERS = "ANTHROPIC_CUSTOM_HEADERS"
VARIABLES = (API_KEY, AUTH_TOKEN, BASE_URL, WORKSPACE_ID, CUSTOM_HEADERS)
ENVIRONMENT = "the environment"
MAX_ENV_FILE = 1 << 16  # bytes
MAX_TOKENS_UNSTREAMED = 21_333  # more than SDKs send without a stream


def read_layers(env_file: str | None, environ: Mapping[str, str]) -> list[Layer]:
    """Return the places to look in, the strongest first; read at most one `.env` file.

    One that nobody named comes last.
    """
    environment = Layer(ENVIRONMENT, environ)
    if env_file is not None:
        return [_read_file(env_file, mask(env_file), environ), environment]
    folder = os.getcwd()
    while not os.path.exists(path := os.path.join(folder, ".env")) or os.path.isdir(path):
        if folder == os.path.dirname(folder):
            return [environment]
        folder = os.path.dirname(folder)
    return [environment, _read_file(path, mask(os.path.relpath(path)), environ)]


def _read_file(path: str, label: str, environ: Mapping[str, str]) -> Layer:
    """Read a `.env` file as load_dotenv() does, and remember the line of each name."""
    from collections import ChainMap  # noqa: PLC0415
    from io import StringIO  # noqa: PLC0415

    from dotenv.parser import parse_stream  # noqa: PLC0415
    from dotenv.variables import parse_variables  # noqa: PLC0415

    text = _read_text(path, label)
    values: dict[str, str] = {}
    own: dict[str, str] = {}  # with no other values put in than the file's
    seen = ChainMap(dict(environ), values)  # the environment's values come before the file's
    lines, ignored = {}, []
    for name, value, original, is_error in parse_stream(StringIO(text)):
        before = original.string[: -len(original.string.lstrip()) or None]
        line = original.line + before.count("\n")
        if name and value is not None:
            atoms = list(parse_variables(value))
            own[name] = "".join(atom.resolve(own) for atom in atoms) or value
            values[name] = "".join(atom.resolve(seen) for atom in atoms)
            lines[name] = line
        elif is_error or name:
            ignored.append(line)
    foreign = {name for name in values if values[name] != own[name]}
    return Layer(label, values, text, lines, ignored, foreign)


def _read_text(path: str, label: str) -> str:
    option = ""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_ENV_FILE + 1)
        text = data.decode()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        why = f"line {line} is not UTF-8 text, but UTF-16 or other"
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        option = "--env-file " * isinstance(error, FileNotFoundError)
    else:
        if len(data) <= MAX_ENV_FILE and "\0" not in text:
            return text
        why = "it is UTF-16 or binary" if "\0" in text else "it is larger than 64 KiB"
    raise endpoint.refuse(
        f"cannot read {option}{label}: {why}",
        "Save it as UTF-8 (in PowerShell: Set-Content -Encoding utf8)"
        if "UTF" in why
        else "Name another file: --env-file PATH",
        "Or name another file: --env-file PATH",
    )


def secrets(layers: Iterable[Layer], headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return every value that no output may show, used or not, and what stands for it."""
    return {secret.reveal(): str(secret) for secret in _secrets(layers, headers)}


def _secrets(layers: Iterable[Layer], headers: Iterable[tuple[str, str]]) -> Iterator[Secret]:
    given = list(headers)
    for layer in layers:
        for found in (Found(name, value, layer) for name, value in layer.values.items()):
            if found.is_foreign or credential.is_misnamed(found.name):
                bare = found.value.strip().strip("'\"`")
                yield Secret(bare, shows_end=not found.is_foreign)
            if found.name == BASE_URL or found.name.lower().endswith("_proxy"):
                yield from endpoint.url_secrets(found.value)
        given += _header_lines(layer.values.get(CUSTOM_HEADERS, ""))
    for name, value in given:
        if isinstance(endpoint.header_value(name, value), Secret):
            yield Secret(value, shows_end=False)


def resolve(args: Namespace, layers: Sequence[Layer], body: Mapping[str, object]) -> Settings:
    """Decide every setting, or raise Failure with what to change and where."""
    if args.base_url and args.base_url.strip():
        layers = [Layer("--base-url", {BASE_URL: args.base_url}), *layers]
    found = {name: one for name in VARIABLES if (one := next(_find(name, layers), None))}
    headers = _headers(args, found)
    _refuse_hidden(found, layers)
    given = found.get(API_KEY) or found.get(AUTH_TOKEN)
    base = found.get(BASE_URL) or Found(BASE_URL, DEFAULT_BASE_URL, Layer("the default", {}))
    carried = _header_credential(headers) or (given and _credential(given))
    if carried is None:
        every = [
            Found(name, value, layer) for layer in layers for name, value in layer.values.items()
        ]
        raise credential.no_key(every, layers)
    _refuse_collecting(args, found, layers[-1])
    if BASE_URL in found:
        endpoint.check_base_url(base.value, base.where)
    base_url = base.value.removesuffix("/")  # one, as SDKs do
    is_home = endpoint.is_home(base_url)
    if given:
        credential.check(given.value, given.where, is_home=is_home)
    seen, root = _seen(layers), re.sub(r"/v1(/messages)?/?$", "", base_url)
    facts = {
        **credential.facts(carried, sdk=args.sdk, is_home=is_home),
        **_other_facts(given, layers),
        **endpoint.network_facts(seen),
        "custom_headers": "" if headers else None,
        "base_url_setting": None if base_url == DEFAULT_BASE_URL else _told(base, mask(base_url)),
        "undoubled": _told(base, mask(root)) if root != base_url else None,
    }
    dialect = None if is_home or args.sdk else "x-api-key and 2023-06-01"
    used = {"key": found[API_KEY].where if API_KEY in found else None, "dialect": dialect}
    seen |= _not_set(args, body, facts)
    differences = endpoint.differences(seen, found, facts | used, base_url)
    warnings = filter(None, [facts["suspicion"], *_ignored(layers), *differences])
    return Settings(carried, base_url, headers, tuple(warnings), facts)


def _find(name: str, layers: Iterable[Layer]) -> Iterator[Found]:
    for layer in layers:
        if layer.values.get(name, "").strip():
            yield Found(name, layer.values[name], layer)


def _credential(found: Found) -> Credential:
    kind = "api_key" if found.name == API_KEY else "auth_token"
    return Credential(kind, found.secret, found.name, found.place)


def _header_credential(headers: Mapping[str, str | Secret]) -> Credential | None:
    """Return the credential that a custom header brings, which takes the place of any other."""
    for name, kind in (("authorization", "auth_token"), ("x-api-key", "api_key")):
        if isinstance(value := headers.get(name), Secret):
            return Credential(kind, value, name, "a custom header")
    return None


def _header_lines(text: str) -> list[tuple[str, str]]:
    """Split custom headers as the official SDKs do: at line feeds only, leaving out other lines."""
    pairs = (line.split(":", 1) for line in text.split("\n") if ":" in line)
    return [(name.strip(), value.strip()) for name, value in pairs]


def _told(base: Found, shown: str) -> str:
    """Say how the base URL was set, in the form that sets it."""
    if base.where == "--base-url":
        return f"--base-url {shown}"
    return base.where.replace(BASE_URL, f"{BASE_URL}={shown}", 1)


def _headers(args: Namespace, found: Mapping[str, Found]) -> dict[str, str | Secret]:
    headers: dict[str, str | Secret] = {}
    for variable in (WORKSPACE_ID, CUSTOM_HEADERS):
        one = found.get(variable)
        if one is None:
            continue
        is_custom = variable == CUSTOM_HEADERS
        workspace = [("anthropic-workspace-id", one.value.strip())]
        for name, value in _header_lines(one.value) if is_custom else workspace:
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
        if one and one.is_in_file and one.layer is layers[-1] and name in layers[-2].values:
            message = f"{name} is empty in the environment, which hides {one.place}"
            unset = f"Unset it: env -u {name} claude-ping"
            raise Failure(
                "no key",
                f"no API key: {message} from load_dotenv()",
                hints=(f"{unset}, or claude-ping --env-file {one.layer.label}",),
            )


def _refuse_collecting(args: Namespace, found: Mapping[str, Found], file: Layer) -> None:
    """Let a found file choose where to send, by URL or Host, only what it holds itself."""
    if file.text is None:
        return
    base, custom = found.get(BASE_URL), found.get(CUSTOM_HEADERS)
    sent = [found.get(API_KEY) or found.get(AUTH_TOKEN), custom, found.get(WORKSPACE_ID)]
    if base and base.layer is file and base.value.removesuffix("/") != DEFAULT_BASE_URL:
        chooser, target = base, "" if base.is_foreign else mask(base.value.removesuffix("/"))
        sent.append(base)
    elif custom and custom.layer is file and re.search(r"(?im)^\s*host\s*:", custom.value):
        chooser, target = custom, ""
    else:
        return
    foreign = [one.where for one in sent if one and (one.layer is not file or one.is_foreign)]
    if foreign := foreign + _secret_options(args):
        raise endpoint.refuse(
            f"{chooser.place} would send {' and '.join(foreign)} to {target or 'another host'}",
            f"If intended, pass it explicitly: claude-ping --base-url {target or 'URL'}",
            f"Or take everything from the file: claude-ping --env-file {file.label}",
            known=("A .env that came with a folder must not collect what is set elsewhere.",),
        )


def _secret_options(args: Namespace) -> list[str]:
    """Return the names of the headers from the command line whose values may be secrets."""
    shown = ((name, endpoint.header_value(name, value)) for name, value in args.header)
    return [f"-H {name}" for name, value in shown if isinstance(value, Secret)]


def _other_facts(given: Found | None, layers: Sequence[Layer]) -> dict[str, str | None]:
    """Tell of a different credential that the one in use hides, or that a program would use."""
    others = list(_find(given.name, layers)) if given else []
    for other in others:
        if other.value != others[0].value and not credential.is_placeholder(other.value):
            return {
                "other_place": other.place,
                "other_key": str(other.secret),
                "other_file": other.layer.label if other.is_in_file else None,
            }
    return {}


def _seen(layers: Sequence[Layer]) -> dict[str, Found]:
    """Return what a program sees after load_dotenv(), which overrides nothing that is set."""
    seen: dict[str, Found] = {}
    for layer in sorted(layers, key=lambda layer: layer.text is not None):
        for name in dict.fromkeys((*VARIABLES, *endpoint.NETWORK, *endpoint.watched())):
            spellings = (name.lower(), name) if name.endswith("_PROXY") else (name,)
            for spelling in filter(layer.values.__contains__, spellings):
                seen.setdefault(name, Found(spelling, layer.values[spelling], layer))
    return seen


def _not_set(
    args: Namespace, body: Mapping[str, object], facts: Mapping[str, str | None]
) -> dict[str, Found]:
    """Return what that table may speak of beside variables."""
    most, sampling = body.get("max_tokens"), ("temperature", "top_p", "top_k")
    is_long = isinstance(most, int) and most > MAX_TOKENS_UNSTREAMED and not body.get("stream")
    texts = {
        "-H": ", ".join(_secret_options(args)),
        "sampling": ", ".join(name for name in sampling if name in body and not args.sdk),
        "max_tokens": str(most) if is_long else "",
        "other_key": facts.get("other_key") or "",
    }
    return {name: Found(name, text, Layer("", {})) for name, text in texts.items()}


def _ignored(layers: Sequence[Layer]) -> Iterator[str]:
    for layer in layers:
        for line in layer.ignored:
            yield f"{layer.label} line {line} is not NAME=value and is ignored, as by python-dotenv"
