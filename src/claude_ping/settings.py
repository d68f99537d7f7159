"""Decide each setting's value and remember where it came from."""

from __future__ import annotations

import io
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, NoReturn

import dotenv
import dotenv.parser

from claude_ping import checks
from claude_ping.checks import DEFAULT_BASE_URL, refuse
from claude_ping.records import Credential, Secret, Settings

API_KEY = "ANTHROPIC_API_KEY"
AUTH_TOKEN = "ANTHROPIC_AUTH_TOKEN"  # noqa: S105 a variable's name
BASE_URL = "ANTHROPIC_BASE_URL"
WORKSPACE_ID = "ANTHROPIC_WORKSPACE_ID"
CUSTOM_HEADERS = "ANTHROPIC_CUSTOM_HEADERS"
VARIABLES = (API_KEY, AUTH_TOKEN, BASE_URL, WORKSPACE_ID, CUSTOM_HEADERS)

ENVIRONMENT = "the environment"
MAX_ENV_FILE = 1 << 20  # bytes

_MISNAMED = re.compile(
    r"(?i)(\$env:|[A-Z]+_)?(claude|anthropic|antropic|anthorpic)(_ai)?"
    r"_?(api|auth|secret)?_?(key|token)s?"
)
_OTHER_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")


class Options(NamedTuple):
    """What the command line says about settings."""

    env_file: str | None = None
    base_url: str | None = None
    headers: Sequence[tuple[str, str]] = ()


class Layer(NamedTuple):
    """One place that settings are looked for in."""

    label: str
    values: Mapping[str, str | None]
    lines: Mapping[str, int] = {}
    malformed: Sequence[str] = ()  # what is wrong with which line
    expanded: frozenset[str] = frozenset()  # names whose values hold other variables' values
    is_found_file: bool = False  # nobody named it: it came with the folder

    def place(self, name: str) -> str:
        """Where this layer holds the setting, in words."""
        return f"{self.label} (line {self.lines[name]})" if name in self.lines else self.label


class Found(NamedTuple):
    """A setting's value, not blank, and the layer that gave it."""

    name: str
    value: str
    layer: Layer

    @property
    def source(self) -> str:
        return self.layer.place(self.name)

    @property
    def where(self) -> str:
        return f"{self.name} in {self.source}"


def read_layers(options: Options, environ: Mapping[str, str]) -> list[Layer]:
    """Return the places to look in, the strongest first; read at most one `.env` file."""
    environment = Layer(ENVIRONMENT, environ)
    if options.env_file is not None:
        return [read_env_file(options.env_file, options.env_file), environment]
    try:
        path = dotenv.find_dotenv(usecwd=True)
    except OSError:  # the working directory is gone
        path = ""
    if not path:
        return [environment]
    return [environment, read_env_file(path, os.path.relpath(path), is_found_file=True)]


def read_env_file(path: str, label: str, *, is_found_file: bool = False) -> Layer:
    """Read a `.env` file as python-dotenv does, and remember the line of each name."""
    text = _read_text(path, label)
    logging.getLogger("dotenv").addHandler(logging.NullHandler())  # its complaints are worded here
    values = dotenv.dotenv_values(stream=io.StringIO(text))
    written = dotenv.dotenv_values(stream=io.StringIO(text), interpolate=False)
    expanded = frozenset(name for name, value in values.items() if value != written[name])
    lines: dict[str, int] = {}
    malformed: list[str] = []
    for binding in dotenv.parser.parse_stream(io.StringIO(text)):
        raw = binding.original.string
        line = binding.original.line + raw[: len(raw) - len(raw.lstrip())].count("\n")
        if binding.error or (binding.key and binding.value is None):
            malformed.append(f"{label} line {line} {_line_problem(raw.strip())}")
        elif binding.key:
            lines[binding.key] = line
    return Layer(label, values, lines, malformed, expanded, is_found_file)


def _line_problem(raw: str) -> str:
    """Say what keeps a line from being NAME=value; never its value, which may be the key."""
    name = re.match(r"(?:(?:export|set|setx)\s+)?([A-Z][A-Z0-9_]*)(\s*:|\s*=\s*[\"'])?", raw)
    if name is None:
        return "is not NAME=value"
    if name[2] and name[2].endswith(":"):
        return f"has a colon where = belongs; write {name[1]}=…"
    if name[2]:
        return f"opens a quote for {name[1]} that is not closed, or goes on after it"
    return f"is not NAME=value; write {name[1]}=…"


def _absolute(path: str) -> str:
    try:
        return os.path.abspath(path)
    except OSError:  # the working directory is gone
        return path


def _read_text(path: str, label: str) -> str:
    known = [f"It is {_absolute(path)}"]
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_ENV_FILE + 1)
    except FileNotFoundError:
        refuse(f"--env-file {label} does not exist", known=[f"Looked for {_absolute(path)}"])
    except IsADirectoryError:
        refuse(f"{label} is a folder, not a .env file", known=known)
    except (OSError, ValueError) as error:
        refuse(f"cannot read {label}: {getattr(error, 'strerror', error)}", known=known)
    if len(data) > MAX_ENV_FILE:
        refuse(f"{label} is larger than 1 MiB, so it is not a .env file", known=known)
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data:
        save = "Save it as UTF-8; in PowerShell: Set-Content -Encoding utf8 (its > writes UTF-16)."
        refuse(f"{label} is UTF-16 or binary, not UTF-8 text", save, known=known)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = f"byte 0x{data[error.start]:02x} in line {line}"
        refuse(f"{label} is not UTF-8 text: {byte}", "Save it as UTF-8.", known=known)


def dotenv_version() -> str:
    """Return python-dotenv's version."""
    from dotenv.version import __version__  # noqa: PLC0415 only for reports

    return __version__


def secrets(options: Options, layers: Iterable[Layer]) -> Iterator[Secret]:
    """Yield every value that no output may show, whether it is used or not."""
    headers = list(options.headers)
    for layer in layers:
        for name, value in layer.values.items():
            if value and _MISNAMED.fullmatch(name):
                yield from _forms(value)
        headers += [(name, value) for name, _, value in _header_lines(layer.values)]
        yield from checks.url_secrets(layer.values.get(BASE_URL) or "")
    for name, value in headers:
        if isinstance(checks.masked(name, value), Secret):
            yield from _forms(value)
    yield from checks.url_secrets(options.base_url or "")


def _forms(value: str) -> Iterator[Secret]:
    bare = value.strip().strip("'\"`")
    for form in (value, bare, bare.partition(" ")[2].strip()):
        yield Secret(form)


def resolve(options: Options, layers: Sequence[Layer], environ: Mapping[str, str]) -> Settings:
    """Decide every setting, or raise PingError with what to change and where."""
    headers = _headers(options, layers)
    keys, tokens = list(_find(API_KEY, layers)), list(_find(AUTH_TOKEN, layers))
    found = next(iter(keys or tokens), None)
    credential = _credential(found) if found else None
    credential = _header_credential(headers, credential) or credential
    if credential is None:
        _refuse_without_key(layers)
    base_url, base_url_source = _base_url(options, layers, found)
    shadowed = _shadowed(keys or tokens)
    suspicion = checks.suspicion(credential) if checks.is_default_host(base_url) else None
    warnings = [
        *_blank_notes(options, layers),
        *_malformed_notes(layers),
        *_header_warnings(options, layers, has_credential=found is not None),
        _both_warning(keys, tokens),
        shadowed,
        suspicion,
        _doubled_path_warning(base_url, base_url_source),
        _ca_warning(base_url, environ),
        _proxy_warning(base_url, environ),
    ]
    return Settings(
        credential,
        base_url,
        base_url_source,
        headers,
        tuple(warning for warning in warnings if warning),
        shadowed,
        suspicion,
    )


def _find(name: str, layers: Iterable[Layer]) -> Iterator[Found]:
    for layer in layers:
        value = layer.values.get(name)
        if value and value.strip():
            yield Found(name, value, layer)


def _first(name: str, layers: Iterable[Layer]) -> Found | None:
    return next(_find(name, layers), None)


def _credential(found: Found) -> Credential:
    checks.check_credential(found.value, found.where)
    kind = "api_key" if found.name == API_KEY else "auth_token"
    return Credential(kind, Secret(found.value), found.name, found.source)


def _header_credential(
    headers: Mapping[str, str | Secret], other: Credential | None
) -> Credential | None:
    """Return the credential that a custom header brings, or puts in the place of the other."""
    for name, kind in (("x-api-key", "api_key"), ("authorization", "auth_token")):
        value = headers.get(name)
        if isinstance(value, Secret) and (other is None or other.kind == kind):
            return Credential(kind, value, name, "a custom header")
    return None


def _header_lines(values: Mapping[str, str | None]) -> Iterator[tuple[str, str, str]]:
    for line in (values.get(CUSTOM_HEADERS) or "").splitlines():
        name, colon, value = line.partition(":")
        yield name.strip(), colon, value.strip()


def _headers(options: Options, layers: Sequence[Layer]) -> dict[str, str | Secret]:
    """Read ANTHROPIC_CUSTOM_HEADERS as the official SDKs do; options replace its headers."""
    headers: dict[str, str | Secret] = {}
    if workspace := _first(WORKSPACE_ID, layers):
        name, value = "anthropic-workspace-id", workspace.value.strip()
        if checks.is_placeholder(value):
            refuse(
                f"{workspace.where} is a placeholder: {value}", "Remove it, or put the id there."
            )
        _check_header(name, value, workspace.where)
        headers[name] = value
    if custom := _first(CUSTOM_HEADERS, layers):
        for name, colon, value in _header_lines(custom.layer.values):
            if colon:
                _check_header(name, value, custom.where)
                headers[name.lower()] = checks.masked(name, value)
    return headers | {name.lower(): checks.masked(name, value) for name, value in options.headers}


def _check_header(name: str, value: str, where: str) -> None:
    if problem := checks.header_problem(name, value):
        refuse(f"{where}: {problem}", "Headers are ASCII, one a line: Name: value")


def _base_url(
    options: Options, layers: Sequence[Layer], credential: Found | None
) -> tuple[str, str]:
    if options.base_url and options.base_url.strip():
        checks.check_base_url(options.base_url, "--base-url")
        return options.base_url.rstrip("/"), "--base-url"
    found = _first(BASE_URL, layers)
    if found is None:
        return DEFAULT_BASE_URL, "the default"
    checks.check_base_url(found.value, found.where)
    url = found.value.rstrip("/")
    if found.layer.is_found_file and url != DEFAULT_BASE_URL:
        _refuse_foreign_secrets(found, credential, options, layers)
    return url, found.source


def _refuse_foreign_secrets(
    base_url: Found, credential: Found | None, options: Options, layers: Sequence[Layer]
) -> None:
    """Let a found file send to its own host only what the file itself holds."""
    layer, url = base_url.layer, base_url.value.rstrip("/")
    if BASE_URL in layer.expanded:
        refuse(
            f"{base_url.where} puts another variable's value into the URL",
            "Meant so? Name the host yourself: claude-ping --base-url URL",
            known=["A .env that came with a folder must not collect what is set elsewhere."],
        )
    custom = _first(CUSTOM_HEADERS, layers)
    sent = [found for found in (credential, custom) if found]
    if (
        credential is None
        or any(found.layer is not layer or found.name in layer.expanded for found in sent)
        or any(isinstance(checks.masked(*header), Secret) for header in options.headers)
    ):
        refuse(
            f"{base_url.where} would send a key that is not from there to {url}",
            f"Meant so? Name the host yourself: claude-ping --base-url {url}",
            f"Or take both from the file: claude-ping --env-file {layer.label}",
            known=["A .env that came with a folder must not collect a key from elsewhere."],
        )


def _blank_notes(options: Options, layers: Iterable[Layer]) -> Iterator[str]:
    if options.base_url is not None and not options.base_url.strip():
        yield "--base-url is empty, which counts as not set"
    for layer in layers:
        for name in VARIABLES:
            value = layer.values.get(name)
            if value is not None and not value.strip():
                yield f"{_emptiness(layer, name)}, which counts as not set"


def _malformed_notes(layers: Iterable[Layer]) -> Iterator[str]:
    for layer in layers:
        for problem in layer.malformed:
            yield f"{problem} (the line is passed over)"


def _header_warnings(
    options: Options, layers: Sequence[Layer], *, has_credential: bool
) -> Iterator[str]:
    custom = _first(CUSTOM_HEADERS, layers)
    lines = _header_lines(custom.layer.values) if custom else ()
    if custom and any(name and not colon for name, colon, _ in lines):
        yield f"a line of {custom.where} has no colon and is ignored, as the SDKs do"
    names = {name.lower() for name in _headers(options, layers)}
    if has_credential and names & {"x-api-key", "authorization"}:
        yield "a custom header carries a credential of its own, sent as it is"
    for name, value in options.headers:
        if isinstance(checks.masked(name, value), Secret):
            yield f"-H {name}: every user of this machine can read the arguments of a command"


def _both_warning(keys: Sequence[Found], tokens: Sequence[Found]) -> str | None:
    if not (keys and tokens):
        return None
    return (
        f"{keys[0].where} and {tokens[0].where} are both set; the key is sent."
        " Older SDKs send both, Claude Code the token"
    )


def _shadowed(found: Sequence[Found]) -> str | None:
    for other in found[1:]:
        is_other = other.value != found[0].value and not checks.is_placeholder(other.value)
        if other.layer.is_found_file and is_other:
            noun = "key" if other.name == API_KEY else "token"
            return (
                f"{other.source} holds a different {noun}, {Secret(other.value)};"
                f" {found[0].source} wins."
                f" Try the other: claude-ping --env-file {other.layer.label}"
            )
    return None


def _doubled_path_warning(base_url: str, source: str) -> str | None:
    end = re.search(r"/v1(/messages)?$", base_url)
    if not end:
        return None
    return (
        f"the base URL ({source}) ends in {end[0]}, so the request goes to {base_url}/v1/messages;"
        " the SDKs too append /v1/messages"
    )


def _proxy_warning(base_url: str, environ: Mapping[str, str]) -> str | None:
    names = {name.lower() for name, value in environ.items() if value}
    if "all_proxy" not in names or "https_proxy" in names or base_url.lower().startswith("http:"):
        return None
    return "ALL_PROXY is set, but urllib goes by HTTPS_PROXY only; curl and the SDKs use both"


def _ca_warning(base_url: str, environ: Mapping[str, str]) -> str | None:
    ignored = [name for name in _OTHER_CA_VARIABLES if environ.get(name)]
    read = environ.get("SSL_CERT_FILE") or environ.get("SSL_CERT_DIR")
    if not ignored or read or base_url.lower().startswith("http:"):
        return None
    verb = "is" if len(ignored) == 1 else "are"
    return (
        f"{' and '.join(ignored)} {verb} set, but Python's ssl module reads only"
        " SSL_CERT_FILE and SSL_CERT_DIR"
    )


def _refuse_without_key(layers: Sequence[Layer]) -> NoReturn:
    try:
        folder = os.getcwd()
    except OSError:
        folder = "the working directory, which is gone,"
    files = [_absolute(layer.label) for layer in layers if layer.label != ENVIRONMENT]
    looked = files[0] if files else f"no .env in {folder} or any folder above it"
    empty = [_emptiness(layer, API_KEY) for layer in layers if API_KEY in layer.values]
    refuse(
        f"no API key: {empty[0] if empty else f'{API_KEY} is not set'}",
        *_near_misses(layers),
        *_where_to_put_it(layers, folder),
        known=[
            f"Looked in the environment and in {looked}"
            if files
            else f"Not in the environment; {looked}"
        ],
    )


def _emptiness(layer: Layer, name: str) -> str:
    verb = "expands to nothing" if name in layer.expanded else "is empty"
    return f"{name} in {layer.place(name)} {verb}"


def _where_to_put_it(layers: Iterable[Layer], folder: str) -> Iterator[str]:
    environ = next(layer.values for layer in layers if layer.label == ENVIRONMENT)
    if environ.get("GITHUB_ACTIONS"):
        yield f"Pass the secret to the step: env: {API_KEY}: ${{{{ secrets.{API_KEY} }}}}"
        yield "Does it exist (Settings, Secrets)? Pull requests from forks are given no secrets."
    elif environ.get("GITLAB_CI"):
        yield f"Set {API_KEY} under Settings, CI/CD, Variables."
        yield "A protected variable is not given to branches that are not protected."
    else:
        env_file = os.path.join(folder, ".env")
        yield f"Put {API_KEY}=… into {env_file}; make a key: {checks.CONSOLE_KEYS}"
        yield "To see it work without a key: claude-ping --simulate ok"


def _near_misses(layers: Iterable[Layer]) -> Iterator[str]:
    """Yield what there is instead of a key, the likeliest slips first."""
    for layer in layers:
        for name, value in layer.values.items():
            if value and name not in VARIABLES and _MISNAMED.fullmatch(name):
                yield f"{name} is set in {layer.place(name)}; the name to set is {API_KEY}"
        yield from layer.malformed
