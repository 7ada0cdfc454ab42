"""The interface of a model family: loading, the pipeline call, ControlNets, previews.

`detect_family` in `detect.py` finds a model's family from its files. A loaded model is called like
a diffusers pipeline: it has `components`, `scheduler` (None for models without one), `to`,
`set_progress_bar_config` and a `__call__` whose signature names the supported inputs.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline

from backends.base import Event
from backends.errors import BadInput
from backends.local.families.pipeline_call import PipelineCall
from backends.local.families.preview import LatentPreview
from backends.local.job import LocalJob, ModelSpec
from backends.local.memory.devices import Device
from backends.local.weights.sources import variant_in


class Family:
    """The defaults of a family; each family is a subclass."""

    offloads: ClassVar[bool] = True
    """Whether components can be offloaded to RAM while others run."""

    def load(self, path: Path, spec: ModelSpec, dtype: torch.dtype, device: Device) -> Any:
        """Load the model in `path` into RAM; the caller moves it to the device."""
        return from_folder(path, spec.variant, dtype, device)

    def pipeline_call(
        self,
        pipeline: Any,
        latent_preview: LatentPreview | None,
        job: LocalJob,
        emit: Callable[[Event], None],
    ) -> PipelineCall:
        """Return the call of `pipeline` for one job."""
        return PipelineCall(pipeline, latent_preview, job, emit)

    def with_controlnets(self, pipeline: Any, controlnets: Sequence[Any], label: str) -> Any:
        """Return the variant of `pipeline` with a ControlNet for each map, sharing its weights."""
        raise BadInput(
            f"{label} cannot be steered: diffusers has no ControlNet for this kind of model. "
            "Run it without the control picture."
        )

    def with_init_image(self, pipeline: Any, label: str) -> Any:
        """Return the image-to-image variant of `pipeline`, sharing all its weights."""
        raise BadInput(
            f"{label} cannot start from a picture: diffusers has no such form of this kind of "
            "model. Run it without the start picture, or choose another model."
        )

    def latent_preview(self, pipeline: Any, folder: Path | None) -> LatentPreview | None:
        """Return the preview of unfinished pictures, None if there is none.

        `folder` is the model's folder, None for a single file.
        """
        try:
            return self._latent_preview(pipeline, folder)
        except Exception:  # previews are optional: an unusual decoder must not end the run
            logging.getLogger(__name__).info("No previews for %s", type(pipeline), exc_info=True)
            return None

    def _latent_preview(self, pipeline: Any, folder: Path | None) -> LatentPreview | None:
        """Return the preview as `latent_preview` does; may raise any exception."""
        return None


def from_folder(path: Path, variant: str, dtype: torch.dtype, device: Device) -> Any:
    """Load a diffusers pipeline of the class that its folder names; "" is the default variant."""
    return DiffusionPipeline.from_pretrained(
        str(path),
        dtype=dtype,
        variant=variant or variant_in(path, device.kind),
        use_safetensors=True,
        local_files_only=True,
    )
