"""The strip above a board: the other variants of its prompt, each a run of its own. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from backends.errors import Outcome
from compare.records import Run


@dataclass(frozen=True, slots=True)
class Entry:
    """One variant: its run, the words in which it differs, and how it stands."""

    run: str
    prompt: str
    words: str
    look: str


def entries(batch: Sequence[Run]) -> list[Entry]:
    """Return an entry for each run of a batch; none for a run on its own."""
    if len(batch) < 2:
        return []
    prompts = [run.request.prompt for run in batch]
    return [
        Entry(run.id, run.request.prompt, words, look(run))
        for run, words in zip(batch, differing(prompts), strict=True)
    ]


def look(run: Run) -> str:
    """Return how a run stands: running, done, or failed where a model did not draw."""
    outcomes = {job.outcome for job in run.jobs}
    if None in outcomes:
        return "running"
    return "done" if outcomes == {Outcome.DONE} else "failed"


def differing(prompts: Sequence[str]) -> list[str]:
    """Return of each prompt what the others do not have too, at its start and its end."""
    rows = [prompt.split() for prompt in prompts]
    first = _shared(rows)
    rests = [row[first:] for row in rows]
    last = _shared([rest[::-1] for rest in rests])
    return [" ".join(rest[: len(rest) - last]) or "–" for rest in rests]


def _shared(rows: Sequence[Sequence[str]]) -> int:
    """Return how many words all rows begin with."""
    return sum(1 for _ in takewhile(lambda words: len(set(words)) == 1, zip(*rows, strict=False)))
