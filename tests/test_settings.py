"""Which value wins, where it came from, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from helpers import KEY
from hypothesis import given
from hypothesis import strategies as st

from claude_ping import checks, settings
from claude_ping.records import Failure, PingError, Secret, Settings
from claude_ping.settings import Layer, Options

OTHER = "sk-ant-api03-" + "Qx2" * 31 + "AA"


def resolve(environ: Mapping[str, str], **options: object) -> Settings:
    chosen = Options(**options)  # type: ignore[arg-type]
    return settings.resolve(chosen, settings.read_layers(chosen, environ), environ)


def refusal(environ: Mapping[str, str], **options: object) -> Failure:
    with pytest.raises(PingError) as caught:
        resolve(environ, **options)
    return caught.value.failure


def test_the_nearest_env_file_upwards_is_read_with_the_line_of_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(f"# a comment\n\nexport ANTHROPIC_API_KEY='{KEY}'\n", "utf-8")
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")

    credential = resolve({}).credential

    assert credential.secret == Secret(KEY)
    assert credential.source == "../../.env (line 3)"


def test_the_environment_beats_a_found_file_and_says_what_it_hides() -> None:
    Path(".env").write_text(f"ANTHROPIC_API_KEY={OTHER}\n", "utf-8")

    config = resolve({"ANTHROPIC_API_KEY": KEY})

    assert config.credential.source == "the environment"
    assert config.shadowed
    assert config.warnings == (config.shadowed,)
    assert ".env (line 1) holds a different key, …x2AA" in config.shadowed


def test_the_same_key_in_both_places_is_no_warning() -> None:
    Path(".env").write_text(f"ANTHROPIC_API_KEY={KEY}\n", "utf-8")

    assert resolve({"ANTHROPIC_API_KEY": KEY}).warnings == ()


def test_a_named_file_beats_the_environment_and_the_found_file() -> None:
    Path(".env").write_text("ANTHROPIC_API_KEY=unused\n", "utf-8")
    Path("prod.env").write_text(f"ANTHROPIC_API_KEY={OTHER}\n", "utf-8")

    credential = resolve({"ANTHROPIC_API_KEY": KEY}, env_file="prod.env").credential

    assert credential.secret == Secret(OTHER)
    assert credential.source == "prod.env (line 1)"


def test_a_blank_value_counts_as_unset_with_a_note() -> None:
    Path(".env").write_text(f"ANTHROPIC_API_KEY={KEY}\n", "utf-8")

    config = resolve({"ANTHROPIC_API_KEY": "  "})

    assert config.credential.source == ".env (line 1)"
    assert config.warnings == (
        "ANTHROPIC_API_KEY in the environment is empty, which counts as not set",
    )


def test_a_token_is_sent_only_without_a_key() -> None:
    both = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_AUTH_TOKEN": "token-0123456789"}

    assert resolve(both).credential.kind == "api_key"
    assert "are both set; the key is sent" in resolve(both).warnings[0]
    assert resolve({"ANTHROPIC_AUTH_TOKEN": "token-0123456789"}).credential.kind == "auth_token"


def test_a_custom_header_can_be_the_credential() -> None:
    config = resolve({"ANTHROPIC_CUSTOM_HEADERS": "Authorization: Bearer abcdefgh"})

    assert config.credential.kind == "auth_token"
    assert config.credential.source == "a custom header"


@pytest.mark.parametrize(
    ("environ", "warning"),
    [
        (
            {"ANTHROPIC_CUSTOM_HEADERS": "x-one: 1\nno colon"},
            "a line of ANTHROPIC_CUSTOM_HEADERS in the environment has no colon",
        ),
        (
            {"ANTHROPIC_CUSTOM_HEADERS": "x-api-key: another"},
            "a custom header carries a credential of its own",
        ),
        (
            {"ANTHROPIC_BASE_URL": "https://gateway.example/v1"},
            "the base URL (the environment) ends",
        ),
        ({"REQUESTS_CA_BUNDLE": "/ca.pem"}, "REQUESTS_CA_BUNDLE is set, but Python's ssl module"),
        (
            {"REQUESTS_CA_BUNDLE": "/ca.pem", "CURL_CA_BUNDLE": "/ca.pem"},
            "REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE are set",
        ),
        (
            {"all_proxy": "http://proxy:3128"},
            "ALL_PROXY is set, but urllib goes by HTTPS_PROXY only",
        ),
        ({"ANTHROPIC_API_KEY": "sk-ant-admin01-abcdefgh"}, "looks like an Admin API key"),
        ({"ANTHROPIC_API_KEY": "sk-ant-oat01-abcdefgh"}, "looks like an OAuth access token"),
        ({"ANTHROPIC_API_KEY": "sk-proj-abcdefgh"}, "looks like an OpenAI key"),
        ({"ANTHROPIC_WORKSPACE_ID": ""}, "ANTHROPIC_WORKSPACE_ID in the environment is empty"),
    ],
)
def test_what_is_odd_but_may_work_is_a_warning(environ: dict[str, str], warning: str) -> None:
    warnings = resolve({"ANTHROPIC_API_KEY": KEY} | environ).warnings

    assert len(warnings) == 1
    assert warning in warnings[0]


@pytest.mark.parametrize(
    "environ",
    [
        {"ANTHROPIC_AUTH_TOKEN": "sk-ant-oat01-abcdefgh"},
        {"ANTHROPIC_API_KEY": "sk-proj-abcdefgh", "ANTHROPIC_BASE_URL": "https://gateway.example"},
        {"ANTHROPIC_API_KEY": KEY, "REQUESTS_CA_BUNDLE": "/a", "SSL_CERT_FILE": "/a"},
        {"ANTHROPIC_API_KEY": KEY, "ALL_PROXY": "http://a", "https_proxy": "http://b"},
        {
            "ANTHROPIC_API_KEY": KEY,
            "REQUESTS_CA_BUNDLE": "/a",
            "ANTHROPIC_BASE_URL": "http://localhost",
        },
    ],
)
def test_what_is_usual_elsewhere_is_no_warning(environ: dict[str, str]) -> None:
    assert resolve(environ).warnings == ()


def test_a_secret_in_an_option_is_warned_of() -> None:
    config = resolve({"ANTHROPIC_API_KEY": KEY}, headers=[("X-Gateway-Key", "abcdefgh")])

    assert config.headers == {"x-gateway-key": Secret("abcdefgh")}
    assert config.warnings == (
        "-H X-Gateway-Key: every user of this machine can read the arguments of a command",
    )


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        pytest.param(KEY + "\n", "contains a line break (U+000A) at position 109 of 109", id="LF"),
        pytest.param(KEY + "\r", "contains a line break (U+000D) at position 109", id="CR"),
        pytest.param(KEY[:9] + " " + KEY, "contains a blank (U+0020) at position 10", id="blank"),
        pytest.param(KEY + "\t", "contains a tab (U+0009)", id="tab"),
        pytest.param("\0" + KEY, "contains a control character (U+0000) at position 1 ", id="NUL"),
        pytest.param(KEY + "\x7f", "contains a control character (U+007F)", id="DEL"),
        pytest.param(KEY + "\u200b", "contains a non-ASCII character (U+200B)", id="zero width"),
        pytest.param("\ufeff" + KEY, "a non-ASCII character (U+FEFF) at position 1 ", id="BOM"),
        pytest.param(KEY + "\u00a0", "a non-ASCII character (U+00A0)", id="no-break space"),
        pytest.param("“" + KEY + "”", "a non-ASCII character (U+201C)", id="smart quotes"),
        pytest.param(f'"{KEY}"', "has quotes around it", id="double quotes"),
        pytest.param(f"'{KEY}'", "has quotes around it", id="single quotes"),
        pytest.param("Bearer " + KEY, "begins with the word Bearer", id="Bearer"),
        pytest.param("sk-ant-...", "is a placeholder", id="dots"),
        pytest.param("sk-ant-api03-...", "is a placeholder", id="the example's own"),
        pytest.param("your-key-here", "is a placeholder", id="your-key-here"),
        pytest.param("your_anthropic_api_key", "is a placeholder", id="your_anthropic_api_key"),
        pytest.param("sk-ant-api03-your-key", "is a placeholder", id="sk-ant-api03-your-key"),
        pytest.param("xxx", "is a placeholder", id="xxx"),
        pytest.param("sk-ant-xxxxxxxx", "is a placeholder", id="sk-ant-xxxxxxxx"),
        pytest.param("<your key>", "is a placeholder", id="angle brackets"),
        pytest.param("changeme", "is a placeholder", id="changeme"),
        pytest.param("$ANTHROPIC_API_KEY", "that nothing expanded", id="shell variable"),
        pytest.param("${{ secrets.KEY }}", "that nothing expanded", id="workflow expression"),
    ],
)
def test_a_key_that_cannot_work_is_refused_without_being_shown(value: str, problem: str) -> None:
    failure = refusal({"ANTHROPIC_API_KEY": value})

    assert failure.message.startswith("ANTHROPIC_API_KEY in the environment ")
    assert problem in failure.message
    assert failure.hints
    assert KEY[13:30] not in repr(failure)


@pytest.mark.parametrize(
    ("environ", "hint"),
    [
        ({"CLAUDE_API_KEY": KEY}, "CLAUDE_API_KEY is set in the environment"),
        ({"ANTHROPIC_KEY": KEY}, "ANTHROPIC_KEY is set in the environment"),
        ({"anthropic_api_key": KEY}, "anthropic_api_key is set in the environment"),
        ({"CLAUDE_CODE_OAUTH_TOKEN": KEY}, None),
        ({"CLAUDE_CODE_MAX_OUTPUT_TOKENS": "32000"}, None),
        ({"ANTHROPIC_IDENTITY_TOKEN": "x"}, None),
        ({"ANTHROPIC_API_KEY": ""}, "ANTHROPIC_API_KEY in the environment is empty"),
        ({"ANTHROPIC_API_KEY": "", "GITHUB_ACTIONS": "true"}, "Pull requests from forks are given"),
        (
            {"GITHUB_ACTIONS": "true"},
            "Pass the secret to the step: env: ANTHROPIC_API_KEY: ${{ secrets.",
        ),
        ({"GITLAB_CI": "true"}, "Set ANTHROPIC_API_KEY under Settings, CI/CD, Variables."),
    ],
)
def test_without_a_key_the_slip_is_named(environ: dict[str, str], hint: str | None) -> None:
    failure = refusal(environ)

    assert failure.message.startswith("no API key: ANTHROPIC_API_KEY ")
    assert f"no .env in {Path.cwd()} or any folder above it" in failure.known[0]
    said = [failure.message, *failure.hints]
    assert (hint is None and len(said) == 3) or any((hint or "") in line for line in said)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (
            "\n# x\nANTHROPIC_API_KEY: {}\n",
            ".env line 3 has a colon where = belongs; write ANTHROPIC_API_KEY=…",
        ),
        ("export ANTHROPIC_API_KEY {}", ".env line 1 is not NAME=value; write ANTHROPIC_API_KEY=…"),
        ("{}\n", ".env line 1 is not NAME=value"),
        ("ANTHROPIC_API_KEY='{}\n", ".env line 1 opens a quote for ANTHROPIC_API_KEY that is not"),
        (
            "ANTHROPIC_API_KEY=${{NOWHERE}}\n",
            "ANTHROPIC_API_KEY in .env (line 1) expands to nothing",
        ),
        ("CLAUDE_KEY={}\n", "CLAUDE_KEY is set in .env (line 1)"),
        ('$env:ANTHROPIC_API_KEY="{}"\n', "$env:ANTHROPIC_API_KEY is set in .env (line 1)"),
        ("set ANTHROPIC_API_KEY={}\n", ".env line 1 is not NAME=value; write ANTHROPIC_API_KEY=…"),
        ("ANTHROPIC_API_KEY=\n", "ANTHROPIC_API_KEY in .env (line 1) is empty"),
    ],
)
def test_a_file_without_a_key_is_named_with_the_line_that_was_meant_to_be_one(
    text: str, hint: str, capfd: pytest.CaptureFixture[str]
) -> None:
    Path(".env").write_text(text.format(KEY), "utf-8")

    failure = refusal({})

    assert failure.known == (f"Looked in the environment and in {Path('.env').absolute()}",)
    assert hint in failure.message + failure.hints[0]
    assert KEY not in repr(failure)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        pytest.param("A=1".encode("utf-16"), "is UTF-16 or binary", id="UTF-16"),
        pytest.param(b"A=\0", "is UTF-16 or binary", id="NUL"),
        pytest.param(b"A=1\nB=\xe9\n", "is not UTF-8 text: byte 0xe9 in line 2", id="Latin-1"),
        pytest.param(b"#" * (1 << 20) + b"\n", "is larger than 1 MiB", id="huge"),
    ],
)
def test_a_file_that_is_not_text_is_refused(data: bytes, problem: str) -> None:
    Path(".env").write_bytes(data)

    failure = refusal({"ANTHROPIC_API_KEY": KEY})

    assert problem in failure.message
    assert str(Path(".env").absolute()) in failure.known[0]


def test_a_file_with_a_byte_order_mark_is_read() -> None:
    Path(".env").write_text(f"ANTHROPIC_API_KEY={KEY}\n", "utf-8-sig")

    assert resolve({}).credential.secret == Secret(KEY)


def test_a_named_file_that_cannot_be_read_is_refused() -> None:
    Path("folder").mkdir()
    Path("loop").symlink_to("loop")

    assert "--env-file no.env does not exist" in refusal({}, env_file="no.env").message
    assert "folder is a folder" in refusal({}, env_file="folder").message
    assert "cannot read loop: " in refusal({}, env_file="loop").message
    assert "cannot read a\0b: embedded null byte" in refusal({}, env_file="a\0b").message


def test_a_folder_called_env_is_not_a_file(tmp_path: Path) -> None:
    Path(".env").mkdir()

    assert resolve({"ANTHROPIC_API_KEY": KEY}).credential.source == "the environment"


def test_a_working_directory_that_is_gone_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    try:
        assert resolve({"ANTHROPIC_API_KEY": KEY}).credential.source == "the environment"
        assert "which is gone" in refusal({}).known[0]
        assert "--env-file x does not exist" in refusal({}, env_file="x").message
    finally:
        os.chdir(tmp_path)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("api.anthropic.com", "has no scheme: api.anthropic.com"),
        ("ftp://host", "is not an http or https URL: ftp://host"),
        ("https://", "has a bad host or port: https://"),
        ("https://host:port", "has a bad host or port"),
        ("https://host:0", "has a bad host or port"),
        ("https://host:65536", "has a bad host or port"),
        ("https://[::1", "has a bad host or port"),
        ("https://host/ x", "contains a blank (U+0020) at position 14"),
        ("https://höst", "contains a non-ASCII character (U+00F6) at position 10"),
        ("https://user:secret@host", "has a user name or password in it: https://…@host"),
        ("https://user:secret/more@host", "has a user name or password in it: https://…@host"),
        ("user:secret@host", "has a user name or password in it: …@host"),
        ("https:/user:secret@host", "has a user name or password in it: https:/…@host"),
        ("https://[1.2.3.4]", "has a bad host or port"),
        ("https://.example", "has a bad host or port"),
        ("https://" + "a" * 64 + ".example", "has a bad host or port"),
        ("https://host?code=secret", "has a query or a fragment, but /v1/messages follows it"),
        ("https://host/#x", "has a query or a fragment"),
        ("http://host", "is plain http to a host that is not this machine: http://host"),
        ("http://127.evil.example", "is plain http"),
    ],
)
def test_a_base_url_that_cannot_work_is_refused(url: str, problem: str) -> None:
    failure = refusal({"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": url})

    assert failure.message.startswith("ANTHROPIC_BASE_URL in the environment ")
    assert problem in failure.message
    assert "secret" not in repr(failure)


@pytest.mark.parametrize(
    "url",
    [
        "https://host",
        "https://host:8443/path/",
        "http://localhost:1",
        "http://[::1]:80",
        "HTTPS://h",
    ],
)
def test_a_base_url_that_can_work_is_taken(url: str) -> None:
    config = resolve({"ANTHROPIC_API_KEY": KEY}, base_url=url)

    assert config.base_url == url.rstrip("/")
    assert config.base_url_source == "--base-url"


def test_a_found_file_may_not_send_a_key_from_elsewhere_to_its_host() -> None:
    Path(".env").write_text("ANTHROPIC_BASE_URL=https://collector.example\n", "utf-8")

    failure = refusal({"ANTHROPIC_API_KEY": KEY})

    assert "would send a key that is not from there to https://collector.example" in failure.message
    assert "claude-ping --base-url https://collector.example" in failure.hints[0]
    assert "claude-ping --env-file .env" in failure.hints[1]


@pytest.mark.parametrize(
    ("text", "environ", "problem"),
    [
        (
            "ANTHROPIC_API_KEY=${MINE}\nANTHROPIC_BASE_URL=https://collector.example",
            {"MINE": KEY},
            "would send a key that is not from there",
        ),
        (
            "ANTHROPIC_API_KEY=${OWN}-0123456789\nANTHROPIC_BASE_URL=https://collector.example/${OWN}",
            {"OWN": "value-of-the-environment"},
            "puts another variable's value into the URL",
        ),
        (
            f"ANTHROPIC_API_KEY={OTHER}\nANTHROPIC_BASE_URL=https://collector.example",
            {"ANTHROPIC_CUSTOM_HEADERS": "authorization: Bearer mine"},
            "would send a key that is not from there",
        ),
    ],
)
def test_a_found_file_may_not_collect_what_the_environment_holds(
    monkeypatch: pytest.MonkeyPatch, text: str, environ: dict[str, str], problem: str
) -> None:
    Path(".env").write_text(text, "utf-8")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)  # where python-dotenv takes ${NAME} from

    assert problem in refusal(environ).message


def test_a_secret_option_does_not_go_to_the_host_of_a_found_file() -> None:
    Path(".env").write_text(
        f"ANTHROPIC_API_KEY={OTHER}\nANTHROPIC_BASE_URL=https://collector.example", "utf-8"
    )

    assert "would send a key" in refusal({}, headers=[("x-api-key", "mine")]).message


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("ANTHROPIC_BASE_URL=https://own.example\nANTHROPIC_API_KEY=" + OTHER, {}),
        ("ANTHROPIC_BASE_URL=https://api.anthropic.com/", {}),
        ("ANTHROPIC_BASE_URL=https://own.example", {"env_file": ".env"}),
        ("ANTHROPIC_BASE_URL=https://other.example", {"base_url": "https://own.example"}),
    ],
)
def test_a_found_file_may_name_a_host_for_its_own_key_or_when_meant(
    text: str, options: dict[str, str]
) -> None:
    Path(".env").write_text(text, "utf-8")
    environ = {} if "API_KEY" in text else {"ANTHROPIC_API_KEY": KEY}

    assert resolve(environ, **options).base_url in (
        "https://own.example",
        "https://api.anthropic.com",
    )


def test_a_custom_header_in_the_place_of_the_key_is_the_credential() -> None:
    both = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_CUSTOM_HEADERS": "x-api-key: another-key"}

    credential = resolve(both).credential

    assert credential == ("api_key", Secret("another-key"), "x-api-key", "a custom header")
    assert str(credential.secret) == "…"


def test_an_empty_credential_header_is_refused() -> None:
    environ = {"ANTHROPIC_CUSTOM_HEADERS": "x-api-key:"}

    assert "the value of x-api-key is empty" in refusal(environ).message


def test_a_blank_option_counts_as_unset_with_a_note() -> None:
    config = resolve({"ANTHROPIC_API_KEY": KEY}, base_url=" ")

    assert config.base_url == "https://api.anthropic.com"
    assert config.warnings == ("--base-url is empty, which counts as not set",)


def test_a_placeholder_in_a_found_file_hides_nothing() -> None:
    Path(".env").write_text("ANTHROPIC_API_KEY=your-key-here\n", "utf-8")

    assert resolve({"ANTHROPIC_API_KEY": KEY}).warnings == ()


def test_a_token_that_hides_another_is_warned_of() -> None:
    Path(".env").write_text("ANTHROPIC_AUTH_TOKEN=token-of-the-file-0123\n", "utf-8")

    warnings = resolve({"ANTHROPIC_AUTH_TOKEN": "token-of-the-shell-0123"}).warnings

    assert ".env (line 1) holds a different token, …0123; the environment wins." in warnings[0]


def test_a_line_of_the_file_that_is_passed_over_is_warned_of() -> None:
    Path(".env").write_text(f"ANTHROPIC_API_KEY={KEY[:50]}\n{KEY[50:]}\n", "utf-8")

    assert resolve({}).warnings == (".env line 2 is not NAME=value (the line is passed over)",)


@given(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", min_size=93))
def test_no_real_key_is_taken_for_a_placeholder(random: str) -> None:
    assert not checks.is_placeholder(f"sk-ant-api03-{random[:93]}AA")
    assert not checks.is_placeholder(f"sk-ant-api03-MyMe-{random[:88]}AA")


def test_a_placeholder_for_a_workspace_is_refused() -> None:
    failure = refusal({"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_WORKSPACE_ID": "wrkspc_..."})

    assert (
        failure.message == "ANTHROPIC_WORKSPACE_ID in the environment is a placeholder: wrkspc_..."
    )


def test_a_custom_header_that_cannot_be_sent_is_refused() -> None:
    environ = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_CUSTOM_HEADERS": "x-name: \u200bvalue"}

    failure = refusal(environ)

    assert failure.message == (
        "ANTHROPIC_CUSTOM_HEADERS in the environment: the value of x-name contains"
        " a non-ASCII character (U+200B) at position 1"
    )


def test_every_secret_is_known_before_anything_is_printed() -> None:
    environ = {
        "ANTHROPIC_API_KEY": f" '{KEY}'",
        "ANTHROPIC_BASE_URL": "https://user:password@host",
        "ANTHROPIC_CUSTOM_HEADERS": "x-token: Basic header-secret",
        "CLAUDE_API_KEY": OTHER,
    }
    options = Options(base_url="https://a:option@h", headers=[("cookie", "cookie-secret")])

    hidden = {secret.reveal() for secret in settings.secrets(options, [Layer("x", environ)])}

    assert {KEY, OTHER, "password", "header-secret", "option", "cookie-secret"} <= hidden


SOURCES = ("option", "named", "environment", "found", "default")


@given(st.sets(st.sampled_from(SOURCES[:-1])))
def test_the_strongest_source_wins_and_is_named(given_by: set[str]) -> None:
    values = {name: {settings.BASE_URL: f"https://{name}.example"} for name in given_by}
    key = {settings.API_KEY: KEY}
    layers = [
        Layer("named", key | values.get("named", {})),
        Layer("environment", values.get("environment", {})),
        Layer("found", values.get("found", {})),
    ]
    options = Options(base_url="https://option.example" if "option" in given_by else None)

    config = settings.resolve(options, layers, {})

    winner = min(given_by, key=SOURCES.index, default="default")
    labels = {"option": "--base-url", "default": "the default"}
    hosts = {"default": "https://api.anthropic.com"}
    assert config.base_url == hosts.get(winner, f"https://{winner}.example")
    assert config.base_url_source == labels.get(winner, winner)


HEADER_NAMES = st.from_regex(r"[xX]-[a-z0-9!#$%&'*+.^_`|~]{1,10}", fullmatch=True)
HEADER_VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126)).map(str.strip)


@given(st.dictionaries(HEADER_NAMES.map(str.lower), HEADER_VALUES))
def test_custom_headers_are_sent_as_they_were_written(headers: dict[str, str]) -> None:
    lines = "\n".join(f"{name}: {value}" for name, value in headers.items())
    layer = Layer("the environment", {settings.API_KEY: KEY, settings.CUSTOM_HEADERS: lines})

    sent = settings.resolve(Options(), [layer], {}).headers

    assert headers == {
        name: value.reveal() if isinstance(value, Secret) else value for name, value in sent.items()
    }
