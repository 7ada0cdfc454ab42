"""The strip above a board, which lists the runs of one batch: the variants of a prompt.

Pure functions from runs to what board.html shows of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from backends.errors import Outcome
from compare.records import Run


@dataclass(frozen=True, slots=True)
class Entry:
    """One variant: its run, the prompt, the words that differ from the others, and its state."""

    run_id: str
    prompt: str
    label: str
    state: str


def entries(batch: Sequence[Run]) -> list[Entry]:
    """Return an entry for each run of a batch, none for a single run."""
    if len(batch) < 2:
        return []
    prompts = [run.request.prompt for run in batch]
    return [
        Entry(run.id, run.request.prompt, label, state(run))
        for run, label in zip(batch, differing_words(prompts), strict=True)
    ]


def state(run: Run) -> str:
    """Return "running", "done", or "failed" if a job of an ended run has no success."""
    outcomes = {job.outcome for job in run.jobs}
    if None in outcomes:
        return "running"
    return "done" if outcomes == {Outcome.DONE} else "failed"


def progress(run: Run) -> dict[str, str | int]:
    """Return how far a run is: its state, and how many of its cards there are, ended and done."""
    newest = {(job.model, job.parent): job for job in run.jobs}
    outcomes = [job.outcome for job in newest.values()]
    return {
        "state": state(run),
        "total": len(outcomes),
        "ended": sum(outcome is not None for outcome in outcomes),
        "done": sum(outcome is Outcome.DONE for outcome in outcomes),
    }


def differing_words(prompts: Sequence[str]) -> list[str]:
    """Return each prompt without the words that all prompts start with and end with."""
    rows = [prompt.split() for prompt in prompts]
    start = _common_prefix(rows)
    rests = [row[start:] for row in rows]
    end = _common_prefix([rest[::-1] for rest in rests])
    return [" ".join(rest[: len(rest) - end]) or "–" for rest in rests]


def _common_prefix(rows: Sequence[Sequence[str]]) -> int:
    """Return the number of words that all rows start with."""
    return sum(1 for _ in takewhile(lambda words: len(set(words)) == 1, zip(*rows, strict=False)))
