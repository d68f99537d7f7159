"""No form of a secret gets through."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from helpers import KEY
from hypothesis import given
from hypothesis import strategies as st

from claude_ping.masking import Mask
from claude_ping.records import Secret


def scrub(text: str, *secrets: str) -> str:
    mask = Mask()
    mask.hide(Secret(secret) for secret in secrets)
    return mask.scrub(text)


ODD = 'abc"defghijklmnopqrst/uvwxyz'


@pytest.mark.parametrize(
    "form",
    [
        ODD,
        json.dumps(ODD)[1:-1],
        quote(ODD, safe=""),
        base64.b64encode(ODD.encode()).decode(),
        ODD.encode().hex(),
        ODD.upper(),
    ],
)
def test_a_secret_is_masked_in_every_form(form: str) -> None:
    assert scrub(f"<{form}>", ODD).rstrip("=>") == "<…wxyz"


@pytest.mark.parametrize(
    "part", [KEY[:40], KEY[20:60], KEY[70:], "x" + KEY[10:] + "y", KEY[:100] + KEY[8:], KEY * 2]
)
def test_a_part_of_a_key_is_masked(part: str) -> None:
    assert KEY[24:30] not in scrub(f"key {part} refused", KEY)


def test_the_public_beginning_of_a_key_is_no_secret() -> None:
    assert scrub("keys begin with sk-ant-api03-", KEY) == "keys begin with sk-ant-api03-"


def test_the_longest_secret_is_masked_first() -> None:
    long = "abcdefghijklmnopqrstuvwxyz"

    assert scrub(f"{long} abcdefgh", "abcdefgh", long) == "…wxyz …"


def test_a_secret_of_a_few_letters_is_left_alone() -> None:
    assert scrub("refused", "e", "use", "") == "refused"


def test_letters_that_change_their_length_in_lower_case_do_no_harm() -> None:
    assert scrub(f"İİİ{KEY}İ", KEY) == "İİİ…j4AAİ"


@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=24, max_size=120),
    st.text(),
    st.data(),
)
def test_no_run_of_a_key_gets_through(key: str, around: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(key) - 24)) if len(key) >= 48 else 0
    stop = data.draw(st.integers(start + 24, len(key))) if len(key) >= 48 else len(key)
    run = key[start:stop] if stop - start >= 36 else key

    assert run not in scrub(around + run + around, key)
