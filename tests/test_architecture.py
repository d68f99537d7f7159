"""Who may import what: each module can be read with the ones it names here beside it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import claude_ping

PACKAGE = Path(claude_ping.__file__).parent
NETWORK = {"http", "socket", "ssl", "urllib.error", "urllib.request"}
INPUT_AND_OUTPUT = NETWORK | {"dotenv", "os", "subprocess", "sys", "threading", "time"}

# Module: which of ours it may import, and which of the restricted ones of others.
ALLOWED: dict[str, tuple[set[str], set[str]]] = {
    "__init__": (set(), set()),
    "__main__": ({"cli"}, {"os", "sys"}),
    "records": (set(), set()),
    "checks": ({"records"}, set()),
    "settings": ({"checks", "records"}, {"dotenv", "os"}),
    "stream": (set(), set()),
    "api": ({"__version__", "records", "stream"}, set()),
    "rules": ({"checks", "records"}, set()),
    "diagnosis": ({"api", "checks", "records", "rules"}, {"time"}),
    "render": ({"records"}, set()),
    "machine": ({"__version__", "records", "render"}, set()),
    "masking": ({"records", "render"}, set()),
    "screen": ({"masking", "render"}, {"os"}),
    "transport": ({"checks", "records"}, NETWORK | {"os", "time"}),
    "ping": ({"api", "diagnosis", "records", "transport"}, {"threading", "time"}),
    "ask": ({"api", "ping", "records", "stream", "transport"}, {"time"}),
    "simulator": (set(), {"http", "threading"}),
    "options": ({"__version__", "api", "checks", "simulator", "stream"}, {"sys"}),
    "cli": (
        {"api", "ask", "diagnosis", "machine", "options", "ping", "records", "render"}
        | {"screen", "settings", "simulator", "transport"},
        {"os", "ssl", "sys", "time"},
    ),
}


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
    ours, others = ALLOWED[module]
    names = set(imported(module))

    assert {name.split(".")[1] for name in names if name.startswith("claude_ping.")} <= ours
    roots = {name if name.startswith("urllib.") else name.split(".")[0] for name in names}
    assert roots & INPUT_AND_OUTPUT <= others


def test_only_the_screen_writes_and_only_the_program_reads_the_environment() -> None:
    for path in PACKAGE.glob("*.py"):
        called = {
            ast.unparse(node.func)
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Call)
        }
        read = "os.environ" in path.read_text("utf-8")
        assert "print" not in called
        assert not read or path.stem == "cli"
