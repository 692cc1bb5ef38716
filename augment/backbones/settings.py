"""What does a checkpoint say of itself, before its weights are read?"""

from inspect import Parameter, signature
from pathlib import Path
from textwrap import shorten
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline

from augment.backbones.checkpoint import load_pipeline, read_index
from augment.errors import UserError
from augment.runtime.quiet import quietly


def read_settings(pipeline: type[DiffusionPipeline], model: str, folder: Path) -> Any:
    """The pipeline without its networks: its own settings, and its scheduler as it has put it right.

    Raises:
        UserError: As `load_pipeline` does.
    """
    parts = (part for part, source in read_index(folder).items() if isinstance(source, list))
    without: dict[str, Any] = {part: None for part in parts if part != "scheduler"}
    return load_pipeline(pipeline, model, folder, torch.float32, **without)


@quietly()
def read_config(model: str, folder: Path, part: str) -> dict[str, Any]:
    """The configuration of a part of a checkpoint, with its class's defaults for what the file leaves out.

    Args:
        model: The name that the user gave.
        folder: Where it lies.
        part: Such as `unet`.

    Raises:
        UserError: If the part is missing, or of a class that diffusers does not have.
    """
    try:
        kind = getattr(diffusers, read_index(folder)[part][1])
        defaults = signature(kind.__init__).parameters.items()
        own = kind.load_config(folder / part, local_files_only=True)
    except (KeyError, TypeError, AttributeError, OSError, ValueError) as error:
        problem = f"'{model}' has no {part} that diffusers knows ({shorten(str(error), 160)})"
        raise UserError("backbone.model", problem, "mend the folder, or download it again") from error
    return {name: value.default for name, value in defaults if value.default is not Parameter.empty} | own
