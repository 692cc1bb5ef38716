"""Which weights are in memory, in which precision, and for how long?"""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DDPMPipeline,
    DiffusionPipeline,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from tiny_families import SIDE, save_pixel, save_sd3, save_sdxl
from tiny_flows import save_flux2, save_prx, save_z_image
from torch import Tensor, nn

from augment.backbones.base import Backbone, Precision
from augment.backbones.flux2_klein import Flux2Klein
from augment.backbones.pixel import PixelDiffusion
from augment.backbones.prx import PRX
from augment.backbones.stable_diffusion import StableDiffusion
from augment.backbones.stable_diffusion_3 import StableDiffusion3
from augment.backbones.stable_diffusion_xl import StableDiffusionXL
from augment.backbones.start import Start
from augment.backbones.z_image import ZImage

FAMILIES: dict[str, tuple[Any, Any, Any]] = {
    "sdxl": (save_sdxl, StableDiffusionXL, StableDiffusionXLPipeline),
    "sd3": (lambda folder: save_sd3(folder, t5=True), StableDiffusion3, StableDiffusion3Pipeline),
    "pixel": (save_pixel, PixelDiffusion, DDPMPipeline),
    "prx": (save_prx, PRX, None),
    "flux2": (save_flux2, Flux2Klein, None),
    "z-image": (save_z_image, ZImage, None),
}
EARLIER = ("sd", "sdxl", "sd3", "pixel")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {"sd": model_folder} | {name: save(root / name) for name, (save, _, _) in FAMILIES.items()}


def open_family(name: str, folders: dict[str, Path]) -> Backbone:
    if name == "sd":
        return StableDiffusion(str(folders[name]))
    more = {"resolution": SIDE, "prompt_tokens": 48} if name in ("flux2", "z-image") else {}
    return FAMILIES[name][1](str(folders[name]), **more)


def noise(backbone: Backbone) -> Tensor:
    return torch.randn(2, *backbone.latent_shape, generator=torch.Generator().manual_seed(0))


PROMPTS = ("a cat", "a dog")


@pytest.mark.parametrize("name", [*FAMILIES, "sd"])
def test_nothing_is_read_before_it_is_needed_and_then_in_the_precision_it_runs_in(
    name: str, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = open_family(name, folders)
    assert not list(backbone.parameters())
    read: list[torch.dtype] = []
    plain = DiffusionPipeline.from_pretrained.__func__  # type: ignore[attr-defined]

    def spy(cls: Any, *args: Any, **more: Any) -> Any:
        read.append(more["dtype"])
        return plain(cls, *args, **more)

    monkeypatch.setattr(DiffusionPipeline, "from_pretrained", classmethod(spy))
    backbone.cast("bf16")
    assert read == [torch.bfloat16]
    assert {weight.dtype for weight in backbone.parameters()} == {torch.bfloat16}
    backbone.cast("bf16")
    backbone.cast("tf32")
    backbone.cast("fp32")
    assert read == [torch.bfloat16, torch.float32]
    assert {weight.dtype for weight in backbone.parameters()} == {torch.float32}


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", EARLIER)
def test_weights_are_those_that_were_read_in_float32_and_rounded(
    name: str, precision: Precision, folders: dict[str, Path]
) -> None:
    backbone = open_family(name, folders)
    kind = StableDiffusionPipeline if name == "sd" else FAMILIES[name][2]
    without = {"safety_checker": None, "requires_safety_checker": False} if name == "sd" else {}
    whole = kind.from_pretrained(folders[name], dtype=torch.float32, **without)
    backbone.cast(precision)
    for part, network in whole.components.items():
        if isinstance(network, nn.Module):
            ours = getattr(backbone.pipeline, part).state_dict()
            for key, value in network.float().to(backbone.dtype).state_dict().items():
                assert torch.equal(ours[key].to(value.dtype), value), (part, key)


@torch.no_grad()
@pytest.mark.parametrize("name", [*FAMILIES, "sd"])
def test_text_and_image_encoders_go_when_they_have_done_their_work(name: str, folders: dict[str, Path]) -> None:
    backbone, lean = (open_family(name, folders) for _ in range(2))
    backbone.cast("fp32")
    lean.keep(PROMPTS)
    lean.finish_encoding()
    kept, left = (sum(weight.numel() for weight in one.parameters()) for one in (backbone, lean))
    if name == "pixel":
        assert left <= kept
    else:
        assert not [part for part, network in lean.pipeline.components.items() if network and "text_encoder" in part]
        assert lean.vae.encoder is None
        assert left < kept
    start = Start(noise(backbone), PROMPTS)
    guidance = 1.0 if name == "pixel" else 2.0
    ours, theirs = (one.decode(one.denoise(start, 2, guidance)) for one in (lean, backbone))
    assert torch.equal(ours, theirs)


@torch.no_grad()
@pytest.mark.parametrize("name", ["sd", "z-image"])
def test_what_is_gone_is_read_again_when_it_is_asked_for(name: str, folders: dict[str, Path]) -> None:
    backbone, lean = (open_family(name, folders) for _ in range(2))
    lean.cast("bf16")
    lean.keep(PROMPTS)
    lean.finish_encoding()
    backbone.cast("bf16")
    assert torch.equal(lean.condition(["a bird"]).embeddings, backbone.condition(["a bird"]).embeddings)
    pixels = torch.rand(1, 3, SIDE, SIDE)
    lean.finish_encoding()
    assert torch.equal(lean.encode(pixels), backbone.encode(pixels))
    assert {weight.dtype for weight in lean.parameters()} == {torch.bfloat16}


def test_networks_are_read_to_where_the_backbone_was_moved(folders: dict[str, Path]) -> None:
    backbone = open_family("sd", folders)
    backbone.to("meta")
    assert backbone.device.type == "meta"
    backbone.cast("fp32")
    assert {weight.device.type for weight in backbone.parameters()} == {"meta"}


def test_offloaded_networks_are_hooked_and_not_moved(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    hooked: list[tuple[str, bool]] = []

    def hook(self: Any, device: torch.device) -> None:
        hooked.append((device.type, self.text_encoder is not None))

    monkeypatch.setattr(DiffusionPipeline, "enable_model_cpu_offload", hook)
    backbone = open_family("sd", folders)
    backbone.offloaded = True
    backbone.cast("fp32")
    assert hooked == [] and backbone.device.type == "cpu"  # there is nothing to offload from
    backbone.to("meta")  # stands for an accelerator
    backbone.to("meta")
    assert hooked == [("meta", True)] and backbone.device.type == "meta"
    backbone.cast("bf16")
    assert hooked == [("meta", True)] * 2
    backbone._drop(["text_encoder"])  # type: ignore[operator]
    assert hooked[2:] == [("meta", False)]  # the hooks of what is gone are gone too
    assert {weight.device.type for weight in backbone.parameters()} == {"cpu"}
