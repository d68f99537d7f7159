"""The words that tests share."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

KEY = "sk-ant-api03-" + "Kj4" * 31 + "AA"


class Ran(NamedTuple):
    """What a run of the whole program left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]
