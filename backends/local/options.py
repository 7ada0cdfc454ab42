"""Options that only local pipelines have; the form is built from them."""

from dataclasses import dataclass
from typing import Final

from backends.local.schedulers import SCHEDULER_NAMES
from backends.options import option

OFFLOADS: Final = ("", "model", "group")
DTYPES: Final = ("", "float32", "bfloat16", "float16")
QUANTIZATIONS: Final = ("", "8 bit", "4 bit")
ATTENTIONS: Final = ("", "flash", "efficient", "cudnn", "math")
STEP_CACHES: Final = ("", "first block", "taylor seer")


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Options of one run; an empty value stands for the model's default."""

    scheduler: str = option(
        "",
        label="Scheduler",
        help="How noise is taken away, step by step. Empty: the model's own.",
        choices=("", *SCHEDULER_NAMES),
    )
    loras: str = option(
        "",
        label="LoRAs",
        help="Names from the folder for LoRAs, files, folders or Hub ids, each with a "
        "weight, with commas between them: style:0.8, owner/name:0.5",
        files=True,
    )
    embeddings: str = option(
        "",
        label="Embeddings",
        help="Textual inversions: names from the folder for embeddings, files, folders or "
        "Hub ids, with commas between them. Write their words in the prompt.",
        files=True,
    )
    config: str = option(
        "",
        label="Layout of a single file",
        help="Only for a model in one .safetensors file: the folder or Hub id of a model of "
        "the same kind. Empty: told by the file itself, and fetched once.",
        files=True,
    )
    torch_dtype: str = option(
        "",
        label="Number format",
        help="Of the weights: float32 takes twice the memory of the others, and helps where a "
        "model computes black pictures. Empty: what suits the device.",
        choices=DTYPES,
    )
    previews: bool = option(
        True,
        label="Live previews",
        help="Show the unfinished picture. Takes at most a fiftieth of the time.",
    )
    offload: str = option(
        "",
        label="Offload",
        help="For models that the GPU's memory cannot hold. model: one network at a time "
        "is on the GPU, a little slower. group: a few layers at a time, much slower.",
        choices=OFFLOADS,
    )
    quantization: str = option(
        "",
        label="Quantization",
        help="Weights of 8 bit take about half the memory of 16 bit, of 4 bit a quarter. "
        "Pictures change, those of 4 bit more.",
        choices=QUANTIZATIONS,
    )
    compile: bool = option(
        False,
        label="Compile",
        help="torch.compile: the first run of a size takes a minute or more longer, "
        "later ones are faster. Pictures change in last digits.",
    )
    attention: str = option(
        "",
        label="Attention kernel",
        help="Which of torch's kernels computes attention. Empty: torch chooses. "
        "Pictures change in last digits.",
        choices=ATTENTIONS,
    )
    step_cache: str = option(
        "",
        label="Step cache",
        help="Leave out work that changes little from step to step: faster, and pictures "
        "change a little. For FLUX, Qwen-Image and their kin.",
        choices=STEP_CACHES,
    )
