"""End the jobs of crashed processes with their true outcome and recover their pictures.

No request is ever sent again here. A job that was sent may have been billed, so its outcome is
unknown; one that was not sent is cancelled and cost nothing.
"""

from dataclasses import replace
from decimal import Decimal

from backends.errors import Outcome
from compare.records import Job, SavedPicture
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


async def recover(writer: Writer, files: PictureFiles, process: ProcessLock) -> int:
    """End the jobs of every process that no longer runs; return how many there were."""
    ended = 0
    for owner_id in await writer.do(writer.queries.unfinished):
        if owner_id == process.id:
            continue
        with take_over(files.home, owner_id) as taken:
            if taken:
                ended += await _end_jobs(writer, files, owner_id)
    return ended


def recovered(job: Job, *, begun: bool = True) -> Job:
    """Return an orphaned job with its true outcome.

    `begun` is whether the first step of a second step left a picture.
    """
    saved = len(job.pictures)
    also = f" {saved} finished picture{'s were' if saved > 1 else ' was'} kept." if saved else ""
    if job.sent_at is not None:
        return replace(job, outcome=Outcome.UNKNOWN, message=SENT + also)
    cost = replace(job.cost, amount=Decimal(0))
    reason = NOT_SENT if job.parent is None else BETWEEN if begun else NOT_BEGUN
    return replace(job, outcome=Outcome.CANCELLED, message=reason + also, cost=cost)


async def _end_jobs(writer: Writer, files: PictureFiles, owner_id: str) -> int:
    queries = writer.queries
    # Read again under the lock: another process may have ended these jobs in the meantime.
    jobs = {job.id: job for job in (await writer.do(queries.unfinished)).get(owner_id, [])}
    left_behind = tuple(files.left_behind(frozenset(jobs)))
    found: dict[tuple[str, int], SavedPicture] = {}
    for incoming in left_behind:
        job = jobs[incoming.job_id]
        if incoming.position >= len(job.pictures):
            found[job.id, incoming.position] = incoming.picture
            jobs[job.id] = replace(job, pictures=(*job.pictures, incoming.picture))
    parents = [job.parent for job in jobs.values() if job.parent]
    begun = await writer.do(queries.with_pictures, parents)
    begun |= {job_id for job_id, _ in found}
    ended = [recovered(job, begun=job.parent in begun) for job in jobs.values()]
    # Before the rows: nobody looks for these files again once their jobs have ended.
    for incoming in left_behind:
        files.copy(incoming)
    await writer.do(queries.end_jobs, ended, found)
    for incoming in left_behind:
        files.accept(incoming)
    return len(jobs)
