"""Going on when the world has got wider: what is new is learned, what was known stays.

Half of each batch shows what is new and is learned as ever; of the other half the model is to think
what it thought before (learning without forgetting, arXiv 1606.09282). So nothing is lost that
right pictures alone do not teach, such as what practice taught.
"""

import copy
from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar, cast

import torch
from torch import nn
from torch.nn import functional as F

from backends.miniatures.training.codecs import codebook
from backends.miniatures.training.finetuning.curriculum import Curriculum
from backends.miniatures.training.loop import dataset
from backends.miniatures.training.loop.precision import fast_type
from backends.miniatures.training.loop.trainer import (
    CHECKPOINTS,
    Stage,
    Trainer,
    forget,
    run_stage,
    save,
)
from backends.miniatures.training.text import clip
from backends.miniatures.world import scene as world

KEPT: Final = 3.0
"""How much it counts, beside its answers, that an encoder says what it said before."""
BATCH: Final = 128

Model = TypeVar("Model", bound=nn.Module)
Read: TypeAlias = Callable[[Any, list[str]], tuple[torch.Tensor, torch.Tensor]]
"""From a text encoder and sentences to a pooled state (n, width) and all others (n, ...)."""


def grown(saved: nn.Module, larger: Model) -> Model:
    """An untrained model of all of today's tokens with the weights of one of fewer; in place."""
    wanted, weights = larger.state_dict(), saved.state_dict()
    larger.load_state_dict(
        {
            name: value if value.shape == wanted[name].shape else codebook.grown(value)
            for name, value in weights.items()
        }
    )
    return larger


def start_curriculum(model: nn.Module, stage: Stage, new: str = world.NEW) -> Curriculum:
    """What is learned from here on, in this stage, if `model` is what there was before.

    That is kept beside the checkpoints: whoever goes on after a break finds folders that have been
    exported since, and is still told what was said before the first step.
    """
    copied, path = copy.deepcopy(model), CHECKPOINTS / f"{stage.name}-before.pt"
    if path.exists():
        copied.load_state_dict(cast("dict[str, Any]", torch.load(path, weights_only=True)))
    else:
        save(path, copied.state_dict())
    return Curriculum(copied.to(fast_type()).requires_grad_(False), new)


def asking(stage: Stage) -> Stage:
    """The stage in which a text encoder is asked, before anything is drawn from what it says."""
    return Stage(f"{stage.name}-text", 500, 7e-4)


def done(stage: Stage) -> None:
    """Forget what was only needed to go on after a break."""
    forget(stage.name, f"{stage.name}-before", asking(stage).name)


def asked(encoder: Model, read: Read, stage: Stage, *, new: str = world.NEW) -> Model:
    """A copy of an encoder that can tell what is new, and says the same of everything else."""
    width = read(encoder, ["a circle"])[0].shape[1]
    pupil = nn.ModuleDict({"encoder": copy.deepcopy(encoder), "questions": clip.Questions(width)})
    trainer = Trainer(pupil.requires_grad_(True), rate=stage.rate)
    fast = cast(nn.ModuleDict, trainer.fast)
    # The fused kernel's backward pass is slow on processors at this size.
    cast(Any, fast["encoder"]).set_attn_implementation("eager")
    before = copy.deepcopy(fast["encoder"]).requires_grad_(False)
    curriculum = Curriculum(before, new)

    def loss(_: int) -> torch.Tensor:
        scenes = curriculum.scenes(BATCH)
        old = ~curriculum.is_new(scenes)
        sentences = [dataset.caption(scene, curriculum.rng) for scene in scenes]
        states = read(fast["encoder"], sentences)
        with torch.no_grad():
            known = read(before, sentences)
        told = torch.tensor([sentence != "" for sentence in sentences])
        wanted = torch.tensor([clip.answers(scene) for scene in scenes])
        drift = sum(
            F.mse_loss(now[old].float(), then[old].float()) / then[old].float().var()
            for now, then in zip(states, known, strict=True)
        )
        return fast["questions"](states[0][told], wanted[told]) + KEPT / 2 * drift

    run_stage(stage.name, trainer, stage.steps, loss)
    return cast(Model, cast(nn.ModuleDict, trainer.average)["encoder"]).eval()


def by_clip(tokenizer: Any, pooled: str) -> Read:
    """How CLIP's text encoders are read; `pooled` names the pooled state in what they give."""
    words = clip.Tokens(tokenizer)

    def read(encoder: Any, sentences: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        found = encoder(words(sentences), output_hidden_states=True)
        states = [*found.hidden_states[-2:], found.last_hidden_state]
        return found[pooled], torch.stack(states, 1)

    return read
