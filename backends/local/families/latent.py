"""Latent diffusion and flow models: every pipeline that diffusers detects by itself.

Stable Diffusion 1.x, 2.x, XL and 3.x, PixArt, Sana, FLUX.1 and FLUX.2, Qwen-Image, Z-Image and
similar models: a denoiser in the latent space of an autoencoder, with `callback_on_step_end`.
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
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler

from backends.base import Event
from backends.errors import BadInput, MissingWeights
from backends.local.errors import ran_out_of_memory
from backends.local.families.base import Family, from_folder
from backends.local.families.pipeline_call import LegacyPipelineCall, PipelineCall
from backends.local.families.preview import LatentPreview, fit_preview_map, load_preview_map
from backends.local.job import LocalJob, ModelSpec
from backends.local.memory.devices import Device
from backends.local.weights import contents
from backends.local.weights.headers import Header, read_header
from backends.local.weights.scaled import read_scaled
from backends.local.weights.sources import Kind, locate, snapshot, weights_fault
from backends.local.weights.validation import DENOISERS

# To RGB from -1 to 1, for Stable Diffusion 1 and 2, as found by keturn:
# https://discuss.huggingface.co/t/decoding-latents-to-rgb-without-upscaling/23204
_STABLE_DIFFUSION_RGB = (
    (0.298, 0.207, 0.208),
    (0.187, 0.286, 0.173),
    (-0.158, 0.189, 0.264),
    (-0.184, -0.271, -0.473),
)


class Latent(Family):
    """All pipelines that diffusers detects, and single-file checkpoints."""

    def load(self, path: Path, spec: ModelSpec, dtype: torch.dtype, device: Device) -> Any:
        """Load a folder or a single file."""
        if path.is_file():
            return _from_file(path, spec, dtype)
        return from_folder(path, spec.variant, dtype, device)

    def pipeline_call(
        self,
        pipeline: Any,
        latent_preview: LatentPreview | None,
        job: LocalJob,
        emit: Callable[[Event], None],
    ) -> PipelineCall:
        """Return a call that unpacks latents, or the legacy call for the legacy callback."""
        has_step_callback = (
            "callback_on_step_end" in inspect.signature(pipeline.__call__).parameters
        )
        return (_LatentCall if has_step_callback else LegacyPipelineCall)(
            pipeline, latent_preview, job, emit
        )

    def with_controlnets(self, pipeline: Any, controlnets: Sequence[Any], label: str) -> Any:
        """Return the ControlNet variant of `pipeline`, if diffusers has one."""
        controlled = _controlnet_pipeline(pipeline, controlnets)
        if (
            controlled is None
            and len(controlnets) > 1
            and _controlnet_pipeline(pipeline, controlnets[:1]) is not None
        ):
            raise BadInput(
                f"{label} follows one control picture at a time: diffusers steers this kind of "
                "model by one ControlNet. Take the others away."
            )
        if controlled is None:
            return super().with_controlnets(pipeline, controlnets, label)  # which refuses
        controlled.set_progress_bar_config(disable=True)
        return controlled

    def with_init_image(self, pipeline: Any, label: str) -> Any:
        """Return the image-to-image variant of `pipeline`, if diffusers has one."""
        try:
            image_to_image: Any = AutoPipelineForImage2Image.from_pipe(pipeline)
        except (ValueError, AttributeError, TypeError):
            return super().with_init_image(pipeline, label)
        image_to_image.set_progress_bar_config(disable=True)
        return image_to_image

    def _latent_preview(self, pipeline: Any, folder: Path | None) -> LatentPreview | None:
        """Return the map in the folder, the known one of Stable Diffusion, or a fitted one."""
        stored = load_preview_map(folder)
        vae = getattr(pipeline, "vae", None)
        if stored is not None or vae is None:
            return stored
        if (vae.config.latent_channels, vae.config.scaling_factor) == (4, 0.18215):
            return LatentPreview(torch.tensor(_STABLE_DIFFUSION_RGB) / 2, torch.full((3,), 0.5))
        return fit_preview_map(int(vae.config.latent_channels), lambda noise: _decode(vae, noise))


def _controlnet_pipeline(pipeline: Any, controlnets: Sequence[Any]) -> Any | None:
    """Return the variant of `pipeline` for these ControlNets, None if there is none.

    Pipelines that support several wrap them in one model, with the attribute `nets`.
    """
    try:
        controlled: Any = AutoPipelineForText2Image.from_pipe(
            pipeline, controlnet=list(controlnets) if len(controlnets) > 1 else controlnets[0]
        )
    except (ValueError, AttributeError, TypeError):
        return None
    controlnet: Any = getattr(controlled, "controlnet", None)
    loaded_controlnets: list[Any] = list(getattr(controlnet, "nets", [controlnet]))
    return (
        controlled
        if [id(net) for net in loaded_controlnets] == [id(net) for net in controlnets]
        else None
    )


class _LatentCall(PipelineCall):
    def _keyword_arguments(self) -> dict[str, Any]:
        """Rename the guidance of Qwen-Image to `true_cfg_scale`, which needs a negative prompt."""
        keywords, parameters = super()._keyword_arguments(), self._parameters
        distilled = parameters.get("guidance_scale")
        if "true_cfg_scale" in parameters and distilled is not None and distilled.default is None:
            if "guidance_scale" in keywords:
                keywords["true_cfg_scale"] = keywords.pop("guidance_scale")
            keywords.setdefault("negative_prompt", " ")  # without one there is no guidance
        return keywords

    def _grid(self, latents: torch.Tensor) -> torch.Tensor:
        """Return the latents of the first picture as (channels, height, width)."""
        latents = latents[:1]
        if latents.ndim == 3:  # Flux and similar models pack 2x2 patches
            request, pipeline = self._job.request, self._pipeline
            latents = pipeline._unpack_latents(
                latents, request.height, request.width, pipeline.vae_scale_factor
            )
        return latents[0, :, 0] if latents.ndim == 5 else latents[0]


def _from_file(path: Path, spec: ModelSpec, dtype: torch.dtype) -> Any:
    """Load a single-file checkpoint; diffusers detects the kind of model by its weights."""
    header, config = read_header(path) or Header({}, {}), _layout(path, spec)
    try:
        index = cast(dict[str, Any], DiffusionPipeline.load_config(config))
    except OSError as error:
        raise MissingWeights(
            f"{spec.label} is a single file, and the settings of its kind of model are not on "
            f"this machine ({_layout_name(config)}). Connect to the internet for one run, or name "
            "the folder of a model of the same kind under 'Layout of a single file'."
        ) from error
    class_name = str(index["_class_name"])
    pipeline_class: Any = getattr(diffusers, class_name, None)
    picture = contents.picture_for(class_name)
    if pipeline_class is None or picture:
        reason = f"needs {picture}" if picture else "this version of diffusers does not have"
        raise BadInput(
            f"The layout {_layout_name(config)} is of a {class_name}, which {reason}. Name the "
            "folder or Hub id of a text-to-image model under 'Layout of a single file'."
        )
    components: dict[str, Any] = {}
    scales = contents.fp8_scales(header)
    while True:
        try:
            for name in DENOISERS if scales else ():
                if name in index and name not in components:
                    denoiser_class: Any = getattr(diffusers, index[name][1])
                    components[name] = denoiser_class.from_single_file(
                        read_scaled(path, scales, dtype),
                        config=config,
                        subfolder=name,
                        dtype=dtype,
                    )
            pipeline = pipeline_class.from_single_file(
                str(path), config=config, dtype=dtype, **components
            )
            _apply_markers(pipeline, header, spec.label)
            return pipeline
        except SingleFileComponentError as error:
            name = _missing_component(error)
            if name in components or name not in index:
                raise
            if name in DENOISERS:  # it would draw what another model draws, under this one's name
                raise BadInput(
                    f"The file of {spec.label} holds no {name}, the part that draws, under names "
                    f"that diffusers knows of {_layout_name(config)} (it begins with "
                    f"{next(iter(header.tensors), 'nothing')}). Choose a file of a whole model, "
                    "or the layout of a model of its kind."
                ) from error
            components[name] = _component_from_layout(config, name, index[name], spec, dtype)
        except (RuntimeError, ValueError, KeyError) as error:
            if ran_out_of_memory(error):
                raise
            logging.getLogger(__name__).info("%s is no %s", spec.label, config, exc_info=error)
            raise BadInput(
                f"The weights in the file of {spec.label} are not those of {_layout_name(config)}. "
                "Name the folder or Hub id of a model of its kind under 'Layout of a single file'."
            ) from error


def _apply_markers(pipeline: Any, header: Header, label: str) -> None:
    """Give the pipeline the noise schedule that the file marks itself with."""
    scheduler, settings = pipeline.scheduler, contents.scheduler_settings(header)
    if "edm_vpred.sigma_max" in header.tensors or "edm_mean" in header.tensors:
        if not type(scheduler).__name__.startswith("EDM"):
            raise BadInput(
                f"{label} is of the EDM kind (as CosXL and Playground 2.5 are), and its layout is "
                "not. Name the folder or Hub id of such a model under 'Layout of a single file'."
            )
        return
    if not settings or "beta_schedule" not in scheduler.config:
        return  # flow models have no such choice
    scheduler_class: Any = type(scheduler)
    if not settings.keys() <= inspect.signature(scheduler_class).parameters.keys():
        scheduler_class = EulerDiscreteScheduler  # knows all of them
    pipeline.scheduler = scheduler_class.from_config(scheduler.config, **settings)


def _component_from_layout(
    config: str, name: str, library_and_class: list[str], spec: ModelSpec, dtype: torch.dtype
) -> Any:
    """Load a component that the file lacks, such as the text encoder of a denoiser's file."""
    layout = locate(config)
    folder = snapshot(layout.id) if layout.kind is Kind.HUB else layout.path
    path = folder / name if folder else None
    if path is None or not path.is_dir() or weights_fault(path, spec.label):
        raise MissingWeights(
            f"The file of {spec.label} is not a whole model: it has no {name.replace('_', ' ')}. "
            "Name a folder or Hub id with all the weights under 'Layout of a single file', or take "
            "a file with everything in it."
        )
    library: Any = importlib.import_module(library_and_class[0])
    return getattr(library, library_and_class[1]).from_pretrained(
        str(path), dtype=dtype, use_safetensors=True, local_files_only=True
    )


def _layout(path: Path, spec: ModelSpec) -> str:
    """Return the folder or Hub id with the settings of the model in the file at `path`."""
    if spec.config:
        layout = locate(spec.config)
        return layout.id if layout.kind is Kind.HUB else str(layout.path)
    checkpoint = single_file_utils.load_single_file_checkpoint(str(path))
    config = single_file_utils.fetch_diffusers_config(checkpoint)
    return str(config["pretrained_model_name_or_path"])


def _layout_name(config: str) -> str:
    """Return a Hub id unchanged, and only the name of a folder."""
    return config if locate(config).kind is Kind.HUB else Path(config).name


def _missing_component(error: Exception) -> str:
    """Return the name of the component that diffusers missed."""
    match = re.search(r"^(\w+) = ", str(error), re.MULTILINE)
    return match[1] if match else ""


def _decode(vae: Any, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    shift = float(getattr(vae.config, "shift_factor", None) or 0.0)
    scaled = noise / float(vae.config.scaling_factor) + shift
    picture: torch.Tensor = vae.decode(scaled.to(vae.device, vae.dtype), return_dict=False)[0]
    return noise, picture / 2 + 0.5
