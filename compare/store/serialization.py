"""Between records and rows: requests and mappings as JSON, amounts as text, times as ISO 8601."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from backends.base import Applied, Basis, Control, Request
from backends.errors import Outcome
from compare.records import (
    Cost,
    Job,
    Phase,
    Provenance,
    RunSpec,
    SavedPicture,
    SecondStep,
    Timing,
)

Row = Mapping[Any, Any]


def spec_text(spec: RunSpec, controls: Sequence[str], image: str | None) -> str:
    """Return `spec` as one flat JSON object, its pictures' bytes replaced by their SHA-256.

    `controls` has the hashes of the control pictures, `image` that of the start picture. The keys
    and their order are those of the first version, in which they were fields of one record.
    """
    request = _fields(spec.request)
    fields = {name: request.pop(name) for name in ("prompt", "negative_prompt")}
    fields |= _fields(spec.provenance) | request | {"image": image, "then": None}
    fields["controls"] = [
        {name: value for name, value in _fields(control).items() if name != "image"}
        | {"sha256": sha256}
        for control, sha256 in zip(spec.request.controls, controls, strict=True)
    ]
    if spec.second_step is not None:
        fields["then"] = _fields(spec.second_step)
    # Options may be any Mapping; JSON wants a dict.
    return json.dumps(fields, ensure_ascii=False, default=dict)


def picture_names(text: str) -> frozenset[str]:
    """Return the SHA-256 of each picture that was given with a request."""
    fields = json.loads(text)
    image = fields.get("image")
    return frozenset([control["sha256"] for control in fields["controls"]] + [image] * bool(image))


def spec_from(text: str, given: Mapping[str, bytes] = MappingProxyType({})) -> RunSpec:
    """Return a kept spec; `given` has the pictures that were given with it by their SHA-256.

    A picture that is not there is empty.
    """
    fields = json.loads(text)
    fields["controls"] = tuple(
        Control(image=given.get(control.pop("sha256"), b""), **control)
        for control in fields["controls"]
    )
    if image := fields.get("image"):
        fields["image"] = given.get(image, b"")
    then = fields.pop("then", None)
    names = (field.name for field in dataclasses.fields(Provenance))
    provenance = Provenance(**{name: fields.pop(name, None) for name in names})
    second_step = SecondStep(**then) if then else None
    return RunSpec(Request(**fields), second_step=second_step, provenance=provenance)


def job_row(job: Job) -> dict[str, Any]:
    """Return what is kept of `job`, without its pictures, position and owner."""
    timing = {field.name: getattr(job.timing, field.name) for field in dataclasses.fields(Timing)}
    return {
        "id": job.id,
        "run_id": job.run_id,
        "model": job.model,
        "parent": job.parent,
        "created_at": job.created_at.isoformat(),
        "started_at": job.started_at.isoformat() if job.started_at else None,
        "sent_at": job.sent_at.isoformat() if job.sent_at else None,
        "outcome": job.outcome,
        "message": job.message,
        **timing,
        "amount": _text(job.cost.amount),
        "low": _text(job.cost.low),
        "high": _text(job.cost.high),
        "basis": job.cost.basis,
        "priced_on": job.cost.priced_on.isoformat() if job.cost.priced_on else None,
        "source": job.cost.source,
        "honoured": json.dumps(
            {name: [each.requested, each.used, each.note] for name, each in job.honoured.items()},
            ensure_ascii=False,
        ),
    }


def job_from(row: Row, pictures: Iterable[SavedPicture]) -> Job:
    """Return the job of a row."""
    outcome = Outcome(row["outcome"]) if row["outcome"] else None
    unsent = Phase.WAITING if row["parent"] else Phase.QUEUED
    under_way = Phase.SENT if row["sent_at"] else unsent
    return Job(
        id=row["id"],
        run_id=row["run_id"],
        model=row["model"],
        parent=row["parent"],
        created_at=datetime.fromisoformat(row["created_at"]),
        phase=Phase.ENDED if outcome else under_way,
        outcome=outcome,
        message=row["message"],
        started_at=_time(row["started_at"]),
        sent_at=_time(row["sent_at"]),
        timing=Timing(**{field.name: row[field.name] for field in dataclasses.fields(Timing)}),
        cost=Cost(
            amount=_amount(row["amount"]),
            low=_amount(row["low"]),
            high=_amount(row["high"]),
            basis=Basis(row["basis"]) if row["basis"] else None,
            priced_on=date.fromisoformat(row["priced_on"]) if row["priced_on"] else None,
            source=row["source"],
        ),
        honoured={name: Applied(*each) for name, each in json.loads(row["honoured"]).items()},
        pictures=tuple(pictures),
    )


def picture_from(row: Row) -> SavedPicture:
    """Return the picture of a row."""
    return SavedPicture(
        **{field.name: row[field.name] for field in dataclasses.fields(SavedPicture)}
    )


def _fields(record: Any) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount:f}"


def _amount(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
