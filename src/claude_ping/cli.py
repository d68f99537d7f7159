"""`argv` in, exit code out: the only module that reads the environment."""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from claude_ping import api, diagnosis, machine, options, render, settings
from claude_ping.options import Args, UsageError
from claude_ping.records import (
    ExitCode,
    Failure,
    Fault,
    Journey,
    Outcome,
    PingError,
    Reply,
    Report,
    Request,
    Retry,
    Settings,
    Timing,
)
from claude_ping.screen import Screen
from claude_ping.settings import Layer, Options

if TYPE_CHECKING:
    from claude_ping.transport import Trace

SIMULATED_KEY = "sk-ant-api03-" + "simulated" * 10 + "-SIAA"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    screen = Screen(sys.stdout, sys.stderr, os.environ)
    # A usage error could repeat what was meant to be an option's value.
    screen.mask.hide(settings.secrets(Options(), [Layer(settings.ENVIRONMENT, os.environ)]))
    try:
        args = options.parser().parse_args(argv, Args())
        screen.configure(coloured=not args.no_color, quiet=args.quiet)
        run = Run(args, os.environ, screen)
        report = run.report()
        publish(report, run, screen)
    except KeyboardInterrupt:
        screen.err("interrupted")
        return ExitCode.INTERRUPTED.value
    except UsageError as error:
        screen.err(str(error))
        return ExitCode.USAGE.value
    except SystemExit:  # argparse has shown the help or the version
        return ExitCode.OK.value
    except Exception as error:  # noqa: BLE001 a traceback could show the key
        screen.err(f"✗ a bug in claude-ping: {_named(error)}")
        return ExitCode.INTERNAL.value
    finally:
        screen.close()
    code = report.diagnosis.exit_code
    if screen.out_failure and code is ExitCode.OK:
        screen.err(f"✗ cannot write to standard output: {screen.out_failure}")
        return ExitCode.INTERNAL.value
    return code.value


class Run:
    """One run, and what has become known of it so far."""

    def __init__(self, args: Args, environ: Mapping[str, str], screen: Screen) -> None:
        self.args = args
        self.environ = environ
        self.screen = screen
        self.settings: Settings | None = None
        self.request: Request | None = None
        self.trace: Trace | None = None
        self.retries: list[Retry] = []
        self.tls_facts: Mapping[str, str | None] = {}
        self.traceback = ""
        self.question = self._question()
        self.started = time.monotonic()  # a prompt that is typed takes no time of the run

    def report(self) -> Report:
        """Do what the command line asks for; whatever goes wrong becomes a report too."""
        try:
            with self._layers() as (chosen, layers):
                outcome = self._outcome(chosen, layers)
        except PingError as error:
            outcome = error.failure
        except KeyboardInterrupt:
            outcome = Failure(Fault.INTERRUPTED)
        except Exception as error:  # noqa: BLE001 a bug; its traceback could show the key
            self.traceback = "".join(traceback.format_exception(error))
            outcome = Failure(Fault.INTERNAL, _named(error))
        return self._report(outcome)

    def _question(self) -> api.Question:
        args = self.args
        if args.simulate and (args.env_file or args.base_url):
            options.refuse("argument --simulate: not together with --env-file or --base-url")
        prompt = _standard_input() if args.prompt == "-" else args.prompt
        return api.Question(
            prompt or api.DEFAULT_PROMPT,
            args.model,
            args.max_tokens,
            args.system,
            args.temperature,
        )

    @contextmanager
    def _layers(self) -> Iterator[tuple[Options, list[Layer]]]:
        """Yield where settings come from; for a rehearsal, from the built-in server alone."""
        args = self.args
        if args.simulate is None:
            chosen = Options(args.env_file, args.base_url, args.header)
            yield chosen, settings.read_layers(chosen, self.environ)
            return
        from claude_ping import simulator  # noqa: PLC0415 a web server, only for rehearsals

        self.screen.note(
            "note",
            f"simulated ({args.simulate}): a server inside claude-ping answers;"
            " no key is read, nothing leaves this machine",
        )
        with simulator.serve(args.simulate) as base_url:
            values = {settings.API_KEY: SIMULATED_KEY, settings.BASE_URL: base_url}
            yield Options(headers=args.header), [Layer("--simulate", values)]

    def _outcome(self, chosen: Options, layers: list[Layer]) -> Outcome | None:
        self.screen.mask.hide(settings.secrets(chosen, layers))
        self.settings = settings.resolve(chosen, layers, self.environ)
        for warning in self.settings.warnings:
            self.screen.note("warning", warning)
        self.request = api.message_request(self.settings, self.question)
        # urllib and ssl are half of the start-up; --help, --version and a missing key do without.
        from claude_ping import ping, transport  # noqa: PLC0415

        self.tls_facts = transport.tls_facts(self.environ)
        self.screen.mask.hide(transport.proxy_secrets())
        route = transport.find_route(self.request.url)
        self.trace = transport.Trace(route, self.started + self.args.timeout)
        if self.args.dry_run:
            return None
        return ping.ping(
            self.request,
            self.trace,
            retries=self.args.retries,
            on_retry=self._on_retry,
            on_tick=self._on_tick,
        )

    def _on_retry(self, retry: Retry) -> None:
        self.retries.append(retry)
        self.screen.remark(render.retry(retry))

    def _on_tick(self) -> None:
        seconds = time.monotonic() - self.started
        if seconds >= 1 and self.trace:
            self.screen.tick(f"{self.trace.phase.value}, {seconds:.0f} s")

    def _report(self, outcome: Outcome | None) -> Report:
        total = time.monotonic() - self.started
        journey = self.trace.journey() if self.trace else Journey()
        if isinstance(outcome, Failure):
            # Here rather than when it is printed: cut first, half of a key could be left.
            outcome = outcome._replace(message=self.screen.mask.scrub(outcome.message))
        context = diagnosis.Context(
            self.settings, self.request, journey, self.args.timeout, self.tls_facts
        )
        notes: tuple[str, ...] = ()
        if isinstance(outcome, Reply) and self.request:
            notes = diagnosis.notes(outcome, self.request)
        return Report(
            outcome,
            diagnosis.diagnose(outcome, context),
            self.request,
            self.settings,
            journey,
            self.trace.timing(total) if self.trace else Timing(total=total),
            tuple(self.retries),
            notes,
            self.tls_facts.get("ca"),
            simulated=self.args.simulate is not None,
        )


def _standard_input() -> str:
    data = sys.stdin.buffer.read() if sys.stdin else b""
    try:
        return options.text(data.decode("utf-8", "surrogateescape"))
    except argparse.ArgumentTypeError as error:
        options.refuse(f"argument PROMPT: standard input: {error}")


def publish(report: Report, run: Run, screen: Screen) -> None:
    """Print the report in the form that was asked for, each part on its stream."""
    args, outcome = run.args, report.outcome
    if args.json:
        screen.out(_json_report(report, screen))
    elif args.quiet:
        pass
    elif args.raw and report.answer:
        screen.raw(report.answer.body)
    elif isinstance(outcome, Reply):
        screen.out(render.success(outcome, report, screen.out_look))
    elif outcome is None and report.request:
        screen.out(machine.as_curl(report.request, api.encode(report.request)))
    if report.diagnosis.exit_code is not ExitCode.OK:
        _publish_failure(report, run, screen)
    for note in report.notes:
        screen.note("note", note)
    if args.verbose:
        screen.err("\n".join([*render.details(report, screen.err_look), run.traceback]).rstrip())
    if screen.is_in_github_actions:
        _append_summary(report, run.environ.get("GITHUB_STEP_SUMMARY"), screen)


def _publish_failure(report: Report, run: Run, screen: Screen) -> None:
    if not (run.args.quiet or run.args.json):
        screen.err(render.failure(report, screen.err_look))
    if screen.is_in_github_actions:
        screen.command(machine.error_command(report))
    elif run.args.quiet:
        screen.err(f"✗ {machine.short(report)}")


def _json_report(report: Report, screen: Screen) -> str:
    import platform  # noqa: PLC0415 only this report tells of the machine
    import ssl  # noqa: PLC0415

    client = {
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "platform": platform.platform(),
        "python_dotenv": settings.dotenv_version(),
    }
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return machine.as_json(report, time=now, client=client, scrub=screen.mask.scrub)


def _append_summary(report: Report, path: str | None, screen: Screen) -> None:
    if not path:
        return
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(screen.mask.scrub(machine.as_markdown(report)))
    except OSError as error:
        screen.note("warning", f"cannot write GITHUB_STEP_SUMMARY, {path}: {error.strerror}")


def _named(error: BaseException) -> str:
    """Say what was raised and where, but not with what values."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {os.path.basename(last.filename)}, line {last.lineno}"
