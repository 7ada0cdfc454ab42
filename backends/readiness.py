"""Whether a model can be asked for now: what every backend says the same way."""

from collections.abc import Callable

from backends.base import Model, Readiness, Ready, State
from backends.errors import BackendError, MissingKey, MissingPackage, RetiredModel


def require_available(model: Model) -> None:
    """Raise since when a retired model is gone, and what to use now.

    Raises:
        RetiredModel: the catalogue says that it was shut down.
    """
    status = model.status
    if status.state is not State.RETIRED:
        return
    when = f" on {status.date.day} {status.date:%B %Y}" if status.date else ""
    then = f" Use {status.successor} instead." if status.successor else ""
    raise RetiredModel(f"{model.label} was shut down{when}.{then}")


def readiness(check: Callable[[], object]) -> Ready:
    """Return what `check`, which raises what keeps a job from being sent, says of a model."""
    try:
        check()
    except MissingKey as error:
        return Ready(Readiness.NEEDS_KEY, str(error))
    except MissingPackage as error:
        return Ready(Readiness.NEEDS_PACKAGE, str(error))
    except BackendError as error:
        return Ready(Readiness.UNAVAILABLE, str(error))
    return Ready(Readiness.READY)
