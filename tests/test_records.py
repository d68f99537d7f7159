"""The few records that do something."""

from __future__ import annotations

from helpers import KEY

from claude_ping.records import Secret


def test_a_secret_prints_as_its_last_four_characters() -> None:
    secret = Secret(KEY)

    assert f"{secret} {secret!r} {[secret]}" == "…j4AA …j4AA […j4AA]"
    assert secret.reveal() == KEY
    assert len(secret) == 108


def test_a_short_secret_shows_nothing() -> None:
    assert str(Secret("0123456789abcdefghi")) == "…"


def test_secrets_are_compared_by_value() -> None:
    assert {Secret("a"), Secret("a"), Secret("b")} == {Secret("b"), Secret("a")}
    assert Secret("a") != "a"
