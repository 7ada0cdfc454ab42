"""Continual learning: extend a model by what is new in the world, and preserve the rest.

Half of each batch shows the new kind and has true targets; for the other half the targets are the
predictions of the model before the extension (learning without forgetting, arXiv 1606.09282). This
also preserves what true pictures alone do not teach, such as the effect of reward fine-tuning.
"""

import copy
from typing import Any, Final, TypeVar, cast

import torch
from torch import nn
from torch.nn import functional as F

from backends.miniatures import world
from backends.miniatures.training.codecs import codebook
from backends.miniatures.training.finetuning.curriculum import Curriculum
from backends.miniatures.training.loop import dataset
from backends.miniatures.training.loop.precision import fastest_dtype
from backends.miniatures.training.loop.trainer import (
    CHECKPOINTS,
    Stage,
    Trainer,
    delete_checkpoints,
    run_stage,
    save_atomically,
)
from backends.miniatures.training.text.probes import AttributeProbes, EncodeText, attribute_labels

DISTILLATION_WEIGHT: Final = 3.0
"""Weight of the text encoder's drift from its earlier states, relative to the probes' loss."""
BATCH: Final = 128

Model = TypeVar("Model", bound=nn.Module)


def load_into_larger(saved: nn.Module, larger: Model) -> Model:
    """Load the weights of a model with fewer tokens into one with all tokens, in place."""
    wanted, weights = larger.state_dict(), saved.state_dict()
    larger.load_state_dict(
        {
            name: value if value.shape == wanted[name].shape else codebook.add_stroke_rows(value)
            for name, value in weights.items()
        }
    )
    return larger


def start_curriculum(model: nn.Module, stage: Stage, new: str = world.NEWEST_KIND) -> Curriculum:
    """Return the curriculum of an extension whose reference is `model` as it was before the first
    step.

    The reference is saved beside the checkpoints: when a stage resumes, the exported folders have
    already changed, and the reference must not.
    """
    reference, path = copy.deepcopy(model), CHECKPOINTS / f"{stage.name}-before.pt"
    if path.exists():
        reference.load_state_dict(cast("dict[str, Any]", torch.load(path, weights_only=True)))
    else:
        save_atomically(path, reference.state_dict())
    return Curriculum(reference.to(fastest_dtype()).requires_grad_(False), new)


def text_stage(stage: Stage) -> Stage:
    """Return the stage that extends the text encoder, before the image model is trained on it."""
    return Stage(f"{stage.name}-text", 500, 7e-4)


def clean_up(stage: Stage) -> None:
    """Delete the checkpoints that were needed only to resume."""
    delete_checkpoints(stage.name, f"{stage.name}-before", text_stage(stage).name)


def extend_text_encoder(
    encoder: Model, read: EncodeText, stage: Stage, *, new: str = world.NEWEST_KIND
) -> Model:
    """Return a copy of an encoder that distinguishes the new kind and encodes all else as before.

    Linear probes read the attributes off the pooled state; states (n, ...) of known scenes are held
    to the earlier ones by their mean squared error, relative to the variance.
    """
    width = read(encoder, ["a circle"])[0].shape[1]
    probed = nn.ModuleDict({"encoder": copy.deepcopy(encoder), "questions": AttributeProbes(width)})
    trainer = Trainer(probed.requires_grad_(True), rate=stage.rate)
    fast = cast(nn.ModuleDict, trainer.fast)
    # The fused kernel's backward pass is slow on processors at this size.
    cast(Any, fast["encoder"]).set_attn_implementation("eager")
    reference = copy.deepcopy(fast["encoder"]).requires_grad_(False)
    curriculum = Curriculum(reference, new)

    def loss(_: int) -> torch.Tensor:
        scenes = curriculum.scenes(BATCH)
        old = ~curriculum.is_new(scenes)
        sentences = [dataset.sample_caption(scene, curriculum.rng) for scene in scenes]
        states = read(fast["encoder"], sentences)
        with torch.no_grad():
            reference_states = read(reference, sentences)
        captioned = torch.tensor([sentence != "" for sentence in sentences])
        wanted = torch.tensor([attribute_labels(scene) for scene in scenes])
        drift = sum(
            F.mse_loss(state[old].float(), reference_state[old].float())
            / reference_state[old].float().var()
            for state, reference_state in zip(states, reference_states, strict=True)
        )
        return (
            fast["questions"](states[0][captioned], wanted[captioned])
            + DISTILLATION_WEIGHT / 2 * drift
        )

    run_stage(stage.name, trainer, stage.steps, loss)
    return cast(Model, cast(nn.ModuleDict, trainer.average)["encoder"]).eval()
