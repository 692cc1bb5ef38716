"""Untrained models of a few thousand weights for the rivals: an InstructPix2Pix checkpoint and a CLIP of two towers."""

from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, StableDiffusionInstructPix2PixPipeline, UNet2DConditionModel
from tiny_families import SIDE, autoencoder, text_config
from transformers import CLIPConfig, CLIPModel, CLIPTextModel, CLIPVisionConfig

from augment.pretrain.networks import build_tokenizer


def save_pix2pix(folder: Path, **scheduler: Any) -> Path:
    torch.manual_seed(4)
    unet = UNet2DConditionModel(
        sample_size=SIDE // 2,
        in_channels=8,
        out_channels=4,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=8,
    )
    schedule = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    StableDiffusionInstructPix2PixPipeline(
        vae=autoencoder(4, scaling_factor=0.18215),
        text_encoder=CLIPTextModel(text_config()),
        tokenizer=build_tokenizer(),
        unet=unet,
        scheduler=DDIMScheduler(**(schedule | {"clip_sample": False, "set_alpha_to_one": False} | scheduler)),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def save_clip(folder: Path, safe: bool = True) -> Path:
    """Random weights, so large that its classes differ from image to image."""
    torch.manual_seed(5)
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=24, patch_size=8
    )
    text = text_config().to_dict() | {"max_position_embeddings": 40}  # a class's name comes last
    config = CLIPConfig(text_config=text, vision_config=vision.to_dict(), projection_dim=16)
    model = CLIPModel(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder, safe_serialization=safe)
    tokenizer = build_tokenizer()
    tokenizer.model_max_length = 40
    tokenizer.save_pretrained(folder)
    return folder
