"""Find the layers of a loaded pipeline by the names that adapters have for them.

Adapters name layers as diffusers does, with or without the component before, as peft does with a
wrapper before, or as kohya's scripts do: with underscores for dots, for Stable Diffusion XL under
the names of the original U-Net.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import torch

# Before the name of a layer; the last ones stand for the denoiser alone.
_WRAPPERS: Final = ("base_model.model.", "_orig_mod.", "module.")
_DENOISER_PREFIXES: Final = ("diffusion_model.", "model.diffusion_model.")
_FLAT_PREFIXES: Final[Mapping[str, str]] = {
    "lora_unet_": "denoiser",
    "lora_transformer_": "denoiser",
    "lycoris_": "denoiser",
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "lora_te3_": "text_encoder_3",
}
_SGM_BLOCK: Final = re.compile(r"(input|output)_blocks_(\d+)_(\d+)_(.*)|middle_block_(\d)_(.*)")
_SGM_NAMES: Final[Mapping[str, str]] = {
    "input_blocks_0_0": "conv_in",
    "out_2": "conv_out",
    "time_embed_0": "time_embedding_linear_1",
    "time_embed_2": "time_embedding_linear_2",
    "label_emb_0_0": "add_embedding_linear_1",
    "label_emb_0_2": "add_embedding_linear_2",
}
_SGM_RESNET: Final[Mapping[str, str]] = {
    "in_layers_2": "conv1",
    "out_layers_3": "conv2",
    "emb_layers_1": "time_emb_proj",
    "skip_connection": "conv_shortcut",
}


class LayerPaths:
    """The layers of a pipeline by the names that adapters have for them.

    `denoiser` is the name of the component that draws, `dtype` the number format it computes in.
    """

    def __init__(self, pipeline: Any) -> None:
        self._modules: dict[str, Any] = {}
        self._flat: dict[str, str] = {}
        self.denoiser = next(
            (each for each in ("unet", "transformer") if getattr(pipeline, each, None)), "unet"
        )
        for part in (self.denoiser, "text_encoder", "text_encoder_2", "text_encoder_3"):
            component = getattr(pipeline, part, None)
            if not isinstance(component, torch.nn.Module):
                continue
            for path, module in component.named_modules():
                base = getattr(module, "base_layer", module)
                if isinstance(getattr(base, "weight", None), torch.Tensor):
                    name = f"{part}.{path}"
                    self._modules[name] = base
                    self._flat[f"{part}.{path.replace('.', '_')}"] = name
        config = getattr(getattr(pipeline, self.denoiser, None), "config", None)
        layers = getattr(config, "layers_per_block", 2)
        formats = (
            each.weight.dtype for name, each in self._modules.items() if self.denoiser in name
        )
        halves = (each for each in formats if each.is_floating_point and each.itemsize > 1)
        self.dtype: torch.dtype = min(halves, key=lambda each: each.itemsize, default=torch.float32)
        self._layers_per_block = layers if isinstance(layers, int) else 2

    def find(self, layer: str) -> str | None:
        """Return the component and path of a layer of an adapter, None if the model has it not."""
        for wrapper in _WRAPPERS:
            layer = layer.removeprefix(wrapper)
        for prefix, part in _FLAT_PREFIXES.items():
            if layer.startswith(prefix):
                return self._find_flat(self._part(part), layer.removeprefix(prefix))
        for prefix in _DENOISER_PREFIXES:
            layer = layer.removeprefix(prefix)
        layer = re.sub(r"\bself_attn\.to_([qkv]|out)$", r"self_attn.\1_proj", layer)
        layer = re.sub(r"\.processor\.(to_[qkv]|to_out)$", r".\1", layer)
        layer = re.sub(r"\.to_out$", ".to_out.0", layer)
        names = [layer, *(f"{part}.{layer}" for part in (self.denoiser, "text_encoder"))]
        names += [name.replace("text_model.", "", 1) for name in names]
        return next((name for name in names if name in self._modules), None)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a layer's weight, also where that is packed."""
        module = self._modules[name]
        if isinstance(module, torch.nn.Linear):
            return module.out_features, module.in_features
        return tuple(module.weight.shape)

    def weight(self, name: str) -> torch.Tensor:
        """Return the weight of a layer that was found."""
        weight: torch.Tensor = self._modules[name].weight
        return weight

    def _part(self, part: str) -> str:
        return self.denoiser if part == "denoiser" else part

    def _find_flat(self, part: str, flat: str) -> str | None:
        names = [flat, self._from_sgm(flat), flat.removeprefix("text_model_")]
        return next(
            (self._flat[f"{part}.{name}"] for name in names if f"{part}.{name}" in self._flat), None
        )

    def _from_sgm(self, flat: str) -> str:
        """Return the name in diffusers of a layer of the original U-Net of Stable Diffusion."""
        if flat in _SGM_NAMES:
            return _SGM_NAMES[flat]
        match = _SGM_BLOCK.fullmatch(flat)
        if match is None:
            return flat
        if match[5]:
            part, number = (("resnets", 0), ("attentions", 0), ("resnets", 1))[int(match[5])]
            return f"mid_block_{part}_{number}_{_SGM_RESNET.get(match[6], match[6])}"
        way, index, inner, rest = match[1], int(match[2]), int(match[3]), match[4]
        per_block = self._layers_per_block + 1
        block, number = divmod(index - 1 if way == "input" else index, per_block)
        side = "down" if way == "input" else "up"
        if rest in ("op", "conv"):
            return f"{side}_blocks_{block}_{side}samplers_0_conv"
        part = ("resnets", "attentions")[min(inner, 1)]
        return f"{side}_blocks_{block}_{part}_{number}_{_SGM_RESNET.get(rest, rest)}"
