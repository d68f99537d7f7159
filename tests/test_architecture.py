"""Who may import what, and what a run loads: a module can be read with those it names beside it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import environment
from servers import answer, serving

import claude_ping

PACKAGE = Path(claude_ping.__file__).parent
NETWORK = {"http", "socket", "ssl", "urllib.error", "urllib.request"}
INPUT_AND_OUTPUT = NETWORK | {"dotenv", "os", "subprocess", "sys", "threading", "queue", "time"}

# Module: which of ours it may import, and which of the restricted ones of others.
ALLOWED: dict[str, tuple[str, str]] = {
    "__init__": ("", ""),
    "__main__": ("cli options screen", "os sys"),
    "records": ("", "time"),
    "screen": ("", "os"),
    "stream": ("records", ""),
    "failures": ("records", ""),
    "credential": ("records screen", "os"),
    "api": ("__version__ records screen", ""),
    "endpoint": ("records screen", "ssl urllib.request"),
    "settings": ("credential endpoint records screen", "dotenv os"),
    "render": ("__version__ records screen", "time"),
    "machine": ("__version__ records render screen", "time"),
    "diagnosis": ("credential endpoint failures records render", "http time"),
    "transport": ("records render", " ".join(NETWORK | {"os", "sys", "time"})),
    "ping": ("api diagnosis records screen stream transport", "time"),
    "simulator": ("failures records", "http threading"),
    "options": ("__version__ api endpoint screen simulator", ""),
    "cli": (
        "api credential diagnosis endpoint machine options ping records render screen settings"
        " simulator",
        "dotenv os ssl threading time",
    ),
}
# What a run loads of ours beside what every run needs: lean runs are quick runs.
LOADED: dict[str, tuple[list[str], str]] = {
    "--version": (["--version"], "__main__ options screen"),
    "--help": (["--help"], "__main__ options screen"),
    "a reply": (["hi"], "__main__ api cli credential endpoint options ping records render screen"
                " settings stream transport"),
}  # fmt: skip


def imported(module: str) -> Iterator[str]:
    """The dotted names that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "claude_ping":
            yield from (f"claude_ping.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_every_module_has_its_place() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == ALLOWED.keys()


@pytest.mark.parametrize("module", ALLOWED)
def test_a_module_imports_only_what_it_may(module: str) -> None:
    ours, others = (set(names.split()) for names in ALLOWED[module])
    names = set(imported(module))

    assert {name.split(".")[1] for name in names if name.startswith("claude_ping.")} <= ours
    roots = {name if name.startswith("urllib.") else name.split(".")[0] for name in names}
    assert roots & INPUT_AND_OUTPUT <= others


def test_only_the_screen_writes_and_only_the_program_reads_the_environment() -> None:
    for path in PACKAGE.glob("*.py"):
        text = path.read_text("utf-8")
        called = {
            ast.unparse(node.func)
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Call)
        }
        assert "print" not in called
        assert "os.environ" not in text or path.stem in ("__main__", "cli", "settings")


@pytest.mark.parametrize("case", LOADED)
def test_a_run_loads_no_more_than_it_needs(case: str, tmp_path: Path) -> None:
    argv, ours = LOADED[case]
    code = (
        "import sys; from claude_ping.__main__ import run; run(sys.argv[1:]);"
        " open('loaded', 'w').write(' '.join(sys.modules))"
    )
    with serving(answer()) as server:
        subprocess.run(
            [sys.executable, "-c", code, *argv, "--base-url", server.url],
            env=environment(),
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
    loaded = set((tmp_path / "loaded").read_text("utf-8").split())

    assert {name.split(".")[1] for name in loaded if name.startswith("claude_ping.")} == set(
        ours.split()
    )
    assert "dotenv" not in loaded  # there is no .env
    if case != "a reply" and "coverage" not in loaded:
        assert not {"urllib.request", "ssl", "threading", "json"} & loaded
