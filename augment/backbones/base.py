"""What every diffusion backbone looks like from outside, whatever its family, and the two loops that all share.

Shapes: B images, H = W = `image_size` pixels; latents have `latent_shape` = (C, h, w).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from augment.backbones.guidance import Guide, guided
from augment.backbones.inversions import Forward, InversionKind, invert, null_text
from augment.backbones.precision import DTYPES, Precision, allow_tf32
from augment.backbones.samplers import first_order, midpoint, multistep
from augment.backbones.schedule import Schedule
from augment.backbones.start import Condition, Noise, Sampler, SamplerKind, Start, by_strength, steps_left
from augment.errors import UserError

__all__ = ["DTYPES", "Backbone", "Condition", "Noise", "Precision", "Sampler", "Start", "allow_tf32"]

PromptKind = Literal["text", "class", "none"]

FIRST_ORDER = Sampler()


class Backbone(nn.Module, ABC):
    """A pretrained diffusion model with its autoencoder, text encoder and schedule.

    Latents cross this interface in float32, whatever precision the networks run in. A family says how images,
    prompts and noise levels reach its networks; the loops over the schedule are the same for all.

    Attributes:
        identity: Names the exact weights: latents inverted with one identity are never used with another.
        image_size: Height and width of the images, in pixels.
        latent_shape: (C, h, w) of one latent.
        dtype: What the networks compute in.
        inversions: The kinds of inversion that the family supports.
        samplers: The samplers that the family supports.
        train_steps: T, the time at the noisiest end of the schedule.
        prompts: What a prompt tells the network: any text, the name of a class, or nothing.
        compiled: Whether the denoiser has been compiled since its weights were loaded.
        evaluations: Images that the denoiser has seen so far, each guidance branch counted: what costs time.
    """

    identity: str
    image_size: int
    latent_shape: tuple[int, int, int]
    dtype: torch.dtype = torch.float32
    inversions: tuple[InversionKind, ...]
    samplers: tuple[SamplerKind, ...]
    train_steps: int = 1000
    prompts: PromptKind = "text"
    compiled: bool = False
    evaluations: int = 0

    def cast(self, precision: Precision) -> None:
        """Run the networks in this precision from now on; rounded weights are loaded anew before they are widened."""
        dtype = DTYPES[precision]
        if self.dtype not in (torch.float32, dtype):
            device = self.device
            self.load()
            self.compiled = False
            self.to(device)
        self.dtype = dtype
        self.to(dtype)

    def prepare(self, compile: bool) -> None:
        """Lay the networks out as their device likes best, and compile the denoiser if asked to.

        Inversion and sampling do the same, so that a latent does not depend on what the process did before.
        """
        if self.device.type == "cuda":
            self.to(memory_format=torch.channels_last)
        if compile and not self.compiled:
            self.compile_denoiser()
            self.compiled = True

    def compile_denoiser(self) -> None:
        """Compile the denoiser's repeated blocks in place: the first calls are slow, all others faster."""
        if getattr(self.denoiser, "_repeated_blocks", None):
            self.denoiser.compile_repeated_blocks()
        else:
            self.denoiser.compile()

    @property
    @abstractmethod
    def denoiser(self) -> Any:
        """The network that predicts noise or velocity."""

    @abstractmethod
    def load(self) -> None:
        """Read the weights from disk, in place of those that the networks have."""

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [-1, 1] to clean latents z_0 [B, C, h, w]."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Clean latents z_0 [B, C, h, w] to images [B, 3, H, W] in [-1, 1]."""

    @abstractmethod
    def condition(self, prompts: Sequence[str]) -> Condition:
        """What the prompts tell the network, one row each."""

    def unconditional(self, count: int) -> Condition:
        """What tells the network nothing, for guidance to lead away from: the empty prompt, unless a family differs."""
        return self.condition([""] * count)

    @abstractmethod
    def schedule(self, steps: int) -> Schedule:
        """The noise levels of the deterministic sampler."""

    @abstractmethod
    def predict(self, z: Tensor, time: float, condition: Condition) -> Tensor:
        """The network's output for z [B, C, h, w] at one time, float32 like z."""

    @property
    @abstractmethod
    def scheduler_config(self) -> Mapping[str, Any]:
        """The configuration of the checkpoint's own scheduler."""

    @property
    def device(self) -> torch.device:
        """Where the networks lie."""
        return next(self.parameters()).device

    def invert(
        self,
        latents: Tensor,
        prompts: Sequence[str],
        steps: int,
        guidance: float,
        kind: InversionKind = "ddim",
        tolerance: float = 1e-5,
        iterations: int = 10,
        forward: Forward | None = None,
    ) -> Noise:
        """Clean latents z_0 to noise z_T by running the deterministic sampler backwards.

        Args:
            latents: z_0 [B, C, h, w].
            prompts: One per latent.
            steps: Steps of the schedule.
            guidance: Guidance of the inversion; `null-text` and `negative-prompt` invert without guidance and use it
                for the way back.
            kind: The algorithm.
            tolerance: See `fixed_point` and `null_text`.
            iterations: See `fixed_point` and `null_text`.
            forward: Noise that takes the place of the first steps.

        Raises:
            UserError: If the family does not support the kind.
        """
        self.check_inversion(kind)
        schedule, z = self.schedule(steps), latents.to(self.device, torch.float32)
        if kind == "null-text":
            walk = partial(null_text, schedule=schedule, tolerance=tolerance, iterations=iterations, forward=forward)
            return self._null_text(z, prompts, guidance, walk)
        condition = self.condition(prompts)
        negative = self.unconditional(len(prompts)) if guidance != 1 and kind != "negative-prompt" else None
        network = partial(guided, self._counted, condition=condition, unconditional=negative, guidance=guidance)
        return Noise(*invert(kind, network, schedule, z, tolerance, iterations, forward))

    def denoise(self, start: Start, steps: int, guidance: float, sampler: Sampler = FIRST_ORDER) -> Tensor:
        """A start to clean latents z_0 [B, C, h, w], from the start's place in the schedule.

        Args:
            start: Where to begin.
            steps: Steps of the whole schedule.
            guidance: Classifier-free guidance; 1 is without.
            sampler: How steps are made.

        Raises:
            UserError: If the family does not support the sampler.
            ValueError: If fresh noise is asked for (eta > 0) from a start without seeds.
        """
        self.check_sampler(sampler)
        if sampler.eta > 0 and start.seeds is None:
            raise ValueError("eta > 0 needs a seed per latent in the start")
        if isinstance(start.strength, tuple):
            clean = torch.empty(start.latent.shape, device=self.device)
            for rows, part in by_strength(start, start.strength):
                clean[rows] = self.denoise(part, steps, guidance, sampler)
            return clean
        left = steps_left(steps, start.strength)
        z = start.latent.to(self.device, torch.float32)
        noise = None if start.noise is None else start.noise.to(self.device, torch.float32)
        network = partial(self._guide(start, guidance, sampler.guidance_interval).output, self._counted)
        if sampler.kind == "dpm++":
            return multistep(network, self.scheduler_config, steps, z, noise, left)
        if sampler.kind == "midpoint":
            return midpoint(network, self.schedule(steps), z, noise, left)
        return first_order(network, self.schedule(steps), z, noise, left, sampler.eta, start.seeds or ())

    def check_inversion(self, kind: InversionKind) -> None:
        """Refuse an inversion that the family does not support.

        Raises:
            UserError: Naming those that it does.
        """
        if kind not in self.inversions:
            known = ", ".join(self.inversions)
            raise UserError("inversion.kind", f"{type(self).__name__} cannot do '{kind}'", f"choose from {known}")

    def check_sampler(self, sampler: Sampler) -> None:
        """Refuse a sampler that the family does not support.

        Raises:
            UserError: Naming those that it does.
        """
        if sampler.kind not in self.samplers:
            known = ", ".join(self.samplers)
            raise UserError("sampler.kind", f"{type(self).__name__} cannot do '{sampler.kind}'", f"choose from {known}")
        if sampler.eta > 0 and (sampler.kind != "first-order" or "dpm++" not in self.samplers):
            problem = f"{sampler.eta} needs DDIM (a model that predicts eps or v, and `sampler.kind` first-order)"
            raise UserError("sampler.eta", problem, "leave it at 0")

    def _counted(self, z: Tensor, time: float, condition: Condition) -> Tensor:
        self.evaluations += len(z)
        return self.predict(z, time, condition)

    def _guide(self, start: Start, guidance: float, interval: tuple[float, float]) -> Guide:
        """The start's prompts as conditions, and its shares of the schedule as times."""
        first = self.condition(start.prompts)
        late = first if start.late_prompts is None else self.condition(start.late_prompts)
        negative = None
        if guidance != 1:
            negative = self.condition(start.negative) if start.negative else self.unconditional(len(start.prompts))
        switch, low, high = (share * self.train_steps for share in (1 - start.switch, *interval))
        return Guide(first, late, switch, negative, start.unconditional, guidance, low, high)

    def _null_text(self, z: Tensor, prompts: Sequence[str], guidance: float, walk: partial[Any]) -> Noise:
        """Invert without guidance, then optimise the unconditional embeddings; Lightning's inference mode is left."""
        if self.dtype != torch.float32:
            raise UserError("inversion.precision", "null-text optimises by gradients, which need fp32", "use fp32")
        if guidance == 1:
            raise UserError("inversion.guidance", "null-text prepares for guidance, 1 is without", "give the sampler's")
        with torch.inference_mode(False), torch.no_grad():
            condition, empty = self.condition(prompts).clone(), self.unconditional(len(prompts)).clone()

            def network(z: Tensor, time: float, embeddings: Tensor | None) -> Tensor:
                negative = None if embeddings is None else replace(empty, embeddings=embeddings)
                return guided(self._counted, z, time, condition, negative, guidance)

            noise, optimised = walk(network, clean=z.clone(), embeddings=empty.embeddings)
        return Noise(noise, torch.zeros(len(z), device=z.device), optimised)
