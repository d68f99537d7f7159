"""`argv` in, exit code out: the only module that reads the environment."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from claude_ping import api, diagnosis, machine, options, render, settings
from claude_ping.options import Args, UsageError
from claude_ping.records import (
    ExitCode,
    Failure,
    Fault,
    Journey,
    Models,
    Outcome,
    PingError,
    Reply,
    Report,
    Request,
    Retry,
    Settings,
    Text,
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
        self.streamed: int | None = None  # the text block that is being shown
        self.data: bytes | None = None  # the payload as it was given
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
        options.check(args)
        prompt = options.text_of_standard_input() if args.prompt == "-" else args.prompt
        payload, self.data = options.read_payload(args.payload) if args.payload else (None, None)
        return api.Question(
            prompt,
            args.model,
            args.max_tokens,
            args.system,
            args.temperature,
            args.stream,
            payload,
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
        self.request = self._first_request(self.settings)
        # urllib and ssl are half of the start-up; --help, --version and a missing key do without.
        from claude_ping import ask, ping, transport  # noqa: PLC0415

        self.tls_facts = transport.tls_facts(self.environ)
        self.screen.mask.hide(transport.proxy_secrets())
        route = transport.find_route(self.request.url)
        self.trace = transport.Trace(route, self.started + self.args.timeout)
        if self.args.dry_run:
            self._note_variables(self.settings)
            return None
        config, request, trace = self.settings, self.request, self.trace

        def work(post: Callable[[ping.Event], None]) -> Outcome:
            caller = ping.Caller(trace, self.args.retries, post)
            if self.args.models:
                return ask.ask_models(config, request, caller)
            keep = self.args.raw
            return ask.ask_message(config, self.question, request, caller, keep=keep)

        return ping.supervise(work, trace, self._on_event, self._on_tick)

    def _note_variables(self, config: Settings) -> None:
        credential = config.credential
        if credential.source != settings.ENVIRONMENT:
            self.screen.note(
                "note",
                f"the command takes the {credential.noun} from the environment: export it first"
                f" (it is from {credential.source})",
            )

    def _first_request(self, config: Settings) -> Request:
        if self.args.models:
            return api.models_request(config)
        request = api.message_request(config, self.question)
        # To the letter, unless an option has changed something.
        is_unchanged = json.dumps(request.body) == json.dumps(self.question.payload)
        return request._replace(data=self.data) if is_unchanged else request

    def _on_event(self, event: Retry | Text | Request) -> None:
        if isinstance(event, Retry):
            self.retries.append(event)
            self.screen.remark(render.retry(event, self.screen.err_look))
        elif isinstance(event, Text):
            self._on_text(event)
        else:
            self.request = event

    def _on_text(self, event: Text) -> None:
        args = self.args
        if args.json or args.raw or args.quiet:
            return
        if self.streamed is None:
            report = self._report(None)
            self.screen.out(render.origin_line(report, self.screen.out_look))
        if self.streamed != event.block:
            self.screen.end_partial()
            self.screen.out(render.heading("text", self.screen.out_look))
            self.streamed = event.block
        self.screen.partial(event.text)

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
            notes = (*outcome.notes, *diagnosis.notes(outcome, self.request))
        if isinstance(outcome, Models):
            notes = outcome.notes
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


def publish(report: Report, run: Run, screen: Screen) -> None:
    """Print the report in the form that was asked for, each part on its stream."""
    screen.end_partial()
    if run.args.json:
        screen.document(_json_report(report, screen))
    elif run.args.raw and report.answer and not run.args.quiet:
        screen.raw(report.answer.body)
    elif not run.args.quiet:
        _publish_outcome(report, run, screen)
    if report.diagnosis.exit_code is not ExitCode.OK:
        _publish_failure(report, run, screen)
    for note in report.notes:
        screen.note("note", note)
    if run.args.verbose and not run.args.quiet:
        screen.err("\n".join([*render.details(report, screen.err_look), run.traceback]).rstrip())
    if screen.is_in_github_actions:
        _append_summary(report, run.environ.get("GITHUB_STEP_SUMMARY"), screen)


def _publish_outcome(report: Report, run: Run, screen: Screen) -> None:
    match report.outcome:
        case Reply() as reply:
            is_shown = run.streamed is not None
            look = screen.out_look
            screen.out(render.success(reply, report, look, is_text_shown=is_shown))
        case Models() as models:
            screen.out(render.models(models, report, screen.out_look))
        case None if report.request:
            screen.out(machine.as_curl(report.request, api.encode(report.request)))
        case _:  # a failure leaves standard output empty
            pass


def _publish_failure(report: Report, run: Run, screen: Screen) -> None:
    if not (run.args.quiet or run.args.json):
        screen.err(render.failure(report, screen.err_look))
    if screen.is_in_github_actions and report.diagnosis.exit_code is not ExitCode.INTERRUPTED:
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
        with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(screen.mask.scrub(machine.as_markdown(report)))
    except OSError as error:
        screen.note("warning", f"cannot write GITHUB_STEP_SUMMARY, {path}: {error.strerror}")


def _named(error: BaseException) -> str:
    """Say what was raised and where, but not with what values."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {os.path.basename(last.filename)}, line {last.lineno}"
