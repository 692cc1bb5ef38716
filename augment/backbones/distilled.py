"""Is a checkpoint distilled? Then its few steps follow no trajectory that could be walked backwards."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from augment.errors import UserError
from augment.runtime.json_files import read_object

WORDS = frozenset({"distilled", "turbo", "schnell", "lightning", "hyper", "lcm", "dmd", "tdm"})
"""Words of a name that say so."""

SCHEDULERS = ("LCM", "TCD")
"""Parts of the names of schedulers that are made for a few steps."""

UNDISTILLED = {
    "PRX": "Photoroom/prx-512-t2i-sft",
    "Flux2Klein": "black-forest-labs/FLUX.2-klein-base-4B",
    "ZImage": "Tongyi-MAI/Z-Image",
}
"""What to take instead, by family; checkpoints of the other families are not looked at."""


def check_undistilled(model: str, family: str, index: Mapping[str, Any]) -> None:
    """Refuse a checkpoint that is distilled, by its name or by what its model_index.json says.

    Args:
        model: The checkpoint's name, or its folder.
        family: The backbone that would run it.
        index: The file's content, empty if it has not been fetched yet.

    Raises:
        UserError: With the reason, and the checkpoint that it was distilled from.
    """
    if family not in UNDISTILLED:
        return
    words = WORDS.intersection(re.split(r"[^a-z0-9]+", Path(model).name.lower()))
    if words:
        raise distilled(model, family, f"its name says '{min(words)}'")
    if index.get("is_distilled"):
        raise distilled(model, family, "its model_index.json says `is_distilled`")
    scheduler = str(index.get("scheduler"))
    for name in SCHEDULERS:
        if name in scheduler:
            raise distilled(model, family, f"its scheduler is one for a few steps, {name}")


def check_parts(model: str, family: str, folder: Path) -> None:
    """Refuse a checkpoint whose parts say that it is distilled.

    Args:
        model: The checkpoint's name, or its folder.
        family: The backbone that would run it.
        folder: Where its files are.

    Raises:
        UserError: As `check_undistilled` does.
    """
    if family not in UNDISTILLED:
        return
    check_undistilled(model, family, read_object(folder / "model_index.json", "backbone.model", "download it again"))
    for part, file, key, reason in (
        ("transformer", "config.json", "guidance_embeds", "its network is told the guidance"),
        ("scheduler", "scheduler_config.json", "stochastic_sampling", "its steps add noise"),
    ):
        path = folder / part / file
        if path.is_file() and read_object(path, "backbone.model", "download it again").get(key):
            raise distilled(model, family, f"{reason} (`{key}` in {part}/{file})")


def distilled(model: str, family: str, reason: str) -> UserError:
    """What to say of a distilled checkpoint."""
    problem = f"'{model}' is distilled ({reason}), and a few large steps cannot be inverted by walking them backwards"
    return UserError("backbone.model", problem, f"give the model it was made from, such as {UNDISTILLED[family]}")
