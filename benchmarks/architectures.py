"""How large are the published models? Stable Diffusion 1.5 and 3.5 medium with random weights, and tiny stand-ins.

The numbers are those of the checkpoints' config.json files; only the vocabulary of the tokenizer is not, which no
timing depends on.
"""

from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from augment.pretrain.networks import build_scheduler, build_tokenizer

Family = Literal["sd15", "sd35-medium"]
Size = Literal["full", "tiny"]
PROMPT_TOKENS = 77
T5_TOKENS = 256

UNET: dict[Size, dict[str, Any]] = {
    "full": {
        "sample_size": 64,
        "block_out_channels": (320, 640, 1280, 1280),
        "attention_head_dim": 8,
        "cross_attention_dim": 768,
    },
    "tiny": {
        "sample_size": 8,
        "block_out_channels": (16, 32),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "layers_per_block": 1,
        "attention_head_dim": 4,
        "cross_attention_dim": 32,
        "norm_num_groups": 8,
    },
}
TRANSFORMER: dict[Size, dict[str, Any]] = {
    "full": {
        "sample_size": 128,
        "num_layers": 24,
        "attention_head_dim": 64,
        "num_attention_heads": 24,
        "joint_attention_dim": 4096,
        "caption_projection_dim": 1536,
        "pooled_projection_dim": 2048,
        "pos_embed_max_size": 384,
        "dual_attention_layers": tuple(range(13)),
        "qk_norm": "rms_norm",
    },
    "tiny": {
        "sample_size": 8,
        "num_layers": 2,
        "attention_head_dim": 8,
        "num_attention_heads": 4,
        "joint_attention_dim": 64,
        "caption_projection_dim": 32,
        "pooled_projection_dim": 64,
        "pos_embed_max_size": 16,
        "dual_attention_layers": (0,),
        "qk_norm": "rms_norm",
    },
}
AUTOENCODER: dict[Size, dict[str, Any]] = {
    "full": {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2},
    "tiny": {"block_out_channels": (8, 16), "norm_num_groups": 8},
}
CLIP_L: dict[Size, dict[str, Any]] = {
    "full": {
        "vocab_size": 49408,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "projection_dim": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
    },
    "tiny": {
        "vocab_size": 1000,
        "hidden_size": 32,
        "intermediate_size": 64,
        "projection_dim": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    },
}
CLIP_G: dict[Size, dict[str, Any]] = {
    "full": {
        "vocab_size": 49408,
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "projection_dim": 1280,
        "num_hidden_layers": 32,
        "num_attention_heads": 20,
        "hidden_act": "gelu",
    },
    "tiny": CLIP_L["tiny"],
}


Network = TypeVar("Network", bound=nn.Module)


def fill(build: Callable[[], Network], dtype: torch.dtype, device: str = "cpu") -> Network:
    """A network with random weights, without the time and memory of its own initialisation.

    Args:
        build: Makes the network.
        dtype: Of its weights.
        device: Where they lie.
    """
    with torch.device("meta"):
        network = build()
    network.to(dtype).to_empty(device=device).eval().requires_grad_(False)
    for name, tensor in chain(network.named_parameters(), network.named_buffers()):
        if tensor.ndim > 1 and tensor.is_floating_point():
            tensor.normal_(std=0.02)
        else:
            tensor.fill_(1 if name.endswith("weight") else 0)
    return network


def build_denoiser(family: Family, size: Size) -> Any:
    """The U-Net of Stable Diffusion 1.5, or the transformer of 3.5 medium."""
    if family == "sd15":
        return UNet2DConditionModel(**UNET[size])
    return SD3Transformer2DModel(patch_size=2, in_channels=16, out_channels=16, **TRANSFORMER[size])


def inputs(network: Any, dtype: torch.dtype) -> dict[str, Tensor]:
    """What one call of a denoiser at batch 1 takes."""
    config = network.config
    z = torch.randn(1, config.in_channels, config.sample_size, config.sample_size, dtype=dtype)
    timestep = torch.full((1,), 500)
    if "joint_attention_dim" not in config:
        words = torch.randn(1, PROMPT_TOKENS, config.cross_attention_dim, dtype=dtype)
        return {"sample": z, "timestep": timestep, "encoder_hidden_states": words}
    words = torch.randn(1, PROMPT_TOKENS + T5_TOKENS, config.joint_attention_dim, dtype=dtype)
    pooled = torch.randn(1, config.pooled_projection_dim, dtype=dtype)
    return {"hidden_states": z, "timestep": timestep, "encoder_hidden_states": words, "pooled_projections": pooled}


def save_checkpoint(folder: Path, family: Family, size: Size, device: str = "cpu") -> Path:
    """Write a whole model with random weights in bf16, in diffusers' folder format, without T5."""

    def network(build: Callable[[], Network]) -> Network:
        return fill(build, torch.bfloat16, device)

    tokenizer = build_tokenizer()
    tokenizer.model_max_length = PROMPT_TOKENS
    small = text_config(CLIP_L[size], tokenizer)
    denoiser = network(partial(build_denoiser, family, size))
    if family == "sd15":
        pipeline = StableDiffusionPipeline(
            vae=network(lambda: autoencoder(size, latent_channels=4)),
            text_encoder=network(lambda: CLIPTextModel(small)),
            tokenizer=tokenizer,
            unet=denoiser,
            scheduler=build_scheduler(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    else:
        shift = {"scaling_factor": 1.5305, "shift_factor": 0.0609}
        no_quant = {"use_quant_conv": False, "use_post_quant_conv": False}
        large = text_config(CLIP_G[size], tokenizer)
        pipeline = StableDiffusion3Pipeline(
            vae=network(lambda: autoencoder(size, latent_channels=16, **shift, **no_quant)),
            text_encoder=network(lambda: CLIPTextModelWithProjection(small)),
            tokenizer=tokenizer,
            text_encoder_2=network(lambda: CLIPTextModelWithProjection(large)),
            tokenizer_2=tokenizer,
            text_encoder_3=None,
            tokenizer_3=None,
            transformer=denoiser,
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        )
    pipeline.save_pretrained(folder)
    return folder


def autoencoder(size: Size, **more: Any) -> AutoencoderKL:
    """The autoencoder of either family."""
    levels = len(AUTOENCODER[size]["block_out_channels"])
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        **AUTOENCODER[size],
        **more,
    )


def text_config(sizes: dict[str, Any], tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    """A CLIP text encoder's configuration for that tokenizer."""
    return CLIPTextConfig(
        max_position_embeddings=PROMPT_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **sizes,
    )
