"""What did `augment tune` add to a checkpoint? Its files, the real images behind them, the words for classes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augment.errors import UserError
from augment.runtime.json_files import check_kinds, read_object

MANIFEST = "tuning.json"
LORA = "pytorch_lora_weights.safetensors"
"""diffusers' own name, which `load_lora_weights` looks for in a folder."""

TOKENS = "tokens"
CARD = "README.md"
CLASSES = "classes"
"""Folder of the tunings of each class by itself."""


@dataclass(frozen=True)
class Tuned:
    """A finished tuning.

    Attributes:
        folder: Where it lies.
        prompt: With `{class}` or `{token}`, as it was trained with.
        images: Hashes of the images that it was trained on, by class.
        loras: LoRA weights.
        embeddings: The new tokens, one file for each.
        owners: Names of the classes that have LoRA weights of their own, in the order of `loras`; none where all
            classes share them.
    """

    folder: Path
    prompt: str
    images: dict[str, frozenset[str]]
    loras: tuple[str, ...]
    embeddings: tuple[str, ...]
    owners: tuple[str, ...] = ()

    def owner_of(self, prompt: str) -> int:
        """The number among `owners` of the class that a prompt names, by its new word or its longest name.

        Raises:
            UserError: If it names none.
        """
        named = [name for name in self.owners if token_of(name) in prompt]
        named = named or [name for name in self.owners if name in prompt]
        if not named:
            problem = f"'{prompt}' names no class, and '{self.folder}' was tuned for each class by itself"
            raise UserError("model.prompt", problem, "put {token} or {class} into it")
        return self.owners.index(max(named, key=len))


def read_tuned(folder: Path, checkpoint: str) -> Tuned:
    """What a folder adds to a checkpoint.

    Args:
        folder: That `augment tune` wrote.
        checkpoint: The weights that it is to be added to.

    Raises:
        UserError: If the folder holds no finished tuning, or one of other weights.
    """
    found = read_tuning(folder)
    if found["checkpoint"] != checkpoint:
        raise UserError(
            "backbone.tuned",
            f"'{folder}' was tuned on {found['checkpoint']}, this is {checkpoint}",
            "give the backbone that it was tuned on",
        )
    images = {name: frozenset(hashes) for name, hashes in found["images"].items()}
    if found.get("scope") == "class":
        parts = [read_tuned(part, checkpoint) for part in class_folders(folder, list(images))]
        loras = tuple(file for part in parts for file in part.loras)
        tokens = tuple(file for part in parts for file in part.embeddings)
        return Tuned(folder, found["prompt"], images, loras, tokens, tuple(images) if loras else ())
    lora, files = folder / LORA, sorted((folder / TOKENS).glob("*.safetensors"))
    return Tuned(
        folder, found["prompt"], images, (str(lora),) if lora.is_file() else (), tuple(str(file) for file in files)
    )


def class_folders(folder: Path, classes: Sequence[str]) -> list[Path]:
    """Where the tunings of these classes by themselves lie; the number tells names apart that are spelt alike."""
    return [folder / CLASSES / f"{n:04d}-{token_of(name).strip('<>')}" for n, name in enumerate(classes)]


def read_tuning(folder: Path) -> dict[str, Any]:
    """All that decided a finished tuning.

    Raises:
        UserError: If the folder holds none.
    """
    if not (folder / MANIFEST).is_file():
        raise UserError("tuned", f"'{folder}' holds no {MANIFEST}", "give a folder that `augment tune` wrote")
    remedy = "give a folder that `augment tune` wrote"
    config: dict[str, Any] = read_object(folder / MANIFEST, "tuned", remedy, {"config": dict})["config"]
    try:
        check_kinds(config, {"backbone": dict, "checkpoint": str, "prompt": str, "images": dict})
    except ValueError as error:
        raise UserError("tuned", f"'{folder / MANIFEST}' {error}", remedy) from error
    if not (folder / CARD).is_file():  # the last thing to be written
        raise UserError("tuned", f"the tuning in '{folder}' is not finished", "run its `augment tune` to the end")
    return config


def token_of(class_name: str) -> str:
    """The new word that stands for a class in a prompt, such as <ankle-boot>.

    Example:
        >>> token_of("Ankle boot")
        '<ankle-boot>'
    """
    return f"<{re.sub(r'[^a-z0-9]+', '-', class_name.lower()).strip('-')}>"


def fill_in(prompt: str, class_name: str) -> str:
    """A prompt for one class, from one with `{class}` or `{token}`.

    Example:
        >>> fill_in("a photo of a {class}", "owl"), fill_in("a photo of a {token}", "owl")
        ('a photo of a owl', 'a photo of a <owl>')
    """
    return prompt.replace("{class}", class_name).replace("{token}", token_of(class_name))


def prompt_for_tuning(prompt: str, learns_words: bool) -> str:
    """A backbone's usual prompt as one that tells classes apart, by a new word where the family reads them.

    Example:
        >>> prompt_for_tuning("a photo of a {class}", learns_words=True), prompt_for_tuning("a digit", False)
        ('a photo of a {token}', 'a digit {class}')
    """
    word = "{token}" if learns_words else "{class}"
    prompt = prompt.replace("{class}", word)
    return prompt if word in prompt else f"{prompt} {word}"
