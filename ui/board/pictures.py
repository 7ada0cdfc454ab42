"""The pictures of a run as plain data, for looking at them closely and side by side.

Pure functions from a `Run` to JSON: where each picture is, who drew it, and with which settings, so
that the page can say in what two pictures differ.
"""

from collections.abc import Callable, Mapping
from typing import Any

from backends.base import Model
from compare.formatting import format_seconds, format_spent
from compare.records import Job, Run, RunSpec, SavedPicture


def entries(
    run: Run,
    model: Callable[[Job], Model],
    url: Callable[[SavedPicture], str],
    filename: Callable[[SavedPicture, Model], str],
) -> list[dict[str, Any]]:
    """Return an entry for each picture of a run, in the order of its cards.

    Args:
        run: the run; of several attempts of one model, the pictures of all are listed.
        model: returns a job's model.
        url: returns the address of a picture, relative to the page.
        filename: returns the name under which a browser saves a picture.
    """
    return [
        {
            "run": run.id,
            "job": job.id,
            "sha": picture.sha256,
            "src": url(picture),
            "name": filename(picture, model(job)),
            "width": picture.width,
            "height": picture.height,
            "settings": _settings(run, job, picture, model(job)),
        }
        for job in run.jobs
        for picture in job.pictures
    ]


def _settings(run: Run, job: Job, picture: SavedPicture, model: Model) -> Mapping[str, str]:
    """Return what may differ between two pictures, as text by its name on the page."""
    spec, time = run.spec, job.timing.generate
    second = spec.second_step if job.parent is not None else None
    request = spec.request if second is None else spec.second_request()
    texts: Mapping[str, object] = {
        "Model": model.label + (" (second step)" if second else ""),
        "Prompt": request.prompt,
        "Negative": request.negative_prompt or None,
        "Size": f"{picture.width} × {picture.height}",
        "Seed": picture.seed,
        "Steps": request.num_inference_steps,
        "Guidance": request.guidance_scale,
        "Strength": request.strength,
        "Start picture": "yes" if request.image is not None else None,
        "Control": " + ".join(each.preprocessor for each in request.controls) or None,
        "Drawing": None if time is None else format_seconds(time),
        "Cost": format_spent(job.cost),
        **_options(spec, model),
    }
    return {name: f"{value}" for name, value in texts.items() if value is not None}


def _options(spec: RunSpec, model: Model) -> Mapping[str, object]:
    options = spec.request.options.get(model.backend, {})
    return {name.replace("_", " ").capitalize(): value for name, value in options.items() if value}
