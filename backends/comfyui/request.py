"""What is asked of a ComfyUI server: the options, and a workflow filled with a request."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from backends.base import Applied, Config, Control, Model, Request, Value
from backends.comfyui import library
from backends.comfyui.workflow import Graph, Workflow, bypass
from backends.fit import fit
from backends.http.self_hosted import SelfHostedServer
from backends.options import option, parse_options

FIRST_CHECKPOINT = "first"
"""The source of the model that stands for the first checkpoint that the server lists."""

EXAMPLE_URL = "http://127.0.0.1:8188"
NO_URL = f"Set COMFYUI_URL to the address of your ComfyUI server, for example {EXAMPLE_URL}, and start that."


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Settings of this backend alone; empty means the workflow's own."""

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


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiRequest:
    """One job: a workflow, what goes into its places, and the seed of each prompt that is posted.

    `controls` are the request's, by their names in `honoured`, the first for the workflow's first
    place. `bypassed` names the nodes that are left out, `own` says whether the workflow is the
    user's.
    """

    model: Model
    workflow: Workflow
    is_user_workflow: bool
    request: Request = field(repr=False)
    controls: Mapping[str, Control] = field(repr=False)
    options: Options
    values: dict[str, Value] = field(repr=False)
    bypassed_nodes: list[str]
    seeds: tuple[int | None, ...]
    honoured: dict[str, Applied]
    client_id: str

    def build_graph(self, seed: int | None) -> Graph:
        """Return the workflow as it is posted."""
        graph = self.workflow.fill({**self.values, "seed": seed})
        return bypass(graph, self.bypassed_nodes)


def server_from_config(config: Config) -> SelfHostedServer:
    """Return the server of the settings.

    Raises:
        NotReady: there is no address, or it makes no sense.
    """
    found = SelfHostedServer.from_config(config, "COMFYUI", example=EXAMPLE_URL, unset=NO_URL)
    return replace(found, url=found.url.removesuffix("/api"))


def build_request(model: Model, request: Request, home: Path) -> ApiRequest:
    """Put `request` into the workflow of `model`, all but what must first be looked up.

    It reads files: call it in a thread.

    Raises:
        BadInput: nothing sensible can be made of the request or the workflow.
    """
    own = None if model.source == FIRST_CHECKPOINT else library.user_workflow(home, model.source)
    if own is not None:
        model = library.as_model(model, own)
    fitted = fit(model, request)
    asked, honoured = fitted.request, fitted.honoured
    options, ignored = parse_options(Options, request.options.get("comfyui", {}), "ComfyUI")
    workflow = own or library.shipped_workflow(
        controls=len(asked.controls), start=asked.image is not None
    )
    seeds, batch = _plan_seeds(workflow, asked)
    if "seed" in honoured or seeds[0] is not None:
        honoured["seed"] = replace(honoured.get("seed", Applied(None, None)), used=seeds[0])
    return ApiRequest(
        model=model,
        workflow=workflow,
        is_user_workflow=own is not None,
        request=asked,
        controls=fitted.controls,
        options=options,
        values={
            "prompt": asked.prompt,
            "negative prompt": asked.negative_prompt,
            "width": asked.width,
            "height": asked.height,
            "count": batch,
            "steps": asked.num_inference_steps,
            "guidance": asked.guidance_scale,
            "strength": asked.strength,
            "sampler": options.sampler or None,
            "scheduler": options.scheduler or None,
        },
        bypassed_nodes=[],
        seeds=seeds,
        honoured=honoured | ignored | _apply_samplers(workflow, options),
        client_id=secrets.token_hex(16),
    )


def _plan_seeds(workflow: Workflow, asked: Request) -> tuple[tuple[int | None, ...], int]:
    """The seed of each prompt, and how many pictures each prompt makes.

    The pictures of a batch share one seed and cannot be drawn again one by one. So each picture is
    a prompt with a seed of its own, unless the workflow has no place for seeds.
    """
    if "seed" not in workflow.placeholders:
        return (None,), asked.count
    first = secrets.randbelow(2**32) if asked.seed is None else asked.seed
    return tuple(first + number for number in range(asked.count)), 1


def _apply_samplers(workflow: Workflow, options: Options) -> dict[str, Applied]:
    chosen: Mapping[str, str] = {"sampler": options.sampler, "scheduler": options.scheduler}
    return {
        name: Applied(value, value)
        if name in workflow.placeholders
        else Applied(value, None, f"{name} ignored: the workflow has no place for it")
        for name, value in chosen.items()
        if value
    }
