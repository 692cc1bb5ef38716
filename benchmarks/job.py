"""Which job do `overhead` and `peers` measure? `synthesize` on the embedded digits, and the starts it works from."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from augment.backbones.stable_diffusion import StableDiffusion
from augment.dataset.reader import read_shard
from augment.images.few_shot import choose_few_shot_set
from augment.images.sources import Digits
from augment.inversion.fill import invert
from augment.inversion.inversion import Inversion
from augment.runtime.trainer import QUIET_TRAINER, MakeTrainer
from augment.synthesis.pipeline import synthesize
from augment.synthesis.plan import Plan
from augment.synthesis.recipe import make_recipe
from augment.synthesis.synthesizer import SynthesisBatch, Synthesizer

PROMPT = "a digit"
CLASSES = 10
SHOTS = 5


class _Starts(L.Callback):
    """Keeps the latents that the sampler starts from, in the order in which they are written."""

    def __init__(self) -> None:
        self.latents: list[Tensor] = []

    def on_predict_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        batch: SynthesisBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the batch's latents."""
        self.latents.append(batch.start.latent.clone())


class Job:
    """`synthesize` on the CPU, with the embedded backbone; made once, it fills the bank and keeps the starts.

    Args:
        folder: Of the bank and the datasets.
        per_class: Images per class.
        steps: Of the sampler.
        batch_size: Images per call of the networks.

    Attributes:
        inversion: Seconds that inverting the few-shot set took, once.
        starts: What the sampler starts from, float32 [images, C, h, w], in the order of writing.
    """

    def __init__(self, folder: Path, per_class: int, steps: int, batch_size: int) -> None:
        self.folder = folder
        self.plan = Plan(per_class=per_class, shard_size=CLASSES * per_class, batch_size=batch_size)
        self.backbone = StableDiffusion()
        self.model = Synthesizer(self.backbone, Inversion(steps=steps, warn_psnr=0), steps=steps, prompt=PROMPT)
        few_shot = choose_few_shot_set(Digits(), SHOTS, seed=0)
        self.recipe = make_recipe(self.model, few_shot, plan=self.plan)
        self.inversion = self._timed(self._invert, folder / "starts", [])
        keeper = _Starts()
        self._timed(self._synthesize, folder / "starts", [keeper])
        self.starts = torch.cat(keeper.latents)

    def __len__(self) -> int:
        return len(self.starts)

    def _timed(self, step: Callable[[Path, MakeTrainer], object], output: Path, more: list[L.Callback]) -> float:
        def trainer(callbacks: list[L.Callback]) -> L.Trainer:
            return L.Trainer(devices=1, accelerator="cpu", callbacks=[*callbacks, *more], **QUIET_TRAINER)

        started = time.perf_counter()
        step(output, trainer)
        return time.perf_counter() - started

    def _invert(self, output: Path, trainer: MakeTrainer) -> None:
        invert(
            self.backbone,
            Digits(),
            self.recipe.few_shot,
            self.recipe.inversion_prompts,
            self.folder / "bank",
            self.recipe.model.inversion,
            make_trainer=trainer,
            show_progress=False,
        )

    def _synthesize(self, output: Path, trainer: MakeTrainer) -> None:
        synthesize(self.model, Digits(), self.recipe, output, self.folder / "bank", True, trainer, show_progress=False)

    def seconds(self) -> float:
        """Seconds of the whole call of `synthesize` with the bank filled, hashes and manifest included."""
        for shard in (self.folder / "made").glob("*.tar"):
            shard.unlink()
        return self._timed(self._synthesize, self.folder / "made", [])

    def images(self) -> np.ndarray[Any, Any]:
        """The images as they lie in the shards, uint8 [images, H, W, 3], in the order of `starts`."""
        shards = sorted((self.folder / "starts").glob("*.tar"))
        return np.stack([np.asarray(image) for shard in shards for _, image, _ in read_shard(shard)])
