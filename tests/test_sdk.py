# ruff: noqa: E501 a row of the table stays on one line
"""The official SDK as a second opinion on what we predict, send, simulate and ask for by default."""

from __future__ import annotations

import itertools
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from email import message_from_bytes, message_from_string
from pathlib import Path

import anthropic
import pytest
import trustme
from anthropic.types import MessageParam
from helpers import KEY, PROGRAM, Run, environment
from servers import RawServer, answer, error, serving

from claude_ping import api, failures, simulator

HELLO: list[MessageParam] = [{"role": "user", "content": "hello"}]
CREDENTIALS = {"authorization", "x-api-key"}
UNSET = "(not set)"

# How a program on the SDK fares | what we say | the settings, over a good key and the server's URL.
# We say: passes, quietly (passes without a warning), warns: WORDS (and passes), fails: WORDS.
# `no NAME` unsets, `.name` is no variable, `name: pattern` is a header that the server wants.
ROWS = {
    "key": "passes | quietly",
    "key, Bearer-only gateway": "passes | fails: --sdk | authorization: Bearer .+",
    "key, Bearer-only gateway, --sdk": "passes | passes | .argv=--sdk | authorization: Bearer .+",
    "key, x-api-key-only gateway": "fails | warns: --sdk | x-api-key: .+",
    "key, gateway of one version": "passes | fails: --sdk | anthropic-version: 2026-10-21",
    "token": "passes | passes | no API_KEY | AUTH_TOKEN={key}",
    "key and token": "passes | warns: ANTHROPIC_AUTH_TOKEN | AUTH_TOKEN={oat}",
    "OAuth token as key, Bearer-only": "passes | fails: --sdk|AUTH_TOKEN | API_KEY={oat} | .accepts={oat} | authorization: Bearer .+",
    "workspace, wanted": "fails | warns: WORKSPACE_ID | WORKSPACE_ID=w | anthropic-workspace-id: w",
    "workspace, wrong": "passes | fails: WORKSPACE_ID | WORKSPACE_ID=w | anthropic-workspace-id: ",
    "profile in a folder": "passes | fails: profile | no API_KEY | ANTHROPIC_CONFIG_DIR={folder}/x | .profile=x | .accepts={oat}",
    "profile in the home": "passes | fails: profile | no API_KEY | .profile=.config/anthropic | .accepts={oat}",
    "workload identity": "passes | fails: workload|federation | no API_KEY | ANTHROPIC_FEDERATION_RULE_ID=fdrl_01 | ANTHROPIC_ORGANIZATION_ID=o | ANTHROPIC_IDENTITY_TOKEN=e30.e30.e30 | .accepts={oat}",
    # Keys and tokens that are none
    "no key": "fails | fails: no API key | no API_KEY",
    "empty key hides .env": "fails | fails: empty | API_KEY= | .env=ANTHROPIC_API_KEY={key}",
    "empty token hides": "fails | fails: empty | no API_KEY | AUTH_TOKEN= | .env=ANTHROPIC_AUTH_TOKEN={key}",
    "empty key, good token": "passes | passes | API_KEY= | AUTH_TOKEN={key}",
    "blank key": "fails | fails: ANTHROPIC_API_KEY | API_KEY=  ",
    "blank key, good token": "fails | fails|warns: ANTHROPIC_API_KEY | API_KEY=   | AUTH_TOKEN={key}",
    "blank token": "fails | fails: ANTHROPIC_AUTH_TOKEN | no API_KEY | AUTH_TOKEN= ",
    "key + newline": "fails | fails: line break|U.000A | API_KEY={key}\n",
    "key + space": "fails | fails: space|blank|U.0020 | API_KEY={key} ",
    "space + key": "fails | fails: space|blank|U.0020 | API_KEY= {key}",
    "quoted key": "fails | fails: quot | API_KEY='{key}'",
    "Bearer + key": "fails | fails: Bearer | API_KEY=Bearer {key}",
    "key + zero-width space": "fails | fails: U.200B | API_KEY={key}\u200b",
    "placeholder dummy": "passes | passes | API_KEY=dummy | .accepts=dummy",
    # Base URL
    "empty base URL": "fails | warns: ANTHROPIC_BASE_URL | BASE_URL= | .argv=--dry-run",
    "empty base URL hides .env": "fails | warns: ANTHROPIC_BASE_URL.* (empty|hides) | no API_KEY | BASE_URL= | .env=ANTHROPIC_API_KEY={key}\nANTHROPIC_BASE_URL={url}",
    "base URL + /": "passes | quietly | BASE_URL={url}/",
    "base URL + //": "fails | fails: //|base.URL | BASE_URL={url}//",
    "base URL + /v1/": "fails | fails: /v1 | BASE_URL={url}/v1/",
    "base URL + ..": "passes | passes|fails: [.][.] | BASE_URL={url}/x/..",
    "base URL + newline": "fails | fails: ANTHROPIC_BASE_URL | BASE_URL={url}\n",
    "base URL without scheme": "fails | fails: http:// | BASE_URL=127.0.0.1:{port}",
    "base URL with a query": "fails | fails: BASE_URL | BASE_URL={url}/x?api-version=1",
    "base URL with a fragment": "passes | fails: BASE_URL | BASE_URL={url}/#x",
    "base URL with a password": "fails | fails: BASE_URL | BASE_URL=http://u:p@127.0.0.1:{port}",
    "base URL in .env, key elsewhere": "passes | fails: --base-url|--env-file | no BASE_URL | .env=ANTHROPIC_BASE_URL={url}",
    # Custom headers
    "headers": "passes | quietly | CUSTOM_HEADERS=x-test: a\nX-Test-B:b  | x-test: a | x-test-b: b",
    "headers, CRLF": "passes | passes | CUSTOM_HEADERS=x-test: a\r\nx-test-b: b\r\n | x-test: a | x-test-b: b",
    "headers, no colon": "passes | passes | CUSTOM_HEADERS=x-test\nx-test-b: b | x-test-b: b",
    "headers, twice the same": "passes | passes | CUSTOM_HEADERS=x-test: a\nx-test: b | x-test: b",
    "headers, literal backslash n": "passes | passes | CUSTOM_HEADERS=x-test: a\\nx-test-b: b | x-test: a.nx-test-b: b",
    "headers, empty hide .env": "fails | warns: CUSTOM_HEADERS | CUSTOM_HEADERS= | .env=ANTHROPIC_CUSTOM_HEADERS=x-t: a | x-t: a",
    "headers split by CR": "fails | fails: CUSTOM_HEADERS | CUSTOM_HEADERS=x-test: a\rx-test-b: b",
    "headers split by VT": "fails | fails: CUSTOM_HEADERS | CUSTOM_HEADERS=x-test: a\vx-test-b: b",
    "headers split by U+2028": "passes | fails: CUSTOM_HEADERS | CUSTOM_HEADERS=x-test: a\u2028x-b: b",
    "header, bad name": "fails | fails: CUSTOM_HEADERS | CUSTOM_HEADERS=x test: a",
    "header, non-ASCII": "passes | fails: CUSTOM_HEADERS | CUSTOM_HEADERS=x-test: ü",
    "header Authorization": "passes | warns: CUSTOM_HEADERS|custom header | CUSTOM_HEADERS=authorization: Bearer other | .accepts=other",
    "header x-api-key": "fails | warns: CUSTOM_HEADERS|custom header | CUSTOM_HEADERS=x-api-key: other | .accepts=other",
    "header Authorization, empty": "fails | fails: authorization | CUSTOM_HEADERS=authorization:",
    "header x-api-key, empty": "passes | fails: x-api-key | CUSTOM_HEADERS=x-api-key:",
    "headers, version, host, user-agent": "passes | passes | CUSTOM_HEADERS=anthropic-version: 2030-01-01\nhost: api.example\nUser-Agent: me | anthropic-version: 2030-01-01 | host: api.example | user-agent: me",
    # Proxies
    "SOCKS in HTTPS_PROXY": "fails | warns: HTTPS_PROXY | HTTPS_PROXY={socks}",
    "SOCKS in all_proxy": "fails | warns: ALL_PROXY | all_proxy={socks}",
    "SOCKS under NO_PROXY": "fails | warns: HTTP_PROXY | HTTP_PROXY={socks} | NO_PROXY=127.0.0.1",
    "loopback, HTTP_PROXY": "fails | warns: HTTP_PROXY | HTTP_PROXY={dead}",
    "loopback, ALL_PROXY": "fails | warns: ALL_PROXY | ALL_PROXY={dead}",
    "NO_PROXY=host": "passes | quietly | HTTP_PROXY={dead} | NO_PROXY=127.0.0.1",
    "NO_PROXY=CIDR": "passes | passes | HTTP_PROXY={dead} | NO_PROXY=127.0.0.0/8",
    "NO_PROXY=.host": "fails | warns: (HTTP|NO)_PROXY | HTTP_PROXY={dead} | NO_PROXY=.localhost | BASE_URL=http://localhost:{port}",
    "NO_PROXY=[::1]": "fails | warns: NO_PROXY.*::1 | NO_PROXY=localhost,[::1]",
    "NO_PROXY=IPv6 CIDR": "fails | warns: NO_PROXY.*fe80 | NO_PROXY=127.0.0.1,fe80::/10",
    "HTTP_PROXY=htp://": "fails | warns: HTTP_PROXY.*htp | HTTP_PROXY=htp://127.0.0.1:1",
    "HTTPS_PROXY, bad port": "fails | warns: HTTPS_PROXY | HTTPS_PROXY=http://127.0.0.1:port",
    # Certificates
    "SSL_CERT_FILE": "passes | quietly | SSL_CERT_FILE={ca} | .tls=yes",
    "SSL_CERT_FILE missing": "fails | fails: SSL_CERT_FILE | SSL_CERT_FILE={folder}/none",
    "SSL_CERT_FILE is no PEM": "fails | fails: SSL_CERT_FILE | SSL_CERT_FILE={folder}/.env | .env=A=1",
    "SSL_CERT_FILE alone counts": "fails | fails: SSL_CERT_FILE | SSL_CERT_FILE={other} | SSL_CERT_DIR={dir} | .tls=yes",
    "SSL_CERT_DIR": "passes | passes | SSL_CERT_DIR={dir} | .tls=yes",
    # What load_dotenv() hands on to the SDK
    ".env has HTTP_PROXY": "fails | warns: [.]env | .env=HTTP_PROXY={dead}",
    ".env has HTTPS_PROXY": "passes | warns: (?=.*[.]env)(?=.*line 2).*HTTPS_PROXY | .env=A=1\nHTTPS_PROXY={dead}",
    ".env has SOCKS": "fails | warns: [.]env | .env=ALL_PROXY={socks}",
    ".env has NO_PROXY": "passes | warns: [.]env | HTTP_PROXY={dead} | .env=NO_PROXY=127.0.0.1",
    ".env has a bad SSL_CERT_FILE": "fails | warns: [.]env | .env=SSL_CERT_FILE=/none",
    ".env has the SSL_CERT_FILE": "passes | fails: [.]env | .env=SSL_CERT_FILE={ca} | .tls=yes",
    # How a .env is written
    "export, spaces, quotes, comment": "passes | passes | no API_KEY | .env= export ANTHROPIC_API_KEY = '{key}' # mine",
    "CRLF, twice": 'passes | passes | no API_KEY | .env=ANTHROPIC_API_KEY=a\r\nANTHROPIC_API_KEY="{key}"\r\n',
    "${X}": "passes | passes | no API_KEY | .env=X={key}\nANTHROPIC_API_KEY=${X}",
    "${X} of both": "passes | passes|fails: MY_KEY | no API_KEY | MY_KEY={key} | .env=MY_KEY=a\nANTHROPIC_API_KEY=${MY_KEY}",
    "BOM": "passes | passes | no API_KEY | .env=ANTHROPIC_API_KEY={key} | .coded=utf-8-sig",
    "UTF-16": "fails | fails: [.]env | no API_KEY | .env=ANTHROPIC_API_KEY={key} | .coded=utf-16",
    "unclosed quote": 'fails | fails: quote | no API_KEY | .env=ANTHROPIC_API_KEY="{key}',
    # What the SDK refuses without a stream
    "max_tokens 21,333": "passes | quietly | .max=21333",
    "max_tokens 21,334": "fails | warns: max.tokens | .max=21334",
}
OAT = "sk-ant-oat01-" + "Qz7" * 31 + "AA"
FILLED = {"key": KEY, "oat": OAT, "dead": "http://127.0.0.1:1", "socks": "socks5://127.0.0.1:1"}
PROFILE = {
    "configs": '{"authentication": {"type": "user_oauth"}}',
    "credentials": f'{{"access_token": "{OAT}", "expires_at": 4102444800}}',
}
# The import takes longer than the rest, so one process does it and forks for every program.
WORKER = """
import json, os, signal, sys
import anthropic, anthropic.resources.messages, dotenv
for line in sys.stdin:
    environ, folder, max_tokens = json.loads(line)
    if os.fork() == 0:
        signal.alarm(20)
        try:
            os.environ.clear()
            os.environ.update(environ)
            os.chdir(folder)
            dotenv.load_dotenv(os.path.join(folder, ".env"))
            anthropic.Anthropic(max_retries=0).messages.create(
                model="claude-haiku-5-5", max_tokens=int(max_tokens),
                messages=[{"role": "user", "content": "hello"}])
            os._exit(0)
        except BaseException as raised:
            print(repr(raised), repr(raised.__cause__), flush=True)
            os._exit(1)
    print("fails" if os.wait()[1] else "passes", "end", sep="\\n", flush=True)
"""


@pytest.fixture(scope="module")
def ask_sdk() -> Iterator[Callable[..., Iterator[str]]]:
    """Start a program on the SDK, and later give the lines it printed, then how it fared."""
    command, pipe = [sys.executable, "-c", WORKER], subprocess.PIPE
    environ = {"PATH": os.environ["PATH"], "PYTHONUTF8": "1"}
    with subprocess.Popen(
        command, env=environ, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, encoding="utf-8"
    ) as process:

        def ask(*arguments: object) -> Iterator[str]:
            print(json.dumps(arguments), file=process.stdin, flush=True)
            lines = (line.rstrip() for line in process.stdout or ())
            return itertools.takewhile("end".__ne__, lines)

        yield ask


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, dict[str, str]]:
    context, folder = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tmp_path_factory.mktemp("tls")
    authority = trustme.CA(organization_name="claude-ping", organization_unit_name="tests")
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(folder / "0a839d2a.0")  # OpenSSL's hash of that name
    trustme.CA().cert_pem.write_to_path(folder / "other")
    return context, {"ca": f"{folder}/0a839d2a.0", "other": f"{folder}/other", "dir": f"{folder}"}


def judge(accepted: str, wanted: Mapping[str, str]) -> Callable[[socket.socket, RawServer], None]:
    """Take this credential alone, in one header only, and only beside the headers wanted."""

    def judge(connection: socket.socket, server: RawServer) -> None:
        request = server.requests[-1]
        headers = message_from_string(request.decode("latin-1").partition("\r\n")[2])
        sent = [headers.get(name, "").removeprefix("Bearer ") for name in CREDENTIALS]
        wrong = {x for x in wanted if not re.fullmatch(wanted[x], headers.get(x, ""))}
        verdict = answer()
        if request.startswith(b"POST /v1/oauth/token "):
            verdict = answer(200, {"access_token": accepted, "expires_in": 600})
        elif not request.startswith(b"POST /v1/messages "):
            verdict = answer(404, error("not_found_error", "no such route"))
        elif [*filter(None, sent)] != [accepted] or wrong & CREDENTIALS:
            verdict = answer(401, error("authentication_error", "credential not recognized"))
        elif wrong:
            verdict = answer(400, error("invalid_request_error", f"{min(wrong)}: unexpected value"))
        connection.sendall(verdict)

    return judge


def prepare(settings: Mapping[str, str], folder: Path, url: str) -> dict[str, str]:
    """Write what lies on disk, return the environment of a program that starts in this folder."""
    folder.mkdir()
    filled = environment(HOME=str(folder), ANTHROPIC_BASE_URL=url)
    names = {"{folder}": str(folder), "{url}": url, "{port}": url.rpartition(":")[2]}
    for name, value in settings.items():
        filled[name] = re.sub("|".join(names), lambda found: names[found[0]], value)
    if ".env" in filled:
        (folder / ".env").write_bytes(filled[".env"].encode(filled.get(".coded", "utf-8")))
    for name, text in PROFILE.items() if ".profile" in filled else ():
        path = folder / filled[".profile"] / name / "default.json"
        path.parent.mkdir(parents=True)
        path.write_text(text, "ascii")
        path.chmod(0o600)
    return {x: value for x, value in filled.items() if x[0] != "." and value != UNSET}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the SDK's programs are forks of one process")
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_program_on_the_sdk_fares_no_differently_in_silence(
    row: str,
    ask_sdk: Callable[..., Iterator[str]],
    tls: tuple[ssl.SSLContext, dict[str, str]],
    tmp_path: Path,
) -> None:
    for name, value in (FILLED | tls[1]).items():
        row = row.replace(f"{{{name}}}", value)
    sdk, ping, *parts = row.split(" | ")
    wanted = dict(part.split(": ", 1) for part in parts if re.match("[a-z-]+: ", part))
    settings = {}
    for part in (part for part in parts if part.partition(": ")[0] not in wanted):
        name, given, value = part.removeprefix("no ").partition("=")
        name = re.sub("^(API|AUTH|BASE|CUSTOM|WORKSPACE)_", r"ANTHROPIC_\g<0>", name)
        settings[name] = value if given else UNSET
    context = tls[0] if ".tls" in settings else None
    server = judge(settings.get(".accepts", KEY), wanted)
    max_tokens, folder = settings.get(".max", "16"), tmp_path / "sdk"
    command = [*PROGRAM, "--json", "--retries=0", f"--max-tokens={max_tokens}"]
    command += settings.get(".argv", "").split()

    with serving(server, tls=context) as theirs, serving(server, tls=context) as ours:
        told = ask_sdk(prepare(settings, folder, theirs.url), str(folder), max_tokens)
        environ, folder = prepare(settings, tmp_path / "ping", ours.url), tmp_path / "ping"
        ran = subprocess.run(command, cwd=folder, env=environ, capture_output=True, check=False)
        *raised, fared = told

    assert fared == sdk, raised
    report = json.loads(ran.stdout)
    passes, heard = report["ok"], report["warnings"]
    heard += [] if passes else [report["headline"], *report["explanation"], *report["hints"]]
    what, _, words = ping.partition(": ")
    told_so = re.search(words, "\n".join(heard), re.IGNORECASE)
    outcome = {
        "passes": passes,
        "quietly": passes and all("--sdk" in warning for warning in heard),
        "warns": passes and told_so,
        "fails": not passes and told_so,
    }
    assert any(outcome[way] for way in what.split("|")), heard
    assert words or passes is (sdk == "passes")


@pytest.mark.parametrize("kind", ["api_key", "auth_token"])
def test_with_its_option_the_program_sends_the_headers_of_the_sdk(
    kind: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"ANTHROPIC_{kind.upper()}", KEY)
    with serving(answer()) as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        with anthropic.Anthropic(max_retries=0) as client:
            client.messages.create(model="claude-haiku-5-5", max_tokens=64, messages=HELLO)
        assert run("--sdk").code == 0

    theirs, ours = (message_from_bytes(x.partition(b"\r\n")[2]) for x in server.requests)
    for name in ("authorization", "anthropic-version", "x-api-key"):
        assert ours[name] == theirs[name]


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Iterator[anthropic.Anthropic]:
    with (
        simulator.serve(request.param) as url,
        anthropic.Anthropic(api_key=KEY, base_url=url, max_retries=0) as client,
    ):
        yield client


@pytest.mark.parametrize("client", ["ok"], indirect=True)
def test_the_sdk_does_not_warn_of_the_default_model(client: anthropic.Anthropic) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        client.messages.create(model=api.DEFAULT_MODEL, max_tokens=64, messages=HELLO)


@pytest.mark.parametrize("client", ["ok", "thinking", "tool_use", "refusal"], indirect=True)
def test_a_simulated_stream_is_the_simulated_message(client: anthropic.Anthropic) -> None:
    plain = client.messages.create(model="claude-haiku-5-5", max_tokens=64, messages=HELLO)
    with client.messages.stream(model="claude-haiku-5-5", max_tokens=64, messages=HELLO) as stream:
        streamed = stream.get_final_message()

    blocks = [block.model_dump(exclude={"parsed_output"}) for block in streamed.content]
    assert blocks == [block.model_dump() for block in plain.content]
    assert (streamed.stop_reason, streamed.usage) == (plain.stop_reason, plain.usage)


def specimens() -> list[tuple[str, int, str | None]]:
    shown = [(row.name, row.specimen) for row in failures.TABLE]
    return [(name, one.status, one.type) for name, one in shown if one.by == "api" and one.status]


@pytest.mark.parametrize(("client", "status", "kind"), specimens(), indirect=["client"])
def test_the_sdk_raises_the_failure_that_is_simulated(
    client: anthropic.Anthropic, status: int, kind: str
) -> None:
    with pytest.raises(anthropic.APIStatusError) as raised:
        client.messages.create(model="claude-haiku-5-5", max_tokens=64, messages=HELLO)

    assert (raised.value.status_code, raised.value.type) == (status, kind)
    assert (raised.value.request_id or "").startswith("req_")
