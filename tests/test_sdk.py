"""The official SDK as a second opinion on what we send, answer and ask for by default."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import get_args

import anthropic
import pytest
from anthropic.types import message_create_params
from anthropic.types.model import Model
from pydantic import TypeAdapter

from claude_ping import api, simulator
from claude_ping.api import Question
from claude_ping.records import Credential, Secret, Settings

HELLO: list[anthropic.types.MessageParam] = [{"role": "user", "content": "hello"}]


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Iterator[anthropic.Anthropic]:
    with (
        simulator.serve(request.param) as url,
        anthropic.Anthropic(api_key="simulated", base_url=url, max_retries=0) as client,
    ):
        yield client


def test_the_default_model_is_current() -> None:
    listed, _ = get_args(Model)

    assert api.DEFAULT_MODEL in get_args(listed)


@pytest.mark.parametrize("client", ["ok"], indirect=True)
def test_the_sdk_does_not_warn_of_the_default_model(client: anthropic.Anthropic) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        client.messages.create(model=api.DEFAULT_MODEL, max_tokens=64, messages=HELLO)


@pytest.mark.parametrize("client", ["ok"], indirect=True)
def test_a_message(client: anthropic.Anthropic) -> None:
    message = client.messages.create(model="claude-haiku-5-5", max_tokens=64, messages=HELLO)

    assert message.content[0].type == "text"
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens == 12
    assert (message._request_id or "").startswith("req_")  # noqa: SLF001 the SDK's own name for it


@pytest.mark.parametrize("client", ["ok", "thinking", "tool_use", "refusal"], indirect=True)
def test_a_stream_is_the_message(client: anthropic.Anthropic) -> None:
    plain = client.messages.create(model="claude-haiku-5-5", max_tokens=64, messages=HELLO)
    with client.messages.stream(model="claude-haiku-5-5", max_tokens=64, messages=HELLO) as stream:
        streamed = stream.get_final_message()

    fields = {"parsed_output"}  # of the stream helper's own
    blocks = [block.model_dump(exclude=fields) for block in streamed.content]
    assert blocks == [block.model_dump() for block in plain.content]
    assert (streamed.stop_reason, streamed.usage) == (plain.stop_reason, plain.usage)


@pytest.mark.parametrize("client", ["ok"], indirect=True)
def test_the_models(client: anthropic.Anthropic) -> None:
    models = list(client.models.list(limit=1000))

    assert models[0].id == "claude-haiku-5-5"
    assert models[0].line == "haiku"


@pytest.mark.parametrize(
    ("client", "kind"),
    [
        ("400", anthropic.BadRequestError),
        ("credit", anthropic.BadRequestError),
        ("401", anthropic.AuthenticationError),
        ("403", anthropic.PermissionDeniedError),
        ("404", anthropic.NotFoundError),
        ("429", anthropic.RateLimitError),
        ("500", anthropic.InternalServerError),
        ("529", anthropic.InternalServerError),
        ("drop", anthropic.APIConnectionError),
    ],
    indirect=["client"],
)
def test_an_error(client: anthropic.Anthropic, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        client.messages.create(model="claude-haiku-5-5", max_tokens=64, messages=HELLO)


@pytest.mark.parametrize(
    "question",
    [
        Question(),
        Question("hi", "claude-opus-5-5", 9, "brief"),
        Question(payload={"model": "m", "max_tokens": 1, "messages": HELLO}),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_our_bodies_satisfy_its_request_types(question: Question, stream: bool) -> None:
    credential = Credential("api_key", Secret("k"), "ANTHROPIC_API_KEY", "x")
    settings = Settings(credential, "https://h", "x", {})
    request = api.message_request(settings, question._replace(stream=stream))
    kinds = (
        message_create_params.MessageCreateParamsNonStreaming,
        message_create_params.MessageCreateParamsStreaming,
    )

    checked = TypeAdapter(kinds[stream]).validate_python(request.body)

    assert {"model", "max_tokens", "messages"} <= checked.keys()
