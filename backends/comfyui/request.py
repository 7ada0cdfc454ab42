"""Build the request to a ComfyUI server: the options, and a workflow filled from a `Request`."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from backends.base import Applied, Config, Control, Model, Request, Value
from backends.comfyui import library
from backends.comfyui.lora import IN_NEGATIVE, Lora, parse_loras, reads_tags, with_loras
from backends.comfyui.placeholders import (
    COUNT,
    GUIDANCE,
    HEIGHT,
    NEGATIVE_PROMPT,
    PROMPT,
    SAMPLER,
    SCHEDULER,
    SEED,
    STEPS,
    STRENGTH,
    WIDTH,
    Placeholder,
)
from backends.comfyui.workflow import NOT_EXPORTED, SEEDS, Graph, Workflow, bypass
from backends.fit import fit
from backends.http.self_hosted import SelfHostedServer
from backends.options import option, parse_options
from backends.prompt_syntax import Syntax

SYNTAX: Final = frozenset({Syntax.LORA, Syntax.WEIGHTS})
"""The notations in prompts that it understands."""

FIRST_CHECKPOINT = "first"
"""The source of the model that stands for the first checkpoint in the server's list."""

EXAMPLE_URL = "http://127.0.0.1:8188"
NO_URL = (
    "Set COMFYUI_URL to the address of your ComfyUI server, for example "
    f"{EXAMPLE_URL}, and start that."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Options of this backend; an empty one keeps the workflow's value."""

    sampler: str = option(
        "",
        label="Sampler",
        help="As ComfyUI calls it, for example dpmpp_2m. Empty: the workflow's own.",
    )
    scheduler: str = option(
        "",
        label="Scheduler",
        help="As ComfyUI calls it, for example karras. Empty: the workflow's own.",
    )
    control_model: str = option(
        "",
        label="ControlNet model",
        help="As the server calls it. Empty: the one that fits the preprocessor by name. "
        "For several control pictures one name each, with commas.",
    )


@dataclass(kw_only=True, slots=True)
class ApiRequest:
    """One job: a workflow, the values of its placeholders, and the seed of each prompt to post.

    `controls` are those of the request, by their names in `honoured`, in the order of the
    workflow's control pictures. `bypassed_nodes` are the ids of nodes to leave out,
    `loras` are those that the prompt names, looked up on the server by `resolve_names`,
    `is_user_workflow` says that the workflow is the user's and not one that ships with Lineup.
    """

    model: Model
    workflow: Workflow
    is_user_workflow: bool
    request: Request = field(repr=False)
    controls: Mapping[str, Control] = field(repr=False)
    options: Options
    values: dict[Placeholder, Value] = field(repr=False)
    bypassed_nodes: list[str]
    loras: tuple[Lora, ...]
    seeds: tuple[int | None, ...]
    honoured: dict[str, Applied]
    client_id: str

    def build_graph(self, seed: int | None) -> Graph:
        """Return the workflow as it is posted, with `seed` set."""
        graph = self.workflow.fill({**self.values, SEED: seed})
        return with_loras(bypass(graph, self.bypassed_nodes), self.loras)


def server_from_config(config: Config) -> SelfHostedServer:
    """Return the server named by the settings.

    Raises:
        NotReady: COMFYUI_URL is missing or invalid.
    """
    server = SelfHostedServer.from_config(config, "COMFYUI", example=EXAMPLE_URL, unset=NO_URL)
    return replace(server, url=server.url.removesuffix("/api"))


def build_request(model: Model, request: Request, home: Path) -> ApiRequest:
    """Fill the workflow of `model` from `request`; names on the server are resolved later.

    It reads files: call it in a thread.

    Raises:
        BadInput: the request does not fit the model, or the workflow cannot be used.
    """
    user_workflow = (
        None if model.source == FIRST_CHECKPOINT else library.user_workflow(home, model.source)
    )
    if user_workflow is not None:
        model = library.as_model(model, user_workflow)
    result = fit(model, request, syntax=SYNTAX)
    fitted, honoured = result.request, result.honoured
    options, ignored = parse_options(Options, request.options.get("comfyui", {}), "ComfyUI")
    workflow = user_workflow or library.shipped_workflow(
        controls=len(fitted.controls), start=fitted.image is not None
    )
    prompt, loras = parse_loras(fitted.prompt)
    if loras and reads_tags(workflow):
        prompt = fitted.prompt
    negative_prompt, unwanted = parse_loras(fitted.negative_prompt)
    if unwanted:
        honoured["negative_loras"] = Applied(", ".join(map(str, unwanted)), None, IN_NEGATIVE)
    if user_workflow is not None:
        _explain_missing_places(workflow, honoured)
    seeds, batch = _plan_seeds(workflow, fitted)
    if "seed" in honoured or seeds[0] is not None:
        honoured["seed"] = replace(honoured.get("seed", Applied(None, None)), used=seeds[0])
    return ApiRequest(
        model=model,
        workflow=workflow,
        is_user_workflow=user_workflow is not None,
        request=fitted,
        controls=result.controls,
        options=options,
        values={
            PROMPT: prompt,
            NEGATIVE_PROMPT: negative_prompt,
            WIDTH: fitted.width,
            HEIGHT: fitted.height,
            COUNT: batch,
            STEPS: fitted.num_inference_steps,
            GUIDANCE: fitted.guidance_scale,
            STRENGTH: fitted.strength,
            SAMPLER: options.sampler or None,
            SCHEDULER: options.scheduler or None,
        },
        bypassed_nodes=[],
        loras=loras,
        seeds=seeds,
        honoured=honoured | ignored | _apply_samplers(workflow, options),
        client_id=secrets.token_hex(16),
    )


def _explain_missing_places(workflow: Workflow, honoured: dict[str, Applied]) -> None:
    """Add a note on marks that are lost in the export, where an input was ignored for no mark."""
    ignored = [name for name, applied in honoured.items() if "ignored: " in applied.note]
    if ignored:
        names = ", ".join(name.replace("num_inference_", "").replace("_", " ") for name in ignored)
        note = f"no mark for {names}. {NOT_EXPORTED}"
        honoured["marks"] = Applied(None, None, note)


def _plan_seeds(workflow: Workflow, fitted: Request) -> tuple[tuple[int | None, ...], int]:
    """Return the seed of each prompt, and the number of pictures of each prompt.

    The pictures of a batch share one seed and cannot be drawn again one by one. So each picture is
    a prompt with its own seed, unless the workflow has no placeholder for the seed.
    """
    if SEED not in workflow.placeholders:
        return (None,), fitted.count
    first = secrets.randbelow(2**32) if fitted.seed is None else fitted.seed
    return tuple((first + number) % SEEDS for number in range(fitted.count)), 1


def _apply_samplers(workflow: Workflow, options: Options) -> dict[str, Applied]:
    """Return what becomes of the options `sampler` and `scheduler` where they are set."""
    chosen = {SAMPLER: options.sampler, SCHEDULER: options.scheduler}
    return {
        placeholder.name: Applied(value, value)
        if placeholder in workflow.placeholders
        else Applied(value, None, f"{placeholder} ignored: the workflow has no place for it")
        for placeholder, value in chosen.items()
        if value
    }
