"""Errors of the Midjourney backend: silence, rejected bots, lost connections."""

import pytest

from backends.base import Sending
from backends.errors import Forbidden, ServiceFault, TimedOut, Unanswered, WrongKey
from backends.midjourney.credentials import Credentials
from backends.midjourney.errors import connection_lost
from tests.backends.midjourney.case import Card, made, opened
from tests.servers.discord import Answer
from tests.servers.midjourney import Midjourney


async def test_a_silence_is_told_by_what_came_before_it(server: Midjourney) -> None:
    async with opened(server, MIDJOURNEY_PASTE_SECONDS="0.5", MIDJOURNEY_DONE_SECONDS="0.5") as it:
        error = await Card(it).error()
        assert isinstance(error, TimedOut) and error.charged is False
        assert str(error).startswith("Nobody pasted the command within 0.5 s, as far as the bot")
        assert "declined it in a reply that only you can read: look in Discord." in str(error)
        card = Card(it)
        (await card.pasted(server)).queued()
        error = await card.error()
    assert isinstance(error, Unanswered) and error.charged is None
    assert str(error).startswith("Midjourney took the command and has been silent for 0.5 s. ")
    assert "replies are private: look in Discord before you paste it again." in str(error)


async def test_a_wrong_token_or_a_missing_intent_shows_no_command(server: Midjourney) -> None:
    async with opened(server, DISCORD_BOT_TOKEN="MTE.another") as drawer:
        card = Card(drawer)
        error = await card.error()
        assert isinstance(error, WrongKey) and "DISCORD_BOT_TOKEN" in str(error)
        assert Sending() not in card.events and not server.spoken
    server.close_code = 4014
    async with opened(server) as drawer:
        card = Card(drawer)
        error = await card.error()
        assert isinstance(error, Forbidden) and "Message Content Intent" in str(error)
        assert Sending() not in card.events


async def test_a_grid_that_nobody_brings_may_have_been_drawn() -> None:
    waits = {"MIDJOURNEY_PASTE_SECONDS": "0.2", "MIDJOURNEY_DONE_SECONDS": "0.1"}
    async with made(waits, attended=True) as drawer:
        error = await Card(drawer).error()
    assert isinstance(error, Unanswered) and "press Try again and drop that grid" in str(error)


@pytest.mark.parametrize("answer", [Answer(status=503), Answer(hang=True)], ids=["503", "hangs"])
async def test_what_is_lost_may_have_been_pasted(server: Midjourney, answer: Answer) -> None:
    server.answers["/users/@me"] = answer
    async with opened(server, LINEUP_ANSWER_SECONDS="0.5") as drawer:
        error = await Card(drawer).error()
    assert type(error) is (TimedOut if answer.hang else ServiceFault) and error.__cause__
    later = connection_lost(error.__cause__, Credentials.from_config(drawer.config))
    assert later.charged is None and str(error) in str(later)
    assert "Nothing was sent" not in str(later) and "before you paste it again" in str(later)
