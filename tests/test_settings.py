"""Which value wins, where it came from, what programs would do differently, what is refused."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from helpers import KEY, Ran, Run

OTHER = "sk-ant-api03-" + "Qx2" * 31 + "AA"
WORD = "hunter2-of-somebody-else"
TOKEN = "gateway-token-0123456789"  # noqa: S105 made up
# Variables of the environment and, where the name begins with `./`, files.
World = Mapping[str, str | bytes]
Make = Callable[[World], None]
Patch = pytest.MonkeyPatch


@pytest.fixture
def make(monkeypatch: Patch) -> Make:
    """Set the variables and write the files of a case."""

    def make(world: World) -> None:
        for name, value in world.items():
            if isinstance(value, str) and not name.startswith("./"):
                monkeypatch.setenv(name, value)
                continue
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_bytes(value.encode() if isinstance(value, str) else value)

    return make


def lacks(text: str, words: str) -> list[str]:
    """The patterns, divided by `&`, that are not in the text."""
    return [word for word in words.split(" & ") if not re.search(word, text, re.IGNORECASE)]


def assert_refused(ran: Ran, words: str) -> None:
    """Exit 3; what the headline says // what the rest says; no secret; nothing was sent."""
    headline, _, rest = ran.err.partition("\n")
    said, _, hint = words.partition(" // ")
    assert (ran.code, ran.out) == (3, "")
    assert lacks(headline, f"^✗ & {said}") == []
    assert lacks(rest, f"• & {hint}") == []
    for secret in (KEY[13:30], OTHER[13:30], WORD, TOKEN):
        assert secret not in ran.err
    assert not re.search("TCP|Errno", ran.err)


API_KEY, AUTH, URL = "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"
HEADERS, SPACE = "ANTHROPIC_CUSTOM_HEADERS", "ANTHROPIC_WORKSPACE_ID"
MINE, THEIRS = f"{API_KEY}={KEY}", f"{API_KEY}={OTHER}"

# The --env-file, the last four characters of the credential that is sent, its source.
WINS: dict[str, tuple[World, str, str | None, str]] = {
    "the environment": ({API_KEY: KEY}, "", "j4AA", "environment"),
    "it, above a found file": ({API_KEY: KEY, "./.env": THEIRS}, "", "j4AA", "environment"),
    "a named file, above it": ({API_KEY: KEY, "./p": f"A=1\n{THEIRS}"}, "p", "x2AA", "p line 2"),
    "a named file, not the found": ({"./.env": MINE, "./p": THEIRS}, "p", "x2AA", "p line 1"),
    "a blank named file": ({API_KEY: KEY, "./p": f"{API_KEY}= "}, "p", "j4AA", "environment"),
    "an empty variable": ({API_KEY: "", "./.env": THEIRS}, ".env", "x2AA", ".env line 1"),
    "a found file": ({"./.env": f"# mine\n\n{MINE}\n"}, "", "j4AA", ".env line 3"),
    "the last of two lines": ({"./.env": f"{MINE}\n{THEIRS}\n"}, "", "x2AA", ".env line 2"),
    "below a value of two lines": ({"./.env": f'A="1\n2"\n\n{MINE}'}, "", "j4AA", ".env line 4"),
    "export": ({"./.env": f"export {MINE}\n"}, "", "j4AA", ".env line 1"),
    "quotes": ({"./.env": f"{API_KEY} = '{KEY}'\n"}, "", "j4AA", ".env line 1"),
    "a comment behind it": ({"./.env": f"{MINE} # mine\n"}, "", "j4AA", ".env line 1"),
    "a byte order mark": ({"./.env": f"\ufeff{MINE}\n"}, "", "j4AA", ".env line 1"),
    "Windows' line endings": ({"./.env": f"A=1\r\n{MINE}\r\n"}, "", "j4AA", ".env line 2"),
    "another line": ({"./.env": f"B={KEY}\n{API_KEY}=${{B}}"}, "", "j4AA", ".env line 2"),
    "a variable": ({"B": KEY, "./.env": f"{API_KEY}=${{B}}"}, "", None, ".env line 1"),
    "a token": ({"./.env": f"{AUTH}={TOKEN}"}, "", "6789", ".env line 1"),
    "a short token": ({AUTH: "abcdefgh6789"}, "", "6789", "environment"),
    "a key, beside a token": ({AUTH: TOKEN, API_KEY: KEY}, "", "j4AA", "environment"),
    "a token, beside an empty key": ({AUTH: TOKEN, API_KEY: ""}, "", "6789", "environment"),
}


@pytest.mark.parametrize("case", WINS)
def test_the_strongest_source_wins_and_is_told(run: Run, make: Make, case: str) -> None:
    world, named, last4, source = WINS[case]
    make(world)
    before = dict(os.environ)

    ran = run("-n", "--json", *(["--env-file", named] if named else []))

    kind, header = {"6789": ("auth_token", "authorization")}.get(
        last4 or "", ("api_key", "x-api-key")
    )
    assert ran.report["credential"]["kind"] == kind
    assert ran.report["credential"]["last4"] == last4
    assert source in ran.report["credential"]["source"]
    names = {name.lower() for name in ran.report["request"]["headers"]}
    assert names & {"authorization", "x-api-key"} == {header}
    assert TOKEN not in ran.out + ran.err
    assert dict(os.environ) == before


def test_only_the_nearest_file_upwards_is_read(run: Run, make: Make, monkeypatch: Patch) -> None:
    make({"./.env": f"\n{MINE}", "./a/b/file": ""})
    monkeypatch.chdir("a/b")
    assert run("-n", "--json").report["credential"]["source"].endswith(".env line 2")

    make({"./.env": "A=1"})
    assert_refused(run(), r"no API key // Looked in the environment; in /.*/a/b/\.env\n")


ORDER = ["option", "named", "environment", "found", "default"]


@pytest.mark.parametrize("given", ORDER)
def test_every_setting_has_the_same_order(run: Run, make: Make, given: str) -> None:
    urls = {name: f"https://{name}.example" for name in ORDER[ORDER.index(given) :]}
    for name, file in {"named": "./p.env", "found": "./.env"}.items():
        make({file: f"{MINE}\n" + (f"{URL}={urls[name]}" if name in urls else "")})
    make({URL: urls["environment"]} if "environment" in urls else {})
    argv = ["--base-url", urls["option"]] if "option" in urls else []
    argv += ["--env-file", "p.env"] if "named" in urls else []

    url = run("-n", "--json", *argv).report["request"]["url"]

    host = "api.anthropic.com" if given == "default" else f"{given}.example"
    assert url == f"https://{host}/v1/messages"


NO_KEY: dict[str, tuple[World, str]] = {
    "nothing": ({}, f"{API_KEY} // {API_KEY} & settings/keys"),
    "an empty variable": ({API_KEY: ""}, f"{API_KEY} & empty & environment"),
    "a blank variable": ({API_KEY: "  "}, f"{API_KEY} & empty|blank & environment"),
    "empty, hiding the file's": (
        {API_KEY: "", "./.env": f"\n\n{MINE}"},
        rf"{API_KEY} & empty & environment & hides \.env line 3 & load_dotenv // unset|--env-file",
    ),
    "blank, hiding it": ({API_KEY: " ", "./.env": MINE}, r"environment & hides \.env line 1"),
    "a token": ({AUTH: "", "./.env": f"{AUTH}={TOKEN}"}, rf"{AUTH} & empty & \.env line 1"),
    "an empty line": ({"./.env": f"\n{API_KEY}=\n"}, rf"{API_KEY} & \.env line 2 & empty"),
    "no such variable": (
        {"./.env": f"{API_KEY}=${{NO}}"},
        r"\.env line 1 & expand|nothing|resolve",
    ),
    "another name": ({"CLAUDE_API_KEY": KEY}, f"CLAUDE_API_KEY & environment & {API_KEY}"),
    "a shorter name": ({"./.env": f"ANTHROPIC_KEY={KEY}"}, rf"_KEY & \.env line 1 & {API_KEY}"),
    "lower case": ({"anthropic_api_key": KEY}, "(?-i:anthropic_api_key) & environment"),
    "a space behind the name": ({f"{API_KEY} ": KEY}, f"{API_KEY} & space|blank & environment"),
    "a name of a file": ({f"{API_KEY}_FILE": "/run/secrets/k"}, f"{API_KEY}_FILE & environment"),
    "a colon": ({"./.env": f"{API_KEY}: {KEY}"}, rf'\.env line 1 & ":" & "=" & {API_KEY}'),
    "a comment": ({"./.env": f"A=1\n# {MINE}"}, r"\.env line 2 & comment"),
    "the key alone": ({"./.env": f"{KEY}\n"}, rf"\.env line 1 // {API_KEY}="),
    "no sign between": ({"./.env": f"export {API_KEY} {KEY}"}, rf"\.env line 1 // {API_KEY}="),
    "any other name": ({"./.env": f"A=1\nB={KEY}"}, rf"\.env line 2 & \bB\b & {API_KEY}"),
    "a line of PowerShell": ({"./.env": f'$env:{API_KEY}="{KEY}"'}, r"\.env line 1"),
    "a line of Windows' shell": ({"./.env": f"set {MINE}"}, r"\.env line 1"),
    "a quote": ({"./.env": f"A=1\n{API_KEY}='{KEY}\n"}, r"quote & \.env line 2 & never closed"),
    "a line in a file beside": ({"./.env": "A=1", "./.env.local": MINE}, r"\.env\.local"),
    "Claude Code's token": ({"CLAUDE_CODE_OAUTH_TOKEN": TOKEN}, "CLAUDE_CODE_OAUTH_TOKEN"),
    "a profile": ({"ANTHROPIC_CONFIG_DIR": "c", "./c/configs/default.json": "{}"}, "profile"),
    "a profile by name": ({"ANTHROPIC_PROFILE": "work"}, "ANTHROPIC_PROFILE|profile & work"),
    "workload identity": (
        dict.fromkeys(["ANTHROPIC_IDENTITY_TOKEN", "ANTHROPIC_FEDERATION_RULE_ID"], TOKEN),
        "workload identity|federation",
    ),
}
NO_KEY["nothing"] = ({}, r" // Looked in the environment; no \.env in /.* or above it\n")
BESIDE = [".env.local", ".env.txt", ".env.production", "prod.env", "env", ".envrc"]
NO_KEY |= {
    f"{name} beside": ({f"./{name}": f"export {MINE}"}, rf"[ /]{re.escape(name)}\b")
    for name in BESIDE
}


@pytest.mark.parametrize("case", NO_KEY)
def test_without_a_key_the_slip_is_the_headline(run: Run, make: Make, case: str) -> None:
    world, words = NO_KEY[case]
    make(world)

    assert_refused(run(), f"no API key|no .*token & {words}")


@pytest.mark.parametrize("ending", ["example", "sample", "template", "dist"])
def test_what_is_meant_to_be_copied_is_no_slip(run: Run, make: Make, ending: str) -> None:
    make({f"./.env.{ending}": MINE})

    assert_refused(run(), "no API key: ANTHROPIC_API_KEY is not set")


IN_FILES = {
    "an expression": (f"\n{API_KEY}=${{{{ secrets.A }}}}", r"line 2 & expand|reference|\$\{\{"),
    "a smart quote": (f"\n\n{API_KEY}=\u201c{KEY}\u201d", r"line 3 & U\+201C"),
    "a reference": (f"{API_KEY}=op://vault/a/credential", "line 1 & reference, not a key"),
    "a placeholder": (f"{API_KEY}=your-api-key-here", "line 1 & placeholder"),
}


@pytest.mark.parametrize("case", IN_FILES)
def test_a_value_in_a_file_is_judged_too(run: Run, make: Make, case: str) -> None:
    text, words = IN_FILES[case]
    make({"./.env": text})

    assert_refused(run(), rf"{API_KEY} & \.env {words}")


def test_a_file_of_somebody_else_is_not_named(run: Run, make: Make) -> None:
    make({"./.env.local": "A=1", "./env": "B=sk-proj-0123456789"})

    assert not re.search(r"\.env\.local|[ /]env\b", run().err)


EVENT = "GITHUB_EVENT_NAME"
BOT = {"GITHUB_ACTOR": "dependabot[bot]", EVENT: "pull_request"}
CI: dict[str, tuple[dict[str, str], str]] = {
    "Dependabot": (BOT, "Dependabot"),
    "a pull request": ({EVENT: "pull_request"}, "fork"),
    "a push": ({EVENT: "push"}, "env: & secrets: inherit"),
    "a schedule": ({EVENT: "schedule"}, "env: & secrets: inherit"),
    "GitLab": ({"GITLAB_CI": "true"}, "protected"),
    "Azure": ({"TF_BUILD": "True"}, "env:"),
    "some other runner": ({"CI": "true"}, API_KEY),
}


@pytest.mark.parametrize("value", [None, ""])
@pytest.mark.parametrize("case", CI)
def test_a_runner_is_told_what_it_lacks_and_never_a_file(
    run: Run, make: Make, case: str, value: str | None
) -> None:
    variables, words = CI[case]
    make(variables | ({"GITHUB_ACTIONS": "true"} if EVENT in variables else {}))
    make({} if value is None else {API_KEY: value})

    ran = run()

    hints = "\n".join(line for line in ran.err.splitlines() if line.startswith("  •"))
    assert ran.code == 3
    assert lacks(ran.err if case == "some other runner" else hints, words) == []
    assert ".env" not in hints
    assert ("fork" in ran.err) is (case == "a pull request")


FILES: dict[str, tuple[World, str, str]] = {
    "missing, though named": ({}, "none.env", "--env-file & none.env & exist|no such|missing"),
    "a folder": ({"./folder/file": ""}, "folder", "folder & is a (folder|directory)"),
    "UTF-16": ({"./.env": MINE.encode("utf-16")}, "", r"\.env & UTF-16 // UTF-8"),
    "UTF-16 without a mark": ({"./.env": MINE.encode("utf-16-le")}, "", r"\.env & UTF-16"),
    "Latin-1": ({"./.env": b"A=1\nB=\xe9\n"}, "", r"\.env & line 2 & UTF-8"),
    "binary": ({"./.env": b"A=\0\x01"}, "", r"\.env & UTF-16|binary|text"),
    "huge": ({"./.env": b"#" * (1 << 16) + b"\n"}, "", r"\.env & 64 KiB"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_cannot_be_read_is_refused(run: Run, make: Make, case: str) -> None:
    world, named, words = FILES[case]
    make({API_KEY: KEY} | dict(world))

    assert_refused(run(*(["--env-file", named] if named else [])), words)


def test_a_key_given_for_the_name_of_a_file_is_not_shown(run: Run, key: str) -> None:
    Path("loop").symlink_to("loop")

    assert_refused(run("--env-file", key), "--env-file")
    assert_refused(run("--env-file", "loop"), "loop")


# What a program after load_dotenv() or of an official SDK does otherwise.
DIFFERS: dict[str, tuple[World, list[str], str]] = {
    "a key": ({API_KEY: KEY, "./.env": f"\n{THEIRS}"}, [], r"\.env line 2 & different & …x2AA"),
    "a token": ({AUTH: TOKEN, "./.env": f"{AUTH}=its-token-4321"}, [], r"\.env line 1 & …4321"),
    "both credentials": ({API_KEY: KEY, AUTH: TOKEN}, [], f"{API_KEY} & {AUTH}"),
    "in two places": ({AUTH: TOKEN, "./.env": MINE}, [], rf"{API_KEY} & {AUTH} & \.env line 1"),
    "a workspace": ({API_KEY: KEY, SPACE: "wrkspc_1"}, [], f"{SPACE} & SDK & custom.headers?"),
    "an empty base URL": ({API_KEY: KEY, URL: ""}, [], f"{URL} & empty & SDK"),
    "a long reply": ({API_KEY: KEY}, ["--max-tokens", "21334"], r"21,?333 & --stream"),
    "a temperature": (
        {API_KEY: KEY},
        ["-m", "claude-sonnet-4-6", "--temperature", "0.5"],
        "temperature & 2026-10-21|--sdk",
    ),
    "a gateway": ({API_KEY: KEY, URL: "http://127.0.0.1:9"}, [], "authorization & --sdk"),
    "a gateway behind an empty variable": (
        {URL: "", "./.env": f"{MINE}\n{URL}=http://127.0.0.1:9"},
        [],
        "authorization & --sdk",
    ),
    "an OAuth token for a key": ({API_KEY: "sk-ant-oat01-0123456789"}, [], f"OAuth & {API_KEY}"),
    "a line that is none": ({"./.env": f"{MINE}\nits rest\n"}, [], r"\.env line 2 & ignored"),
    "the file's proxy": (
        {API_KEY: KEY, "./.env": f"\nHTTPS_PROXY=http://me:{WORD}@proxy.example:3128"},
        [],
        r"HTTPS_PROXY & \.env line 2 & proxy\.example:3128",
    ),
}
DIFFERS |= {
    f"the file's {name}": ({API_KEY: KEY, "./.env": f"{name}=c.d"}, [], rf"{name} & line 1 & c\.d")
    for name in ["HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"]
}


@pytest.mark.parametrize("case", DIFFERS)
def test_what_programs_do_otherwise_is_told(run: Run, make: Make, case: str) -> None:
    world, argv, words = DIFFERS[case]
    make(world)

    ran = run("-n", "--json", *argv)

    assert ran.code == 0
    assert [] in [lacks(warning, words) for warning in ran.report["warnings"]]
    assert WORD not in ran.out + ran.err
    assert OTHER[13:30] not in ran.out + ran.err
    for warning in ran.report["warnings"]:
        assert ran.err.count(f"warning: {warning}\n") == 1


def test_a_blank_key_beside_a_token_is_not_passed_in_silence(run: Run, make: Make) -> None:
    make({API_KEY: "  ", AUTH: TOKEN})

    ran = run("-n")

    assert ran.code in (0, 3)
    assert lacks(ran.err, f"{API_KEY} & blank|empty|space") == []


SILENT: dict[str, tuple[World, list[str]]] = {
    "the same key in the file": ({API_KEY: KEY, "./.env": MINE}, []),
    "a token": ({AUTH: TOKEN}, []),
    "the longest reply that is not streamed": ({API_KEY: KEY}, ["--max-tokens", "21333"]),
    "a long stream": ({API_KEY: KEY}, ["--max-tokens", "64000", "--stream"]),
    "a list of models": ({"./.env": f"{MINE}\nDEBUG=1\n"}, ["--models"]),
    "the version that SDKs send": ({API_KEY: KEY}, ["--sdk"]),
}


@pytest.mark.parametrize("case", SILENT)
def test_what_programs_do_alike_is_no_warning(run: Run, make: Make, case: str) -> None:
    world, argv = SILENT[case]
    make(world)

    assert run("-n", "--json", *argv).report["warnings"] == []


def test_a_proxy_that_the_environment_sets_too_is_not_the_file_s(run: Run, make: Make) -> None:
    proxy = "http://proxy.example:3128"
    make({API_KEY: KEY, "HTTPS_PROXY": proxy, "./.env": f"HTTPS_PROXY={proxy}"})

    assert run("-n", "--json").report["warnings"] == []


TRAP = f"{URL}=https://collector.example"
WAYS = "--base-url https://collector.example"
COLLECTS: dict[str, tuple[World, list[str], str]] = {
    "a key": ({API_KEY: KEY, "./.env": TRAP}, [], f"{API_KEY} // {WAYS} & --env-file .env"),
    "a token": ({AUTH: TOKEN, "./.env": TRAP}, [], f"{AUTH} // {WAYS}"),
    "headers": (
        {HEADERS: f"x-a: {WORD}", "./.env": f"{THEIRS}\n{TRAP}"},
        [],
        f"{HEADERS} // {WAYS}",
    ),
    "a workspace": ({SPACE: "wrkspc_1", "./.env": f"{THEIRS}\n{TRAP}"}, [], f"{SPACE} // {WAYS}"),
    "an option": ({"./.env": f"{THEIRS}\n{TRAP}"}, ["-H", f"x-key: {WORD}"], f"x-key // {WAYS}"),
    "a variable, by a key": ({"B": KEY, "./.env": f"{API_KEY}=${{B}}\n{TRAP}"}, [], API_KEY),
    "by the URL": ({"B": WORD, "./.env": f"{THEIRS}\n{TRAP}/${{B}}"}, [], URL),
    "by a third": ({"B": WORD, "./.env": f"{THEIRS}\nA=x${{B}}\n{TRAP}/${{A}}"}, [], URL),
    "by headers": (
        {"B": WORD, "./.env": f"{THEIRS}\n{HEADERS}='x-a: ${{B}}'\n{TRAP}"},
        [],
        f"{HEADERS} // {WAYS}",
    ),
    "a key, by another Host": (
        {API_KEY: KEY, "./.env": f"{HEADERS}='Host: collector.example'"},
        [],
        rf"\bHost\b & \.env line 1 & {API_KEY} // --env-file .env",
    ),
}


@pytest.mark.parametrize("case", COLLECTS)
def test_a_found_file_collects_nothing_from_elsewhere(run: Run, make: Make, case: str) -> None:
    world, argv, words = COLLECTS[case]
    make(world)

    assert_refused(run(*argv), rf"\.env line \d & {words}")


MEANT: dict[str, tuple[World, list[str], str]] = {
    "its own key": ({"./.env": f"{MINE}\n{TRAP}"}, [], "collector"),
    "named": ({API_KEY: KEY, "./.env": TRAP}, ["--env-file", ".env"], "collector"),
    "another URL": ({API_KEY: KEY, "./.env": TRAP}, ["--base-url", "https://o.example"], "o"),
    "the API": ({API_KEY: KEY, "./.env": f"{URL}=https://api.anthropic.com/"}, [], "api"),
    "a harmless header": ({API_KEY: KEY, "./.env": f"{HEADERS}=anthropic-beta: x"}, [], "api"),
}


@pytest.mark.parametrize("case", MEANT)
def test_a_found_file_may_say_where_its_own_key_goes(run: Run, make: Make, case: str) -> None:
    world, argv, host = MEANT[case]
    make(world)

    ran = run("-n", "--json", *argv)

    assert (ran.code, ran.report["request"]["url"].split("/")[2].split(".")[0]) == (0, host)


@pytest.mark.parametrize("name", [URL, SPACE, HEADERS, "HTTPS_PROXY", "SSL_CERT_FILE"])
def test_what_a_found_file_expands_is_never_shown(run: Run, make: Make, name: str) -> None:
    make({API_KEY: KEY, "SOMEBODY_ELSE": WORD, "./.env": f"{name}=x: ${{SOMEBODY_ELSE}}"})

    for form in ["-v", "--json"]:
        ran = run("-n", form)
        assert WORD not in ran.out + ran.err
