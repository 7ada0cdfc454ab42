"""Two addresses beside Gradio's: a run's events as they happen, and a picture's bytes as they came.

Server-sent events and plain files, because a picture that is pushed as an address and fetched as a
file reaches the screen sooner, and unchanged, and because a stream can be joined again after a
reload: it starts with the present state of every job.
"""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from compare.records import Run
from compare.runner import Runner
from ui.board import Renderer
from ui.context import Context

# A picture's name is the hash of its bytes: what was fetched once never changes.
FOR_EVER = {"Cache-Control": "private, max-age=31536000, immutable"}
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

    async def events(request: Request) -> Response:
        runner = (await context.lineup()).runner
        run = await runner.get(request.path_params["run_id"])
        if run is None:
            return PlainTextResponse("There is no such run here.", status_code=404)
        return StreamingResponse(stream(runner, run), media_type="text/event-stream", headers=LIVE)

    async def stream(runner: Runner, run: Run) -> AsyncGenerator[str, None]:
        async with aclosing(runner.watch(run.id)) as jobs:
            async for job in jobs:
                data = json.dumps(dict(renderer.update(run, job)))
                yield f"event: job\ndata: {data}\n\n"
        yield "event: end\ndata: {}\n\n"

    return [
        Route("/lineup/pictures/{name}", picture),
        Route("/lineup/runs/{run_id}/events", events),
    ]
