"""The latent bank: inverted latents on disk, each keyed by everything that decided it.

One safetensors file per latent, named by the hash of its key; the key itself and the round trip's quality
stand in the file's header. A latent of other weights, prompt, steps or content has another key, so nothing stale
can be read; `bank.json` names the backbone, so that a folder of another one is refused rather than grown.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from augment.backbones.base import Backbone
from augment.errors import UserError
from augment.images.few_shot import Shot
from augment.inversion.inversion import ENCODED, Inversion, Quality, check_latent
from augment.runtime.files import write_json
from augment.runtime.json_files import Number, check_kinds, parse_object, read_object
from augment.runtime.place import check_folder
from augment.runtime.tensors import write_tensors


@dataclass(frozen=True)
class LatentKey:
    """What decides a latent; a clean one has the kind `encoded`, no prompt and no steps."""

    image: str
    backbone: str
    prompt: str
    kind: str
    steps: int
    guidance: float
    resolution: int
    precision: str
    preprocessing: int = 1  # to be raised when the way from a file to z_0, or the meaning of a step, changes
    tolerance: float = 0.0
    iterations: int = 0
    forward_steps: int = 0
    draw: int = 0

    def describe(self) -> dict[str, Any]:
        """All fields as JSON has them; without added noise as they were before there was any."""
        described = asdict(self)
        if (self.forward_steps, self.draw) == (0, 0):
            del described["forward_steps"], described["draw"]
        return described

    @property
    def digest(self) -> str:
        """Hash of all fields: the file's name."""
        return hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode()).hexdigest()[:32]


class LatentBank:
    """A folder of inverted latents of one backbone.

    Args:
        folder: Where they lie; created when the first latent is stored.
        backbone: Identity of the backbone.
        shape: (C, h, w) of its latents; None takes any.

    Raises:
        UserError: If the folder holds latents of another backbone, or cannot be one.
    """

    def __init__(self, folder: Path, backbone: str, shape: tuple[int, int, int] | None = None) -> None:
        check_folder(folder, "bank")
        self.folder = folder
        self.backbone = backbone
        self.shape = shape
        marker = folder / "bank.json"
        if marker.is_file():
            owner = read_object(marker, "bank", "give another folder as `bank`", {"backbone": str})["backbone"]
            if owner != backbone:
                raise UserError(
                    "bank",
                    f"'{folder}' holds latents of backbone '{owner}', this run uses '{backbone}'",
                    "give another folder as `bank`",
                )

    def _path(self, key: LatentKey) -> Path:
        return self.folder / f"{key.digest}.safetensors"

    def __contains__(self, key: LatentKey) -> bool:
        return self._path(key).is_file()

    def store(
        self, key: LatentKey, latent: Tensor, quality: Quality, name: str, unconditional: Tensor | None = None
    ) -> None:
        """Write one latent [C, h, w]; it appears under its name only when it is complete.

        Args:
            key: What decided it.
            latent: The latent.
            quality: Its round trip.
            name: The image's name, for people.
            unconditional: Its optimised unconditional embeddings [steps, S, D], where the inversion has them.

        Raises:
            UserError: If the folder cannot be written.
        """
        header = {"key": json.dumps(key.describe()), "quality": json.dumps(asdict(quality)), "name": name}
        tensors = {"latent": latent.float()}
        if unconditional is not None:
            tensors["unconditional"] = unconditional.float()
        marker = self.folder / "bank.json"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not marker.exists():
                write_json(marker, {"backbone": self.backbone})
            write_tensors(self._path(key), tensors, header)
        except (OSError, SafetensorError) as error:
            raise UserError(
                "bank",
                f"a latent could not be written to '{self.folder}' ({error})",
                "stored ones are kept, give another folder as `bank` or run again once there is room",
            ) from error

    def load(self, key: LatentKey, name: str) -> Tensor:
        """One latent, float32 [C, h, w].

        Raises:
            UserError: If the file is broken, or the latent has another shape, or holds NaN or nothing but zeros.
        """
        latent = self._tensor(key, "latent", name)
        what = f"latent '{self._path(key)}' of image '{name}'"
        if latent.dtype != torch.float32 or tuple(latent.shape) != (self.shape or tuple(latent.shape)):
            found = f"{str(latent.dtype).removeprefix('torch.')} {list(latent.shape)}"
            problem = f"it is {found}, the backbone's are float32 {list(self.shape or ())}"
            raise UserError(what, problem, "delete it, so that it is inverted again")
        check_latent(latent, what, "delete it, so that it is inverted again")
        return latent

    def load_unconditional(self, key: LatentKey, name: str) -> Tensor:
        """The unconditional embeddings that belong to one latent, float32 [steps, S, D].

        Raises:
            UserError: If the file is broken, or the latent's inversion made none.
        """
        embeddings = self._tensor(key, "unconditional", name)
        if embeddings.ndim != 3 or len(embeddings) != key.steps:
            problem = f"its embeddings are {list(embeddings.shape)}, not [{key.steps}, S, D]"
            raise UserError(f"latent '{self._path(key)}' of image '{name}'", problem, "delete it")
        return embeddings

    def _tensor(self, key: LatentKey, part: str, name: str) -> Tensor:
        path = self._path(key)
        try:
            with safe_open(path, framework="pt") as file:
                tensor: Tensor = file.get_tensor(part)
        except (OSError, SafetensorError) as error:
            raise UserError(
                "bank", f"{part} '{path}' of image '{name}' cannot be read ({error})", "delete it"
            ) from error
        return tensor

    def quality(self, key: LatentKey) -> Quality:
        """The recorded round trip of one latent."""
        path = self._path(key)
        try:
            with safe_open(path, framework="pt") as file:
                noted = parse_object((file.metadata() or {})["quality"].encode())
            check_kinds(noted, dict.fromkeys(("round_trip", "autoencoder", "residual"), Number))
            return Quality(**noted)
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            raise UserError("bank", f"latent '{path}' cannot be read ({error})", "delete it") from error


def latent_key(shot: Shot, backbone: Backbone, prompt: str, inversion: Inversion, draw: int = 0) -> LatentKey:
    """The bank's key of one image, and of one of its draws."""
    iterative = inversion.kind in ("fixed-point", "null-text")
    return LatentKey(
        image=shot.sha256,
        backbone=backbone.identity,
        prompt=prompt,
        kind=inversion.kind,
        steps=inversion.steps,
        guidance=float(inversion.guidance),
        resolution=backbone.image_size,
        precision=inversion.precision,
        tolerance=float(inversion.tolerance) if iterative else 0.0,
        iterations=inversion.iterations if iterative else 0,
        forward_steps=inversion.forward_steps,
        draw=draw,
    )


def encoded_key(shot: Shot, backbone: Backbone, inversion: Inversion) -> LatentKey:
    """The bank's key of one image's clean latent: neither prompt nor schedule decides it."""
    return LatentKey(
        image=shot.sha256,
        backbone=backbone.identity,
        prompt="",
        kind=ENCODED,
        steps=0,
        guidance=1.0,
        resolution=backbone.image_size,
        precision=inversion.precision,
    )
