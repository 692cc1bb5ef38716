"""What do all figures share? The backbone on its device, the latents of the sources, and the way to images.

Shapes: K sources, B images; latents [C, h, w], images [3, H, W] in [-1, 1]. Tensors that leave this file lie in host
memory.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import lightning as L
import torch
from rich.progress import track
from torch import Tensor

from augment.backbones.base import Backbone, Precision
from augment.backbones.start import Sampler, Start, stack
from augment.errors import UserError
from augment.explore.sources import Sources
from augment.images.few_shot import choose_few_shot_set
from augment.images.sources import ImageSource, Item
from augment.inversion.fill import bank_folder, invert
from augment.inversion.inversion import check_inverted, invert_latents
from augment.measure.extractor import Extractor
from augment.mix.draws import noise_seed
from augment.runtime.terminal import PlainConsole
from augment.runtime.trainer import QUIET_TRAINER
from augment.synthesis.generated import no_numbers
from augment.synthesis.notices import warn_of_other_start
from augment.synthesis.synthesizer import Synthesizer


class Explorer:
    """Draws from one backbone and one image source; every number it draws follows from the seed.

    Args:
        model: The backbone, with the settings of inversion and sampler.
        source: Where the real images are.
        folder: Where figures are written.
        shots: The most real images per class.
        seed: Chooses the images, the noise and the subsets.
        bank: Folder of inverted latents; by default one per backbone below `bank`, beside `folder`.
        device: Kind of device, or `auto`.
        batch_size: Images per call of the networks.
        extractor: The network that distances between images are measured with.
        extractor_weights: Local file of the Inception weights.
        skip_bad: Pass over unreadable images.

    Raises:
        UserError: If the sampler is not deterministic.
    """

    def __init__(
        self,
        model: Synthesizer,
        source: ImageSource,
        folder: Path,
        shots: int = 96,
        seed: int = 0,
        bank: str | None = None,
        device: str = "auto",
        batch_size: int = 16,
        extractor: str = "inception",
        extractor_weights: str | None = None,
        skip_bad: bool = False,
    ) -> None:
        if model.sampler.eta > 0:
            raise UserError(
                "model.sampler.eta",
                f"figures are drawn without fresh noise, not with eta {model.sampler.eta:g}",
                "leave it at 0: `grid` compares both",
            )
        self.model = model
        self.backbone = model.backbone
        self.source = source
        self.folder = folder
        self.shots = shots
        self.seed = seed
        self.bank = bank
        self.accelerator = device
        self.batch_size = batch_size
        self.skip_bad = skip_bad
        self._extractor = (extractor, extractor_weights)
        self._real: dict[str, Sources] = {}
        warn_of_other_start(model)

    def make_trainer(self, callbacks: list[L.Callback]) -> L.Trainer:
        """One process on the chosen device."""
        return L.Trainer(accelerator=self.accelerator, devices=1, callbacks=callbacks, **QUIET_TRAINER)

    @cached_property
    def device(self) -> torch.device:
        """Where the networks run."""
        return self.make_trainer([]).strategy.root_device

    @cached_property
    def extractor(self) -> Extractor:
        """Measures distances between images."""
        return Extractor(*self._extractor, self.backbone.image_size, self.device)

    @cached_property
    def pool(self) -> dict[str, list[Item]]:
        """The source's images by class."""
        members: dict[str, list[Item]] = {name: [] for name in self.source.classes}
        for item in self.source.pool:
            members[self.source.classes[item.label]].append(item)
        return members

    def classes(self, wanted: Sequence[str], first: int) -> list[str]:
        """The wanted classes, or the first ones of the source.

        Raises:
            UserError: If a class is unknown.
        """
        for name in wanted:
            if name not in self.pool:
                known = ", ".join(map(repr, self.pool))
                raise UserError("classes", f"unknown class '{name}'", f"the source has {known}")
        return list(wanted) or list(self.pool)[:first]

    def real(self, names: Sequence[str]) -> dict[str, Sources]:
        """Latents of the real images of these classes, inverted where the bank lacks them."""
        for name in names:
            if name not in self._real:
                self._real[name] = self._invert_class(name)
        return {name: self._real[name] for name in names}

    def _invert_class(self, name: str) -> Sources:
        shots = min(self.shots, len(self.pool[name]))
        few_shot = choose_few_shot_set(self.source, shots, self.seed, [name], self.skip_bad)
        model = self.model
        inverted = invert(
            model.backbone,
            self.source,
            few_shot,
            model.settings.inversion_prompts(few_shot),
            bank_folder(self.bank, self.folder, self.backbone.identity),
            model.inversion,
            compile=model.compiled,
            make_trainer=self.make_trainer,
        )
        label = self.source.classes.index(name)
        unconditional = inverted.unconditional(label) if model.inversion.kind == "null-text" else None
        return Sources(inverted.latents(label), model.prompt_for(name), unconditional)

    def generated(self, name: str, count: int, perturbation: float) -> Sources:
        """Latents that cannot cluster for want of fit between class and prompt (Landolsi & Kahl, Section 4.1).

        Noise is drawn and denoised with the class's prompt, the image is perturbed by Gaussian noise of standard
        deviation `perturbation` (pixels in [-1, 1]), and inverted.
        """
        classes, how = len(self.source.classes), self.model.inversion
        stream = 1 + self.source.classes.index(name)
        prompt = self.model.prompt_for(name)
        images = self.images(Start(self.noise(count, stream), (prompt,) * count), f"generate {name}")
        perturbed = images + perturbation * self._normal(images.shape[1:], count, stream + classes)
        added = self.noise(count, stream + 2 * classes)  # for an inversion with forward steps
        self.prepared(how.precision)
        latents, embeddings = [], []
        with torch.inference_mode():
            batches = (torch.split(tensor, self.batch_size) for tensor in (perturbed, added))
            for part, noise in zip(*batches, strict=True):
                clean = self.backbone.encode(part.to(self.device))
                inverted = invert_latents(self.backbone, clean, (prompt,) * len(part), how, noise)
                for latent, residual in zip(inverted.latent, inverted.residual.tolist(), strict=True):
                    check_inverted(f"generated {name}", latent, residual, how)
                latents.append(inverted.latent.float().cpu())
                if inverted.unconditional is not None:
                    embeddings.append(inverted.unconditional.float().cpu())
        return Sources(torch.cat(latents), prompt, torch.cat(embeddings) if embeddings else None)

    def noise(self, count: int, stream: int = 0) -> Tensor:
        """Latents drawn from N(0, I) [B, C, h, w]; number n of a stream never depends on the others."""
        return self._normal(self.backbone.latent_shape, count, stream)

    def _normal(self, shape: Sequence[int], count: int, stream: int) -> Tensor:
        seeds = (noise_seed(self.seed, stream, n) for n in range(count))
        return torch.stack([torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])

    def prepared(self, precision: Precision | None = None) -> Backbone:
        """The backbone on its device, in the given precision or that of sampling."""
        self.backbone.to(self.device)
        self.backbone.cast(precision or self.model.precision)
        return self.backbone

    def images(self, start: Start | Sequence[Start], label: str = "denoise", sampler: Sampler | None = None) -> Tensor:
        """Starts to images [B, 3, H, W]."""
        return self.decode(self.denoise(start, label, sampler))

    @torch.inference_mode()
    def denoise(self, start: Start | Sequence[Start], label: str = "denoise", sampler: Sampler | None = None) -> Tensor:
        """Starts to clean latents z_0 [B, C, h, w], by the model's sampler or another."""
        self.prepared()
        whole = start if isinstance(start, Start) else stack(start)
        if self.model.inversion.kind == "negative-prompt":
            whole = replace(whole, negative=whole.prompts)
        model = self.model
        parts = [
            self.backbone.denoise(part.to(self.device), model.steps, model.guidance, sampler or model.sampler).cpu()
            for part in self._batches(whole, label)
        ]
        return torch.cat(parts)

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Clean latents z_0 [B, C, h, w] to images [B, 3, H, W].

        Raises:
            UserError: If they are not finite.
        """
        self.prepared()
        parts = [self.backbone.decode(part.to(self.device)).cpu() for part in torch.split(latents, self.batch_size)]
        images = torch.cat(parts)
        if not bool(torch.isfinite(images).all()):
            raise no_numbers(self.model.precision)
        return images

    def _batches(self, start: Start, label: str) -> Iterable[Start]:
        size = self.batch_size
        batches = [start.take(slice(n, n + size)) for n in range(0, len(start.latent), size)]
        hidden = len(batches) < 2
        return track(batches, label, console=PlainConsole(stderr=True), transient=True, disable=hidden)
