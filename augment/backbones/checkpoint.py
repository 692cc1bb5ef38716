"""Where does a checkpoint lie, what exactly is it, and does a family know how to run it?

Weights are read from safetensors only, by diffusers' own classes; every mistake becomes one line.
"""

import hashlib
import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from typing import Any

from diffusers import DiffusionPipeline
from huggingface_hub import snapshot_download

from augment.errors import UserError

EMBEDDED = Path(__file__).parent.parent / "assets"

FAMILIES = {
    "StableDiffusionPipeline": "StableDiffusion",
    "StableDiffusionImg2ImgPipeline": "StableDiffusion",
    "StableDiffusionXLPipeline": "StableDiffusionXL",
    "StableDiffusion3Pipeline": "StableDiffusion3",
    "DDPMPipeline": "PixelDiffusion",
    "DDIMPipeline": "PixelDiffusion",
}
"""The class that a checkpoint's model_index.json names, and the backbone that runs it."""


def locate(model: str, variant: str | None, revision: str | None) -> tuple[Path, str]:
    """Find a checkpoint's folder, downloading it from the Hub if need be, and the identity of its weights."""
    embedded = EMBEDDED / model
    if Path(model).name == model and embedded.is_dir():
        return embedded, f"{model}@{hash_folder(embedded)}"
    if Path(model).is_dir():
        return Path(model), f"{Path(model).resolve().name}@{hash_folder(Path(model))}"
    try:
        folder = Path(DiffusionPipeline.download(model, variant=variant, revision=revision, use_safetensors=True))
    except (OSError, ValueError) as error:
        raise UserError(
            f"backbone.model: '{model}' is not a local folder and could not be had from the Hugging Face Hub "
            f"({shorten(str(error), 160)}); check the name, or download it once while online"
        ) from error
    return folder, f"{model}@{folder.name}"  # a snapshot's folder is named after its commit


def hash_folder(folder: Path) -> str:
    """Hash of the names and contents of all files that decide what a model computes."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.suffix in {".json", ".safetensors", ".txt"}:
            digest.update(file.relative_to(folder).as_posix().encode())
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]


def check_family(model: str, folder: Path, family: str) -> None:
    """Refuse a checkpoint of another architecture, or one whose weights are pickled.

    Raises:
        UserError: Naming the architecture found and the backbone that runs it, or those that are supported.
    """
    index = folder / "model_index.json"
    if not index.is_file():
        raise UserError(f"backbone.model: '{model}' has no model_index.json; give a folder in diffusers' format")
    found = json.loads(index.read_text(encoding="utf-8")).get("_class_name")
    if found not in FAMILIES:
        raise UserError(
            f"backbone.model: '{model}' holds a {found}, which is not supported; supported are {', '.join(FAMILIES)}"
        )
    if FAMILIES[found] != family:
        raise UserError(f"backbone.model: '{model}' holds a {found}; run it with --model.backbone {FAMILIES[found]}")
    if not any(folder.rglob("*.safetensors")):
        raise UserError(
            f"backbone.model: '{model}' has no safetensors weights, and pickled ones are never read; convert it on a "
            f"machine where you trust it: {found}.from_pretrained('{model}', use_safetensors=False)"
            f".save_pretrained('FOLDER')"
        )


def load_pipeline(pipeline: type[DiffusionPipeline], model: str, folder: Path, **components: Any) -> DiffusionPipeline:
    """Load the folder with diffusers' own pipeline class.

    Args:
        pipeline: The class.
        model: The name that the user gave.
        folder: Where it lies.
        components: Parts to be left out (None), and the variant of the files.

    Raises:
        UserError: If a file is missing or broken, or a package is not installed.
    """
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    absent = {part: None for part, source in index.items() if source == [None, None]}  # optional for the checkpoint
    try:
        return pipeline.from_pretrained(folder, use_safetensors=True, local_files_only=True, **(absent | components))
    except ImportError as error:
        raise UserError(
            f"backbone.model: '{model}' needs a package ({shorten(str(error), 160)}); install it"
        ) from error
    except Exception as error:  # what a broken folder raises depends on the file and on three libraries
        raise UserError(
            f"backbone.model: '{model}' cannot be loaded as a {pipeline.__name__} with safetensors weights "
            f"({shorten(str(error), 160)})"
        ) from error


def adapt(pipeline: Any, loras: Sequence[str], embeddings: Sequence[str]) -> str:
    """Load LoRA weights and textual-inversion embeddings into a pipeline, by diffusers' own loaders.

    Args:
        pipeline: Changed in place; LoRA weights are fused into its networks.
        loras: Files, folders or Hub names.
        embeddings: Files, folders or Hub names; each brings its own token.

    Returns:
        What they add to the identity of the weights; empty if there are none.

    Raises:
        UserError: If one cannot be had or does not fit the model.
    """
    if loras and find_spec("peft") is None:
        raise UserError("backbone.loras: LoRA weights need the package 'peft'; install chm-augment[lora]")
    identity = ""
    for argument, names in (("loras", loras), ("embeddings", embeddings)):
        for name in names:
            file = _adapter_file(argument, name)
            identity += f"+{file.stem}@{_hash_file(file)}"
            try:
                if argument == "loras":
                    pipeline.load_lora_weights(file.parent, weight_name=file.name, use_safetensors=True)
                    pipeline.fuse_lora()
                    pipeline.unload_lora_weights()
                else:
                    pipeline.load_textual_inversion(file.parent, weight_name=file.name, use_safetensors=True)
            except Exception as error:  # ValueError, KeyError, RuntimeError …: by library, all say "it does not fit"
                raise UserError(
                    f"backbone.{argument}: '{name}' does not fit the model ({shorten(str(error), 160)})"
                ) from error
    return identity


def _adapter_file(argument: str, name: str) -> Path:
    path = Path(name)
    if not path.exists():
        try:
            path = Path(snapshot_download(name, allow_patterns="*.safetensors"))
        except (OSError, ValueError) as error:
            raise UserError(
                f"backbone.{argument}: '{name}' is not there and could not be had from the Hugging Face Hub "
                f"({shorten(str(error), 160)}); check the name, or download it once while online"
            ) from error
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    if len(files) != 1 or files[0].suffix != ".safetensors":
        raise UserError(
            f"backbone.{argument}: '{name}' is not one safetensors file but {len(files)}; pickled weights are never "
            f"read; name the file, or convert it"
        )
    return files[0]


def _hash_file(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
