"""What is added to a checkpoint? LoRA weights and textual-inversion embeddings, read by diffusers' own loaders."""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal

import torch
from diffusers import DiffusionPipeline
from huggingface_hub import snapshot_download
from torch import nn

from augment.backbones.by_class import name_of
from augment.backbones.checkpoint import load_pipeline
from augment.backbones.tuned import Tuned
from augment.errors import UserError
from augment.runtime.network import one_try, out_of_reach


@dataclass(frozen=True)
class Adapter:
    """A file that changes a checkpoint.

    Attributes:
        argument: LoRA weights, or a textual-inversion embedding.
        name: As the user gave it.
        file: Where it lies.
        owner: The number of the class that these LoRA weights are for; None fuses them into the networks, for all.
    """

    argument: Literal["loras", "embeddings"]
    name: str
    file: Path
    owner: int | None = None

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
        UserError: If one cannot be had.
    """
    found = [Adapter("loras", name, _adapter_file("loras", name)) for name in loras]
    return found + [Adapter("embeddings", name, _adapter_file("embeddings", name)) for name in embeddings]


def find_tuned(tuned: Tuned) -> list[Adapter]:
    """What a tuning wrote."""
    found = find_adapters(tuned.loras, tuned.embeddings)
    owners = range(len(tuned.owners))  # the first files are theirs
    return [replace(adapter, owner=n) for n, adapter in zip(owners, found, strict=False)] + found[len(owners) :]


def identity_of(adapters: Sequence[Adapter]) -> str:
    """One short name for the contents of several files."""
    return hashlib.sha256(" ".join(adapter.identity for adapter in adapters).encode()).hexdigest()[:16]


def adapt(pipeline: Any, adapters: Sequence[Adapter]) -> None:
    """Load adapters into a pipeline by diffusers' own loaders; LoRA weights for all classes are fused in.

    Raises:
        UserError: If one does not fit the model.
    """
    for adapter in adapters:
        folder, name = adapter.file.parent, adapter.file.name
        try:
            if adapter.owner is not None:
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several are what is wanted
                    pipeline.load_lora_weights(folder, name_of(adapter.owner), weight_name=name, use_safetensors=True)
            elif adapter.argument == "loras":
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


def read_pipeline(
    pipeline: type[DiffusionPipeline],
    model: str,
    folder: Path,
    parts: Mapping[str, Any],
    adapters: Sequence[Adapter],
    dtype: torch.dtype,
) -> Any:
    """The checkpoint with its adapters, from disk.

    LoRA weights are added in float32 and rounded with what they are added to, once; all others are read in `dtype`.
    """
    loaded = load_pipeline(pipeline, model, folder, torch.float32 if adapters else dtype, **parts)
    adapt(loaded, adapters)
    for part in loaded.components.values():
        if isinstance(part, nn.Module):
            for weight in part.parameters():  # buffers stay: rotary frequencies would suffer from rounding
                weight.data = weight.data.to(dtype)
    return loaded


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
