"""The stand-in answers as the real API would."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from claude_ping import simulator

GOOD = {"x-api-key": "k", "anthropic-version": "2023-06-01"}


def fetch(url: str, headers: dict[str, str], body: Any = None) -> tuple[int, dict[str, Any]]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.mark.parametrize(
    ("path", "headers", "status", "message"),
    [
        ("/v1/messages", {"anthropic-version": "x"}, 401, "x-api-key header is required"),
        ("/v1/messages", {"x-api-key": "k"}, 400, "anthropic-version: header is required"),
        ("/v1/v1/messages", GOOD, 404, "Not found"),
    ],
)
def test_a_bad_request_is_refused_before_the_scenario(
    path: str, headers: dict[str, str], status: int, message: str
) -> None:
    with simulator.serve("ok") as url:
        got, body = fetch(url + path, headers, {})

    assert got == status
    assert body["error"]["message"] == message
    assert body["request_id"].startswith("req_")


def test_the_models_are_listed() -> None:
    with simulator.serve("ok") as url:
        status, body = fetch(f"{url}/v1/models?limit=100", GOOD)

    assert status == 200
    assert body["first_id"] == body["data"][0]["id"] == "claude-haiku-5-5"


def test_the_reply_names_the_model_that_was_asked_for() -> None:
    with simulator.serve("ok") as url:
        _, body = fetch(f"{url}/v1/messages", GOOD, {"model": "claude-sonnet-5-5"})

    assert body["model"] == "claude-sonnet-5-5"
