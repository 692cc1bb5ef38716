"""Where does a checkpoint lie, what exactly is it, and does a family know how to run it?

Weights are read from safetensors only, by diffusers' own classes; every mistake becomes one line.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal

import torch
from diffusers import DiffusionPipeline
from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open

from augment.backbones.families import FAMILIES
from augment.errors import UserError
from augment.runtime.json_files import read_object
from augment.runtime.network import one_try, out_of_reach
from augment.runtime.quiet import quietly

EMBEDDED = Path(__file__).parent.parent / "assets" / "backbones"


def locate(model: str, variant: str | None, revision: str | None) -> tuple[Path, str]:
    """Find a checkpoint's folder, downloading it from the Hub if need be, and the identity of its weights."""
    embedded = EMBEDDED / model
    files = f"+{variant}" if variant else ""
    if Path(model).name == model and embedded.is_dir():
        return embedded, f"{model}@{hash_folder(embedded)}{files}"
    if Path(model).is_dir():
        return Path(model), f"{Path(model).resolve().name}@{hash_folder(Path(model))}{files}"
    with one_try() as reachable:
        try:
            folder = Path(
                DiffusionPipeline.download(
                    model, variant=variant, revision=revision, use_safetensors=True, trust_remote_code=False
                )
            )
        except (OSError, ValueError) as error:
            raise out_of_reach("backbone.model", model, reachable, error) from error
    return folder, f"{model}@{folder.name}{files}"  # a snapshot's folder is named after its commit


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
        raise UserError("backbone.model", f"'{model}' has no model_index.json", "give a folder in diffusers' format")
    found = read_index(folder)["_class_name"]
    if found not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise UserError(
            "backbone.model", f"'{model}' holds a {found}, which is not supported", f"supported are {known}"
        )
    if FAMILIES[found] != family:
        raise UserError("backbone.model", f"'{model}' holds a {found}", f"run it with `backbone` {FAMILIES[found]}")
    if not any(folder.rglob("*.safetensors")):
        raise UserError(
            "backbone.model",
            f"'{model}' has no safetensors weights, and pickled ones are never read",
            f"convert it on a machine where you trust it: "
            f"{found}.from_pretrained('{model}', use_safetensors=False).save_pretrained('FOLDER')",
        )
    for file in folder.rglob("*.safetensors"):
        check_weights(model, file)


def check_weights(model: str, file: Path) -> None:
    """Refuse a file of weights that is cut off or broken; its numbers are read later, when they are needed.

    Raises:
        UserError: Naming the file.
    """
    try:
        with safe_open(file, "pt"):
            pass
    except (SafetensorError, OSError) as error:
        problem = f"'{model}' has a broken file {file.name} in {file.parent.name} ({shorten(str(error), 160)})"
        raise UserError("backbone.model", problem, "mend the folder, or download it again") from error


def read_index(folder: Path) -> dict[str, Any]:
    """What a checkpoint says of its parts.

    Raises:
        UserError: If it does not name its pipeline.
    """
    remedy = "mend the folder, or download it again"
    return read_object(folder / "model_index.json", "backbone.model", remedy, {"_class_name": str})


@quietly()
def load_pipeline(
    pipeline: type[DiffusionPipeline], model: str, folder: Path, dtype: torch.dtype, **components: Any
) -> DiffusionPipeline:
    """Load the folder with diffusers' own pipeline class.

    Args:
        pipeline: The class.
        model: The name that the user gave.
        folder: Where it lies.
        dtype: What all weights are read in, whatever the files hold; nothing is widened on the way.
        components: Parts to be left out (None), and the variant of the files.

    Raises:
        UserError: If a file is missing or broken, or a package is not installed.
    """
    index = read_index(folder)
    absent = {part: None for part, source in index.items() if source == [None, None]}  # optional for the checkpoint
    try:
        return pipeline.from_pretrained(
            folder,
            torch_dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            **(absent | components),
        )
    except ImportError as error:
        raise UserError(
            "backbone.model", f"'{model}' needs a package ({shorten(str(error), 160)})", "install it"
        ) from error
    except Exception as error:  # what a broken folder raises depends on the file and on three libraries
        raise UserError(
            "backbone.model",
            f"'{model}' cannot be loaded as a {pipeline.__name__} with safetensors weights "
            f"({shorten(str(error), 160)})",
            "mend the folder, or download it again",
        ) from error


@dataclass(frozen=True)
class Adapter:
    """A file that changes a checkpoint: LoRA weights, or a textual-inversion embedding."""

    argument: Literal["loras", "embeddings"]
    name: str
    file: Path

    @property
    def identity(self) -> str:
        """What it adds to the identity of the weights."""
        with self.file.open("rb") as stream:
            return f"{self.file.stem}@{hashlib.file_digest(stream, 'sha256').hexdigest()[:16]}"


def find_adapters(loras: Sequence[str], embeddings: Sequence[str]) -> list[Adapter]:
    """Where LoRA weights and embeddings lie, downloading them from the Hub if need be.

    Args:
        loras: Files, folders or Hub names.
        embeddings: Files, folders or Hub names; each brings its own token.

    Raises:
        UserError: If one cannot be had, or a package for it is not installed.
    """
    if loras and find_spec("peft") is None:
        raise UserError("backbone.loras", "LoRA weights need the package 'peft'", "install chm-augment[lora]")
    found = [Adapter("loras", name, _adapter_file("loras", name)) for name in loras]
    return found + [Adapter("embeddings", name, _adapter_file("embeddings", name)) for name in embeddings]


def identity_of(adapters: Sequence[Adapter]) -> str:
    """One short name for the contents of several files."""
    return hashlib.sha256(" ".join(adapter.identity for adapter in adapters).encode()).hexdigest()[:16]


def adapt(pipeline: Any, adapters: Sequence[Adapter]) -> None:
    """Load adapters into a pipeline by diffusers' own loaders; LoRA weights are fused into its networks.

    Raises:
        UserError: If one does not fit the model.
    """
    for adapter in adapters:
        folder, name = adapter.file.parent, adapter.file.name
        try:
            if adapter.argument == "loras":
                pipeline.load_lora_weights(folder, weight_name=name, use_safetensors=True)
                pipeline.fuse_lora()
                pipeline.unload_lora_weights()
            else:
                pipeline.load_textual_inversion(folder, weight_name=name, use_safetensors=True)
        except Exception as error:  # ValueError, KeyError, RuntimeError …: by library, all say "it does not fit"
            raise UserError(
                f"backbone.{adapter.argument}",
                f"'{adapter.name}' does not fit the model ({shorten(str(error), 160)})",
                "give one that was trained for this model",
            ) from error


def _adapter_file(argument: str, name: str) -> Path:
    path = Path(name)
    if not path.exists():
        with one_try() as reachable:
            try:
                path = Path(snapshot_download(name, allow_patterns="*.safetensors"))
            except (OSError, ValueError) as error:
                raise out_of_reach(f"backbone.{argument}", name, reachable, error) from error
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    if len(files) != 1 or files[0].suffix != ".safetensors":
        what = "is no safetensors file" if path.is_file() else f"holds {len(files)} safetensors files, not one"
        raise UserError(
            f"backbone.{argument}",
            f"'{name}' {what}, and pickled weights are never read",
            "name the file, or convert it",
        )
    return files[0]
