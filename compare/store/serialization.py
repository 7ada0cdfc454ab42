"""Convert records to rows of `compare/store/tables.py` and back; requests and mappings are JSON."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any

from backends.base import Applied, Basis, Control, Request
from backends.errors import Outcome
from compare.records import (
    Cost,
    Job,
    Payer,
    Phase,
    Provenance,
    RunSpec,
    SavedPicture,
    SecondStep,
    Timing,
)

Row = Mapping[Any, Any]


def spec_to_json(spec: RunSpec, controls: Sequence[str], image: str | None) -> str:
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


def input_hashes(text: str) -> frozenset[str]:
    """Return the SHA-256 of each input picture of a spec in JSON."""
    fields = json.loads(text)
    image = fields.get("image")
    return frozenset([control["sha256"] for control in fields["controls"]] + [image] * bool(image))


def spec_from_json(text: str, inputs: Mapping[str, bytes] = MappingProxyType({})) -> RunSpec:
    """Return the spec of its JSON; `inputs` has the bytes of its input pictures by SHA-256.

    A picture that is missing from `inputs` is empty.
    """
    fields = json.loads(text)
    fields["controls"] = tuple(
        Control(image=inputs.get(control.pop("sha256"), b""), **control)
        for control in fields["controls"]
    )
    if image := fields.get("image"):
        fields["image"] = inputs.get(image, b"")
    then = fields.pop("then", None)
    provenance = Provenance(**{name: fields.pop(name, None) for name in _names(Provenance)})
    second_step = SecondStep(**then) if then else None
    return RunSpec(Request(**fields), second_step=second_step, provenance=provenance)


def job_row(job: Job) -> dict[str, Any]:
    """Return the row of `job`, without its position and owner."""
    return {
        "id": job.id,
        "run_id": job.run_id,
        "model": job.model,
        "backend": _backend(job.model),
        "parent": job.parent,
        "payer": job.payer,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "sent_at": job.sent_at,
        "outcome": job.outcome,
        "message": job.message,
        **_fields(job.timing),
        **_fields(job.cost),
        "honoured": json.dumps(
            {name: [each.requested, each.used, each.note] for name, each in job.honoured.items()},
            ensure_ascii=False,
        ),
    }


def job_from_row(row: Row, pictures: Iterable[SavedPicture]) -> Job:
    """Return the job of a row, in the last phase that the row tells of."""
    outcome = Outcome(row["outcome"]) if row["outcome"] else None
    unsent = Phase.WAITING if row["parent"] else Phase.QUEUED
    under_way = Phase.SENT if row["sent_at"] else unsent
    cost = _values(Cost, row)
    cost["basis"] = Basis(row["basis"]) if row["basis"] else None
    return Job(
        id=row["id"],
        run_id=row["run_id"],
        model=row["model"],
        parent=row["parent"],
        payer=Payer(row["payer"]),
        created_at=row["created_at"],
        phase=Phase.ENDED if outcome else under_way,
        outcome=outcome,
        message=row["message"],
        started_at=row["started_at"],
        sent_at=row["sent_at"],
        timing=Timing(**_values(Timing, row)),
        cost=Cost(**cost),
        honoured={name: Applied(*each) for name, each in json.loads(row["honoured"]).items()},
        pictures=tuple(pictures),
    )


def picture_from_row(row: Row) -> SavedPicture:
    """Return the picture of a row."""
    return SavedPicture(**_values(SavedPicture, row))


def _backend(model_id: str) -> str:
    """Return the provider in a model's id: "openai" for "openai/x" and "openai@server/x"."""
    return model_id.partition("/")[0].partition("@")[0]


def _fields(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in _names(type(record))}


def _values(kind: type[Any], row: Row) -> dict[str, Any]:
    """Return the columns of a row that are fields of the dataclass `kind`."""
    return {name: row[name] for name in _names(kind)}


@cache
def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))
