"""The table of failures: every row speaks for its own specimen, and names only facts there are."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import KEY, Run
from servers import answer, serving

import claude_ping
from claude_ping import diagnosis, failures, simulator
from claude_ping.failures import Row
from claude_ping.records import Answer, ExitCode, Failure, Report

PACKAGE = Path(claude_ping.__file__).parent
ANSWERED = [row for row in failures.TABLE if row.specimen.status]
NOT_ANSWERED = [row for row in failures.TABLE if row.specimen.phase and row.name != "usage"]
REPORTED = [row for row in failures.TABLE if row.name != "usage"]


@pytest.mark.parametrize(
    "form", [[], ["--models"], ["--stream"]], ids=["message", "models", "stream"]
)
@pytest.mark.parametrize("row", REPORTED, ids=lambda row: str(row.name))
def test_every_row_speaks_for_its_own_specimen_in_every_form(
    run: Run, row: Row, form: list[str]
) -> None:
    ran = run("--simulate", row.name, "--json", "--retries", "0", *form)

    assert (ran.report["fault"], ran.code) == (row.name, row.exit_code.value)
    assert ran.report["simulated"] is True
    assert ran.report["headline"]
    assert len(ran.report["hints"]) <= 3
    if row.specimen.by == "api" and row.specimen.status:
        response = ran.report["response"]
        assert response["body"]["request_id"] == response["request_id"]


@pytest.mark.parametrize("row", failures.TABLE, ids=lambda row: str(row.name))
def test_every_screen_is_as_it_was(run: Run, golden: Callable[[str, str], None], row: Row) -> None:
    ran = run("--simulate", row.name, "--retries", "0", "hello")

    assert ran.out == ""
    golden(re.sub(r"\W+", "-", row.name), ran.err)


def test_every_fact_that_the_table_names_is_told_somewhere() -> None:
    lines = [line for row in failures.TABLE for line in (row.headline, *row.known, *row.hints)]
    nodes = [
        node
        for path in PACKAGE.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
    ]
    told = {node.value for node in nodes if isinstance(node, ast.Constant)}
    told |= {node.arg for node in nodes if isinstance(node, ast.keyword)}

    assert set(re.findall(r"[\[{](\w+)[]}]", "\n".join(lines))) <= told


def test_every_fault_that_is_raised_is_a_row() -> None:
    raised = set()
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Failure" and node.args:
                first = node.args[0]
                raised |= {first.value} if isinstance(first, ast.Constant) else set()

    assert raised - {None} <= failures.BY_NAME.keys()


def test_names_are_unique_and_every_class_has_a_row() -> None:
    names = [name for row in failures.TABLE for name in (row.name, *row.aliases)]

    assert len(names) == len(set(names)) == len(failures.BY_NAME)
    assert {row.exit_code for row in failures.TABLE} == set(ExitCode) - {ExitCode.OK}


def test_everything_that_can_be_played_is_listed(run: Run) -> None:
    listed = run("--simulate", "list").out

    for name in simulator.NAMES:
        assert name in listed


@pytest.mark.parametrize("row", NOT_ANSWERED, ids=lambda row: str(row.name))
def test_a_rehearsal_without_an_answer_has_none_in_its_report(run: Run, row: Row) -> None:
    report = run("--simulate", row.name, "--json").report

    assert report["response"] is None
    assert (report["request"] is None) == (row.specimen.phase == "SETTINGS")


def test_every_row_that_is_chosen_by_an_answer_can_be_reached() -> None:
    """A row's specimen, told by hand, is diagnosed as that row and no other."""
    for row in ANSWERED:
        specimen, report = row.specimen, Report(1.0, simulated=row.name)
        headers = {"request-id": "req_1"} if specimen.by == "api" else {}
        headers |= {"cf-ray": "1"} if specimen.by == "edge" else {}
        body = {"error": {"type": specimen.type}}
        is_page = specimen.type == "html"
        head = Answer(specimen.status, "", headers, b"x", None if is_page else body)
        message = f'an HTML page, "{specimen.message}"' if is_page else specimen.message
        failure = Failure(None, message, answer=head, kind=specimen.type, code=specimen.code)
        if row.signs[0]:
            assert diagnosis.row_for(failure, report).name == row.name


def test_an_error_inside_a_200_is_classed_by_its_type(run: Run, key: str) -> None:
    for kind, code in (("overloaded_error", 5), ("authentication_error", 4), ("new_error", 5)):
        body = {"type": "error", "error": {"type": kind, "message": "No."}}
        with serving(answer(200, body)) as server:
            ran = run("--base-url", server.url, "--json")
        assert (ran.code, ran.report["headline"]) == (code, f"{kind} with HTTP 200: No.")


def test_the_key_is_in_no_specimen() -> None:
    assert KEY not in json.dumps([row.specimen for row in failures.TABLE])
