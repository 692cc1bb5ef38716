"""How fast is `augment synthesize` on an NVIDIA GPU, end to end? Models of published sizes with random weights."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
from jsonargparse.typing import PositiveInt
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from augment.backbones.base import Backbone
from augment.backbones.inversions import InversionKind
from augment.backbones.stable_diffusion import StableDiffusion
from augment.backbones.stable_diffusion_3 import StableDiffusion3
from augment.errors import UserError
from augment.images.few_shot import choose_few_shot_set
from augment.images.sources import ImageFolder
from augment.inversion.fill import invert
from augment.inversion.inversion import Inversion
from augment.runtime.trainer import QUIET_TRAINER
from augment.synthesis.pipeline import synthesize
from augment.synthesis.plan import Plan
from augment.synthesis.recipe import make_recipe
from augment.synthesis.synthesizer import Synthesizer
from benchmarks.architectures import Family, Size, save_checkpoint
from benchmarks.record import Figure, Report, run

Accelerator = Literal["cuda", "cpu"]
SHOTS = 3
GOALS: dict[Family, float] = {"sd15": 4.0}
"""Images per second on an H200-class GPU."""


@dataclass(frozen=True)
class Setting:
    """How a family is sampled."""

    steps: int
    guidance: float


SETTINGS: dict[Family, Setting] = {"sd15": Setting(50, 7.5), "sd35-medium": Setting(28, 4.5)}


class _Clock(L.Callback):
    """When each batch was done, and when the last image was on disk: it must stand behind the writer."""

    def __init__(self) -> None:
        self.batches: list[float] = []
        self.end = 0.0

    def on_predict_batch_end(self, *args: Any) -> None:
        """Look at the clock."""
        self.batches.append(time.perf_counter())

    def on_predict_end(self, *args: Any) -> None:
        """Look at the clock."""
        self.end = time.perf_counter()


def wait(accelerator: Accelerator) -> None:
    """Until the device has done what it was told."""
    if accelerator == "cuda":
        torch.cuda.synchronize()


def matrix_rate(accelerator: Accelerator, side: int, repeats: int = 20) -> float:
    """Floating-point operations per second of a square matrix product in bf16, the best of three tries."""
    a, b = (torch.randn(side, side, device=accelerator, dtype=torch.bfloat16) for _ in range(2))
    best = 0.0
    for _ in range(4):  # the first warms up
        wait(accelerator)
        started = time.perf_counter()
        for _ in range(repeats):
            a @ b
        wait(accelerator)
        best = max(best, repeats * 2 * side**3 / (time.perf_counter() - started))
    return best


def operations(backbone: Backbone, setting: Setting, accelerator: Accelerator) -> int:
    """Floating-point operations of one image: the denoiser once per step and guidance branch, and the decoder."""
    backbone.cast("bf16")
    backbone.to(accelerator)
    z = torch.randn(1, *backbone.latent_shape, device=accelerator)
    with torch.inference_mode():
        condition = backbone.condition(["a photo"])
        with FlopCounterMode(display=False) as denoising:
            backbone.predict(z, 500.0, condition)
        with FlopCounterMode(display=False) as decoding:
            backbone.decode(z)
    branches = 2 if setting.guidance != 1 else 1
    return int(setting.steps * branches * denoising.get_total_flops() + decoding.get_total_flops())


def load(folder: Path, family: Family) -> Backbone:
    """The real backbone of a checkpoint folder."""
    return StableDiffusion(str(folder)) if family == "sd15" else StableDiffusion3(str(folder), t5=False)


def real_images(root: Path, side: int) -> ImageFolder:
    """A few-shot set of one class: noise, since only the time matters."""
    random = np.random.default_rng(0)
    (root / "thing").mkdir(parents=True)
    for n in range(SHOTS):
        Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(root / "thing" / f"{n}.png")
    return ImageFolder(root)


@dataclass(frozen=True)
class Made:
    """What one run took: seconds per measured batch together with its writing, of the whole call, and peak memory."""

    seconds: float
    whole: float
    peak: int


def make(
    model: Synthesizer, source: ImageFolder, folder: Path, batch_size: int, batches: int, accelerator: Accelerator
) -> Made:
    """One dataset: one batch that does not count (compilation, first calls), then the measured ones, into one shard."""
    clock = _Clock()

    def trainer(callbacks: list[L.Callback]) -> L.Trainer:
        return L.Trainer(devices=1, accelerator=accelerator, callbacks=[*callbacks, clock], **QUIET_TRAINER)

    count = (batches + 1) * batch_size
    plan = Plan(per_class=count, shard_size=count, batch_size=batch_size)
    bank = folder / "bank"
    few_shot = choose_few_shot_set(source, SHOTS, seed=0)
    recipe = make_recipe(model, few_shot, plan=plan)
    invert(
        model.backbone,
        source,
        few_shot,
        recipe.inversion_prompts,
        bank,
        recipe.model.inversion,
        make_trainer=trainer,
        show_progress=False,
    )
    clock.batches.clear()
    if accelerator == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    synthesize(model, source, recipe, folder / "made", bank, True, trainer, show_progress=False)
    whole = time.perf_counter() - started
    peak = torch.cuda.max_memory_allocated() if accelerator == "cuda" else 0
    return Made(clock.end - clock.batches[0], whole, peak)


def measure(
    family: Family,
    size: Size,
    accelerator: Accelerator,
    batch_sizes: Sequence[int],
    compiled: Sequence[bool],
    batches: int,
    setting: Setting,
    rate: float,
) -> Iterator[Report]:
    """One family at all batch sizes, with and without compilation: a report of each."""
    kind: InversionKind = "ddim" if family == "sd15" else "euler"
    inversion = Inversion(kind=kind, steps=setting.steps, precision="bf16", batch_size=SHOTS, warn_psnr=0)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        checkpoint = save_checkpoint(root / "model", family, size, accelerator)
        for compile_ in compiled:
            backbone = load(checkpoint, family)
            source = real_images(root / f"real-{compile_}", backbone.image_size)
            each = operations(backbone, setting, accelerator)
            extra: dict[str, Any] = {"compile": True} if compile_ else {}
            model = Synthesizer(backbone, inversion, setting.steps, setting.guidance, "a photo", "bf16", **extra)
            for batch_size in batch_sizes:
                key = f"{family}, batch {batch_size}, {'compiled' if compile_ else 'eager'}"
                try:
                    made = make(model, source, root, batch_size, batches, accelerator)
                except torch.OutOfMemoryError:
                    yield Report(details={key: "out of memory"})
                    continue
                speed = batches * batch_size / made.seconds
                facts = {"operations_per_image": each, "side": backbone.image_size, "peak_bytes": made.peak}
                yield Report(
                    [
                        Figure(f"images/s, {key}", (speed,)),
                        Figure(f"share of the matrix rate, {key}", (speed * each / rate,)),
                        Figure(f"peak memory in GiB, {key}", (made.peak / 2**30,)),
                    ],
                    {f"measured batches, {key}": [made.seconds], f"whole call, {key}": [made.whole]},
                    {key: facts},
                )


def gpu(
    families: list[Family] = ["sd15", "sd35-medium"],  # noqa: B006  (never changed)
    batch_sizes: list[PositiveInt] = [1, 4, 16, 32],  # noqa: B006
    compiled: list[bool] = [False, True],  # noqa: B006
    batches: PositiveInt = 2,
    steps: PositiveInt | None = None,
    size: Size = "full",
    accelerator: Accelerator = "cuda",
) -> Iterator[Report]:
    """Measure images per second of `synthesize`, tar writing included, on models of the published sizes in bf16.

    Args:
        families: Stable Diffusion 1.5 at 512 pixels (50 steps, guidance 7.5), 3.5 medium at 1024 (28 steps, 4.5).
        batch_sizes: Images per call of the networks.
        compiled: Whether the denoiser is compiled.
        batches: That are measured, after one that is not.
        steps: Of the sampler, in place of the family's; for trying the program.
        size: `tiny` is for trying the program.
        accelerator: `cpu` is for trying the program.
    """
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "accelerator",
            "no CUDA device here",
            "run on a machine with an NVIDIA GPU, or try the program with --size tiny --accelerator cpu",
        )
    rate = matrix_rate(accelerator, 8192 if accelerator == "cuda" else 256)
    report = Report([Figure("matrix product in bf16, TFLOP/s", (rate / 1e12,))])
    for family in families:
        speeds = []
        setting = SETTINGS[family] if steps is None else replace(SETTINGS[family], steps=steps)
        for part in measure(family, size, accelerator, batch_sizes, compiled, batches, setting, rate):
            report.add(part)
            speeds += [value for figure in part.figures[:1] for value in figure.values]
            yield report
        if speeds:
            report.add(Report([Figure(f"best images/s, {family}", (max(speeds),), at_least=GOALS.get(family))]))
            yield report


if __name__ == "__main__":
    run(gpu)
