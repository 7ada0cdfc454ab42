"""Prompts rewritten by a chat model: whose key pays, what is recorded, what never leaks."""

import json
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from typing import Any

import pytest

from backends.base import Readiness, Request
from backends.errors import BackendError, BadInput, MissingKey, ServiceFault
from compare.prompts.rewrite import Rewriter, Rewritten, recorded
from compare.records import Provenance, RunSpec
from compare.settings import Settings
from compare.visitor_keys import visitor_keys
from tests.compare.conftest import Build
from tests.compare.helpers import finish, good
from tests.servers.chat import REWRITTEN, ChatServer
from tests.servers.scripted import Script

OWNERS = "AIzaSyTheOwnersOwnKey000001"
VISITORS = "AIzaSyAVisitorsOwnKey00002"
MODEL = "google:gemini-3.5-flash"


@pytest.fixture
def chat() -> Iterator[ChatServer]:
    with ChatServer() as running:
        yield running


@pytest.fixture
def settings(chat: ChatServer, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("GOOGLE_BASE_URL", chat.origin)
    monkeypatch.setenv("GOOGLE_API_KEY", OWNERS)
    return Settings.read()


@pytest.fixture
async def rewriter(settings: Settings) -> AsyncGenerator[Rewriter]:
    made = Rewriter(settings)
    yield made
    await made.aclose()


def keys(chat: ChatServer) -> list[str]:
    return [received.headers["x-goog-api-key"] for received in chat.requests]


async def test_both_prompts_and_who_rewrote_are_returned(
    rewriter: Rewriter, chat: ChatServer
) -> None:
    rewritten = await rewriter.rewrite("a star", f" {MODEL} ")
    assert (rewritten.prompt, rewritten.original) == (REWRITTEN, "a star")
    assert rewritten.by == MODEL
    assert rewritten.cost == "231 tokens, cost unknown"
    chat.usage = False
    assert (await rewriter.rewrite("a star", MODEL)).cost == "cost unknown"


@pytest.mark.parametrize(
    ("said", "prompt"),
    [
        ('  "a star"\n', "a star"),
        ("“a star”", "a star"),
        ("```\na star\n```", "a star"),
        ('"Yes" says a sign, "No" another', '"Yes" says a sign, "No" another'),
        ("a {red|blue} star of __colour__", "a {red|blue} star of __colour__"),
    ],
)
async def test_what_stands_around_a_prompt_is_taken_off(
    rewriter: Rewriter, chat: ChatServer, said: str, prompt: str
) -> None:
    chat.text = said
    assert (await rewriter.rewrite("a star", MODEL)).prompt == prompt


@pytest.mark.parametrize("said", ["  \n", '""', "a" * 40_000])
async def test_an_answer_that_is_no_prompt_is_told(
    rewriter: Rewriter, chat: ChatServer, said: str
) -> None:
    chat.text = said
    with pytest.raises(ServiceFault):
        await rewriter.rewrite("a star", MODEL)


@pytest.mark.parametrize(
    ("prompt", "model", "sentence"),
    [
        ("a star", "gpt-5", r"openai:gpt-5\.4-mini"),
        ("a star", "google:", "no chat model"),
        ("a star", "palm:bison", "there are openai, google, huggingface"),
        ("  ", MODEL, "prompt is empty"),
    ],
)
async def test_what_cannot_be_asked_is_not_asked(
    rewriter: Rewriter, chat: ChatServer, prompt: str, model: str, sentence: str
) -> None:
    with pytest.raises(BadInput, match=sentence):
        await rewriter.rewrite(prompt, model)
    assert chat.requests == []


async def test_models_that_can_be_asked_now_come_first(rewriter: Rewriter) -> None:
    models = rewriter.models()
    states = [model.ready.state for model in models]
    assert models[0].id.startswith("google:") and states[0] is Readiness.READY
    assert states == sorted(states, key=lambda state: state is not Readiness.READY)
    assert {model.id.partition(":")[0] for model in models} == {"openai", "google", "huggingface"}


@pytest.mark.parametrize("shared", ["0", "1"])
async def test_at_a_public_address_a_visitor_pays_and_never_the_owner(
    settings: Settings, chat: ChatServer, monkeypatch: pytest.MonkeyPatch, shared: str
) -> None:
    """Even where keys are shared: a price that nobody knows can't be held against a budget."""
    monkeypatch.setenv("LINEUP_SHARE_KEYS", shared)
    monkeypatch.setenv("LINEUP_DAILY_BUDGET", "5")
    monkeypatch.setenv("OPENAI_SERVERS", f"mine={chat.origin}/v1")
    here = Rewriter(Settings.read().for_visitors())
    assert {model.ready.state for model in here.models()} == {Readiness.NEEDS_KEY}
    with pytest.raises(MissingKey, match="your own key"):
        await here.rewrite("a star", MODEL)
    with visitor_keys({"GOOGLE_API_KEY": VISITORS}):
        assert here.models()[0].ready.state is Readiness.READY
        await here.rewrite("a star", MODEL)
        with pytest.raises(MissingKey, match="your own key"):
            await here.rewrite("a star", "openai@mine:some-model")
    await here.aclose()
    assert keys(chat) == [VISITORS]


@pytest.mark.parametrize("key", [OWNERS, VISITORS])
async def test_a_key_that_a_service_repeats_is_hidden(
    rewriter: Rewriter, chat: ChatServer, key: str
) -> None:
    said = f'{{"error": {{"status": "INVALID_ARGUMENT", "message": "Not for {key[2:]}."}}}}'
    chat.script = Script(status=400, raw=said.replace(key[2:], key).encode())
    with visitor_keys({"GOOGLE_API_KEY": VISITORS}), pytest.raises(BackendError) as failed:
        await rewriter.rewrite("a star", MODEL)
    assert key not in f"{failed.value!r} {rewriter!r}"


@pytest.mark.parametrize("tokens", ["many", None, -5, [], {}, float("nan")], ids=repr)
async def test_strange_counts_of_tokens_leave_the_prompt(
    rewriter: Rewriter, chat: ChatServer, tokens: Any
) -> None:
    usage = {"promptTokenCount": tokens, "candidatesTokenCount": tokens}
    parts = [{"text": "a red star \ud83e\x00"}]
    candidate = {"content": {"parts": parts}, "finishReason": "STOP"}
    answer = json.dumps({"candidates": [candidate], "usageMetadata": usage})
    chat.script = Script(raw=answer.encode())
    rewritten = await rewriter.rewrite("a star", MODEL)
    assert rewritten.prompt == "a red star ?" and "cost unknown" in rewritten.cost


@pytest.mark.parametrize("raw", ['{"candidates": 7}', '{"candidates": [7]}', "7", "[]"])
async def test_an_answer_of_any_shape_is_a_sentence(
    rewriter: Rewriter, chat: ChatServer, raw: str
) -> None:
    chat.script = Script(raw=raw.encode())
    with pytest.raises(BackendError, match=r"^[A-Z].{20,}\.$"):
        await rewriter.rewrite("a star", MODEL)


async def test_a_run_keeps_what_was_written_and_who_rewrote_it(build: Build) -> None:
    rewritten = Rewritten(prompt=REWRITTEN, original="a star", by=MODEL, seconds=1.0, usage={})
    world = await build(good=good)
    run = await world.runner.start(
        rewritten.apply(RunSpec(Request(prompt="a star"))), ["test/good"]
    )
    await finish(world, run)
    kept = await world.store.run(run.id)
    assert kept is not None
    assert kept.request.prompt == REWRITTEN
    assert kept.spec.provenance == Provenance(original_prompt="a star", rewritten_by=MODEL)


def test_a_record_holds_through_small_changes_and_not_for_another_prompt() -> None:
    mine = RunSpec(Request(prompt=f"{REWRITTEN}, at night"))
    assert recorded(mine, "a star", MODEL, REWRITTEN) == replace(
        mine, provenance=Provenance(original_prompt="a star", rewritten_by=MODEL)
    )
    other = RunSpec(Request(prompt="three cats on a red sofa"))
    assert recorded(other, "a star", MODEL, REWRITTEN) == other
    star = RunSpec(Request(prompt="一颗红色的星星在蓝色圆环旁边，白色背景"))
    same = recorded(star, "星星", MODEL, f"{star.request.prompt}，扁平")
    assert same.provenance.original_prompt == "星星"
    assert recorded(mine, "", "", "") == mine
