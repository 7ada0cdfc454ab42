"""The commands run, models and history: results on standard output, messages on standard error."""

import asyncio
import signal
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from backends.base import Request
from backends.errors import BackendError, Outcome
from compare.catalogue.availability import Availability
from compare.catalogue.forecast import prompt_hints
from compare.catalogue.listing import lines, markdown
from compare.catalogue.toml_reader import CatalogueError
from compare.cli import arguments, output
from compare.lineup import Lineup, build, open_lineup
from compare.prompts.template import holds_variants
from compare.records import Job, Run, RunSpec
from compare.redaction import redact_logs
from compare.runs.budget import OverBudget
from compare.runs.second_step import parent_of
from compare.runs.validation import problems
from compare.settings import Settings, SettingsError
from compare.store.errors import StoreError

Result = TypeVar("Result")

USAGE = 2
INTERRUPTED = 130
ENDING_SIGNALS = ("SIGTERM", "SIGHUP")
"""Signals that end a command as Ctrl-C does, where the system has them and does not ignore them."""

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
    control: Annotated[
        list[Path] | None,
        typer.Option(help="A picture that steers the shape; give it once for each."),
    ] = None,
    preprocessor: Annotated[
        list[str] | None,
        typer.Option(
            help="The map to make of it, canny if left out; none for a map. As all that "
            "is a control's: once for all of them, or once for each in their order."
        ),
    ] = None,
    weight: Annotated[list[float] | None, typer.Option(help="How much the control counts.")] = None,
    start: Annotated[
        list[float] | None, typer.Option(help="From which fraction of the steps.")
    ] = None,
    end: Annotated[list[float] | None, typer.Option(help="To which fraction of the steps.")] = None,
    image: Annotated[Path | None, typer.Option(help="A picture to start from.")] = None,
    strength: Annotated[
        float | None, typer.Option(help="How much of a start picture is drawn anew: 0.01 to 1.")
    ] = None,
    then: Annotated[
        str | None, typer.Option(help="A second model that goes on from each picture.")
    ] = None,
    then_prompt: Annotated[str, typer.Option(help="Its prompt; the same when left out.")] = "",
    then_option: Annotated[
        list[str] | None, typer.Option(help="NAME.KEY=VALUE for the second step alone.")
    ] = None,
    variants: Annotated[
        str | None, typer.Option(help="A run for each {a|b} and __wildcard__: all, or how many.")
    ] = None,
    rewrite: Annotated[
        str | None, typer.Option(help="A chat model that rewrites the prompt: openai:gpt-5.4-mini.")
    ] = None,
    option: Annotated[list[str] | None, typer.Option(help="A backend's own: NAME.KEY=VALUE.")] = (
        None
    ),
    as_json: AsJson = False,
) -> None:
    """Draw one prompt with several models at the same time."""
    try:
        width, height = arguments.parse_size(size)
        request = Request(
            prompt=arguments.read_prompt(prompt),
            negative_prompt=negative,
            width=width,
            height=height,
            num_inference_steps=steps,
            guidance_scale=guidance,
            seed=seed,
            count=count,
            controls=arguments.read_controls(
                control or (),
                preprocessor=preprocessor or ("canny",),
                weight=weight or (1.0,),
                start=start or (0.0,),
                end=end or (1.0,),
            ),
            image=arguments.read_start_picture(image),
            strength=strength,
            options=arguments.parse_options(option or ()),
        )
        second_step = arguments.parse_second_step(
            then, prompt=then_prompt, strength=strength, own=then_option or ()
        )
    except arguments.BadArgument as error:
        _exit_with(str(error))
    run_options = RunOptions(models or [], variants, rewrite)
    finished, interrupted = _run_async(
        _run(RunSpec(request, second_step=second_step), run_options, as_json)
    )
    if interrupted:
        raise typer.Exit(INTERRUPTED)
    if any(job.outcome is not Outcome.DONE for run in finished for job in run.jobs):
        raise typer.Exit(1)


@app.command("models")
def list_models(
    as_json: AsJson = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the README's table.")
    ] = False,
) -> None:
    """List the models, whether they can run now, what a picture costs and takes here."""

    async def gather() -> None:
        lineup = build(_settings())
        try:
            if lineup.settings.home.exists() and not as_markdown:
                await lineup.open()  # for the typical seconds of each model
            listed = lines(lineup.catalogue, lineup.availability)
        finally:
            await lineup.aclose()
        if as_markdown:
            typer.echo(markdown(listed), nl=False)
        else:
            output.models(listed, as_json=as_json)

    _run_async(gather())


@app.command("history")
def history(
    limit: Annotated[int, typer.Option(help="How many runs, newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the latest runs."""

    async def gather() -> None:
        async with open_lineup(_settings()) as lineup:
            runs = await lineup.store.recent(max(1, limit))
        output.history(runs, lineup.settings.home, as_json=as_json)

    _run_async(gather())


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The models of a run, the choice of variants, and the chat model that rewrites the prompt."""

    models: list[str]
    variants: str | None
    rewrite: str | None


async def _run(spec: RunSpec, run_options: RunOptions, as_json: bool) -> tuple[list[Run], bool]:
    lineup = build(_settings())
    try:
        specs = _specs(lineup, spec, run_options)  # invalid requests exit before money is spent
        await lineup.open()
        if run_options.rewrite is not None:
            rewritten = await lineup.rewriter.rewrite(spec.request.prompt, run_options.rewrite)
            output.rewritten(rewritten)
            specs = _specs(lineup, rewritten.apply(spec), run_options)
        if run_options.variants is None and holds_variants(specs[0].request.prompt):
            typer.echo("The prompt is drawn as it is; --variants all draws each variant.", err=True)
        longest = max((each.request for each in specs), key=lambda request: len(request.prompt))
        for hint in prompt_hints(lineup.availability, longest, run_options.models):
            typer.echo(hint, err=True)
        starting = asyncio.ensure_future(lineup.runner.start_all(specs, run_options.models))
        try:
            begun = await asyncio.shield(starting)
            interrupted = await _follow(lineup, begun)
        except asyncio.CancelledError:  # while they were being started
            begun, interrupted = await starting, True
            await _stop(lineup, begun)
        finished = [await lineup.runner.get(run.id) or run for run in begun]
    finally:
        await lineup.aclose()
    output.runs(finished, lineup.settings.home, as_json=as_json)
    return finished, interrupted


def _specs(lineup: Lineup, spec: RunSpec, run_options: RunOptions) -> tuple[RunSpec, ...]:
    """Return a spec for each variant, or exit with the problems of the request."""
    specs = arguments.expand_variants(run_options.variants, spec, lineup.settings.home)
    wrong: dict[str, str] = {}
    for each in specs:
        wrong |= problems(each, run_options.models, lineup.catalogue)
    if wrong:
        _exit_with("\n".join(wrong.values()))
    return specs


async def _follow(lineup: Lineup, begun: Sequence[Run]) -> bool:
    """Show the runs until they have ended; return True if they were stopped."""
    runner = lineup.runner
    jobs = [job for run in begun for job in run.jobs]
    with output.LiveTable(jobs, _labels(lineup.availability, begun)) as board:

        async def follow(run: Run) -> None:
            async for job in runner.watch(run.id):
                board.show(job)

        try:
            await asyncio.gather(*map(follow, begun))
        except asyncio.CancelledError:
            board.show_message("Stopping …")
            await _stop(lineup, begun)
            return True
    return False


async def _stop(lineup: Lineup, begun: Sequence[Run]) -> None:
    await asyncio.gather(*(lineup.runner.stop(run.id) for run in begun))


def _labels(availability: Availability, begun: Sequence[Run]) -> dict[str, str]:
    """Return each job's label: its model, and the number of its variant if there are several."""
    return {
        job.id: (f"{number}. " if len(begun) > 1 else "") + _label(availability, run, job)
        for number, run in enumerate(begun, start=1)
        for job in run.jobs
    }


def _label(availability: Availability, run: Run, job: Job) -> str:
    label, parent = availability.model(job.model).label, parent_of(job, run.jobs)
    return label if parent is None else f"{label} from {availability.model(parent.model).label}"


def _settings() -> Settings:
    settings = Settings.read()
    redact_logs(settings.hide)
    return settings


def _run_async(work: Coroutine[Any, Any, Result]) -> Result:
    try:
        return asyncio.run(_until_ended(work))
    except (
        StoreError,
        SettingsError,
        CatalogueError,
        OverBudget,
        arguments.BadArgument,
        BackendError,
    ) as error:
        _exit_with(str(error))
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(INTERRUPTED) from None


async def _until_ended(work: Coroutine[Any, Any, Result]) -> Result:
    """Do `work`, which the first of `ENDING_SIGNALS` cancels, as `asyncio.run` does at Ctrl-C.

    They come from whoever wants a process to end: a service manager, `docker stop`, `timeout`, a
    terminal that is closed. Later ones change nothing, not even after this has returned: the
    command takes back what it can, prints its result and ends.
    """
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    is_ending = False

    def end(_number: int, _frame: object) -> None:
        nonlocal is_ending
        if not is_ending:
            is_ending = True
            loop.call_soon_threadsafe(task.cancel)

    numbers = [number for name in ENDING_SIGNALS if (number := getattr(signal, name, None))]
    handled = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    with suppress(ValueError):  # only the main thread has signals
        for number in handled:
            signal.signal(number, end)
    try:
        return await work
    finally:
        # The interpreter undoes handlers when it ends, but lets a signal stay ignored.
        with suppress(ValueError):
            for number in handled:
                signal.signal(number, signal.SIG_IGN if is_ending else signal.SIG_DFL)


def _exit_with(sentence: str) -> NoReturn:
    typer.echo(sentence, err=True)
    raise typer.Exit(USAGE)
