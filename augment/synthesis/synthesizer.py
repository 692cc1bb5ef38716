"""Starts to images: a Lightning module that denoises and decodes planned batches."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Self

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor

from augment.backbones.base import Backbone, Precision, allow_tf32
from augment.backbones.start import KEPT_PROMPTS, Sampler, Start, steps_left
from augment.errors import UserError
from augment.inversion.inversion import Inversion
from augment.mix.method import Finish
from augment.runtime.dealing import ReadsItsOwnWeights
from augment.runtime.numbers import NonNegativeNumber
from augment.runtime.out_of_memory import Halving
from augment.runtime.profile import profile
from augment.synthesis.generated import Generated, to_host
from augment.synthesis.plan import PlannedBatch
from augment.synthesis.prompts import read_prompts
from augment.synthesis.settings import ModelSettings


@dataclass(frozen=True)
class SynthesisBatch:
    """What goes through the sampler at once, and what is written beside each image."""

    planned: PlannedBatch
    start: Start
    records: tuple[dict[str, Any], ...]
    finish: Finish | None = None

    def __len__(self) -> int:
        return len(self.records)

    def to(self, device: torch.device) -> Self:
        """The same batch on another device; Lightning calls this."""
        finish = None if self.finish is None else self.finish.to(device)
        return replace(self, start=self.start.to(device), finish=finish)


class Synthesizer(ReadsItsOwnWeights):
    """Turns starts into images, by default with deterministic DDIM; knows starts, never methods.

    Args:
        backbone: The diffusion model.
        inversion: How the few-shot images are brought into its noise space.
        steps: Number of steps of the sampler.
        guidance: Strength of classifier-free guidance; 1 is without.
        prompt: The prompt of every image; `{class}` stands for the class's name, `{token}` for its new word in a tuned
            backbone. Of several each image draws one. A file holds several: YAML with a list, or with the captions of
            each class by its name; or CSV with the columns `class` and `caption`.
        contexts: What may follow the prompt, such as "in a forest", the same for all classes: each image draws one. A
            list, or a YAML file with one.
        inversion_prompt: What real images are inverted with; by default the first prompt, without a context.
        precision: What the networks compute in while sampling; interpolation is float32 in any case.
        sampler: How steps are made, beside their number and guidance.
        compile: Compile the denoiser's repeated blocks; costs a minute or two at the start.
        offload: Keep networks in host memory while they are not in use: slower, for devices with little memory.

    Raises:
        UserError: If the backbone cannot do the inversion or the sampler, the two do not fit each other, or a file of
            prompts cannot be read.
    """

    def __init__(
        self,
        backbone: Backbone,
        inversion: Inversion = Inversion(),  # noqa: B008  (frozen)
        steps: PositiveInt = 50,
        guidance: NonNegativeNumber = 1.0,
        prompt: str | tuple[str, ...] = "a digit",
        contexts: str | tuple[str, ...] = (),
        inversion_prompt: str | None = None,
        precision: Precision = "fp32",
        sampler: Sampler = Sampler(),  # noqa: B008  (frozen)
        compile: bool = False,
        offload: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.offload = self.backbone.offloaded = offload
        self.inversion = inversion
        self.steps = steps
        self.guidance = float(guidance)
        self.prompt = prompt
        self.prompts = read_prompts(prompt, contexts, inversion_prompt)
        self.precision: Precision = precision
        self.sampler = sampler
        self.compiled = compile
        self.expected: tuple[str, ...] = ()
        self.denoising: Halving[Tensor] = Halving("denoising", "plan.batch_size")
        self.decoding: Halving[Tensor] = Halving("decoding", "plan.batch_size")
        self._check()

    def _check(self) -> None:
        self.backbone.check_inversion(self.inversion.kind)
        self.backbone.check_sampler(self.sampler)
        if self.inversion.kind != "null-text":
            return
        if self.inversion.precision != "fp32":
            problem = f"null-text optimises in fp32, not in {self.inversion.precision}"
            raise UserError("inversion.precision", problem, "use fp32 for `inversion.precision`")
        if self.sampler.kind != "first-order" or self.inversion.steps != self.steps:
            raise UserError(
                "inversion.steps",
                f"null-text makes embeddings for each step of the first-order sampler, here {self.inversion.steps} of "
                f"the inversion for {self.steps} of the sampler",
                "give `inversion.steps` and `model.steps` the same number, and a first-order sampler",
            )

    def changed(
        self,
        backbone: Backbone,
        inversion: Inversion,
        prompt: str | None = None,
        steps: int | None = None,
        guidance: float | None = None,
    ) -> Self:
        """One with these in place of its own; everything else, and the networks of the same backbone, are shared."""
        return type(self)(
            backbone,
            inversion,
            self.steps if steps is None else steps,
            self.guidance if guidance is None else guidance,
            self.prompt if prompt is None else prompt,
            self.prompts.contexts,
            self.prompts.inversion if prompt is None else None,
            self.precision,
            self.sampler,
            self.compiled,
            self.offload,
        )

    @property
    def settings(self) -> ModelSettings:
        """Everything about the model that decides an image."""
        return ModelSettings(
            backbone=self.backbone.identity,
            resolution=self.backbone.image_size,
            inversion=self.inversion,
            steps=self.steps,
            guidance=self.guidance,
            prompts=self.prompts,
            precision=self.precision,
            sampler=self.sampler,
            compile=self.compiled,
        )

    def describe(self) -> dict[str, Any]:
        """The settings as JSON holds them."""
        return self.settings.describe()

    def prompt_for(self, class_name: str) -> str:
        """The first prompt of a class, which its real images are inverted with unless another was given."""
        return next(self.prompts.of(class_name))

    def evaluations_per_image(self, strength: float | tuple[float, ...] = 1.0) -> float:
        """Calls of the denoiser that one image takes, each guidance branch counted.

        Args:
            strength: Share of the schedule that is denoised; of several the mean number of calls is returned.
        """
        if isinstance(strength, tuple):
            return sum(self.evaluations_per_image(one) for one in strength) / len(strength)
        low, high = (bound * self.backbone.train_steps for bound in self.sampler.guidance_interval)
        left = steps_left(self.steps, strength)
        times = [step.noisy.time for step in self.backbone.schedule(self.steps).steps[-left:]]
        guided = sum(low <= time <= high for time in times) if self.guidance != 1 else 0
        more = 2 if "edit" in self.backbone.abilities else 1  # an edit is guided by the image too
        return (len(times) + more * guided) * (2 if self.sampler.kind == "midpoint" else 1)

    def expect(self, prompts: Iterable[str]) -> None:
        """All prompts of the run at hand: what only they need leaves memory early, if there is room for them."""
        first = tuple(islice(prompts, KEPT_PROMPTS + 1))
        self.expected = first if len(first) <= KEPT_PROMPTS else ()

    def on_predict_start(self) -> None:
        """Make the networks fast on the device that they are now on."""
        self._tf32 = allow_tf32(self.precision == "tf32")
        self.backbone.prepare(self.compiled)
        if self.expected:
            self.backbone.keep(self.expected)
            self.backbone.finish_encoding()

    def on_predict_end(self) -> None:
        """Leave the global switches as they were."""
        allow_tf32(*self._tf32)

    def predict_step(self, batch: SynthesisBatch, batch_idx: int) -> Generated:
        """Images of the batch; on an accelerator they are still being made when this returns."""
        with profile(self.trainer, "denoise"):
            latents = torch.cat(self.denoising(lambda rows: self._denoise(batch.start.take(rows)), len(batch)))
        with profile(self.trainer, "decode"):
            parts = self.decoding(lambda rows: self._decode(latents[rows], batch.finish, rows), len(batch))
            return to_host(torch.cat(parts), self.precision)

    def _denoise(self, start: Start) -> Tensor:
        return self.backbone.denoise(start, self.steps, self.guidance, self.sampler)  # z_0 [B, C, h, w]

    def _decode(self, latents: Tensor, finish: Finish | None, rows: slice) -> Tensor:
        decode = self.backbone.decode
        return decode(latents) if finish is None else finish.take(rows)(latents, decode)  # [B, 3, H, W]
