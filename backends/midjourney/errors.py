"""Errors between this machine and Discord, and of single jobs, as sentences for the card."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from backends.errors import (
    BackendError,
    Forbidden,
    MissingPackage,
    RateLimited,
    ServiceFault,
    TimedOut,
    Unanswered,
    Unreachable,
    WrongKey,
)
from backends.http.client import retry_after
from backends.midjourney.credentials import Credentials, TimeLimits
from backends.midjourney.matching import Job
from backends.settings import host_of
from backends.wording import retry_phrase, service_message

if TYPE_CHECKING:
    import discord


def explain(error: BaseException, credentials: Credentials) -> BackendError:
    """Return the error for a bot that cannot listen.

    The sentences leave open whether a command was pasted: one may be on the card by then.
    """
    import aiohttp
    import discord

    match error:
        case BackendError():
            return error
        case discord.LoginFailure() | discord.ConnectionClosed(code=4004):
            return WrongKey(
                "Discord does not accept the bot's token. Copy it again from "
                "discord.com/developers/applications into DISCORD_BOT_TOKEN; a token of a person's "
                "account is never right here."
            )
        case discord.PrivilegedIntentsRequired():
            return Forbidden(
                "The bot may not read messages. Turn on Message Content Intent for it under Bot "
                "at discord.com/developers/applications, then try again."
            )
        case discord.ConnectionClosed():
            return ServiceFault(f"Discord closed the connection ({error.code}).", charged=False)
        case discord.RateLimited():
            return _rate_limited(error.retry_after)
        case discord.HTTPException():
            return _explain_http(error, credentials)
        case TimeoutError():
            return TimedOut(
                f"No connection to Discord ({host_of(credentials.api_base)}) in time. "
                "Check the internet connection."
            )
        case aiohttp.ClientError() | OSError():
            return Unreachable(
                f"No connection to Discord ({host_of(credentials.api_base)}). "
                "Check the internet connection."
            )
        case _:
            return _explain_other(error, credentials)


def channel_not_visible(credentials: Credentials) -> Forbidden:
    """Return the error for a channel that the bot cannot see."""
    return Forbidden(
        f"The bot cannot see the channel {credentials.channel_id}. Invite it to the server with "
        "View Channel and Read Message History, and check MIDJOURNEY_CHANNEL."
    )


def connection_lost(error: BaseException, credentials: Credentials) -> Unanswered:
    """Return the error for a bot that stopped listening while a command was on the card."""
    return Unanswered(
        f"The bot no longer hears Discord. {explain(error, credentials)} If the command was "
        "pasted, Midjourney draws it all the same: look in Discord before you paste it again."
    )


def no_update(job: Job, limits: TimeLimits) -> BackendError:
    """Return the error for a job without an update within its time limit."""
    if not job.is_started:
        return TimedOut(
            f"Nobody pasted the command within {_format_duration(limits.paste)}, as far as the bot "
            "can see. If you did, Midjourney may have declined it in a reply that only you can "
            "read: look in Discord."
        )
    if job.was_removed:
        return Unanswered(
            "Midjourney took its message away and posted no pictures. Its moderation replies are "
            "private: look in Discord whether it declined them, and whether it counted the job."
        )
    return Unanswered(
        f"Midjourney took the command and has been silent for {_format_duration(limits.update)}. "
        "Its moderation and queue replies are private: look in Discord before you paste it again."
    )


def no_upload(limits: TimeLimits) -> Unanswered:
    """Return the error for a job without a bot whose grid was not uploaded in time."""
    return Unanswered(
        f"Nobody brought the grid within {_format_duration(limits.paste + limits.update)}. "
        "If you pasted the command, Midjourney has drawn it: press Try again and drop that grid "
        "there."
    )


def job_stopped() -> ServiceFault:
    """Return the error for a job that was cancelled in Discord."""
    return ServiceFault(
        "The job was stopped in Discord. Midjourney may have counted what it drew until then."
    )


def _explain_http(error: "discord.HTTPException", credentials: Credentials) -> BackendError:
    if error.status == 429:
        # The responses of aiohttp and requests differ in type, not in their headers.
        headers: Mapping[str, Any] = error.response.headers
        return _rate_limited(
            retry_after({name.lower(): str(value) for name, value in headers.items()})
        )
    if error.status >= 500:
        return ServiceFault(
            f"Discord is overloaded or down ({error.status}). Try again later.", charged=False
        )
    message = service_message(error.text, credentials.token)
    return ServiceFault(f"Discord turned the bot away ({error.status}): {message}", charged=False)


def _explain_other(error: BaseException, credentials: Credentials) -> BackendError:
    # If its first connection fails, discord.py raises AttributeError on the missing one.
    if isinstance(error, AttributeError) and error.__context__ is not None:
        return explain(error.__context__, credentials)
    if isinstance(error, ImportError):
        return MissingPackage("Midjourney needs discord.py: `pip install discord.py`.")
    return ServiceFault(
        f"Discord ({host_of(credentials.api_base)}) sent an answer that makes no sense "
        f"({type(error).__name__}). Try again later.",
        charged=False,
    )


def _rate_limited(wait: float | None) -> RateLimited:
    return RateLimited(
        f"Discord takes no more requests from this bot for now. Try again {retry_phrase(wait)}.",
        retry_after=wait,
    )


def _format_duration(seconds: float) -> str:
    return f"{seconds / 60:g} minutes" if seconds >= 120 else f"{seconds:g} s"
