"""Read the layouts in which LoRAs and their kin are published, and turn all into plain LoRAs.

The names of tensors are those of kohya's scripts, LyCORIS, diffusers and peft. Whatever else a file
holds is refused by name: an adapter without a part of it would draw another picture.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open

from backends.errors import BadInput, MissingWeights
from backends.local.adapters.factors import dora_factors, factors
from backends.local.adapters.layer_paths import LayerPaths

# peft names the adapter between a layer's name and `weight`.
_ADAPTER: Final = r"(?:\.(?!(?:weight|bias)$)[\w-]+)?"
# The endings of tensor names, and the roles that they stand for.
_ENDINGS: Final[Mapping[str, str]] = {
    rf"[._]lora(_linear_layer)?[._]down\.weight|[._]lora_A{_ADAPTER}(\.weight)?": "down",
    rf"[._]lora(_linear_layer)?[._]up\.weight|[._]lora_B{_ADAPTER}(\.weight)?": "up",
    rf"[._]lora_up\.bias|[._]lora_B{_ADAPTER}\.bias": "up_bias",
    r"\.lora_mid\.weight": "mid",
    r"\.(dora_scale)": "",
    rf"[._]lora_magnitude_vector{_ADAPTER}(\.weight)?": "magnitude",
    r"\.down\.weight": "down",  # qkv_lora1.down, as XLabs trains FLUX.1
    r"\.up\.weight": "up",
    r"\.alpha": "alpha",
    r"\.(hada_w1_a|hada_w1_b|hada_w2_a|hada_w2_b|hada_t1|hada_t2)": "",
    r"\.(lokr_w1|lokr_w1_a|lokr_w1_b|lokr_w2|lokr_w2_a|lokr_w2_b|lokr_t2)": "",
    r"\.diff": "diff",
    r"\.diff_b": "diff_b",
    r"\.(w_norm|b_norm)": "norm",
}
_TENSOR: Final = tuple(
    (re.compile(rf"(.+?)(?:{ending})"), role) for ending, role in _ENDINGS.items()
)
_KINDS: Final[Mapping[str, str]] = {
    "down": "LoRA",
    "up": "LoRA",
    "up_bias": "bias",
    "mid": "LoRA",
    "magnitude": "DoRA",
    "dora_scale": "DoRA",
    "hada_w1_a": "LoHa",
    "lokr_w1": "LoKr",
    "lokr_w1_a": "LoKr",
    "diff": "full change",
    "diff_b": "bias",
    "norm": "norm",
}


@dataclass(slots=True)
class AdapterFile:
    """The tensors of an adapter and their names, by layer and role, and the settings beside them.

    `peft_scale` is alpha / rank of peft's own settings, which are in no tensor.
    """

    name: str
    layers: dict[str, dict[str, torch.Tensor]]
    names: dict[str, dict[str, str]]
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    peft_scale: float | None = None

    @property
    def kinds(self) -> set[str]:
        """The kinds of changes that the file makes."""
        roles = {role for layer in self.layers.values() for role in layer}
        return {_KINDS[role] for role in roles if role in _KINDS}

    @property
    def rows(self) -> int:
        """The rows of the changed weights; splitting or joining layers does not change the sum."""
        return sum(_rows(layer) for layer in self.layers.values())


def read_adapter(file: Path, name: str) -> AdapterFile:
    """Read the LoRA called `name`.

    Raises:
        BackendError: the file is damaged, no adapter, or holds something that cannot be applied.
    """
    layers: dict[str, dict[str, torch.Tensor]] = {}
    names: dict[str, dict[str, str]] = {}
    unknown: list[str] = []
    try:
        with safe_open(str(file), "pt") as opened:
            metadata = dict(opened.metadata() or {})
            for key in opened.keys():  # noqa: SIM118  (no mapping)
                layer, role = _split(key)
                if role and role not in layers.setdefault(layer, {}):
                    layers[layer][role] = opened.get_tensor(key)
                    names.setdefault(layer, {})[role] = key
                elif not _is_note(key):
                    unknown.append(key)
    except SafetensorError as error:
        raise MissingWeights(
            f"The file of the LoRA '{name}' is damaged or cut short. Delete it and download "
            "it again."
        ) from error
    adapter = AdapterFile(name, layers, names, metadata, _peft_scale(file))
    for layer, roles in layers.items():
        if missing := _missing(roles):
            raise MissingWeights(
                f"The LoRA '{name}' is incomplete: its layer {layer} has no {missing}. Download it "
                "again, or save it once more."
            )
    if not adapter.kinds - {"norm", "bias"} or len(unknown) > sum(map(len, layers.values())):
        raise BadInput(
            f"The file '{name}' is no LoRA: it holds no low-rank layers. A whole model is "
            "chosen as a model; an embedding belongs into its own field."
        )
    norms = [
        layer
        for layer, roles in layers.items()
        if "norm" in roles or ("diff" in roles and roles["diff"].ndim < 2)
    ]
    if norms:
        raise _not_applied(name, "norms of the model", norms)
    if unknown:
        raise _not_applied(name, "weights in a layout that Lineup does not know", unknown)
    return adapter


def _missing(roles: Mapping[str, torch.Tensor]) -> str:
    """Return a tensor that a layer lacks, by what it has, "" if it is complete."""
    if any(role.startswith("lokr") for role in roles):
        for side in ("lokr_w1", "lokr_w2"):
            lacking = {f"{side}_a", f"{side}_b"} - roles.keys()
            if side not in roles and lacking:
                return f"{side} or {min(lacking)}"
    if any(role.startswith("hada") for role in roles):
        needed = {f"hada_w{number}_{side}" for number in (1, 2) for side in "ab"}
    elif roles.keys() & {"down", "up", "mid"}:
        needed = {"down", "up"}
    else:
        needed = set[str]()
    return min(needed - roles.keys(), default="")


def _not_applied(name: str, kind: str, names: list[str]) -> BadInput:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return BadInput(
        f"The LoRA '{name}' also changes {kind} ({names[0]}{more}), which cannot be applied "
        "here; without them it would draw something else. Use a version without them, or a "
        "checkpoint that the LoRA was merged into."
    )


def plain_loras(
    adapter: AdapterFile, pipeline: Any, label: str
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield the tensors of a plain LoRA that makes the same changes, in the names to try in turn.

    Where all layers are found in `pipeline`, they are named as there. Else they first keep the
    names of the file, which diffusers may know how to read (it splits and joins the layers of
    FLUX.1, for one), and then those that are found are named as in the pipeline.

    Raises:
        BadInput: a layer has another size than the model's, or the change needs the weights of
            layers that are not found, or are quantized.
    """
    paths = LayerPaths(pipeline)
    trained = {layer: roles for layer, roles in adapter.layers.items() if roles.keys() != {"alpha"}}
    found = {layer: path for layer in trained if (path := paths.find(layer)) is not None}
    bound = sorted(adapter.kinds & {"DoRA", "bias"})
    if len(found) < len(trained):
        if not bound:
            yield _named_as_in_file(adapter, trained, paths.dtype)
        elif not any(path.startswith(f"{paths.denoiser}.") for path in found.values()):
            missing = next(layer for layer in trained if layer not in found)
            raise BadInput(
                f"The LoRA '{adapter.name}' does not fit {label}: its {' and '.join(bound)} "
                f"changes belong to layers that this model does not have under such names "
                f"({missing}, say). Use a version in the layout of diffusers, or one made for this "
                "model."
            )
    if found:
        yield _named_as_in_model(adapter, found, paths, label)


def _named_as_in_file(
    adapter: AdapterFile, layers: Mapping[str, Mapping[str, torch.Tensor]], dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    plain: dict[str, torch.Tensor] = {}
    for layer, roles in layers.items():
        names = adapter.names[layer]
        down, up = factors(roles, _scale(roles, layer, adapter))
        plain[names.get("down", f"{layer}.lora_down.weight")] = down.to(dtype).contiguous()
        plain[names.get("up", f"{layer}.lora_up.weight")] = up.to(dtype).contiguous()
    return plain


def _named_as_in_model(
    adapter: AdapterFile, found: Mapping[str, str], paths: LayerPaths, label: str
) -> dict[str, torch.Tensor]:
    plain: dict[str, torch.Tensor] = {}
    for layer, path in found.items():
        if f"{path}.lora_A.weight" in plain:
            raise _not_applied(adapter.name, "one layer under two names", [layer])
        roles = adapter.layers[layer]
        scale = _scale(roles, path, adapter)
        down, up = _fitted(adapter, layer, scale, paths, path, label)
        # Computed in full precision, kept in the model's: a DoRA is as large as what it changes.
        plain[f"{path}.lora_A.weight"] = down.to(paths.dtype).contiguous()
        plain[f"{path}.lora_B.weight"] = up.to(paths.dtype).contiguous()
        if "bias" in adapter.kinds:  # peft wants one for every layer, or for none
            bias = roles.get("diff_b", roles.get("up_bias", torch.zeros(len(up))))
            factor = 1.0 if "diff_b" in roles else scale
            plain[f"{path}.lora_B.bias"] = (bias.float() * factor).to(paths.dtype)
    return plain


def _fitted(
    adapter: AdapterFile, layer: str, scale: float, paths: LayerPaths, path: str, label: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the factors of one layer in the form of the model's layer at `path`."""
    roles, shape = adapter.layers[layer], paths.shape(path)
    if len(shape) < 2:
        raise _not_applied(adapter.name, "norms of the model", [layer])
    down, up = factors(roles, scale, shape)
    for its, ours in ((len(up), shape[0]), (down[0].numel(), math.prod(shape[1:]))):
        if its != ours:
            raise BadInput(
                f"The LoRA '{adapter.name}' does not fit {label}: its layer {layer} is {its} wide, "
                f"the model's {ours}. It was made for another kind of model."
            )
    down = down.reshape(-1, *shape[1:])
    if roles.keys() & {"magnitude", "dora_scale"}:
        weight = paths.weight(path)
        if not weight.is_floating_point():
            raise BadInput(
                f"The LoRA '{adapter.name}' is a DoRA, which is computed from the whole weights of "
                f"{label}. Choose no quantization for it."
            )
        down, up = dora_factors(weight, down, up, roles)
    return down, up.reshape(*up.shape[:2], *[1] * (len(shape) - 2))


def _split(key: str) -> tuple[str, str]:
    """Split a tensor's name into the layer and the role, "" for a tensor of no known role."""
    for pattern, role in _TENSOR:
        if match := pattern.fullmatch(key):
            return match[1], role or match[2]
    return key, ""


def _is_note(key: str) -> bool:
    """Whether a tensor is a note of a trainer, and changes nothing."""
    return key in ("lora_controlnet", "network_module") or key.endswith(".scale_weight_norms")


def _peft_scale(file: Path) -> float | None:
    """Return alpha / rank of the settings that peft writes beside its `adapter_model`."""
    try:
        settings = json.loads((file.parent / "adapter_config.json").read_text("utf-8"))
        if file.stem != "adapter_model":
            return None
        rank, alpha = float(settings["r"]), float(settings["lora_alpha"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return alpha / (rank**0.5 if settings.get("use_rslora") else rank)


def _rows(roles: Mapping[str, torch.Tensor]) -> int:
    """Return the rows of the weight that a layer changes."""
    if "up" in roles:
        return len(roles["up"])
    if "hada_w1_a" in roles:
        first = roles["hada_w1_a"]
        return first.shape[1] if "hada_t1" in roles else len(first)
    if "lokr_w1" in roles or "lokr_w1_a" in roles:
        sides = [roles.get(f"lokr_w{n}", roles.get(f"lokr_w{n}_a")) for n in (1, 2)]
        tucker = "lokr_t2" in roles
        one, two = (side for side in sides if side is not None)
        return len(one) * (two.shape[1] if tucker else len(two))
    change = roles.get("diff", roles.get("diff_b"))
    return 0 if change is None else len(change)


def _scale(roles: Mapping[str, torch.Tensor], path: str, adapter: AdapterFile) -> float:
    """Return the factor of a layer's change: alpha by its rank, 1 without an alpha."""
    rank = next(
        (
            len(roles[role])
            for role in ("down", "hada_w1_b", "lokr_w2_b", "lokr_w1_b")
            if role in roles
        ),
        0,
    )
    if not rank:
        return 1.0
    if "alpha" in roles:
        return float(roles["alpha"]) / rank
    if adapter.peft_scale is not None:
        return adapter.peft_scale
    return _diffusers_scale(adapter.metadata, path, rank)


def _diffusers_scale(metadata: Mapping[str, str], path: str, rank: int) -> float:
    """Return the factor by the settings that diffusers and peft write into the file."""
    try:
        settings: dict[str, Any] = json.loads(metadata["lora_adapter_metadata"])
    except (KeyError, ValueError):
        return 1.0
    part, _, layer = path.partition(".")
    patterns: dict[str, Any] = settings.get(f"{part}.alpha_pattern") or {}
    alpha = next(
        (value for name, value in patterns.items() if layer.endswith(name.removeprefix("^"))),
        settings.get(f"{part}.lora_alpha", rank),
    )
    return float(alpha) / (rank**0.5 if settings.get(f"{part}.use_rslora") else rank)
