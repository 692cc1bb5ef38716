"""Where does a checkpoint lie, what exactly is it, and does a family know how to run it?

Weights are read from safetensors only, by diffusers' own classes; every mistake becomes one line.
"""

from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from diffusers import DiffusionPipeline
from safetensors import SafetensorError, safe_open

from augment.backbones.families import FAMILIES
from augment.errors import UserError
from augment.runtime.fingerprint import hash_files
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
    kinds = {".json", ".safetensors", ".txt"}
    return hash_files(folder, (file for file in sorted(folder.rglob("*")) if file.suffix in kinds))


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
            dtype=dtype,
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
