"""After a crash: give every orphaned job the outcome that is true, and its pictures back.

Nothing is ever sent again here. A job that was sent may have been billed, so its outcome is
unknown; one that was not is cancelled and cost nothing.
"""

from dataclasses import replace
from decimal import Decimal

from backends.errors import Outcome
from compare.records import Job, SavedPicture
from compare.store import queries
from compare.store.files import PictureFiles
from compare.store.process_lock import ProcessLock, take_over
from compare.store.writer import Writer

SENT = (
    "Lineup stopped while this was under way, after the request was sent: "
    "it may have been billed. Nothing was sent again."
)
NOT_SENT = "Lineup stopped before this was sent; nothing was spent."
NOT_BEGUN = (
    "Not begun: Lineup stopped before the first step had drawn a picture. "
    "Nothing was spent on this one; try the first one again."
)
BETWEEN = (
    "Lineup stopped before this second step was sent or done; nothing was spent on it. "
    "The picture of the first step is there: try again."
)


async def recover(writer: Writer, shelf: PictureFiles, owner: ProcessLock) -> int:
    """End the jobs of every process that is gone; return how many there were."""
    ended = 0
    for owner_id in await writer.do(queries.unfinished):
        if owner_id == owner.id:
            continue
        with take_over(shelf.home, owner_id) as dead:
            if dead:
                ended += await _end(writer, shelf, owner_id)
    return ended


def recovered(job: Job, *, begun: bool = True) -> Job:
    """Return a job whose process is gone, with the outcome that is true of it.

    `begun` says of a second step whether its first has left a picture.
    """
    saved = len(job.pictures)
    also = f" {saved} finished picture{'s were' if saved > 1 else ' was'} kept." if saved else ""
    if job.sent_at is not None:
        return replace(job, outcome=Outcome.UNKNOWN, message=SENT + also)
    cost = replace(job.cost, amount=Decimal(0))
    why = NOT_SENT if job.parent is None else BETWEEN if begun else NOT_BEGUN
    return replace(job, outcome=Outcome.CANCELLED, message=why + also, cost=cost)


async def _end(writer: Writer, shelf: PictureFiles, owner_id: str) -> int:
    # Read again now that the place is ours: somebody may have been here in between.
    jobs = {job.id: job for job in (await writer.do(queries.unfinished)).get(owner_id, [])}
    left_over = tuple(shelf.left_over(frozenset(jobs)))
    found: dict[tuple[str, int], SavedPicture] = {}
    for incoming in left_over:
        job = jobs[incoming.job_id]
        if incoming.position >= len(job.pictures):
            found[job.id, incoming.position] = incoming.picture
            jobs[job.id] = replace(job, pictures=(*job.pictures, incoming.picture))
    drawn = await writer.do(queries.drawn(job.parent for job in jobs.values() if job.parent))
    drawn |= {job_id for job_id, _ in found}
    ended = [recovered(job, begun=job.parent in drawn) for job in jobs.values()]
    await writer.do(queries.end_jobs(ended, found))
    for incoming in left_over:
        shelf.settle(incoming)
    return len(jobs)
