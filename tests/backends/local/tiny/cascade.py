"""A DeepFloyd IF with random weights, as small as its classes allow, in the real folders."""

from pathlib import Path
from typing import Any, Final, cast

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.deepfloyd_if.pipeline_if import IFPipeline
from diffusers.pipelines.deepfloyd_if.pipeline_if_superresolution import IFSuperResolutionPipeline
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from transformers import T5Config, T5EncoderModel, T5Tokenizer

_WIDTH: Final = 16


def cascade(folder: Path, variant: str | None = None) -> tuple[Path, Path]:
    """An IFPipeline of 16x16 pixels and the IFSuperResolutionPipeline that makes 64x64 of them."""
    torch.manual_seed(6)
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [(f"▁{word}", -1.0) for word in ("a", "red", "blue", "circle")]
    words = T5Tokenizer(vocab=pieces, extra_ids=0)
    config = T5Config(
        vocab_size=len(words), d_model=_WIDTH, d_kv=8, d_ff=32, num_layers=1, num_heads=2
    )
    rest: dict[str, Any] = {
        "safety_checker": None,
        "feature_extractor": None,
        "watermarker": None,
        "requires_safety_checker": False,
    }
    schedule: Any = DDPMScheduler(variance_type="learned_range", beta_schedule="squaredcos_cap_v2")
    encoder = T5EncoderModel(config)
    base: Any = IFPipeline(words, encoder, _unet(16, 3), schedule, **rest)
    upper: Any = IFSuperResolutionPipeline(
        words, encoder, _unet(64, 6, class_embed_type="timestep"), schedule, schedule, **rest
    )
    for name, pipeline in (("base", base), ("upper", upper)):
        if variant == "fp16":
            pipeline.to(torch.float16)
        pipeline.save_pretrained(str(folder / name), variant=variant)
    return folder / "base", folder / "upper"


def _unet(side: int, channels: int, **more: Any) -> UNet2DConditionModel:
    return cast(Any, UNet2DConditionModel)(
        sample_size=side,
        in_channels=channels,
        out_channels=6,
        layers_per_block=1,
        block_out_channels=(8, 16),
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        cross_attention_dim=_WIDTH,
        encoder_hid_dim=_WIDTH,
        attention_head_dim=8,
        norm_num_groups=4,
        resnet_time_scale_shift="scale_shift",
        addition_embed_type="text",
        addition_embed_type_num_heads=2,
        **more,
    )
