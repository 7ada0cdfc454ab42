"""Tell by its files what a model is, before anything is loaded and without heavy imports.

What is given as a model may be another thing: a VAE, a language model, a LoRA, an embedding. It
may need a picture, as an inpainting model does, or hold its weights in a form that is read wrongly,
such as 8-bit numbers whose scales lie beside them. Each is refused by name.

Names of tensors and of metadata: https://github.com/Stability-AI/ModelSpec for `modelspec`,
kohya's scripts for `ss_`, ComfyUI for `v_pred`, `ztsnr` and `scaled_fp8`, bitsandbytes for NF4.
"""

import json
import math
import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, cast

from backends.errors import BackendError, BadInput, NotReady
from backends.local.weights.headers import Header, read_header
from backends.local.weights.sources import class_of, files_version

# What a file is, by the names of most of its tensors; the first that fits.
_KINDS: Final[Mapping[str, str]] = {
    "a LoRA": r"(lora_(up|down|mid|[AB])|lora\.(up|down)|lora_linear_layer|hada_w\d|lokr_w\d|"
    r"dora_scale|lora_magnitude_vector|oft_blocks|oft_diag|\.diff(_b)?$|\.alpha$)",
    "an embedding": r"^(emb_params|string_to_param.*|clip_[lg]|\*|<.*>)$",
    "a ControlNet": r"^(control_model\.|controlnet_|control_(all_)?(x_embedder|layers|noise)|"
    r"input_hint_block|zero_convs)|\.(input_hint_block|zero_convs|controlnet_cond_embedding)\.",
    "an IP-Adapter": r"^(image_proj|ip_adapter)\.",
    "a T2I-Adapter": r"^(adapter\.|body\.\d+\.(block1|in_conv)|channel_unshuffle)",
    "a motion module for videos": r"motion_modules\.",
    "an upscaler": r"^(params(_ema)?\.)?(conv_(first|body|hr|last|up\d)|upsampler|"
    r"body\.\d+\.rdb|RRDB_trunk|trunk_conv|HRconv|upconv\d|layers\.\d+\.residual_group|"
    r"model\.\d+\.(sub\.|weight|bias))",
    "an image encoder": r"^(vision_model\.|visual\.|image_encoder\.|model\.visual\.)",
    "a language model or text encoder": r"^(language_model\.|text_encoders?\.|cond_stage_model\.|"
    r"conditioner\.)?(model\.)?(lm_head|embed_tokens|norm\.weight|layers\.\d+\.(self_attn|mlp|"
    r"input_layernorm|post_attention_layernorm)|text_model\.|transformer\.(text_model|resblocks|h)\.|"
    r"(encoder|decoder)\.(block|layers?|embed_tokens|final_layer_norm)\b|shared\.|token_embedding|"
    r"bert\.|roberta\.|wte\.|h\.\d+\.|positional_embedding|text_projection|ln_final)",
    "a VAE (the decoder of a model)": r"^(first_stage_model\.|vae\.)?((encoder|decoder)\.|"
    r"(post_)?quant_conv|bn\.|loss\.)",
}
_USES: Final[Mapping[str, str]] = {
    "a LoRA": "Choose the model that it was made for, and name the file under LoRAs.",
    "an embedding": "Choose the model that it was made for, and name the file under Embeddings.",
}
_OTHER_USE: Final = "Choose a file of a whole model, or of a denoiser with a layout for the rest."

_DENOISER: Final = "model.diffusion_model."
_VAE: Final = ("first_stage_model.", "vae.")
_TEXT: Final = ("cond_stage_model.", "conditioner.", "text_encoders.", "model_ema.")

_EDM: Final = ("edm_mean", "edm_std", "edm_vpred.sigma_max", "edm_vpred.sigma_min")

# Tensors beside a quantized weight, without which it is read wrongly.
_QUANTIZED: Final[Mapping[str, str]] = {
    "scaled 8-bit numbers": r"(\.|^)(scale_weight|scale_input|weight_scale(_inv|_2)?|input_scale|"
    r"scaled_fp8|comfy_quant)$",
    "4-bit numbers of bitsandbytes": r"\.((nested_)?(absmax|quant_map)|quant_state\.\w+)$",
    "8-bit numbers of bitsandbytes": r"\.(SCB|weight_format)$",
    "packed 4-bit numbers": r"\.(qweight|qzeros|wscales|wcscales|wtscale|g_idx|scales_and_zeros)$",
}
_PLAIN_INTEGERS: Final = re.compile(r"(_ids?|_index|_mask|_tracked|spm_model|tekken_model)$")

# One number for a weight or one for each of its rows, as ComfyUI writes them beside fp8.
_SCALE: Final = re.compile(r"(.+\.)(scale_weight|weight_scale)")
_FOR_INPUTS: Final = re.compile(r".+\.(scale_input|input_scale)|(.+\.)?scaled_fp8")

# What pipelines take besides a prompt, by their class.
_PICTURES: Final[Mapping[str, str]] = {
    r"Inpaint|Fill": "a picture and a mask of the part to draw anew",
    r"Pix2Pix(?!Zero)|Edit(?!ing)": "a picture to edit",
    r"Depth2Img": "a picture whose depth it keeps",
    r"Upscal|SuperResolution": "a picture to enlarge",
    r"Control(Net)?[A-Z]|Adapter": "a control picture",
    r"Redux|UnCLIPImg2Img|ImageVariation|Layered": "a picture to vary",
    r"Video2|VideoToVideo|ImageToVideo|I2V(?!Long)|WanAnimate": "a picture or a video",
}
_START: Final = re.compile(r"Img2Img|Image2Image|I2IPipeline|Refiner")
_CONCATENATED: Final[Mapping[int, str]] = {
    9: "a picture and a mask (it is an inpainting model)",
    8: "a picture to edit (it is an InstructPix2Pix)",
    5: "a picture whose depth it keeps",
    7: "a picture to enlarge",
    384: "a picture and a mask (it is a Fill model)",
}


def unsuitable(path: Path, label: str) -> BackendError | None:
    """Return an error if the folder or file at `path` is no model that draws from a prompt."""
    found = _judged(path, label, files_version([str(path)]))
    return found and found[0](found[1])


@lru_cache(maxsize=256)  # lists of models ask for all of them, again and again
def _judged(path: Path, label: str, _version: str) -> tuple[type[BackendError], str] | None:
    """Return the kind and the message of the error for the present version of the files."""
    problem = _unsuitable_folder(path, label) if path.is_dir() else _unsuitable_file(path, label)
    return problem and (type(problem), str(problem))


def _unsuitable_file(path: Path, label: str) -> BackendError | None:
    header = read_header(path)
    if header is None:
        return None  # loading says what is wrong with it
    kind, example = kind_of(header)
    if kind:
        return BadInput(
            f"{label} is {kind}, not a model ({example}). {_USES.get(kind, _OTHER_USE)}"
        )
    scales = fp8_scales(header)
    problem = _quantized(header, label, {*scales.values()}) or _integers(header, label)
    return problem or _needs(_picture_of_file(header), label)


def picture_for(class_name: str) -> str:
    """Return the picture that pipelines of a class need besides a prompt, "" for none."""
    needed = (what for pattern, what in _PICTURES.items() if re.search(pattern, class_name))
    return next(needed, "")


def needs_start(path: Path, label: str) -> BackendError | None:
    """Return an error for a model that only changes pictures, such as a refiner: none was given."""
    name = class_of(path)
    if not _START.search(name):
        return None
    return BadInput(
        f"{label} is a {name}, which draws from a start picture and not from a prompt alone. "
        "Give it a start picture, or choose a text-to-image model."
    )


def kind_of(header: Header) -> tuple[str, str]:
    """Return what a file is, if it is no model, and the name of a tensor that shows it."""
    names = list(header.tensors)
    if any(name.startswith(_DENOISER) for name in names):
        return "", ""
    if names and len(names) <= 2 and not any("." in name for name in names):
        return "an embedding", names[0]  # under its own word
    for kind, pattern in _KINDS.items():
        matching = [name for name in names if re.search(pattern, name)]
        # A ControlNet is for the most part a copy of a denoiser.
        if 2 * len(matching) > len(names) or (matching and kind == "a ControlNet"):
            return kind, matching[0]
    architecture = header.metadata.get("modelspec.architecture", "")
    if "/" in architecture:  # "stable-diffusion-xl-v1-base/lora"
        return f"a {architecture.rpartition('/')[2]}", architecture
    return "", ""


def component_counts(header: Header, denoiser: str) -> dict[str, int]:
    """Return how many numbers a single file holds for the denoiser and for the VAE.

    Averaged copies of the denoiser and the constants of the noise schedule are of no component.
    """
    prefixed = any(name.startswith(_DENOISER) for name in header.tensors)
    counts = {denoiser: 0, "vae": 0}
    scales = set(fp8_scales(header).values())
    for name, (_, shape) in header.tensors.items():
        if name in scales or for_inputs(name):
            continue
        if name.startswith(_VAE):
            counts["vae"] += math.prod(shape)
        elif name.startswith(_DENOISER) if prefixed else not name.startswith(_TEXT):
            counts[denoiser] += math.prod(shape)
    return counts


def fp8_scales(header: Header) -> dict[str, str]:
    """Return the names of the denoiser's weights whose scales can be applied, and of the scales."""
    found: dict[str, str] = {}
    for name, (_, shape) in header.tensors.items():
        match = _SCALE.fullmatch(name)
        weight = f"{match[1]}weight" if match else ""
        kind, size = header.tensors.get(weight, ("", ()))
        one_or_rows = shape in ((), (1,), size[:1], (*size[:1], 1))
        if kind.startswith("F8") and one_or_rows and not name.startswith((*_VAE, *_TEXT)):
            found[weight] = name
    return found


def for_inputs(name: str) -> bool:
    """Whether a tensor is only needed to compute in 8 bits."""
    return _FOR_INPUTS.fullmatch(name) is not None


def unknown_networks(header: Header) -> list[str]:
    """Return the weights of a whole model's file that belong to none of its known components."""
    known = (_DENOISER, *_VAE, *_TEXT)
    if not any(name.startswith(_DENOISER) for name in header.tensors):
        return []
    return [
        name
        for name, (_, shape) in header.tensors.items()
        if len(shape) > 1 and not name.startswith(known) and name not in _EDM
    ]


def scheduler_settings(header: Header) -> dict[str, Any]:
    """Return the settings of the scheduler that a single file marks itself with.

    `ztsnr`: noise levels of zero signal at the end, with the spacing that needs them (Lin et al.,
    https://arxiv.org/abs/2305.08891).
    """
    settings: dict[str, Any] = {}
    metadata = {name.lower(): value.lower() for name, value in header.metadata.items()}
    marked = metadata.get("modelspec.prediction_type", "").replace("-", "_")
    names = {"v": "v_prediction", "v_prediction": "v_prediction", "velocity": "v_prediction"}
    names |= {"eps": "epsilon", "epsilon": "epsilon", "sample": "sample", "x0": "sample"}
    kind = metadata.get("modelspec.architecture", "")
    if not marked and kind.startswith("stable-diffusion-v2-"):  # -512, -768-v
        marked = "v" if kind.endswith("-v") else "epsilon"
    if marked in names:
        settings["prediction_type"] = names[marked]
    if "v_pred" in header.tensors or metadata.get("ss_v_parameterization") == "true":
        settings["prediction_type"] = "v_prediction"
    if "ztsnr" in header.tensors or any(
        metadata.get(name) == "true"
        for name in ("ss_zero_terminal_snr", "modelspec.ztsnr", "ztsnr")
    ):
        settings |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return settings


def unsuitable_class(folder: Path, label: str) -> BackendError | None:
    """Return an error for a folder of another kind of model, by its settings alone.

    It may be a folder that is not downloaded yet but for its `model_index.json` or `config.json`.
    """
    name = class_of(folder)
    if not (folder / "model_index.json").is_file():
        if name == "janus":
            return None
        return NotReady(
            f"{label} is a model of the type '{name}', which is not a text-to-image model that "
            "Lineup can draw with. Choose the folder of a diffusers pipeline, or a Janus."
        )
    picture = picture_for(name)
    return _needs(f"{picture} (it is a {name})" if picture else "", label)


def _unsuitable_folder(folder: Path, label: str) -> BackendError | None:
    if problem := unsuitable_class(folder, label):
        return problem
    for part in ("unet", "transformer"):
        files = [*folder.glob(f"{part}/*.safetensors")]
        settings = _settings(folder / part)
        if "quantization_config" not in settings:
            for header in filter(None, map(read_header, files)):
                if problem := _quantized(header, label):
                    return problem
        if settings.get("_class_name") in ("UNet2DConditionModel", "FluxTransformer2DModel"):
            taken, drawn = settings.get("in_channels"), settings.get("out_channels")
            if isinstance(taken, int) and isinstance(drawn, int) and taken > drawn:
                return _needs(_CONCATENATED.get(taken, "a picture besides the prompt"), label)
    return None


def _picture_of_file(header: Header) -> str:
    """Return the picture that a single file needs, by the channels in and out of its denoiser."""

    def shape(name: str) -> tuple[int, ...]:
        found = header.tensors.get(f"{_DENOISER}{name}") or header.tensors.get(name)
        return found[1] if found else ()

    for into, out in (
        ("input_blocks.0.0.weight", "out.2.weight"),
        ("img_in.weight", "final_layer.linear.weight"),
    ):
        taken, drawn = shape(into)[1:2], shape(out)[:1]
        if taken and drawn and taken > drawn:
            return _CONCATENATED.get(taken[0], "a picture besides the prompt")
    # Of the size and the score of a picture; the base model has 2816.
    if shape("label_emb.0.0.weight")[1:] == (2560,):
        return "a start picture (it is the refiner of Stable Diffusion XL)"
    return ""


def _needs(picture: str, label: str) -> BackendError | None:
    if not picture:
        return None
    return NotReady(
        f"{label} needs {picture}, so it cannot draw from a prompt. Choose a text-to-image model."
    )


def _quantized(header: Header, label: str, read: Collection[str] = ()) -> BackendError | None:
    """Return an error if weights are quantized: libraries would take them for what they are not.

    `read` are the names of scales that are applied.
    """
    for kind, pattern in _QUANTIZED.items():
        for name in header.tensors:
            known = name in read or (read and for_inputs(name))
            if re.search(pattern, name) and not known:
                return _unread(label, kind, name)
    return None


def _integers(header: Header, label: str) -> BackendError | None:
    """Return an error if weights of a single file are integers, without anything beside them.

    Those of a folder are counted by `validation.check_dtypes`.
    """
    for name, (dtype, shape) in header.tensors.items():
        integer = dtype.lstrip("U").startswith(("I", "F4", "F6"))
        if integer and len(shape) > 1 and not _PLAIN_INTEGERS.search(name):
            return _unread(label, f"numbers of the type {dtype}", name)
    return None


def _unread(label: str, kind: str, name: str) -> BackendError:
    return NotReady(
        f"The weights of {label} are {kind} ({name}), which cannot be read in this form: they "
        "would draw noise. Use a version in half or full precision, or in plain 8-bit numbers "
        "(fp8), and set Quantization if memory is short."
    )


def _settings(folder: Path) -> dict[str, Any]:
    try:
        read = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return cast(dict[str, Any], read) if isinstance(read, dict) else {}
