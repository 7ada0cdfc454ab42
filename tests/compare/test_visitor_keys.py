"""Keys typed for one visit: used by that visitor's jobs, hidden everywhere, seen by nobody else."""

import asyncio

import pytest

from compare.settings import Settings
from compare.visitor_keys import visitor_keys

KEY = "sk-typed-by-a-visitor-0001"
OWNERS = "sk-the-owners-own-key-0002"


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("OPENAI_API_KEY", OWNERS)
    return Settings.read().for_visitors()


def test_a_typed_key_goes_before_the_owners_and_is_gone_afterwards(settings: Settings) -> None:
    value = settings.config().value
    with visitor_keys({"OPENAI_API_KEY": f" {KEY} "}):
        assert value("OPENAI_API_KEY") == KEY
        assert value("HF_TOKEN") is None
    assert value("OPENAI_API_KEY") is None, "the owner's is not for visitors"


async def test_a_run_takes_its_visitors_keys_along_and_no_others(settings: Settings) -> None:
    value = settings.config().value

    async def job() -> tuple[str | None, str | None]:
        await asyncio.sleep(0.01)
        return value("OPENAI_API_KEY"), await asyncio.to_thread(value, "OPENAI_API_KEY")

    with visitor_keys({"OPENAI_API_KEY": KEY}):
        mine = asyncio.create_task(job())
    with visitor_keys({"OPENAI_API_KEY": "sk-somebody-elses-0003"}):
        theirs = asyncio.create_task(job())
    assert await mine == (KEY, KEY)
    assert await theirs == ("sk-somebody-elses-0003",) * 2


def test_a_visitor_sets_no_address(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    with visitor_keys({"OPENAI_BASE_URL": "http://evil.example", "OPENAI_API_KEY": "  "}):
        assert settings.value("OPENAI_BASE_URL") == "http://127.0.0.1:1/v1"
        assert settings.value("OPENAI_API_KEY") is None
    with visitor_keys({"OPENAI_API_KEY": "k" * 501}):
        assert settings.value("OPENAI_API_KEY") is None, "no key is that long"


def test_a_typed_key_is_hidden(settings: Settings) -> None:
    with visitor_keys({"STABILITY_API_KEY": KEY}):
        assert settings.hide(f"401 for {KEY} and {OWNERS}") == "401 for [hidden] and [hidden]"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("MIDJOURNEY_CHANNEL", "DISCORD_BOT_TOKEN"),
        ("OPENAI_ORG_ID", "OPENAI_API_KEY"),
        ("OPENAI_PROJECT_ID", "OPENAI_API_KEY"),
    ],
)
@pytest.mark.parametrize("lent", ["0", "1"])
def test_what_a_key_is_used_for_is_said_by_whoever_has_the_key(
    monkeypatch: pytest.MonkeyPatch, name: str, key: str, lent: str
) -> None:
    """Else a visitor would point the owner's bot at another channel."""
    for setting, value in ((name, "111"), (key, OWNERS), ("LINEUP_SHARE_KEYS", lent)):
        monkeypatch.setenv(setting, value)
    monkeypatch.setenv("LINEUP_DAILY_BUDGET", "1")
    public = Settings.read().for_visitors()
    owners = "111" if lent == "1" else None
    with visitor_keys({name: "222"}):
        assert public.value(name) == owners
    with visitor_keys({key: KEY}):
        assert public.value(name) is None, "not the owner's beside a visitor's key"
    with visitor_keys({"MIDJOURNEY_CHANNEL": "222", "DISCORD_BOT_TOKEN": KEY}):
        assert public.value("MIDJOURNEY_CHANNEL") == "222"
    assert Settings.read().value(name) == "111"
