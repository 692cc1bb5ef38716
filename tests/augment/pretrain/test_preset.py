"""A finished model is used with the prompt it was trained with, by the name of its folder alone."""

import json
from pathlib import Path

from augment.commands.pages import SYNTHESIZE
from augment.commands.presets import preset_like
from augment.commands.short_options import spell_out
from augment.pretrain.latent import LatentDiffusion
from augment.pretrain.pixel import DDPM
from augment.pretrain.preset import write_preset


def test_a_folder_brings_its_prompt(tmp_path: Path) -> None:
    write_preset(tmp_path, LatentDiffusion(image_size=16, prompt="a garment"), 16)
    first = json.loads(spell_out(SYNTHESIZE, ["--images", "photos", "--backbone", str(tmp_path)])[1])
    assert first["model"]["prompt"] == "a garment"
    assert first["model"]["backbone"] == {
        "class_path": "augment.backbones.stable_diffusion.StableDiffusion",
        "init_args": {"model": str(tmp_path)},
    }
    assert preset_like(str(tmp_path)).classify["batches"]["image_size"] == 16


def test_a_model_without_prompts_takes_the_classes_names(tmp_path: Path) -> None:
    write_preset(tmp_path, DDPM(image_size=16, channels=(16, 32)), 16)
    preset = preset_like(str(tmp_path))
    assert preset.model["prompt"] == "{class}"
    assert preset.model["backbone"]["class_path"] == "augment.backbones.pixel.PixelDiffusion"
