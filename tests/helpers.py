"""The words that tests share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

GOLDEN = Path(__file__).with_name("golden")
PROGRAM = [sys.executable, "-m", "claude_ping"]
KEY = "sk-ant-api03-" + "Kj4" * 31 + "AA"


class Ran(NamedTuple):
    """What a run of the whole program left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]
