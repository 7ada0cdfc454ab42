"""Adapters, layout by family: applied as a reference computation says, or refused by name.

The reference works on whole weights, as the papers and LyCORIS define each kind. What is compared
is the output of a layer of the real pipeline, so nothing about how it is applied is assumed.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from safetensors.torch import save_file
from torch.nn import functional

from backends.errors import BadInput, MissingWeights
from backends.local.adapters.lora import apply_loras
from backends.local.job import Adapter
from backends.local.library_logs import silence_libraries
from tests.backends.local.tiny import cascade, models, sdxl, transformers, z_image

Tensors = dict[str, torch.Tensor]
WEIGHT = 0.7
DICE = torch.Generator().manual_seed(3)

# A layer of each sort: in the denoiser, a convolution, in a text encoder.
ATTENTION = "unet.down_blocks.{}.attentions.0.transformer_blocks.0.attn1.to_q"
TEXT = "text_encoder.encoder.layers.0.self_attn.q_proj"
LAYERS: dict[str, tuple[str, ...]] = {
    "diffusion": (
        ATTENTION.format(0),
        "unet.down_blocks.0.resnets.0.conv1",
        TEXT,
    ),
    "sdxl": (
        ATTENTION.format(1),
        "unet.up_blocks.0.resnets.1.conv2",
        "text_encoder_2.text_model.encoder.layers.1.self_attn.v_proj",
    ),
    "flux": ("transformer.transformer_blocks.0.attn.to_k",),
    "sd3": ("transformer.transformer_blocks.0.attn.to_v",),
    "cascade": ("unet.mid_block.resnets.0.conv1",),
    "z_image": ("transformer.layers.0.attention.to_q",),
}


def some(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=DICE) * 0.3


def lora(weight: torch.Tensor) -> tuple[Tensors, torch.Tensor]:
    out, into, *sides = weight.shape
    down, up = some(2, into, *sides), some(out, 2, *[1] * len(sides))
    change = (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
    return {"lora_down.weight": down, "lora_up.weight": up}, weight + change


def alpha(weight: torch.Tensor) -> tuple[Tensors, torch.Tensor]:
    tensors, after = lora(weight)
    return {**tensors, "alpha": torch.tensor(1.0)}, weight + (after - weight) / 2


def locon(weight: torch.Tensor) -> tuple[Tensors, torch.Tensor]:
    """LyCORIS' Tucker decomposition of a convolution in three."""
    out, into, *sides = weight.shape
    one = [1] * len(sides)
    down, mid, up = some(2, into, *one), some(2, 2, *sides), some(out, 2, *one)
    change = torch.einsum("or,rs...,si->oi...", up.flatten(1), mid, down.flatten(1))
    tensors = {"lora_down.weight": down, "lora_mid.weight": mid, "lora_up.weight": up}
    return tensors, weight + change


def loha(weight: torch.Tensor, rank: int = 2) -> tuple[Tensors, torch.Tensor]:
    out, into = len(weight), weight[0].numel()
    factors = {f"hada_w{n}_a": some(out, rank) for n in (1, 2)}
    factors |= {f"hada_w{n}_b": some(rank, into) for n in (1, 2)}
    one, two = (factors[f"hada_w{n}_a"] @ factors[f"hada_w{n}_b"] for n in (1, 2))
    change = (one * two).reshape(weight.shape) * (3.0 / rank)
    return {**factors, "alpha": torch.tensor(3.0)}, weight + change


def wide_loha(weight: torch.Tensor) -> tuple[Tensors, torch.Tensor]:
    """Of a rank whose square is above that of the weight."""
    return loha(weight, 16)


def tucker_loha(weight: torch.Tensor) -> tuple[Tensors, torch.Tensor]:
    out, into, *sides = weight.shape
    factors: Tensors = {}
    change = torch.ones(weight.shape)
    for n in (1, 2):
        core, a, b = some(2, 2, *sides), some(2, out), some(2, into)
        factors |= {f"hada_t{n}": core, f"hada_w{n}_a": a, f"hada_w{n}_b": b}
        change *= torch.einsum("ij...,jr,ip->pr...", core, b, a)
    return factors, weight + change


def lokr(weight: torch.Tensor) -> tuple[Tensors, torch.Tensor]:
    """Both sides whole, where LyCORIS ignores alpha."""
    out, into, *sides = weight.shape
    one, two = some(4, 4), some(out // 4, into // 4, *sides)
    change = torch.kron(one.reshape(4, 4, *[1] * len(sides)), two)
    return {"lokr_w1": one, "lokr_w2": two, "alpha": torch.tensor(1e9)}, weight + change


def factored_lokr(weight: torch.Tensor) -> tuple[Tensors, torch.Tensor]:
    out, into = len(weight), weight[0].numel()
    names = {"lokr_w1_a": (4, 2), "lokr_w1_b": (2, 4)}
    names |= {"lokr_w2_a": (out // 4, 2), "lokr_w2_b": (2, into // 4)}
    t = {name: some(*shape) for name, shape in names.items()}
    change = torch.kron(t["lokr_w1_a"] @ t["lokr_w1_b"], t["lokr_w2_a"] @ t["lokr_w2_b"])
    return {**t, "alpha": torch.tensor(1.0)}, weight + change.reshape(weight.shape) / 2


def half_factored_lokr(weight: torch.Tensor) -> tuple[Tensors, torch.Tensor]:
    """The second side in factors, as LyCORIS writes larger layers."""
    out, into = len(weight), weight[0].numel()
    one, a, b = some(2, 2), some(out // 2, 3), some(3, into // 2)
    change = torch.kron(one, a @ b).reshape(weight.shape)
    return {"lokr_w1": one, "lokr_w2_a": a, "lokr_w2_b": b}, weight + change


def tucker_lokr(weight: torch.Tensor) -> tuple[Tensors, torch.Tensor]:
    out, into, *sides = weight.shape
    one, core = some(4, 4), some(2, 2, *sides)
    a, b = some(2, out // 4), some(2, into // 4)
    two = torch.einsum("ij...,jr,ip->pr...", core, b, a)
    change = torch.kron(one.reshape(4, 4, *[1] * len(sides)), two.contiguous())
    return {"lokr_w1": one, "lokr_t2": core, "lokr_w2_a": a, "lokr_w2_b": b}, weight + change


def full(weight: torch.Tensor) -> tuple[Tensors, torch.Tensor]:
    change = some(*weight.shape)
    return {"diff": change}, weight + change


def dora(weight: torch.Tensor) -> tuple[Tensors, torch.Tensor]:
    tensors, whole = lora(weight)
    scale = some(len(weight), *[1] * (weight.ndim - 1)) + 2
    norms = whole.flatten(1).norm(dim=1).reshape(scale.shape)
    return {**tensors, "dora_scale": scale}, whole * scale / norms


def dora_of_columns(weight: torch.Tensor) -> tuple[Tensors, torch.Tensor]:
    """As LyCORIS trains without `wd_on_out`."""
    tensors, whole = alpha(weight)
    scale = some(1, weight.shape[1], *[1] * (weight.ndim - 2)) + 2
    norms = whole.transpose(0, 1).flatten(1).norm(dim=1).reshape(scale.shape)
    return {**tensors, "dora_scale": scale}, whole * scale / norms


def dora_of_peft(weight: torch.Tensor) -> tuple[Tensors, torch.Tensor]:
    tensors, whole = lora(weight)
    magnitude = some(len(weight)) + 2
    norms = whole.flatten(1).norm(dim=1)
    reference = whole * (magnitude / norms).reshape(-1, *[1] * (weight.ndim - 1))
    if weight.ndim > 2:  # as peft keeps those of convolutions
        magnitude = magnitude.reshape(1, -1, 1, 1)
    names = ("lora_A.weight", "lora_B.weight", "lora_magnitude_vector")
    return dict(zip(names, (*tensors.values(), magnitude), strict=True)), reference


def dora_with_loha(weight: torch.Tensor) -> tuple[Tensors, torch.Tensor]:
    tensors, whole = loha(weight)
    scale = some(len(weight), *[1] * (weight.ndim - 1)) + 2
    return {**tensors, "dora_scale": scale}, whole * scale / whole.flatten(1).norm(dim=1).reshape(
        scale.shape
    )


LORAS = (lora, alpha, loha, wide_loha, lokr, factored_lokr, half_factored_lokr, full)
LINEAR = (*LORAS, dora, dora_of_columns, dora_of_peft, dora_with_loha)
CONVOLUTION = (*LINEAR, locon, tucker_loha, tucker_lokr)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    here = tmp_path_factory.mktemp("families")
    silence_libraries()
    make: dict[str, Callable[[Path], Path]] = {
        "diffusion": models.diffusion,
        "sdxl": sdxl.sdxl,
        "flux": transformers.flux,
        "sd3": transformers.sd3,
        "z_image": z_image.z_image,
        "cascade": lambda here: cascade.cascade(here)[0],
    }
    load = cast(Any, DiffusionPipeline).from_pretrained
    loaded = {family: load(each(here / family)) for family, each in make.items()}
    return {**loaded, "half": load(here / "diffusion", dtype=torch.bfloat16)}


@pytest.fixture
def pipelines(loaded: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Tiny pipelines, without adapters once the test has ended."""
    yield loaded
    for pipeline in loaded.values():
        apply_loras(pipeline, (), "Tiny")


def layer_of(pipeline: Any, name: str) -> Any:
    part, _, path = name.partition(".")
    return getattr(pipeline, part).get_submodule(path)


def output(module: Any, weight: torch.Tensor | None = None, bias: Any = None) -> torch.Tensor:
    """What a layer makes of noise; with `weight` and `bias`, a layer that has those."""
    base = getattr(module, "base_layer", module)
    generator = torch.Generator().manual_seed(1)
    sides = (8, 8) if base.weight.ndim == 4 else ()
    given = torch.randn(3, base.weight.shape[1], *sides, generator=generator)
    with torch.no_grad():
        if weight is None:
            return cast(torch.Tensor, module(given))
        bias = base.bias if bias is None else bias
        if sides:
            return functional.conv2d(given, weight, bias, base.stride, base.padding)
        return functional.linear(given, weight, bias)


def applied(pipeline: Any, file: Path, tensors: Tensors, weight: float = WEIGHT) -> str:
    """Apply the tensors as a LoRA; return the note for the card."""
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)
    adapter = Adapter(file.stem, str(file), weight)
    return apply_loras(pipeline, (adapter,), "Tiny")["loras"].note


CELLS = [
    pytest.param(family, layer, kind, id=f"{family}-{layer.split('.')[-1]}-{kind.__name__}")
    for family, layers in LAYERS.items()
    for layer in layers
    for kind in (CONVOLUTION if "conv" in layer else LINEAR)
]


@pytest.mark.parametrize(("family", "layer", "kind"), CELLS)
def test_every_kind_changes_a_layer_as_the_reference_says(
    pipelines: dict[str, Any], tmp_path: Path, family: str, layer: str, kind: Any
) -> None:
    pipeline = pipelines[family]
    module = layer_of(pipeline, layer)
    weight, bare = module.weight.detach().clone(), output(module)
    tensors, reference = kind(weight)
    tensors = {f"{layer}.{name}": tensor for name, tensor in tensors.items()}
    assert applied(pipeline, tmp_path / "one.safetensors", tensors) == ""
    changed = output(layer_of(pipeline, layer))
    expected = output(module, weight + WEIGHT * (reference - weight))
    assert (bare - expected).abs().mean() > 0.001
    torch.testing.assert_close(changed, expected, atol=1e-4, rtol=1e-3)
    apply_loras(pipeline, (), "Tiny")
    assert (output(layer_of(pipeline, layer)) == bare).all()


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
@pytest.mark.parametrize("kind", [alpha, loha, dora])
def test_the_number_format_is_that_of_the_model(
    pipelines: dict[str, Any], tmp_path: Path, kind: Any, stored: torch.dtype
) -> None:
    """Layers that compute in another format than the model's would be slow and large."""
    pipeline, layer = pipelines["half"], LAYERS["diffusion"][0]
    module = layer_of(pipeline, layer)
    weight = module.weight.detach().float()
    tensors = {name: each.to(stored) for name, each in kind(weight)[0].items()}
    tensors = {f"{layer}.{name}": each for name, each in tensors.items()}
    assert applied(pipeline, tmp_path / "one.safetensors", tensors) == ""
    added = {name: each.dtype for name, each in pipeline.unet.named_parameters() if "lora_" in name}
    assert len(added) == 2 and set(added.values()) == {torch.bfloat16}


def flat(layer: str) -> str:
    """A layer's name as kohya's scripts write it."""
    part, _, path = layer.partition(".")
    parts = {"unet": "lora_unet", "transformer": "lora_unet", "text_encoder": "lora_te"}
    if part.startswith("text_encoder"):
        path = f"text_model.{path.removeprefix('text_model.')}"
    return f"{parts.get(part, 'lora_te2')}_{path.replace('.', '_')}"


SGM = {
    LAYERS["sdxl"][0]: "lora_unet_input_blocks_3_1_transformer_blocks_0_attn1_to_q",
    LAYERS["sdxl"][1]: "lora_unet_output_blocks_1_0_out_layers_3",
    "unet.conv_in": "lora_unet_input_blocks_0_0",
    "unet.down_blocks.0.downsamplers.0.conv": "lora_unet_input_blocks_2_0_op",
    "unet.down_blocks.1.resnets.0.conv_shortcut": "lora_unet_input_blocks_3_0_skip_connection",
    "unet.mid_block.resnets.1.time_emb_proj": "lora_unet_middle_block_2_emb_layers_1",
    "unet.up_blocks.0.upsamplers.0.conv": "lora_unet_output_blocks_1_2_conv",
    "unet.add_embedding.linear_2": "lora_unet_label_emb_0_2",
}
NAMINGS: list[tuple[str, str, str]] = [
    *((family, layer, flat(layer)) for family, layers in LAYERS.items() for layer in layers),
    *(("sdxl", layer, name) for layer, name in SGM.items()),
    *(
        (family, layer, f"{prefix}{layer.partition('.')[2]}")
        for family, (layer, *_) in LAYERS.items()
        for prefix in ("", "base_model.model.", "diffusion_model.", "module.")
    ),
    *((family, layer, f"base_model.model.{layer}") for family, (layer, *_) in LAYERS.items()),
    (
        "diffusion",
        LAYERS["diffusion"][0],
        "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q",
    ),
    ("flux", LAYERS["flux"][0], "lora_transformer_transformer_blocks_0_attn_to_k"),
    ("diffusion", LAYERS["diffusion"][0], f"lycoris_{flat(LAYERS['diffusion'][0])[10:]}"),
    ("diffusion", TEXT, TEXT.replace(".enc", ".text_model.enc")),
]


@pytest.mark.parametrize("kind", [alpha, dora])
@pytest.mark.parametrize(("family", "layer", "name"), NAMINGS)
def test_every_naming_finds_its_layer(
    pipelines: dict[str, Any], tmp_path: Path, family: str, layer: str, name: str, kind: Any
) -> None:
    pipeline = pipelines[family]
    module = layer_of(pipeline, layer)
    weight = module.weight.detach().clone()
    tensors, reference = kind(weight)
    tensors = {f"{name}.{ending}": tensor for ending, tensor in tensors.items()}
    assert applied(pipeline, tmp_path / "one.safetensors", tensors) == ""
    changed = output(layer_of(pipeline, layer))
    apply_loras(pipeline, (), "Tiny")
    expected = output(module, weight + WEIGHT * (reference - weight))
    torch.testing.assert_close(changed, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("kind", [alpha, loha, lokr, factored_lokr, full])
def test_layers_that_a_model_splits_are_split(
    pipelines: dict[str, Any], tmp_path: Path, kind: Any
) -> None:
    """FLUX.1 as published has q, k and v in one layer, diffusers has three."""
    pipeline, path = pipelines["flux"], "transformer.transformer_blocks.0.attn"
    parts = [layer_of(pipeline, f"{path}.to_{part}") for part in "qkv"]
    weights = [part.weight.detach().clone() for part in parts]
    tensors, reference = kind(torch.cat(weights))
    name = "lora_unet_double_blocks_0_img_attn_qkv"
    tensors = {f"{name}.{ending}": tensor for ending, tensor in tensors.items()}
    assert applied(pipeline, tmp_path / "one.safetensors", tensors) == ""
    changed = [output(layer_of(pipeline, f"{path}.to_{part}")) for part in "qkv"]
    apply_loras(pipeline, (), "Tiny")
    for part, weight, after, got in zip(parts, weights, reference.chunk(3), changed, strict=True):
        expected = output(part, weight + WEIGHT * (after - weight))
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-3)


def test_layers_of_many_kinds_and_ranks_are_applied_together(
    pipelines: dict[str, Any], tmp_path: Path
) -> None:
    pipeline = pipelines["diffusion"]
    kinds: dict[str, Any] = {
        LAYERS["diffusion"][0]: loha,
        LAYERS["diffusion"][1]: full,
        "unet.conv_in": dora,
        TEXT: lokr,
        "text_encoder.encoder.layers.1.mlp.fc1": full,
        "text_encoder.encoder.layers.1.mlp.fc2": alpha,
    }
    tensors: Tensors = {}
    expected: dict[str, torch.Tensor] = {}
    for layer, kind in kinds.items():
        module = layer_of(pipeline, layer)
        weight = module.weight.detach().clone()
        made, reference = kind(weight)
        tensors |= {f"{layer}.{ending}": tensor for ending, tensor in made.items()}
        expected[layer] = output(module, weight + WEIGHT * (reference - weight))
    tensors["unet.conv_out.alpha"] = torch.tensor(4.0)  # of a layer that was not trained
    assert applied(pipeline, tmp_path / "one.safetensors", tensors) == ""
    for layer, right in expected.items():
        torch.testing.assert_close(
            output(layer_of(pipeline, layer)), right, atol=1e-4, rtol=1e-3, msg=layer
        )


@pytest.mark.parametrize(
    ("ending", "lacking"),
    [
        ("lora_down.weight", "up"),
        ("lora_B.weight", "down"),
        ("hada_w1_a", "hada_w1_b"),
        ("lokr_w1", "lokr_w2 or lokr_w2_a"),
    ],
)
def test_half_of_a_layer_is_named(
    pipelines: dict[str, Any], tmp_path: Path, ending: str, lacking: str
) -> None:
    layer = LAYERS["diffusion"][0]
    with pytest.raises(MissingWeights, match=rf"incomplete: its layer {layer} has no {lacking}"):
        applied(
            pipelines["diffusion"], tmp_path / "a.safetensors", {f"{layer}.{ending}": some(4, 4)}
        )


def test_two_adapters_in_a_file_are_refused(pipelines: dict[str, Any], tmp_path: Path) -> None:
    layer = LAYERS["diffusion"][0]
    down, up = lora(layer_of(pipelines["diffusion"], layer).weight.detach())[0].values()
    halves = {"lora_A": down, "lora_B": up}
    tensors = {
        f"{layer}.{half}.{name}.weight": each + 0
        for half, each in halves.items()
        for name in ("one", "two")
    }
    with pytest.raises(BadInput, match=r"two.weight and 1 more"):
        applied(pipelines["diffusion"], tmp_path / "one.safetensors", tensors)
    tensors = {f"{layer}.{half}.weight": each + 0 for half, each in halves.items()}
    tensors |= {f"base_model.model.{name}": each + 0 for name, each in tensors.items()}
    with pytest.raises(BadInput, match="one layer under two names"):
        applied(pipelines["diffusion"], tmp_path / "one.safetensors", tensors)


def test_a_layer_of_another_size_is_named(pipelines: dict[str, Any], tmp_path: Path) -> None:
    layer = LAYERS["diffusion"][0]
    tensors = {f"{layer}.lokr_w1": some(4, 4), f"{layer}.lokr_w2": some(32, 32)}
    with pytest.raises(BadInput, match=rf"its layer {layer} is 128 wide, the model's 32"):
        applied(pipelines["diffusion"], tmp_path / "one.safetensors", tensors)


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (LAYERS["diffusion"][0], LAYERS["diffusion"][0].replace("attn1.", "attn1.processor.")),
        (LAYERS["diffusion"][0], ATTENTION.format(0)[5:].replace("attn1.", "attn1.processor.")),
        (TEXT, "text_encoder.text_model.encoder.layers.0.self_attn.to_q"),
    ],
)
def test_the_names_of_early_diffusers_are_read(
    pipelines: dict[str, Any], tmp_path: Path, layer: str, name: str
) -> None:
    pipeline = pipelines["diffusion"]
    module = layer_of(pipeline, layer)
    weight = module.weight.detach().clone()
    tensors, reference = lora(weight)
    down, up = tensors.values()
    tensors = {f"{name}_lora.down.weight": down, f"{name}_lora.up.weight": up}
    assert applied(pipeline, tmp_path / "one.safetensors", tensors) == ""
    changed = output(layer_of(pipeline, layer))
    apply_loras(pipeline, (), "Tiny")
    expected = output(module, weight + WEIGHT * (reference - weight))
    torch.testing.assert_close(changed, expected, atol=1e-4, rtol=1e-3)


def test_names_that_only_diffusers_knows_are_read_by_it(
    pipelines: dict[str, Any], tmp_path: Path
) -> None:
    """XLabs' LoRAs of FLUX.1 change q, k and v together."""
    pipeline, path = pipelines["flux"], "transformer.transformer_blocks.0.attn"
    parts = [layer_of(pipeline, f"{path}.to_{part}") for part in "qkv"]
    weights = [part.weight.detach().clone() for part in parts]
    tensors, reference = lora(torch.cat(weights))
    name = "double_blocks.0.processor.qkv_lora1"
    down, up = tensors.values()
    tensors = {f"{name}.down.weight": down, f"{name}.up.weight": up}
    assert applied(pipeline, tmp_path / "one.safetensors", tensors) == ""
    changed = [output(layer_of(pipeline, f"{path}.to_{part}")) for part in "qkv"]
    apply_loras(pipeline, (), "Tiny")
    for part, weight, after, got in zip(parts, weights, reference.chunk(3), changed, strict=True):
        expected = output(part, weight + WEIGHT * (after - weight))
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("family", ["diffusion", "flux", "z_image"])
@pytest.mark.parametrize("kind", [alpha, loha, dora])
@pytest.mark.parametrize("prefix", ["", "base_model.model."])
def test_what_finds_a_place_is_applied_and_the_rest_is_counted(
    pipelines: dict[str, Any], tmp_path: Path, family: str, kind: Any, prefix: str
) -> None:
    pipeline, layer = pipelines[family], LAYERS[family][0]
    module = layer_of(pipeline, layer)
    weight = module.weight.detach().clone()
    tensors, reference = kind(weight)
    other = layer.replace(".0.", ".7.", 1)
    tensors = {
        f"{prefix}{name}.{ending}": tensor + 0
        for ending, tensor in tensors.items()
        for name in (layer, other)
    }
    note = applied(pipeline, tmp_path / "one.safetensors", tensors)
    assert note == "1 of 2 layers of the LoRA 'one' ignored: not in Tiny"
    changed = output(layer_of(pipeline, layer))
    apply_loras(pipeline, (), "Tiny")
    expected = output(module, weight + WEIGHT * (reference - weight))
    torch.testing.assert_close(changed, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("ending", ["diff_b", "lora_B.bias", "lora_B.default.bias"])
@pytest.mark.parametrize("family", ["diffusion", "sdxl", "flux", "sd3"])
def test_a_changed_bias_is_applied(
    pipelines: dict[str, Any], tmp_path: Path, family: str, ending: str
) -> None:
    pipeline, layer = pipelines[family], LAYERS[family][0]
    other = {"unet": "unet.conv_in", "transformer": "transformer.proj_out"}[layer.split(".")[0]]
    weight, module = layer_of(pipeline, layer).weight, layer_of(pipeline, other)
    tensors = {f"{layer}.{name}": tensor for name, tensor in lora(weight.detach())[0].items()}
    bias = some(len(module.weight))
    if ending != "diff_b":
        down, up = lora(module.weight.detach())[0].values()
        tensors |= {f"{other}.lora_A.weight": down * 0, f"{other}.lora_B.weight": up}
    tensors[f"{other}.{ending}"] = bias
    assert applied(pipeline, tmp_path / "one.safetensors", tensors) == ""
    changed = output(layer_of(pipeline, other))
    apply_loras(pipeline, (), "Tiny")
    expected = output(module, module.weight, module.bias + WEIGHT * bias)
    torch.testing.assert_close(changed, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("rank_stabilized", [False, True])
def test_the_settings_beside_a_file_of_peft_count(
    pipelines: dict[str, Any], tmp_path: Path, rank_stabilized: bool
) -> None:
    pipeline, layer = pipelines["diffusion"], LAYERS["diffusion"][0]
    module = layer_of(pipeline, layer)
    weight = module.weight.detach().clone()
    down, up = lora(weight)[0].values()
    settings = {"r": 2, "lora_alpha": 5, "use_rslora": rank_stabilized}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    name = f"base_model.model.{layer.partition('.')[2]}"
    tensors = {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
    assert applied(pipeline, tmp_path / "adapter_model.safetensors", tensors) == ""
    changed = output(layer_of(pipeline, layer))
    apply_loras(pipeline, (), "Tiny")
    scale = 5 / (2**0.5 if rank_stabilized else 2)
    expected = output(module, weight + WEIGHT * scale * up @ down)
    torch.testing.assert_close(changed, expected, atol=1e-4, rtol=1e-3)


REFUSED = {
    "a norm of LyCORIS": ({"{norm}.w_norm": (4,), "{norm}.b_norm": (4,)}, "norms of the model"),
    "a norm's full change": ({"{norm}.diff": (4,), "{norm}.diff_b": (4,)}, "norms of the model"),
    "a norm's bias": ({"{norm}.diff_b": (4,)}, "norms of the model"),
    "OFT": ({"{layer}.oft_blocks": (2, 4, 4)}, r"oft_blocks\)"),
    "IA3": (
        {"{layer}.weight": (4,), "{layer}.on_input": (1,)},
        r"on_input and 1 more|weight and 1",
    ),
    "GLoRA": ({"{layer}.a1.weight": (4, 4), "{layer}.b1.weight": (4, 4)}, "a1.weight and 1 more"),
    "an embedding": ({"{layer}.lora_embedding_A": (4, 4)}, "lora_embedding_A"),
    "another word": ({"bundle_emb.word.string_to_param.*": (1, 32)}, "bundle_emb"),
}


NO_NORMS = [("sd3", case) for case in REFUSED if "norm" in case]  # it has none with weights


@pytest.mark.parametrize(
    ("family", "case"),
    [(family, case) for family in LAYERS for case in REFUSED if (family, case) not in NO_NORMS],
)
def test_what_cannot_be_applied_is_refused_by_name(
    pipelines: dict[str, Any], tmp_path: Path, family: str, case: str
) -> None:
    pipeline, layer = pipelines[family], LAYERS[family][0]
    denoiser = getattr(pipeline, layer.partition(".")[0])
    norms = (
        name
        for name, module in denoiser.named_modules()
        if getattr(module, "weight", None) is not None and module.weight.ndim == 1
    )
    norm = next(norms, "")
    shapes, words = REFUSED[case]
    weight = layer_of(pipeline, layer).weight.detach()
    tensors = {f"{layer}.{ending}": each for ending, each in lora(weight)[0].items()}
    for name, shape in shapes.items():
        name = name.format(layer=layer, norm=f"{layer.partition('.')[0]}.{norm}")
        tensors[name] = some(*shape)
    with pytest.raises(BadInput, match=rf"The LoRA 'one' also changes .*{words}.*merged into"):
        applied(pipeline, tmp_path / "one.safetensors", tensors)
    assert not any("lora" in name for name, _ in denoiser.named_parameters())
