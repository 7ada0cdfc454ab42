"""Three addresses beside Gradio's: a run's events as they happen, a picture's bytes as they came,
and the way in for a picture that a person brings.

Server-sent events and plain files, because a picture that is pushed as an address and fetched as a
file reaches the screen sooner, and unchanged, and because a stream can be joined again after a
reload: it starts with the present state of every job.
"""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

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
from compare.records import Run
from compare.runs.broadcast import UnknownRun
from compare.runs.runner import Runner
from ui.board.renderer import Renderer
from ui.board.variants import look
from ui.context import Context

# A picture's name is the hash of its bytes: what was fetched once never changes.
FOR_EVER = {"Cache-Control": "private, max-age=31536000, immutable"}
MOST_BYTES = 50_000_000
LIVE = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def routes(context: Context, renderer: Renderer) -> list[BaseRoute]:
    """Return the routes to serve beside Gradio's."""

    async def picture(request: Request) -> Response:
        lineup = await context.lineup()
        sha256 = request.path_params["name"].partition(".")[0]
        path = lineup.store.picture_path(sha256)
        if path is None:
            return PlainTextResponse("There is no such picture here.", status_code=404)
        return FileResponse(path, headers=FOR_EVER)

    async def hand(request: Request) -> Response:
        runner = (await context.lineup()).runner
        data = bytearray()
        async for part in request.stream():
            data += part
            if len(data) > MOST_BYTES:
                return PlainTextResponse("That file is larger than 50 MB.", status_code=413)
        asked = request.path_params
        try:
            await runner.submit_picture(asked["run_id"], asked["job_id"], bytes(data))
        except (BackendError, UnknownRun) as error:
            return PlainTextResponse(str(error), status_code=422)
        return Response(status_code=204)

    async def events(request: Request) -> Response:
        runner = (await context.lineup()).runner
        run = await runner.get(request.path_params["run_id"])
        if run is None:
            return PlainTextResponse("There is no such run here.", status_code=404)
        return StreamingResponse(stream(runner, run), media_type="text/event-stream", headers=LIVE)

    async def batch(request: Request) -> Response:
        """Say how the variants of a run's prompt stand, for the strip above the board."""
        runs = await (await context.lineup()).runner.batch(request.path_params["run_id"])
        return JSONResponse({run.id: look(run) for run in runs}, headers=LIVE)

    async def stream(runner: Runner, run: Run) -> AsyncGenerator[str, None]:
        async with aclosing(runner.watch(run.id)) as jobs:
            async for job in jobs:
                # A second step's card tells of the first one too, as that stands by now.
                now = await runner.get(run.id) or run
                data = json.dumps(dict(renderer.update(now, job)))
                yield f"event: job\ndata: {data}\n\n"
        yield "event: end\ndata: {}\n\n"

    return [
        Route("/lineup/pictures/{name}", picture),
        Route("/lineup/runs/{run_id}/events", events),
        Route("/lineup/runs/{run_id}/batch", batch),
        Route("/lineup/runs/{run_id}/jobs/{job_id}/picture", hand, methods=["POST"]),
    ]
