"""Routes beside Gradio's own: a run's events, the states of runs, stored pictures, uploads.

Results reach the page by server-sent events and plain files rather than through Gradio. A picture
that is sent as a URL and fetched as a file is on the screen sooner, and unchanged; and a page can
join the stream again after a reload, because it starts with the present state of every job.
"""

import json
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import BaseRoute, Route

from backends.errors import BackendError
from backends.registry import BACKENDS
from compare.records import Run
from compare.runs.broadcast import UnknownRun
from compare.runs.runner import Runner
from ui import page_files
from ui.board.renderer import Renderer
from ui.board.variants import progress
from ui.context import NOT_YOURS, Context
from ui.server.boundary import place
from ui.visitors import visitor_id

log = logging.getLogger(__name__)

# A picture's name is the hash of its bytes, so its contents never change.
IMMUTABLE = {"Cache-Control": "private, max-age=31536000, immutable"}
MAX_STATES: Final = 50
"""Runs whose state is told in one answer."""
NO_STORE = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def routes(context: Context, renderer: Renderer) -> list[BaseRoute]:
    """Return the routes to serve beside Gradio's."""

    async def picture(request: Request) -> Response:
        lineup = await context.lineup()
        sha256 = request.path_params["name"].partition(".")[0]
        path = lineup.store.picture_path(sha256)
        if path is None:
            return PlainTextResponse("There is no such picture here.", status_code=404)
        return FileResponse(path, headers=IMMUTABLE)

    async def submit_picture(request: Request) -> Response:
        """Accept a picture that the user brings for a job that waits for one."""
        runner = (await context.lineup()).runner
        run_id, job_id = request.path_params["run_id"], request.path_params["job_id"]
        run = await runner.get(run_id)
        if run is None or not context.may_change(run, visitor_id(request.headers)):
            return PlainTextResponse(NOT_YOURS, status_code=403)
        try:
            runner.active_task(run_id, job_id)  # before a body is read for nothing
            data = await request.body()  # the guard limits it
            await runner.submit_picture(run_id, job_id, data)
        except (BackendError, UnknownRun) as error:
            return PlainTextResponse(str(error), status_code=422)
        return Response(status_code=204)

    async def events(request: Request) -> Response:
        runner = (await context.lineup()).runner
        run = await runner.get(request.path_params["run_id"])
        if run is None:
            return PlainTextResponse("There is no such run here.", status_code=404)
        return StreamingResponse(
            stream(runner, run), media_type="text/event-stream", headers=NO_STORE
        )

    async def states(request: Request) -> Response:
        """Return how far each run is that the query names, by its id: for the strips of runs."""
        runner = (await context.lineup()).runner
        ids = list(dict.fromkeys(request.query_params.getlist("id")))[:MAX_STATES]
        runs = [run for run_id in ids if (run := await runner.get(run_id)) is not None]
        return JSONResponse({run.id: progress(run) for run in runs}, headers=NO_STORE)

    async def options(request: Request) -> Response:
        """Return the values that the backends in the query know for their options."""
        names = [name for name in request.query_params.getlist("backend") if name in BACKENDS]
        availability = (await context.lineup()).availability
        found = {name: dict(await availability.option_values(name)) for name in set(names)}
        return JSONResponse(found, headers=NO_STORE)

    async def pictures(request: Request) -> Response:
        """Return the pictures of a run with their settings, for looking at them closely."""
        run = await (await context.lineup()).runner.get(request.path_params["run_id"])
        if run is None:
            return PlainTextResponse("There is no such run here.", status_code=404)
        return JSONResponse(renderer.pictures(run), headers=NO_STORE)

    async def stream(runner: Runner, run: Run) -> AsyncGenerator[str, None]:
        async with aclosing(runner.watch(run.id)) as jobs:
            async for job in jobs:
                # The card of a second step shows the first one too, so the whole run is read again.
                current = await runner.get(run.id) or run
                try:
                    data = json.dumps(dict(renderer.update(current, job)))
                except Exception as error:  # the other jobs are shown, and the stream ends
                    log.error("Job %s cannot be shown: %s", job.id, place(error))
                    continue
                yield f"event: job\ndata: {data}\n\n"
        yield "event: end\ndata: {}\n\n"

    return [
        page_files.route(),
        Route("/lineup/pictures/{name}", picture),
        Route("/lineup/options", options),
        Route("/lineup/runs", states),
        Route("/lineup/runs/{run_id}/events", events),
        Route("/lineup/runs/{run_id}/pictures", pictures),
        Route("/lineup/runs/{run_id}/jobs/{job_id}/picture", submit_picture, methods=["POST"]),
    ]
