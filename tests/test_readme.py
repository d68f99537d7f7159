"""What the README says is what the program does."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from helpers import GOLDEN, KEY, PROGRAM, Run, environment
from servers import answer, error, serving

import claude_ping
from claude_ping import failures, options, settings
from claude_ping.records import ExitCode

ROOT = Path(__file__).parents[1]
PACKAGE = Path(claude_ping.__file__).parent
README = (ROOT / "README.md").read_text("utf-8")
ORGANIZATION = {"request-id": "req_1", "anthropic-organization-id": "org-1"}


def block(language: str, beginning: str) -> str:
    """The code block of the README that begins so."""
    blocks: list[str] = re.findall(rf"(?ms)^```{language}\n(.*?)^```$", README)
    return next(text for text in blocks if text.lstrip().startswith(beginning))


def skeleton(text: str) -> str:
    """A screen less what differs between two runs, or between a rehearsal and the real thing."""
    for pattern, word in {
        r"\n---(?=\n)|\nnote: [^\n]*": "",
        r"https?://(127\.0\.0\.1:PORT|api\.anthropic\.com)": "URL",
        r"…\w{4} \([^)]*\)": "KEY",
        r"req_\w+": "ID",
        r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC|DATE": "DATE",
        r"[\dN]\.[\dN]+ s": "TIME",
        r"  TLS ✓": "",
        r"  │ .*": "  │ …",
    }.items():
        text = re.sub(pattern, word, text)
    return text.strip()


@pytest.mark.parametrize(("mark", "golden"), [("✓ 200", "reply-ok"), ("✗ 400 Your", "no-credit")])
def test_the_first_screens_read_as_the_program_prints_them(mark: str, golden: str) -> None:
    shown = block("console", f'$ claude-ping "hello"\n{mark}').partition("\n")[2]

    assert skeleton(shown) == skeleton((GOLDEN / f"{golden}.txt").read_text("utf-8"))


def test_the_dry_run_is_what_the_program_prints(run: Run, key: str) -> None:
    shown = block("console", "$ claude-ping --dry-run")

    assert run("--dry-run", "hello").out == shown.partition("\n")[2]


def test_the_refused_payload_reads_as_the_program_prints_it(run: Run, key: str) -> None:
    shown = block("console", "$ claude-ping --payload").splitlines()[1:]
    message = shown[0].partition("invalid_request_error: ")[2]
    Path("request.json").write_text(
        '{"tools": [{"name": "t", "input_schema": {"type": "array"}}]}', "utf-8"
    )
    refusal = answer(400, error("invalid_request_error", message), ORGANIZATION)
    with serving(refusal) as server:
        ran = run("--base-url", server.url, "--payload", "request.json")

    assert skeleton("\n".join(ran.err.splitlines()[: len(shown)])) == skeleton("\n".join(shown))


def test_every_failure_is_listed_under_its_exit_code() -> None:
    listed = {
        int(code): set(re.findall(r"`([^`]+)`", names))
        for code, names in re.findall(r"(?m)^\| (\d+) \| [^|]*\| (.*) \|$", README)
    }

    for code in set(ExitCode) - {ExitCode.OK}:
        assert listed[code] == {row.name for row in failures.TABLE if row.exit_code is code}
        if code is not ExitCode.INTERRUPTED:
            assert f"| {code.value} | `{code.name.lower()}` |" in README
            assert re.search(rf"(?m)^  {code.value} +{code.name.lower()} ", options.HELP)


def test_every_variable_and_every_key_of_the_report_is_named(run: Run) -> None:
    for variable in settings.VARIABLES:
        assert f"| `{variable}` |" in README
    table = README[README.index("| keys | what they hold |") :]
    for name in run("--simulate", "ok", "--json").report:
        assert f"`{name}`" in table


def test_the_example_file_holds_every_variable_and_no_usable_key(run: Run) -> None:
    example = ROOT / ".env.example"

    named = re.findall(r"(?m)^(?:# )?(ANTHROPIC_\w+)=", example.read_text("utf-8"))
    assert named == list(settings.VARIABLES)
    ran = run("--dry-run", "--env-file", str(example))
    assert (ran.code, "is a placeholder" in ran.err) == (3, True)


def test_the_failure_to_add_is_a_row() -> None:
    head, *lines = block("text", "legal block").rstrip().split("\n")

    row = failures.row(head, *lines)
    assert (row.name, row.exit_code, row.specimen.status) == ("legal block", 10, 451)
    assert {*re.findall(r"\{(\w+)\}", " ".join([*row.known, *row.hints]))} == {"speaker", "cf_ray"}


# Answers to the gate's attempts, one after the other; the exit code; how many it made.
GATE = {
    "good": ([200], 0, 1),
    "bad at once": ([401], 4, 1),
    "good in the end": ([529, 529, 200], 0, 3),
    "no good in the end": ([529, 529, 529], 5, 3),
}


@pytest.mark.parametrize("case", GATE)
def test_the_gate_tries_again_what_may_pass_and_stops_on_the_rest(case: str) -> None:
    statuses, code, attempts = GATE[case]
    script = re.sub(r"10 60 0", "0 0 0", block("sh", "for pause in"))
    script = script.replace("claude-ping ", f"{' '.join(PROGRAM)} --retries 0 ")
    bodies: list[Any] = [{"data": []} if status == 200 else {"error": {}} for status in statuses]
    answers = [answer(status, body) for status, body in zip(statuses, bodies, strict=True)]
    with serving(*answers) as server:
        environ = environment(ANTHROPIC_BASE_URL=server.url)
        done = subprocess.run(["sh", "-c", script], env=environ, check=False, capture_output=True)

    assert (done.returncode, len(server.requests)) == (code, attempts)
    assert done.stdout == b""


def test_the_one_line_of_jq_is_right(run: Run) -> None:
    line = re.search(r"claude-ping --json \| jq -r '([^']+)'", README)
    report = run("--simulate", "no credit", "--json").report

    assert line
    names = re.findall(r"\\\(\.(\w+)\)", line[1])
    assert names == ["class", "fault", "headline"]
    assert all(isinstance(report[name], str) for name in names)


def test_the_options_of_the_recipes_exist(run: Run, key: str) -> None:
    recipes = "\n".join(re.findall(r"(?ms)^```(?:sh|yaml)\n(.*?)^```$", README))
    for options_used in re.findall(r"claude-ping(?:\.pyz)? ((?:-[\w-]+(?: \d+)? ?)+)", recipes):
        argv = [option for option in options_used.split() if option not in ("--simulate", "-v")]
        assert run("--dry-run", *argv).code == 0


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    assert len(README.splitlines()) <= 260
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / link).exists() or (PACKAGE / Path(link).name).exists()
    headings = {
        re.sub(r"\W+", "-", line[3:].lower()) for line in re.findall(r"(?m)^## .*$", README)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= headings


def test_the_key_is_in_no_screen() -> None:
    for path in GOLDEN.glob("*.txt"):
        assert KEY not in path.read_text("utf-8")
