"""The official `openai` client against the generated app, over a real port."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest
import uvicorn
from chatbot_app import load_app, render
from fastapi import FastAPI
from stand_ins import LanguageModelStandIn, serving


@contextmanager
def served(app: FastAPI) -> Iterator[openai.OpenAI]:
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[openai.OpenAI]:
    with served(load_app(render(tmp_path, "customer_support"), tmp_path / "data")) as client:
        yield client


def test_the_model_is_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["assistant"]
    assert client.models.retrieve("assistant").owned_by == "assistant"
    with pytest.raises(openai.NotFoundError, match="there is 'assistant'"):
        client.models.retrieve("gpt-9")


def test_a_completion(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(
        model="assistant",
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "When are you "}, {"type": "text", "text": "open?"}]},
        ],
    )
    [choice] = completion.choices
    assert choice.message.content == "We are open Monday to Friday, 9 to 17."
    assert choice.finish_reason == "stop"
    assert completion.object == "chat.completion"
    assert completion.usage is not None
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens > 0


def test_a_streamed_completion(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="assistant",
            messages=[{"role": "user", "content": "When are you open?"}],
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "We are open Monday to Friday, 9 to 17."
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0
    assert len({chunk.id for chunk in chunks}) == 1


def test_the_desk_works_under_this_protocol_too(client: openai.OpenAI) -> None:
    for _ in range(2):
        completion = client.chat.completions.create(
            model="assistant", messages=[{"role": "user", "content": "I want a human"}], user="visitor-5"
        )
        assert "ticket 1" in (completion.choices[0].message.content or "")


def test_what_is_not_supported_is_refused_as_clients_expect(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="tools is not supported"):
        client.chat.completions.create(
            model="assistant",
            messages=[{"role": "user", "content": "Hi"}],
            tools=[{"type": "function", "function": {"name": "a", "parameters": {"type": "object"}}}],
        )
    with pytest.raises(openai.BadRequestError, match="n must be 1"):
        client.chat.completions.create(model="assistant", messages=[{"role": "user", "content": "Hi"}], n=2)
    with pytest.raises(openai.BadRequestError, match="last message"):
        client.chat.completions.create(model="assistant", messages=[{"role": "system", "content": "Hi"}])
    with pytest.raises(openai.BadRequestError, match="longer than 4000"):
        client.chat.completions.create(model="assistant", messages=[{"role": "user", "content": "x" * 5000}])
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model="assistant", messages=[{"role": "user", "content": "x" * 400_000}])
    assert caught.value.status_code == 413


def test_it_passes_a_model_through_with_its_parameters_and_usage(tmp_path: Path) -> None:
    model = LanguageModelStandIn({"text": "From nine."})
    app = load_app(
        render(tmp_path), tmp_path / "data", OPENAI_API_KEY="k", OPENAI_BASE_URL=f"{model.url}/v1", OPENAI_MODEL="m1"
    )
    with serving(model), served(app) as client:
        completion = client.chat.completions.create(
            model="gpt-anything",
            messages=[{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "When?"}],
            temperature=0.2,
            max_tokens=50,
        )
    assert completion.choices[0].message.content == "From nine."
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (11, 5)
    [body] = model.bodies
    assert (body["temperature"], body["max_tokens"], body["model"]) == (0.2, 50, "m1")
    assert body["messages"][0]["content"].endswith("Be brief.")
