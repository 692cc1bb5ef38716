"""Which settings does a backbone's name bring? Those of its model card, from a YAML file; what the user gives wins."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import hf_hub_download

from augment.backbones.distilled import check_undistilled
from augment.backbones.families import FAMILIES
from augment.backbones.tuned import prompt_for_tuning, read_tuning
from augment.errors import UserError
from augment.runtime.json_files import parse_object
from augment.runtime.network import one_try, out_of_reach

FOLDER = Path(__file__).parent.parent / "assets" / "presets"


@dataclass(frozen=True)
class Preset:
    """A backbone with its usual settings.

    Attributes:
        name: As it is typed after `--backbone`.
        title: What it is.
        license: Of the weights.
        download_gb: Size of the weight files that are fetched once, in 10^9 bytes.
        memory_gb: Memory that the weights take on the device in the preset's precision, in 10^9 bytes.
        model: Settings of the `Synthesizer`, the backbone among them.
        batch_size: Images made at a time.
        classify: Settings of a classifier for images of this kind, as `classify study` takes them.
        tune: Settings of a tuning that differ from `augment tune`'s own.
        tuned: Settings of the `Synthesizer` that differ once the backbone is tuned.
    """

    name: str
    title: str
    license: str
    download_gb: float
    memory_gb: float
    model: dict[str, Any]
    batch_size: int
    classify: dict[str, Any]
    tune: dict[str, Any] = field(default_factory=dict)
    tuned: dict[str, Any] = field(default_factory=dict)


@cache
def presets() -> dict[str, Preset]:
    """All presets by name, smallest download first."""
    found = [read_preset(file) for file in FOLDER.glob("*.yaml")]
    return {preset.name: preset for preset in sorted(found, key=lambda one: (one.download_gb, one.name))}


def read_preset(file: Path) -> Preset:
    """The preset that a file holds, under the file's name."""
    return Preset(name=file.stem, **yaml.safe_load(file.read_text(encoding="utf-8")))


def preset_of(backbone: str) -> Preset | None:
    """The preset that has this name, or whose weights have it on the Hub; None if there is none."""
    for preset in presets().values():
        if backbone in (preset.name, preset.model["backbone"]["init_args"]["model"]):
            return preset
    return None


LIKE = {
    "StableDiffusion": "sd15",
    "InstructPix2Pix": "instruct-pix2pix",
    "StableDiffusionXL": "sdxl",
    "StableDiffusion3": "sd35-medium",
    "PRX": "prx",
    "Flux2Klein": "flux2-klein",
    "ZImage": "z-image",
    "PixelDiffusion": "ddpm-cifar10",
}
"""The preset whose settings a family's other checkpoints are run with."""


EMBEDDED = "digits"


def chosen(given: Mapping[str, str], told: bool) -> Preset | None:
    """The preset of the backbone that the user names; the embedded one if nothing is said at all.

    Args:
        given: The short options: `backbone` and `images` among them.
        told: Whether the user says the rest by a configuration file or by options with dots.

    Raises:
        UserError: If the backbone is unknown, or none is named for images that are not the embedded ones.
    """
    if tuned := given.get("tuned"):
        return tuned_preset(Path(tuned), given.get("backbone"))
    if backbone := given.get("backbone"):
        return preset_of(backbone) or preset_like(backbone)
    if told:
        return None
    if given.get("images", EMBEDDED) != EMBEDDED:
        raise UserError(
            "backbone",
            "is not given, and it decides what the images will look like",
            f"choose one of {', '.join(presets())}, a name on the Hugging Face Hub, or a folder",
        )
    return presets()[EMBEDDED]


def for_synthesizer(given: Mapping[str, str], told: bool) -> dict[str, Any]:
    """What the backbone's name brings to a command with a `model`."""
    preset = chosen(given, told)
    return {} if preset is None else {"model": preset.model, "batch_size": preset.batch_size}


def for_tuner(given: Mapping[str, str], told: bool) -> dict[str, Any]:
    """What the backbone's name brings to `augment tune`: its weights, and its prompt with a word to be learned."""
    preset = chosen(given, told)
    if preset is None:
        return {}
    learns_words = preset.model["backbone"]["class_path"].endswith(".StableDiffusion")
    prompt = prompt_for_tuning(preset.model["prompt"], learns_words)
    return {"model": {"backbone": preset.model["backbone"], "tuning": {"prompt": prompt} | preset.tune}}


def tuned_preset(folder: Path, backbone: str | None) -> Preset:
    """The preset of the backbone that a tuning belongs to, with what was tuned and the prompt that it was tuned with.

    Args:
        folder: That `augment tune` wrote.
        backbone: As the user names it, if the weights are no longer where they were.
    """
    tuning = read_tuning(folder)
    init_args = tuning["backbone"].get("init_args", {})
    name = backbone or init_args.get("model", EMBEDDED)
    usual = preset_of(name) or preset_like(name)
    own = usual.model["backbone"]["init_args"] if backbone else init_args
    model = {"class_path": usual.model["backbone"]["class_path"], "init_args": own | {"tuned": str(folder)}}
    told = {"backbone": model, "prompt": tuning["prompt"]}
    return replace(usual, name=str(folder), model=usual.model | usual.tuned | told)


def for_pretrain(given: Mapping[str, str], told: bool) -> dict[str, Any]:
    """A prompt that is true of any image, where the images are the user's own and nothing else is said."""
    if told or given.get("images", EMBEDDED) == EMBEDDED:
        return {}
    return {"model": {"class_path": "augment.pretrain.latent.LatentDiffusion", "init_args": {"prompt": "an image"}}}


def preset_like(checkpoint: str) -> Preset:
    """Settings for a checkpoint that has no preset of its own.

    A folder may bring them in a file `preset.yaml`, as those of `augment pretrain` do. For others the family is read
    from model_index.json, and the settings are those of that family's usual preset at the checkpoint's own resolution.

    Args:
        checkpoint: A folder, or a name on the Hugging Face Hub.

    Raises:
        UserError: If nothing is there, no family can run it, or it is distilled.
    """
    brought = Path(checkpoint) / "preset.yaml"
    if brought.is_file():
        own = read_preset(brought)
        return replace(own, model=with_checkpoint(own.model, checkpoint))
    index = read_index(checkpoint)
    found = index.get("_class_name")
    if found not in FAMILIES:
        raise UserError(
            "backbone",
            f"'{checkpoint}' holds a {found}, which is not supported",
            f"supported are {', '.join(FAMILIES)}",
        )
    check_undistilled(checkpoint, FAMILIES[found], index)
    usual = presets()[LIKE[FAMILIES[found]]]
    return replace(usual, name=checkpoint, model=with_checkpoint(usual.model, checkpoint))


def with_checkpoint(model: dict[str, Any], checkpoint: str) -> dict[str, Any]:
    """The same settings for other weights, at their own resolution."""
    backbone = {"class_path": model["backbone"]["class_path"], "init_args": {"model": checkpoint}}
    return model | {"backbone": backbone}


def read_index(checkpoint: str) -> dict[str, Any]:
    """What the model_index.json of a folder or of a repository on the Hub says."""
    file = Path(checkpoint) / "model_index.json"
    if not Path(checkpoint).is_dir():
        if checkpoint.count("/") != 1 or checkpoint.startswith((".", "/")):
            raise unknown(checkpoint)
        file = from_hub(checkpoint)
    try:
        return parse_object(file.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(
            "backbone", f"'{checkpoint}' has no model_index.json that can be read", "give a folder in diffusers' format"
        ) from error


def from_hub(checkpoint: str) -> Path:
    """The model_index.json of a repository, downloaded once."""
    with one_try() as reachable:
        try:
            return Path(hf_hub_download(checkpoint, "model_index.json"))
        except (OSError, ValueError) as error:
            raise out_of_reach("backbone", checkpoint, reachable, error) from error


def unknown(backbone: str) -> UserError:
    """What is said of a name that is neither a preset, nor a folder, nor on the Hub."""
    near = difflib.get_close_matches(backbone, presets(), 1)
    hint = f"did you mean {near[0]}? " if near else ""
    return UserError(
        "backbone",
        f"'{backbone}' is no preset and no folder",
        f"{hint}presets are {', '.join(presets())}; a name on the Hugging Face Hub has the form OWNER/NAME",
    )
