"""What does a pretrained network see in an image? One pass of one extractor over a set of images.

`inception` is the network of FID; every other extractor is a model of timm, and its metrics bear its name.
"""

import hashlib
import pickle
from collections.abc import Iterable
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import timm
import torch
from PIL import Image, ImageOps
from safetensors import SafetensorError
from timm.data import resolve_data_config
from timm.models import get_pretrained_cfg, is_model
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.image.fid import NoTrainInceptionV3
from torchvision.transforms.functional import pil_to_tensor

from augment.errors import UserError
from augment.images.pixels import to_uint8
from augment.runtime.json_files import read_object
from augment.runtime.network import one_try

EMBEDDED = Path(__file__).parent.parent / "assets" / "extractors"
ALIASES = {"clip": "vit_base_patch16_clip_224.openai", "dinov2": "vit_large_patch14_dinov2.lvd142m"}
RESERVED = ("inception", *ALIASES)
LOADING_ERRORS = (
    *(ModuleNotFoundError, RuntimeError, OSError, ValueError, pickle.UnpicklingError, SafetensorError),
    *(
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        EOFError,
        AssertionError,
    ),  # what a config.json says that is wrong
)
GROUP = 64

Companion = TypeVar("Companion")


def extractor_name(extractor: str) -> str:
    """What metrics of an extractor are named after: `inception`, `clip`, `dinov2`, or the model's or folder's own name.

    A `classifier` that `classify fit` saved is named after that command's output folder. `clip` is any CLIP image tower
    of timm that was not fine-tuned, `dinov2` any of its DINOv2 ViTs.

    Raises:
        UserError: If it is a model of timm with a tag that timm does not know.
    """
    try:
        config = get_pretrained_cfg(ALIASES.get(extractor, extractor))
    except RuntimeError as error:  # a tag that timm does not know
        raise cannot_load(extractor, error) from error
    if config is not None:
        if is_clip_tower(extractor):
            return "clip"
        return "dinov2" if config.architecture.endswith("_dinov2") else extractor
    folder = Path(extractor.removeprefix("local-dir:"))
    name = folder.parent.name if folder.name == "classifier" and folder.parent.name else folder.name
    return f"local_{name}" if name in RESERVED and extractor != "inception" else name


def cannot_load(extractor: str, error: Exception) -> UserError:
    """What to say, and what to do instead."""
    if isinstance(error, pickle.UnpicklingError):  # torch's own words say how to run a stranger's code
        return UserError("extractor_weights", f"this file for '{extractor}' holds no weights alone", "give another")
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return UserError(
        "extractor",
        f"'{extractor}' cannot be loaded ({reason})",
        "for FID install chm-augment[fid] and be online once or give `extractor_weights`, "
        "offline use `extractor` digits or a timm model at hand",
    )


def check_folder(name: str, argument: str) -> None:
    """Refuse a folder, given as `local-dir:FOLDER`, whose `config.json` is none of timm's.

    Args:
        name: The model's, as timm takes it.
        argument: What it was given as.

    Raises:
        UserError: If it is one.
    """
    config = Path(name.removeprefix("local-dir:")) / "config.json"
    if name.startswith("local-dir:") and config.is_file():
        found = read_object(config, argument, "give a folder in timm's format", {"architecture": str}, check_config)
        if not is_model(found["architecture"]):
            problem = f"'{config}' names '{found['architecture']}', which is no architecture of timm"
            raise UserError(argument, problem, "give a folder in timm's format")


def check_config(found: dict[str, Any]) -> None:
    """Refuse settings of pretrained weights that are none.

    Raises:
        ValueError: Saying what is wrong.
    """
    settings = found.get("pretrained_cfg", found)
    if not isinstance(settings, dict) or not isinstance(settings.get("label_names") or [], list):
        raise ValueError("has a 'pretrained_cfg' that is none of timm's")


def is_clip_tower(extractor: str) -> bool:
    """Whether timm's weights of this name are a CLIP image tower as it was trained, with its projection."""
    config = get_pretrained_cfg(ALIASES.get(extractor, extractor))
    return config is not None and "_clip_" in config.architecture and "_ft_" not in (config.tag or "")


class TimmFeatures(nn.Module):
    """Features of a timm model, from uint8 images [B, 3, H, W] to [B, D].

    They are what the model pools before its classification head; of a CLIP tower they are the image embedding, which
    is what its head, the projection into the space of the texts, returns.

    Args:
        name: timm's model name, or a folder in timm's format.
        weights: Local file of the model's weights, instead of timm's download.
    """

    def __init__(self, name: str, weights: str | None = None) -> None:
        super().__init__()
        head = {} if is_clip_tower(name) else {"num_classes": 0}
        overlay = None if weights is None else {"file": weights}
        with one_try():
            self.network = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **head)
        self.network.eval().requires_grad_(False)
        config = resolve_data_config({}, model=self.network)
        self.size: tuple[int, int] = tuple(config["input_size"][1:])
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(config["mean"]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(config["std"]).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Resize, normalise and embed."""
        x = images.float() / 255
        if x.shape[-2:] != self.size:
            x = F.interpolate(x, self.size, mode="bicubic", antialias=True).clamp(0, 1)
        features: Tensor = self.network((x - self.mean) / self.std)
        return features

    def extra_repr(self) -> str:
        """The size that images are resized to."""
        return f"size={self.size}"


class Extractor:
    """A pretrained network that turns images into features.

    Args:
        extractor: `inception` for FID, `digits` for the embedded digits classifier, `clip` (OpenAI's ViT-B/16),
            `dinov2` (ViT-L/14 at timm's 518 px; published values with 224 px are not comparable), any timm model by
            name, or `local-dir:FOLDER`.
        weights: Local file of the weights, for `inception` or a timm model without a download.
        image_size: All images are cropped and resized to this, as the backbone sees them, before the network's own
            preprocessing.
        device: Where features are computed.

    Raises:
        UserError: If the weights cannot be had.
    """

    def __init__(
        self, extractor: str, weights: str | None, image_size: int, device: torch.device | str = "cpu"
    ) -> None:
        embedded = EMBEDDED / extractor
        if weights is not None and (embedded.is_dir() or extractor.startswith("local-dir:")):
            raise UserError(
                "extractor_weights", f"extractor '{extractor}' has its own weights", f"leave '{weights}' out"
            )
        if weights is not None and not Path(weights).is_file():
            raise UserError("extractor_weights", f"no file '{weights}'", "give the file of the weights")
        self.given = extractor
        self.image_size = image_size
        self.device = device
        try:
            self.name = extractor_name(extractor)
            if extractor == "inception":
                if weights is not None:
                    torch.load(weights, weights_only=True)  # torch-fidelity would run a pickle's code
                self.network: nn.Module = NoTrainInceptionV3("inception-v3-compat", ["2048"], weights)
            else:
                name = f"local-dir:{embedded}" if embedded.is_dir() else ALIASES.get(extractor, extractor)
                check_folder(name, "extractor")
                self.network = TimmFeatures(name, weights)
        except LOADING_ERRORS as error:
            raise cannot_load(extractor, error) from error
        self.network.to(device)

    @cached_property
    def identity(self) -> str:
        """Hash of everything that decides the features of an image: weights, architecture, preprocessing."""
        digest = hashlib.sha256(f"{self.image_size} {self.network!r}".encode())
        for name, tensor in self.network.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @torch.inference_mode()
    def embed(self, samples: Iterable[tuple[Image.Image, Companion]]) -> tuple[Tensor, list[Companion]]:
        """Features of images, and what came with each of them.

        Args:
            samples: Images, each with anything that is to be kept beside its features, such as its class.

        Returns:
            Features [n, D] in float32 on the CPU, and the n companions.

        Raises:
            UserError: If a feature is NaN or infinite.
        """
        size = (self.image_size, self.image_size)
        stream = iter(samples)
        features, companions = [torch.empty(0, 0)], []
        while group := list(islice(stream, GROUP)):
            fitted = [pil_to_tensor(ImageOps.fit(image, size, Image.Resampling.BICUBIC)) for image, _ in group]
            features.append(self._see(torch.stack(fitted)))
            companions += [companion for _, companion in group]
        values = torch.cat(features[1:] or features)  # [n, D]
        if not values.isfinite().all():
            raise UserError("extractor", f"'{self.name}' gives NaN or infinite features", "choose another `extractor`")
        return values, companions

    @torch.inference_mode()
    def features(self, images: Tensor) -> Tensor:
        """Features [n, D] in float32 on the CPU, of images [n, 3, H, W] in [-1, 1] that have the size already."""
        return torch.cat([self._see(part) for part in torch.split(to_uint8(images), GROUP)])

    def _see(self, pixels: Tensor) -> Tensor:
        return self.network(pixels.to(self.device)).float().cpu()
