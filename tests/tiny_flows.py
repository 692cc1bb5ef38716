"""Untrained models of a few thousand weights of the latest flow families, from the real classes."""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    PRXPipeline,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from diffusers.models.transformers.transformer_prx import PRXTransformer2DModel
from tiny_families import SIDE, autoencoder
from transformers import GemmaTokenizerFast, Qwen2TokenizerFast, Qwen3Config, Qwen3ForCausalLM, Qwen3Model
from transformers.models.t5gemma.configuration_t5gemma import T5GemmaConfig, T5GemmaModuleConfig
from transformers.models.t5gemma.modeling_t5gemma import T5GemmaEncoder

LETTERS = "abcdefghijklmnopqrstuvwxyz"
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def gemma_tokenizer() -> GemmaTokenizerFast:
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "▁", *LETTERS]
    return GemmaTokenizerFast(vocab={word: n for n, word in enumerate(words)}, merges=[], model_max_length=24)


def qwen_tokenizer() -> Qwen2TokenizerFast:
    words = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "Ġ", "Ċ", *LETTERS]
    tokenizer = Qwen2TokenizerFast(vocab={word: n for n, word in enumerate(words)}, merges=[])
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def qwen_config(layers: int) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        pad_token_id=0,
    )


def livelier(network: Any, names: tuple[str, ...] = ()) -> None:
    """Weights that are zero before training are drawn, so that the network answers to all that it is told."""
    generator = torch.Generator().manual_seed(7)
    for name, weight in network.named_parameters():
        if not weight.any() or name.endswith(names):
            weight.data = 0.1 * torch.randn(weight.shape, generator=generator)


def save_prx(folder: Path) -> Path:
    torch.manual_seed(4)
    sizes = {
        "vocab_size": 40,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
    }
    encoder, decoder = (T5GemmaModuleConfig(**sizes) for _ in range(2))
    config = T5GemmaConfig(encoder=encoder, decoder=decoder, vocab_size=40)
    transformer = PRXTransformer2DModel(
        in_channels=4, context_in_dim=16, hidden_size=32, mlp_ratio=2.0, num_heads=2, depth=2, axes_dim=[8, 8]
    )
    livelier(transformer)
    PRXPipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        text_encoder=T5GemmaEncoder(config.encoder),
        tokenizer=gemma_tokenizer(),
        vae=autoencoder(4, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
        default_sample_size=SIDE,
    ).save_pretrained(folder)
    config.save_pretrained(folder / "text_encoder")  # the whole T5Gemma's, as published checkpoints have it
    return folder


def save_flux2(folder: Path, distilled: bool = False) -> Path:
    torch.manual_seed(5)
    vae = AutoencoderKLFlux2(
        latent_channels=4,
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=SIDE,
    )
    vae.bn.running_mean.normal_(std=0.2)
    vae.bn.running_var.uniform_(0.5, 1.5)
    transformer = Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=3 * 16,
        axes_dims_rope=(2, 2, 2, 2),
        guidance_embeds=False,
    )
    livelier(transformer)
    Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=vae,
        text_encoder=Qwen3ForCausalLM(qwen_config(28)),  # its layers 9, 18 and 27 are read
        tokenizer=qwen_tokenizer(),
        transformer=transformer,
        is_distilled=distilled,
    ).save_pretrained(folder)
    return folder


def save_z_image(folder: Path, **scheduler: Any) -> Path:
    torch.manual_seed(6)
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[4, 6, 6],
        axes_lens=[256, 32, 32],
    )
    livelier(transformer)
    ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**({"shift": 6.0} | scheduler)),
        vae=autoencoder(4, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=Qwen3Model(qwen_config(2)),
        tokenizer=qwen_tokenizer(),
        transformer=transformer,
    ).save_pretrained(folder)
    return folder
