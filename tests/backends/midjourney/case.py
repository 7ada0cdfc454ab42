"""What the tests of the Midjourney backend share: a model, a bot, jobs that wait for news."""

from decimal import Decimal

from backends.base import Basis, Model, Price, Sizes

TOKEN = "MTE.verysecret.indeed-not-a-real-token"
MODEL = Model(
    id="midjourney/v8.1",
    label="Midjourney V8.1",
    family="closed",
    source="--v 8.1",
    supports=frozenset({"seed"}),
    sizes=Sizes(native=((1024, 1024),), multiple=1, least=1, most=4096),
    most_count=1,
    price=Price(basis=Basis.SUBSCRIPTION, per_image=Decimal("0.05")),
)


def settings(origin: str, **more: str) -> dict[str, str]:
    """The settings of a bot at the server, and little patience with Midjourney."""
    return {
        "DISCORD_BOT_TOKEN": TOKEN,
        "DISCORD_API_BASE": f"{origin}/api/v10",
        "MIDJOURNEY_CHANNEL": "33",
        "MIDJOURNEY_PASTE_SECONDS": "5",
        "MIDJOURNEY_DONE_SECONDS": "2",
        **more,
    }
