"""The seam between what every local run shares and what is peculiar to one family of models.

A family says how its models are read from a folder, which pen draws with them, how they start from
a picture or are steered by one, and how an unfinished picture looks. `family_of` in `families.py`
tells a model's family from its files. What is loaded is called like a diffusers pipeline: it has
`components`, `scheduler` (None where no noise is taken away), `to`, `set_progress_bar_config` and a
`__call__` whose signature names the inputs that it takes.
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
    """What most families have in common; each of them is a class of its own below this one."""

    offloads: ClassVar[bool] = True
    """Whether parts can wait in RAM while others work."""

    def load(self, path: Path, recipe: ModelSpec, dtype: torch.dtype, device: Device) -> Any:
        """Read the model in `path` into the processor's memory; whoever asks moves it."""
        return from_folder(path, recipe.variant, dtype, device)

    def pipeline_call(
        self,
        pipeline: Any,
        look: LatentPreview | None,
        work: LocalJob,
        emit: Callable[[Event], None],
    ) -> PipelineCall:
        """What spells one piece of work as a call of `pipeline`."""
        return PipelineCall(pipeline, look, work, emit)

    def with_controlnets(self, pipeline: Any, nets: Sequence[Any], label: str) -> Any:
        """The form of `pipeline` for these ControlNets, one for each map; it shares its weights."""
        raise BadInput(
            f"{label} cannot be steered: diffusers has no ControlNet for this kind of model. "
            "Run it without the control picture."
        )

    def with_init_image(self, pipeline: Any, label: str) -> Any:
        """The form of `pipeline` that starts from a picture; it shares all its weights."""
        raise BadInput(
            f"{label} cannot start from a picture: diffusers has no such form of this kind of "
            "model. Run it without the start picture, or choose another model."
        )

    def latent_preview(self, pipeline: Any, folder: Path | None) -> LatentPreview | None:
        """How unfinished pictures look; None where that cannot be found out.

        `folder` is where the model was read from, None for a single file.
        """
        try:
            return self._latent_preview(pipeline, folder)
        except Exception:  # a preview is a courtesy: however odd the decoder, the run goes on
            logging.getLogger(__name__).info("No previews for %s", type(pipeline), exc_info=True)
            return None

    def _latent_preview(self, pipeline: Any, folder: Path | None) -> LatentPreview | None:
        """As `look`, and may fail in any way."""
        return None


def from_folder(path: Path, variant: str, dtype: torch.dtype, device: Device) -> Any:
    """Read a diffusers pipeline, of whatever class its folder names; "" is the best variant."""
    return DiffusionPipeline.from_pretrained(
        str(path),
        dtype=dtype,
        variant=variant or variant_in(path, device.kind),
        use_safetensors=True,
        local_files_only=True,
    )
