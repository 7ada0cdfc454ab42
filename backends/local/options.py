"""What only local pipelines can be told; the form is drawn from it."""

from dataclasses import dataclass, field

from backends.local.schedulers import NAMES


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Settings of one run; empty means the model's own."""

    scheduler: str = field(
        default="",
        metadata={
            "label": "Scheduler",
            "help": "How noise is taken away, step by step. Empty: the model's own.",
            "choices": ("", *NAMES),
        },
    )
    previews: bool = field(
        default=True,
        metadata={
            "label": "Live previews",
            "help": "Show the unfinished picture. Takes at most a fiftieth of the time.",
        },
    )
