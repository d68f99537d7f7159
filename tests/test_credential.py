"""What a key may look like: refused, warned of, or taken, and never shown."""

from __future__ import annotations

import re

import pytest
from helpers import KEY, Run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

Patch = pytest.MonkeyPatch
GATEWAY = ["--base-url", "http://127.0.0.1:9"]


def lacks(text: str, words: str) -> list[str]:
    """The patterns, divided by `&`, that are not in the text."""
    return [word for word in words.split(" & ") if not re.search(word, text, re.IGNORECASE)]


# What the headline says of the value // what the rest says; `&` divides patterns.
REFUSED: dict[str, tuple[str, str]] = {
    "a line break at the end": (KEY + "\n", r"ends with & line break // printf %s & paste"),
    "a Windows line ending": (KEY + "\r", r"carriage return // printf %s"),
    "a line break inside": (KEY[:9] + "\n" + KEY[9:], r"line break & \b10\b // "),
    "a tab": (KEY + "\t", r"\btab\b // "),
    "a space inside": (KEY[:9] + " " + KEY[9:], r"\b(space|blank)\b & \b10\b // "),
    "a space in front": (" " + KEY, r"\b(space|blank)\b // "),
    "a space at the end": (KEY + " ", r"\b(space|blank)\b // "),
    "an escape": ("\x1b" + KEY, r"U\+001B & \b1\b // "),
    "a zero-width space": (KEY + "\u200b", r"zero-width space \(U\+200B\) & \b109\b // copy|paste"),
    "a byte order mark": ("\ufeff" + KEY, r"U\+FEFF & \b1\b // "),
    "a no-break space": (KEY + "\u00a0", r"no-break space \(U\+00A0\) & \b109\b // "),
    "smart quotes": (f"\u201c{KEY}\u201d", r"left double quotation mark \(U\+201C\) & \b1\b // "),
    "double quotes": (f'"{KEY}"', r"quot // remove"),
    "the scheme in front": (f"Bearer {KEY}", r"\bBearer\b // remove"),
    "a comment": (KEY + " # mine", r"comment // env-file|docker"),
    "a key pasted twice": (KEY + KEY, r"twice // "),
    "a key behind the placeholder": (f"sk-ant-...{KEY}", r"placeholder|longer|twice|two // "),
    "the first letter missing": (KEY[1:], r"k-ant- & first|missing|begins // "),
    "the name repeated": (f"ANTHROPIC_API_KEY={KEY}", r"ANTHROPIC_API_KEY= // "),
    "undefined": ("undefined", r"undefined // "),
    "angle brackets": (f"<{KEY}>", r"<|angle|bracket // "),
    "an id of a key": ("apikey_01Rj2N8SVvo6BePZj99NhmiT", r"\bid\b // settings/keys"),
    "the variable's own name": ("ANTHROPIC_API_KEY", r"name|expand|reference // "),
}
REFERENCES = """op://vault/anthropic/credential $(ANTHROPIC_KEY) /run/secrets/anthropic
    /builds/team/app.tmp/ANTHROPIC_API_KEY secrets.ANTHROPIC_API_KEY $env:ANTHROPIC_KEY
    encrypted:BDqDBibm4wsYqMpCjTQ6BsDHmMadg9K3dAt vault:secret/data/anthropic
    arn:aws:secretsmanager:eu-west-1:123456789012:secret:anthropic"""
REFUSED |= {
    word: (word, "reference, not a key // op run -- claude-ping") for word in REFERENCES.split()
}
UNEXPANDED = ["${{ secrets.ANTHROPIC_API_KEY }}", "$ANTHROPIC_API_KEY", "${KEY}", "%ANTHROPIC_KEY%"]
REFUSED |= {word: (word, "expand|reference|resolve // ") for word in UNEXPANDED}
OF_TOKENS = ["a line break at the end", "a no-break space", "double quotes", "the scheme in front"]


@pytest.mark.parametrize(
    ("name", "case"),
    [("ANTHROPIC_API_KEY", case) for case in REFUSED]
    + [("ANTHROPIC_AUTH_TOKEN", case) for case in [*OF_TOKENS, "$(ANTHROPIC_KEY)", "undefined"]],
)
def test_what_cannot_be_a_key_is_refused(
    run: Run, monkeypatch: Patch, name: str, case: str
) -> None:
    value, words = REFUSED[case]
    monkeypatch.setenv(name, value)

    ran = run()

    headline, _, rest = ran.err.partition("\n")
    said, _, hint = words.partition(" // ")
    assert (ran.code, ran.out) == (3, "")
    assert lacks(headline, rf"^✗ & {name} & environment & {said}") == []
    assert lacks(rest, rf"• & {hint}") == []
    assert KEY[13:30] not in ran.err
    assert "TCP" not in ran.err
    report = run("--json").report
    assert (report["class"], report["attempts"], report["key_accepted"]) == ("config", 0, None)


PLACEHOLDERS = ["dummy", "none", "key", "secret", "x", "sk-xxx", "changeme", "your-api-key-here"]
SHAPED = ["sk-ant-...", "sk-ant-api03-...", "sk-ant-xxxxxxxx", "sk-ant-api03-your-key", "xxx"]


@pytest.mark.parametrize("value", [*PLACEHOLDERS, *SHAPED, "<your key>", "your_anthropic_api_key"])
def test_a_placeholder_is_no_key_of_the_api(run: Run, monkeypatch: Patch, value: str) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", value)

    ran = run()

    assert ran.code == 3
    assert lacks(ran.err.partition("\n")[0], "ANTHROPIC_API_KEY & environment & placeholder") == []
    assert "https://platform.claude.com/settings/keys" in ran.err


@pytest.mark.parametrize("value", PLACEHOLDERS)
def test_a_gateway_takes_a_placeholder(run: Run, monkeypatch: Patch, value: str) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", value)

    ran = run("-n", "--json", *GATEWAY)

    assert ran.code == 0
    assert ran.report["credential"]["length"] == len(value)
    assert not any("placeholder" in warning for warning in ran.report["warnings"])


OTHERS = {
    "sk-ant-admin01-abcdefgh0123": "admin",
    "sk-ant-oat01-abcdefgh0123": "OAuth",
    "sk-ant-sid01-abcdefgh0123": "session",
    "sk-proj-abcdefgh0123": "another vendor",
    "sk-or-v1-abcdefgh0123": "another vendor",
    "AKIAABCDEFGH0123": "another vendor",
    "ghp_abcdefgh0123": "another vendor",
    "github_pat_abcdefgh0": "another vendor",
    "AIzaabcdefgh0123": "another vendor",
    "gsk_abcdefgh0123": "another vendor",
    "xai-abcdefgh0123": "another vendor",
    "hf_abcdefgh0123": "another vendor",
}


@pytest.mark.parametrize("value", OTHERS)
def test_only_the_api_wants_its_own_keys(run: Run, monkeypatch: Patch, value: str) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", value)

    api, gateway = run("-n", "--json"), run("-n", "--json", *GATEWAY)

    assert (api.code, gateway.code) == (0, 0)
    assert lacks("\n".join(api.report["warnings"]), OTHERS[value]) == []
    assert lacks("\n".join(gateway.report["warnings"]), OTHERS[value]) == [OTHERS[value]]


def test_a_token_belongs_in_its_own_variable(run: Run, monkeypatch: Patch) -> None:
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "sk-ant-oat01-abcdefgh0123")
    assert run("-n", "--json").report["warnings"] == []

    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", KEY)
    assert lacks(run("-n").err, "ANTHROPIC_AUTH_TOKEN & API key & ANTHROPIC_API_KEY") == []


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.from_regex("sk-ant-api03-(MyMe-|key-)?[A-Za-z0-9_-]{88}AA", fullmatch=True))
def test_no_real_key_is_refused(run: Run, value: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANTHROPIC_API_KEY", value)
        ran = run("-n", "--json")

    assert (ran.code, ran.report["credential"]["last4"]) == (0, value[-4:])
    assert value not in ran.out + ran.err
