"""Latent diffusion and flow: whatever diffusers tells apart by itself.

Stable Diffusion 1.x, 2.x, XL and 3.x, PixArt, Sana, FLUX.1 and FLUX.2, Qwen-Image, Z-Image and
their kin: a denoiser in the space of an autoencoder, with `callback_on_step_end`.
"""

import importlib
import inspect
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import diffusers
import torch
from diffusers.loaders import single_file_utils
from diffusers.loaders.single_file_utils import SingleFileComponentError
from diffusers.pipelines.auto_pipeline import (
    AutoPipelineForImage2Image,
    AutoPipelineForText2Image,
)
from diffusers.pipelines.pipeline_utils import DiffusionPipeline

from backends.base import Event
from backends.errors import BadInput, MissingWeights
from backends.local.errors import ran_out_of_memory
from backends.local.families.base import Family, from_folder
from backends.local.families.pipeline_call import LegacyPipelineCall, PipelineCall
from backends.local.families.preview import LatentPreview, fit, own_map
from backends.local.job import LocalJob, ModelSpec
from backends.local.memory.devices import Device
from backends.local.weights.sources import Kind, locate, snapshot, weights_fault

# To RGB from -1 to 1, for Stable Diffusion 1 and 2, as found by keturn:
# https://discuss.huggingface.co/t/decoding-latents-to-rgb-without-upscaling/23204
_STABLE_DIFFUSION = (
    (0.298, 0.207, 0.208),
    (0.187, 0.286, 0.173),
    (-0.158, 0.189, 0.264),
    (-0.184, -0.271, -0.473),
)

_LORA = re.compile(r"\.(lora_down|lora_up|lora_A|lora_B|lora\.down)\b")


class Latent(Family):
    """Every family that diffusers' auto-detection gives, and single-file checkpoints."""

    def load(self, path: Path, recipe: ModelSpec, dtype: torch.dtype, device: Device) -> Any:
        """Read a folder or a single file."""
        if path.is_file():
            return _from_file(path, recipe, dtype)
        return from_folder(path, recipe.variant, dtype, device)

    def pipeline_call(
        self,
        pipeline: Any,
        look: LatentPreview | None,
        work: LocalJob,
        emit: Callable[[Event], None],
    ) -> PipelineCall:
        """One that knows how latents are packed, or is of the pipeline's older style."""
        new = "callback_on_step_end" in inspect.signature(pipeline.__call__).parameters
        return (_LatentCall if new else LegacyPipelineCall)(pipeline, look, work, emit)

    def with_controlnets(self, pipeline: Any, nets: Sequence[Any], label: str) -> Any:
        """The ControlNet form of `pipeline`, where diffusers has one."""
        steered = _steered(pipeline, nets)
        if steered is None and len(nets) > 1 and _steered(pipeline, nets[:1]) is not None:
            raise BadInput(
                f"{label} follows one control picture at a time: diffusers steers this kind of "
                "model by one ControlNet. Take the others away."
            )
        if steered is None:
            return super().with_controlnets(pipeline, nets, label)  # which refuses
        steered.set_progress_bar_config(disable=True)
        return steered

    def with_init_image(self, pipeline: Any, label: str) -> Any:
        """The image-to-image form of `pipeline`, where diffusers has one."""
        try:
            started: Any = AutoPipelineForImage2Image.from_pipe(pipeline)
        except (ValueError, AttributeError, TypeError):
            return super().with_init_image(pipeline, label)
        started.set_progress_bar_config(disable=True)
        return started

    def _latent_preview(self, pipeline: Any, folder: Path | None) -> LatentPreview | None:
        """The folder's own map, the known one, or a fitted one."""
        own = own_map(folder)
        vae = getattr(pipeline, "vae", None)
        if own is not None or vae is None:
            return own
        if (vae.config.latent_channels, vae.config.scaling_factor) == (4, 0.18215):
            return LatentPreview(torch.tensor(_STABLE_DIFFUSION) / 2, torch.full((3,), 0.5))
        return fit(int(vae.config.latent_channels), lambda noise: _decode(vae, noise))


def _steered(pipeline: Any, nets: Sequence[Any]) -> Any | None:
    """The form for these ControlNets, None where there is none.

    Pipelines that take several put them into one model, which calls them `nets`.
    """
    try:
        steered: Any = AutoPipelineForText2Image.from_pipe(
            pipeline, controlnet=list(nets) if len(nets) > 1 else nets[0]
        )
    except (ValueError, AttributeError, TypeError):
        return None
    held: Any = getattr(steered, "controlnet", None)
    found: list[Any] = list(getattr(held, "nets", [held]))
    return steered if [id(net) for net in found] == [id(net) for net in nets] else None


class _LatentCall(PipelineCall):
    def _keyword_arguments(self) -> dict[str, Any]:
        """Qwen-Image calls the usual guidance `true_cfg_scale`, and leads away from some words."""
        words, takes = super()._keyword_arguments(), self._parameters
        distilled = takes.get("guidance_scale")
        if "true_cfg_scale" in takes and distilled is not None and distilled.default is None:
            if "guidance_scale" in words:
                words["true_cfg_scale"] = words.pop("guidance_scale")
            words.setdefault("negative_prompt", " ")  # or it takes no guidance at all
        return words

    def _grid(self, latents: torch.Tensor) -> torch.Tensor:
        """The latents of the first picture as (channels, height, width)."""
        latents = latents[:1]
        if latents.ndim == 3:  # Flux and its kin pack 2x2 patches
            request, pipeline = self._work.request, self._pipeline
            latents = pipeline._unpack_latents(
                latents, request.height, request.width, pipeline.vae_scale_factor
            )
        return latents[0, :, 0] if latents.ndim == 5 else latents[0]


def _from_file(path: Path, recipe: ModelSpec, dtype: torch.dtype) -> Any:
    """Read a checkpoint in one file; what kind of model it is, diffusers tells by its weights."""
    config = _layout(path, recipe)
    try:
        index = cast(dict[str, Any], DiffusionPipeline.load_config(config))
    except OSError as error:
        raise MissingWeights(
            f"{recipe.label} is a single file, and the settings of its kind of model are not on "
            f"this machine ({_named(config)}). Connect to the internet for one run, or name the "
            "folder of a model of the same kind under 'Layout of a single file'."
        ) from error
    kind: Any = getattr(diffusers, str(index["_class_name"]))
    parts: dict[str, Any] = {}
    while True:
        try:
            return kind.from_single_file(str(path), config=config, dtype=dtype, **parts)
        except SingleFileComponentError as error:
            name = _lacking(error)
            if name in parts or name not in index:
                raise
            parts[name] = _from_beside(config, name, index[name], recipe, dtype)
        except (RuntimeError, ValueError, KeyError) as error:
            if ran_out_of_memory(error):
                raise
            logging.getLogger(__name__).info("%s is no %s", recipe.label, config, exc_info=error)
            raise BadInput(
                f"The weights in the file of {recipe.label} are not those of {_named(config)}. "
                "Name the folder or Hub id of a model of its kind under 'Layout of a single file'."
            ) from error


def _from_beside(
    config: str, name: str, kind: list[str], recipe: ModelSpec, dtype: torch.dtype
) -> Any:
    """Read a part that the file lacks, as files do that hold a denoiser alone."""
    layout = locate(config)
    folder = snapshot(layout.id) if layout.kind is Kind.HUB else layout.path
    part = folder / name if folder else None
    if part is None or not part.is_dir() or weights_fault(part, recipe.label):
        raise MissingWeights(
            f"The file of {recipe.label} is not a whole model: it has no {name.replace('_', ' ')}. "
            "Name a folder or Hub id with all the weights under 'Layout of a single file', or take "
            "a file with everything in it."
        )
    library: Any = importlib.import_module(kind[0])
    return getattr(library, kind[1]).from_pretrained(
        str(part), dtype=dtype, use_safetensors=True, local_files_only=True
    )


def _layout(path: Path, recipe: ModelSpec) -> str:
    """The folder or Hub id that holds the settings of the model in the file at `path`."""
    if recipe.config:
        layout = locate(recipe.config)
        return layout.id if layout.kind is Kind.HUB else str(layout.path)
    checkpoint = single_file_utils.load_single_file_checkpoint(str(path))
    if lora := next((name for name in checkpoint if _LORA.search(name)), ""):
        raise BadInput(
            f"{recipe.label} is a LoRA, not a model ({lora}). Choose the model that it was made "
            "for, and name the file under LoRAs."
        )
    config = single_file_utils.fetch_diffusers_config(checkpoint)
    return str(config["pretrained_model_name_or_path"])


def _named(config: str) -> str:
    """A Hub id as it is, a folder by its name alone."""
    return config if locate(config).kind is Kind.HUB else Path(config).name


def _lacking(error: Exception) -> str:
    """The name of the part that diffusers missed."""
    match = re.search(r"^(\w+) = ", str(error), re.MULTILINE)
    return match[1] if match else ""


def _decode(vae: Any, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    shift = float(getattr(vae.config, "shift_factor", None) or 0.0)
    scaled = noise / float(vae.config.scaling_factor) + shift
    picture: torch.Tensor = vae.decode(scaled.to(vae.device, vae.dtype), return_dict=False)[0]
    return noise, picture / 2 + 0.5
