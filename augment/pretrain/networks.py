"""What a small diffusion model is made of: diffusers' and transformers' own classes, in small sizes."""

from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel, UNet2DModel
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from augment.errors import UserError

MAX_PROMPT_TOKENS = 16
AUTOENCODER_GROUPS, DENOISER_GROUPS = 8, 16
"""Of the group normalisation: widths are multiples of them."""


def check_levels(argument: str, channels: tuple[int, ...], groups: int, side: int) -> None:
    """Refuse widths that the normalisation cannot group, and more levels than the side can be halved.

    Raises:
        UserError: If so.
    """
    if not channels or any(width < groups or width % groups for width in channels):
        raise UserError(
            f"model.{argument}", f"{list(channels)} are not all multiples of {groups}", "choose such widths"
        )
    if side % 2 ** (len(channels) - 1):
        raise UserError(
            f"model.{argument}",
            f"{len(channels)} levels cannot halve {side} pixels {len(channels) - 1} times",
            "give fewer levels, or another `model.image_size`",
        )


def build_autoencoder(image_size: int, latent_channels: int, channels: tuple[int, ...]) -> AutoencoderKL:
    """A KL autoencoder whose latents are 2^(levels - 1) times smaller than the images."""
    check_levels("autoencoder_channels", channels, AUTOENCODER_GROUPS, image_size)
    return AutoencoderKL(
        latent_channels=latent_channels,
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        layers_per_block=1,
        norm_num_groups=AUTOENCODER_GROUPS,
        sample_size=image_size,
    )


def load_autoencoder(folder: str, image_size: int) -> AutoencoderKL:
    """The autoencoder of a finished model, frozen, in float32.

    Raises:
        UserError: If there is none, or it cannot halve images of this size as often as it does.
    """
    remedy = "give the folder of a finished latent model, such as OUTPUT/model"
    if not (Path(folder) / "vae" / "config.json").is_file():
        raise UserError("model.autoencoder", f"'{folder}' has no autoencoder (no vae/config.json)", remedy)
    try:
        vae = AutoencoderKL.from_pretrained(folder, subfolder="vae", use_safetensors=True).float()
    except (OSError, ValueError) as error:
        raise UserError("model.autoencoder", f"'{folder}' cannot be read ({error})", remedy) from error
    check_levels("autoencoder", tuple(vae.config.block_out_channels), 1, image_size)
    frozen: AutoencoderKL = vae.requires_grad_(False)
    return frozen


def build_denoiser(latent_size: int, latent_channels: int, channels: tuple[int, ...]) -> UNet2DConditionModel:
    """A conditional U-Net: convolutions at full resolution, convolutions and attention below."""
    return UNet2DConditionModel(
        in_channels=latent_channels,
        out_channels=latent_channels,
        cross_attention_dim=32,
        attention_head_dim=4,
        **levels("denoiser_channels", channels, "CrossAttnDownBlock2D", latent_size),
    )


def build_pixel_denoiser(image_size: int, channels: tuple[int, ...]) -> UNet2DModel:
    """An unconditional U-Net: convolutions at full resolution, convolutions and self-attention below."""
    return UNet2DModel(attention_head_dim=8, **levels("channels", channels, "AttnDownBlock2D", image_size))


def levels(argument: str, channels: tuple[int, ...], deeper: str, side: int) -> dict[str, Any]:
    """The settings of a U-Net's levels, plain at full resolution and of the kind `deeper` below."""
    check_levels(argument, channels, DENOISER_GROUPS, side)
    kinds = ("DownBlock2D", *(deeper,) * (len(channels) - 1))
    return {
        "sample_size": side,
        "block_out_channels": channels,
        "down_block_types": kinds,
        "up_block_types": tuple(kind.replace("Down", "Up") for kind in reversed(kinds)),
        "layers_per_block": 1,
        "norm_num_groups": DENOISER_GROUPS,
    }


def build_scheduler() -> DDIMScheduler:
    """SD 1.5's noise schedule: alphas_cumprod[t] of z_t = sqrt(alpha_t) z_0 + sqrt(1 - alpha_t) eps."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def build_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer without merges: one token per byte, with and without end of word."""
    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=MAX_PROMPT_TOKENS)


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """A one-layer CLIP text encoder for that tokenizer."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            projection_dim=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=MAX_PROMPT_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
