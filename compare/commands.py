"""The commands: run, models, history. What is said goes to standard error, results to output."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from backends.base import Request
from backends.errors import Outcome
from compare import ask, present
from compare.check import problems
from compare.entries import BadEntry
from compare.faults import StoreError
from compare.lineup import Lineup, build, open_lineup
from compare.records import Run
from compare.runner import Runner
from compare.settings import Settings, SettingsError

Result = TypeVar("Result")

USAGE = 2
INTERRUPTED = 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="One prompt, every text-to-image model, side by side.",
)
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value and nothing else.")]


@app.command("run")
def run(
    prompt: Annotated[str, typer.Argument(help="What to draw; - reads standard input.")],
    models: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="A model's id; give it once for each.")
    ] = None,
    negative: Annotated[str, typer.Option(help="What not to draw.")] = "",
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT in pixels.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of drawing.")] = None,
    guidance: Annotated[float | None, typer.Option(help="How closely to follow.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same for all models.")] = None,
    count: Annotated[int, typer.Option(help="Pictures from each model.")] = 1,
    control: Annotated[Path | None, typer.Option(help="A picture that steers the shape.")] = None,
    preprocessor: Annotated[str, typer.Option(help="The map to make of it; none for a map.")] = (
        "canny"
    ),
    weight: Annotated[float, typer.Option(help="How much the control counts.")] = 1.0,
    start: Annotated[float, typer.Option(help="From which fraction of the steps.")] = 0.0,
    end: Annotated[float, typer.Option(help="To which fraction of the steps.")] = 1.0,
    option: Annotated[list[str] | None, typer.Option(help="A backend's own: NAME.KEY=VALUE.")] = (
        None
    ),
    as_json: AsJson = False,
) -> None:
    """Draw one prompt with several models at the same time."""
    try:
        width, height = ask.size(size)
        request = Request(
            prompt=ask.prompt(prompt),
            negative_prompt=negative,
            width=width,
            height=height,
            num_inference_steps=steps,
            guidance_scale=guidance,
            seed=seed,
            count=count,
            control=ask.control(
                control, preprocessor=preprocessor, weight=weight, start=start, end=end
            ),
            options=ask.options(option or ()),
        )
    except ask.BadWord as error:
        _give_up(str(error))
    finished, interrupted = _do(_run(request, models or [], as_json))
    if interrupted:
        raise typer.Exit(INTERRUPTED)
    if any(job.outcome is not Outcome.DONE for job in finished.jobs):
        raise typer.Exit(1)


@app.command("models")
def list_models(as_json: AsJson = False) -> None:
    """List the models, whether they can run now, and what a picture costs."""

    async def gather() -> None:
        lineup = build(_settings())
        try:
            rows = [present.ModelRow.of(model, lineup.runner) for model in lineup.catalogue.models]
        finally:
            await lineup.aclose()
        present.models(rows, as_json=as_json)

    _do(gather())


@app.command("history")
def history(
    limit: Annotated[int, typer.Option(help="How many runs, newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the latest runs."""

    async def gather() -> None:
        async with open_lineup(_settings()) as lineup:
            runs = await lineup.store.recent(max(1, limit))
        present.history(runs, lineup.settings.home, as_json=as_json)

    _do(gather())


async def _run(request: Request, models: list[str], as_json: bool) -> tuple[Run, bool]:
    lineup = build(_settings())
    if wrong := problems(request, models, lineup.catalogue):
        await lineup.aclose()
        _give_up("\n".join(wrong.values()))
    try:
        await lineup.open()
        begun = await lineup.runner.start(request, models)
        interrupted = await _follow(lineup, begun)
        finished = await lineup.runner.get(begun.id) or begun
    finally:
        await lineup.aclose()
    present.run(finished, lineup.settings.home, as_json=as_json)
    return finished, interrupted


async def _follow(lineup: Lineup, begun: Run) -> bool:
    """Show the run until it has ended; True when it was ended by Ctrl-C."""
    runner: Runner = lineup.runner
    labels = {job.id: runner.model(job.model).label for job in begun.jobs}
    with present.Board(begun.jobs, labels) as board:
        try:
            async for job in runner.watch(begun.id):
                board.show(job)
        except asyncio.CancelledError:
            board.say("Stopping …")
            await runner.stop(begun.id)
            return True
    return False


def _settings() -> Settings:
    return Settings.read()


def _do(work: Coroutine[Any, Any, Result]) -> Result:
    try:
        return asyncio.run(work)
    except (StoreError, SettingsError, BadEntry) as error:
        _give_up(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _give_up(sentence: str) -> NoReturn:
    typer.echo(sentence, err=True)
    raise typer.Exit(USAGE)
