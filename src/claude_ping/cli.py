"""`argv` in, exit code out: the only module that reads the environment."""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, NoReturn

from claude_ping import __version__, api, checks, diagnosis, render, settings
from claude_ping.records import (
    ExitCode,
    Failure,
    Journey,
    Phase,
    PingError,
    Reply,
    Report,
    Settings,
    Timing,
)
from claude_ping.screen import Screen
from claude_ping.settings import Layer, Options

DEFAULT_TIMEOUT = 120.0  # seconds
MAX_TIMEOUT = 86_400.0  # seconds; beyond it sockets overflow, and patience too
DEFAULT_RETRIES = 2
SIMULATED_KEY = "sk-ant-api03-" + "simulated" * 10 + "-SIAA"

EPILOG = """\
exit codes:
  0 ok         a reply arrived              6 network   name, TCP, TLS, proxy, time-out
  1 internal   a bug in claude-ping         7 account   no credit, spend limit, disabled
  2 usage      bad option or value          8 rate      429: later
  3 config     no usable key; nothing sent  9 request   model not found, invalid, too large
  4 auth       401, 403 from the API       10 protocol  not the Messages API
  5 server     5xx, 529: later            130 interrupted  Ctrl-C
  3 4 7 9 10 want a person; 5 6 8 want patience.

examples:
  claude-ping "hello"                       does a message get through?
  claude-ping --env-file prod.env           with the key of that file
  claude-ping --simulate 401                rehearse a failure; no key, no network
"""


class Args(argparse.Namespace):
    """The parsed command line."""

    prompt: str | None
    model: str
    system: str | None
    max_tokens: int
    temperature: float | None
    header: list[tuple[str, str]]
    simulate: str | None
    env_file: str | None
    base_url: str | None
    timeout: float
    retries: int
    no_color: bool


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that shows no key it was given by mistake."""

    def error(self, message: str) -> NoReturn:
        """Exit with status 2."""
        super().error(re.sub(r"\bsk-[\w-]{8,}", "sk-…", message))


def parser() -> Parser:
    """Return the parser of the whole command line."""
    this = Parser(
        prog="claude-ping",
        description=(
            "Send one message to Claude and say whether it got through,"
            " and if not, whose move it is."
        ),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    _add_message_options(this.add_argument_group("message"))
    _add_connection_options(this.add_argument_group("connection"))
    _add_output_options(this.add_argument_group("output"))
    return this


def _add_message_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "prompt",
        metavar="PROMPT",
        nargs="?",
        type=_text,
        help=f"what to ask; - reads standard input (default: {api.DEFAULT_PROMPT})",
    )
    group.add_argument(
        "-m",
        "--model",
        metavar="ID",
        type=_text,
        default=api.DEFAULT_MODEL,
        help="model to ask (default: %(default)s)",
    )
    group.add_argument("-s", "--system", metavar="TEXT", type=_text, help="system prompt")
    group.add_argument(
        "--max-tokens",
        metavar="N",
        type=_whole,
        default=api.DEFAULT_MAX_TOKENS,
        help="ceiling of the reply (default: %(default)s)",
    )
    group.add_argument("--temperature", metavar="T", type=_temperature, help="0 to 1")


def _add_connection_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-H",
        "--header",
        metavar="'NAME: VALUE'",
        type=_header,
        action="append",
        default=[],
        help="add or replace a request header; repeatable",
    )
    group.add_argument(
        "--simulate",
        metavar="SCENARIO",
        type=_scenario,
        help="let a built-in server answer: no key, no network, no cost;"
        " ok, 401, 429, 529, … (? lists all)",
    )
    group.add_argument("--env-file", metavar="PATH", help="read this file, not the .env found")
    group.add_argument(
        "--base-url", metavar="URL", help="API root (default: " + checks.DEFAULT_BASE_URL + ")"
    )
    group.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_seconds,
        default=DEFAULT_TIMEOUT,
        help="bound on the whole run (default: 120)",
    )
    group.add_argument(
        "--retries",
        metavar="N",
        type=_whole,
        default=DEFAULT_RETRIES,
        help="further attempts after the first (default: %(default)s)",
    )


def _add_output_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--no-color", action="store_true", help="no colours; also: NO_COLOR=1")
    group.add_argument("--version", action="version", version=f"claude-ping {__version__}")
    group.add_argument("-h", "--help", action="help", help="show this help")


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise argparse.ArgumentTypeError(
            f"not valid UTF-8 at character {error.start + 1}"
        ) from None
    if not value.strip():
        raise argparse.ArgumentTypeError("must not be empty")
    if re.match(r"sk-ant-\S{8,}$", value):
        raise argparse.ArgumentTypeError(
            "looks like an API key; put it into .env as ANTHROPIC_API_KEY=…"
        )
    return value


def _whole(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise argparse.ArgumentTypeError(f"expected a whole number, 0 or more, not {value!r}")
    return int(value)


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return math.nan


def _temperature(value: str) -> float:
    if not 0 <= (number := _number(value)) <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, not {value!r}")
    return number


def _seconds(value: str) -> float:
    if not 0 < (number := _number(value)) <= MAX_TIMEOUT:
        raise argparse.ArgumentTypeError(
            f"expected seconds, more than 0 and at most {MAX_TIMEOUT:.0f}, not {value!r}"
        )
    return number


def _header(value: str) -> tuple[str, str]:
    name, colon, content = (part.strip() for part in value.partition(":"))
    if not colon:
        raise argparse.ArgumentTypeError(
            "expected 'NAME: VALUE', but there is no colon (value not shown)"
        )
    if problem := checks.header_problem(name, content):
        raise argparse.ArgumentTypeError(problem)
    return name, content


def _scenario(value: str) -> str:
    from claude_ping.simulator import SCENARIOS  # noqa: PLC0415 a web server, only for rehearsals

    if value not in SCENARIOS:
        listed = "\n".join(f"  {name:16} {scenario.about}" for name, scenario in SCENARIOS.items())
        raise argparse.ArgumentTypeError(f"no scenario is called {value!r}; there are:\n{listed}")
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    started = time.monotonic()
    screen = Screen(sys.stdout, sys.stderr, os.environ)
    try:
        args = parser().parse_args(argv, Args())
        screen.set_colours(allowed=not args.no_color)
        return run(args, os.environ, screen, started).value
    except KeyboardInterrupt:
        screen.err("interrupted")
        return ExitCode.INTERRUPTED.value
    except SystemExit as ended:  # argparse: help, version, usage errors
        return ended.code if isinstance(ended.code, int) else ExitCode.USAGE.value
    except Exception as error:  # noqa: BLE001 a bug must not show the key in a traceback
        screen.err(f"✗ a bug in claude-ping {__version__}: {_named(error)}")
        return ExitCode.INTERNAL.value
    finally:
        screen.close()


def _named(error: BaseException) -> str:
    """Say what was raised and where, but not with what values."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    code = trace.tb_frame.f_code if trace else None
    place = (
        f" in {os.path.basename(code.co_filename)}, line {trace.tb_lineno}"
        if trace and code
        else ""
    )
    return f"{type(error).__name__}{place}"


def run(args: Args, environ: Mapping[str, str], screen: Screen, started: float) -> ExitCode:
    """Ping, print the report and return its exit code."""
    if args.simulate and (args.env_file or args.base_url):
        parser().error("argument --simulate: not together with --env-file or --base-url")
    question = _question(args)
    with _simulated(args, screen) as (options, layers):
        report = report_ping(args, Setup(options, layers, environ), question, screen, started)
    if isinstance(report.outcome, Reply):
        screen.out(render.success(report.outcome, report, screen.out_look))
        for note in report.outcome.notes:
            screen.note("note", note)
    else:
        screen.err(render.failure(report, screen.err_look))
    return report.diagnosis.exit_code


def _question(args: Args) -> api.Question:
    prompt = _standard_input() if args.prompt == "-" else args.prompt
    return api.Question(
        prompt or api.DEFAULT_PROMPT, args.model, args.max_tokens, args.system, args.temperature
    )


def _standard_input() -> str:
    data = sys.stdin.buffer.read() if sys.stdin else b""
    try:
        return _text(data.decode("utf-8", "surrogateescape"))
    except argparse.ArgumentTypeError as error:
        parser().error(f"argument PROMPT: standard input: {error}")


@contextmanager
def _simulated(args: Args, screen: Screen) -> Iterator[tuple[Options, list[Layer] | None]]:
    """Yield what the options say, or what stands for it while the built-in server answers."""
    if args.simulate is None:
        yield Options(args.env_file, args.base_url, args.header), None
        return
    from claude_ping import simulator  # noqa: PLC0415 a web server, only for rehearsals

    screen.note(
        "note",
        f"simulated ({args.simulate}): a server inside claude-ping answers;"
        " no key is read, nothing leaves this machine",
    )
    with simulator.serve(args.simulate) as base_url:
        values = {settings.API_KEY: SIMULATED_KEY, settings.BASE_URL: base_url}
        yield Options(headers=args.header), [Layer("--simulate", values)]


class Setup(NamedTuple):
    """Where settings come from."""

    options: Options
    layers: list[Layer] | None  # None: to be read
    environ: Mapping[str, str]


def report_ping(
    args: Args, setup: Setup, question: api.Question, screen: Screen, started: float
) -> Report:
    """Resolve the settings, send the message and put what came of it into a report."""
    config = request = trace = None
    tls_facts: Mapping[str, str | None] = {}
    try:
        config = _resolve(setup, screen)
        request = api.message_request(config, question)
        # urllib and ssl are half of the start-up; --help, --version and a missing key do without.
        from claude_ping import ping, transport  # noqa: PLC0415

        tls_facts = transport.tls_facts(setup.environ)
        route = transport.find_route(request.url)
        screen.hide(route.secrets())
        trace = transport.Trace(route, started + args.timeout)
        outcome = ping.ping(
            request,
            trace,
            retries=args.retries,
            on_retry=lambda notice: screen.err(render.retry(notice)),
            on_tick=lambda: _tick(trace.phase, started, screen),
        )
    except PingError as error:
        outcome = error.failure
    journey = trace.journey() if trace else Journey()
    total = time.monotonic() - started
    if isinstance(outcome, Reply) and request:
        outcome = outcome._replace(notes=diagnosis.notes(outcome, request))
    if isinstance(outcome, Failure):
        outcome = outcome._replace(message=screen.scrub(outcome.message))
    return Report(
        outcome,
        diagnosis.diagnose(
            outcome, diagnosis.Context(config, request, journey, args.timeout, tls_facts)
        ),
        request,
        config,
        journey,
        trace.timing(total) if trace else Timing(total=total),
        simulated=args.simulate is not None,
    )


def _resolve(setup: Setup, screen: Screen) -> Settings:
    layers = setup.layers or settings.read_layers(setup.options, setup.environ)
    screen.hide(settings.secrets(setup.options, layers))
    config = settings.resolve(setup.options, layers, setup.environ)
    for warning in config.warnings:
        screen.note("warning", warning)
    return config


def _tick(phase: Phase, started: float, screen: Screen) -> None:
    seconds = time.monotonic() - started
    if seconds >= 1:
        screen.tick(f"{phase.value}, {seconds:.0f} s")
