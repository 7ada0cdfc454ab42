"""The result of a job: its outcome, the sentence for its card, and its cost. Pure.

Outcomes differ by what may have been charged. A job that was never sent costs nothing. A job that
was sent and has no clear end may have been billed, so its cost is unknown, not zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from backends.base import Basis
from backends.errors import BackendError, Forbidden, NoCredit, Outcome, WrongKey
from compare import pricing
from compare.pricing import BillableWork
from compare.records import Cost, Job
from compare.store.errors import StoreError

STOPPED_FREE = "Stopped before anything was sent; nothing was spent."
STOPPED_BY_HAND = "Stopped. If you pasted it, {} bills it."
STOPPED_SENT = "Stopped after it was sent: it may have been billed."

LENT_FAILS = (
    "{} does not accept the key that is lent here, or does not draw for it now. Tell whoever runs "
    "this Lineup, or type a key of your own in the Keys tab."
)
"""What a visitor learns where the account behind a lent key is the reason."""


@dataclass(frozen=True, slots=True)
class JobResult:
    """Outcome, message and cost of a job."""

    outcome: Outcome
    message: str
    cost: Cost


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """A job at its end, and the facts that its cost depends on; one method for each kind of end."""

    job: Job
    work: BillableWork

    def finished(self) -> JobResult:
        """Return the result where the backend has finished."""
        if not self.job.pictures:
            message = f"{self.work.model.label} ended without a picture."
            return JobResult(Outcome.FAILED, message, self._cost_unless_sent())
        return JobResult(Outcome.DONE, "", self._settled(len(self.job.pictures)))

    def pictures_lost(self, losses: Sequence[str]) -> JobResult:
        """Return the result where the backend has finished, but pictures could not be stored."""
        cost = self._settled(len(self.job.pictures) + len(losses))
        return JobResult(Outcome.FAILED, losses[0], cost)

    def stopped(self) -> JobResult:
        """Return the result of a stopped job."""
        if self.work.model.price.basis in (Basis.FREE, Basis.HARDWARE):
            return JobResult(Outcome.CANCELLED, "Stopped.", pricing.uncharged(self.work.model))
        if self.job.sent_at is None:
            return JobResult(Outcome.CANCELLED, STOPPED_FREE, pricing.uncharged(self.work.model))
        if self.job.command:  # a person was to submit it, and nothing was seen of that
            cost = pricing.unsettled(self.work.model, self.job.cost)
            message = STOPPED_BY_HAND.format(self.work.model.provider)
            return JobResult(Outcome.CANCELLED, message, cost)
        return JobResult(
            Outcome.UNKNOWN, STOPPED_SENT, pricing.unsettled(self.work.model, self.job.cost)
        )

    def failed(self, error: BackendError) -> JobResult:
        """Return the result where the backend has failed with `error`."""
        if error.charged is False and not self.job.pictures:
            cost = pricing.uncharged(self.work.model)
        elif error.usage and not self.job.pictures:
            cost = pricing.refused(self.work.model, self.job.cost, error.usage)
        else:
            cost = self._cost_unless_sent()
        return JobResult(error.outcome, self._with_count(str(error)), cost)

    def store_failed(self, error: StoreError) -> JobResult:
        """Return the result where the store could not write what the job depends on."""
        return JobResult(Outcome.FAILED, str(error), self._cost_unless_sent())

    def internal_error(self) -> JobResult:
        """Return the result of an unexpected exception."""
        billed = " It may have been billed." if self.job.sent_at else ""
        message = (
            f"Something in Lineup itself went wrong with {self.work.model.label}; this is a bug."
            f"{billed} The log says more."
        )
        return JobResult(Outcome.FAILED, message, self._cost_unless_sent())

    def _with_count(self, why: str) -> str:
        """Return why a job ended, with the number of its pictures if it has some of several."""
        came, asked = len(self.job.pictures), self.work.request.count
        return f"{came} instead of {asked} pictures: {why}" if 0 < came < asked else why

    def _settled(self, pictures: int) -> Cost:
        return pricing.settle(self.work, pictures)

    def _cost_unless_sent(self) -> Cost:
        """Return a cost of zero if nothing was sent, else an unknown cost."""
        if self.job.sent_at is None:
            return pricing.uncharged(self.work.model)
        return pricing.unsettled(self.work.model, self.job.cost)


def is_of_account(error: BackendError) -> bool:
    """Return whether an error is about the account behind a key."""
    return isinstance(error, WrongKey | Forbidden | NoCredit)
