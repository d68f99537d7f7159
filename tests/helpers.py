"""The words that tests share."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

GOLDEN = Path(__file__).with_name("golden")
PROGRAM = [sys.executable, "-m", "claude_ping"]
KEY = "sk-ant-api03-" + "Kj4" * 31 + "AA"


class Ran(NamedTuple):
    """What a run of the whole program left behind."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        """The JSON report that --json printed."""
        report: dict[str, Any] = json.loads(self.out)
        return report


Run = Callable[..., Ran]


def environment(**variables: str) -> dict[str, str]:
    """The environment of a process that finds nothing of this machine's but a key."""
    measured = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    return {"PATH": os.environ["PATH"], "ANTHROPIC_API_KEY": KEY, **measured, **variables}
