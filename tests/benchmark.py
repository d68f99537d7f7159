"""How long whole processes take, beside the barest script that does the same; run by hand.

    .venv/bin/python tests/benchmark.py [RUNS]

Commands run in turn, so that whatever else the machine does hits all of them; what is printed are
medians, of the ratios to the group's first row those of the pairs.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from servers import MESSAGE, RawServer, serving

from claude_ping import simulator

KEY = "sk-ant-api03-" + "Kj4" * 31 + "AA"
ARGPARSE = "import argparse; argparse.ArgumentParser().parse_args([])"
NOTHING = "pass"
BAREST = """
import argparse, json, ssl, sys, urllib.request, dotenv
parser = argparse.ArgumentParser()
parser.add_argument("prompt")
parser.add_argument("--base-url")
args = parser.parse_args()
key = dotenv.dotenv_values(dotenv.find_dotenv(usecwd=True))["ANTHROPIC_API_KEY"]
body = {"model": "claude-haiku-5-5", "max_tokens": 1024,
        "messages": [{"role": "user", "content": args.prompt}]}
request = urllib.request.Request(
    args.base_url + "/v1/messages", json.dumps(body).encode(),
    {"x-api-key": key, "anthropic-version": "2023-06-01", "content-type": "application/json"})
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
with opener.open(request, timeout=120) as response:
    message = json.load(response)
print(response.status, message["model"], message["stop_reason"], message["usage"])
for block in message["content"]:
    print(block["text"])
"""
BODY = """{"model": "claude-haiku-5-5", "max_tokens": 1024,
 "messages": [{"role": "user", "content": "hello"}]}"""
CURL_HEADERS = ["-H", f"x-api-key: {KEY}", "-H", "anthropic-version: 2023-06-01"]
CURL_HEADERS += ["-H", "content-type: application/json"]
SDK = f"""
import sys, anthropic
client = anthropic.Anthropic(api_key="{KEY}", base_url=sys.argv[1])
print(client.messages.create(model="claude-haiku-5-5", max_tokens=1024,
                             messages=[{{"role": "user", "content": "hello"}}]))
"""
EVENTS = 270_000
DELTA = (
    b'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 0,'
    b' "delta": {"type": "text_delta", "text": "x"}}\n\n'
)
START = json.dumps({"type": "message_start", "message": {**MESSAGE, "content": []}}).encode()
BLOCK = (
    b'{"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}'
)
END = (
    b'{"type": "message_delta", "delta": {"stop_reason": "end_turn"}}',
    b'{"type": "message_stop"}',
)


def send_stream(connection: socket.socket, _server: RawServer) -> None:
    """Send the stream piece by piece: what this process holds would count as its children's."""
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
    connection.sendall(b"data: %s\n\ndata: %s\n\n" % (START, BLOCK))
    for _ in range(EVENTS // 1000):
        connection.sendall(DELTA * 1000)
    connection.sendall(b"".join(b"data: %s\n\n" % event for event in END))


BAREST_STREAM = """
import argparse, json, ssl, sys, urllib.request, dotenv
request = urllib.request.Request(sys.argv[1] + "/v1/messages", b"{}")
text = ""
with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as response:
    for line in response:
        if line.startswith(b"data: "):
            event = json.loads(line[6:])
            if event["type"] == "content_block_delta":
                text += event["delta"]["text"]
print(len(text))
"""


def measure(command: list[str], folder: str) -> tuple[float, float]:
    """Milliseconds and peak MiB of one run."""
    # The child's peak is told by wait4, which subprocess does not call.
    environ = {"PATH": os.environ["PATH"], "HOME": folder}
    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, _, used = os.wait4(process.pid, 0)
    process.returncode = 0
    return (time.perf_counter() - started) * 1000, used.ru_maxrss / 1024


def main() -> None:
    """Print a table of medians and of ratios to each group's first row."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 25
    python = sys.executable
    program = str(Path(python).with_name("claude-ping"))
    with (
        tempfile.TemporaryDirectory() as empty,
        tempfile.TemporaryDirectory() as folder,
        simulator.serve("ok") as url,
    ):
        Path(folder, ".env").write_text(f"ANTHROPIC_API_KEY={KEY}\n", "utf-8")
        ping = ["hello", "--base-url", url]
        groups = {
            "start-up": {
                "an empty interpreter": ([python, "-c", NOTHING], empty),
                "python -c 'import argparse'": ([python, "-c", ARGPARSE], empty),
                "claude-ping --version": ([program, "--version"], empty),
                "claude-ping --help": ([program, "--help"], empty),
                "claude-ping --nonsense": ([program, "--nonsense"], empty),
                "claude-ping, no key": ([program], empty),
            },
            "a ping against loopback": {
                "the barest script": ([python, "-c", BAREST, *ping], folder),
                "claude-ping": ([program, *ping], folder),
            },
            "others, the same": {
                "the barest script": ([python, "-c", BAREST, *ping], folder),
                "curl": (
                    ["curl", "-sS", "-d", BODY, *CURL_HEADERS, f"{url}/v1/messages"],
                    folder,
                ),
                "the official SDK": ([python, "-c", SDK, url], folder),
            },
        }
        if llm := shutil.which("llm"):  # with its plugin llm-anthropic, if it is on the path
            variables = [f"ANTHROPIC_BASE_URL={url}", f"ANTHROPIC_API_KEY={KEY}"]
            command = [llm, "-m", "claude-haiku-5.5", "--no-stream", "--no-log", "hello"]
            groups["others, the same"]["llm"] = (["env", *variables, *command], folder)
        for title, rows in groups.items():
            report(title, rows, runs)
        with serving(send_stream) as streaming:
            options = ["--base-url", streaming.url, "--stream", "--quiet"]
            rows = {
                "the barest loop": ([python, "-c", BAREST_STREAM, streaming.url], folder),
                "claude-ping --stream": ([program, *options], folder),
            }
            report(f"a stream of {len(DELTA) * EVENTS >> 20} MiB", rows, 5)
            print(f"{EVENTS:,} events, so a millisecond is {1000 / EVENTS:.4f} µs an event")


def report(title: str, rows: dict[str, tuple[list[str], str]], runs: int) -> None:
    """Run the rows in turn and print them."""
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
    for _ in range(runs + 1):
        for name, (command, folder) in rows.items():
            measured[name].append(measure(command, folder))
    print(f"\n{title:28} {'ms':>7} {'ratio':>6} {'MiB':>7} {'ratio':>6}")
    first = next(iter(measured.values()))[1:]
    for name, samples in measured.items():
        pairs = list(zip(samples[1:], first, strict=True))
        time_, memory = (statistics.median(sample[n] for sample, _ in pairs) for n in (0, 1))
        ratios = [statistics.median(sample[n] / base[n] for sample, base in pairs) for n in (0, 1)]
        print(f"{name:28} {time_:7.1f} {ratios[0]:6.2f} {memory:7.1f} {ratios[1]:6.2f}")


if __name__ == "__main__":
    main()
