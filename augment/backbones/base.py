"""What every diffusion backbone looks like from outside, whatever its family, and the two loops that all share.

Shapes: B images, H = W = `image_size` pixels; latents have `latent_shape` = (C, h, w).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor, nn

from augment.backbones.inversions import InversionKind, explicit, fixed_point, midpoint, null_text
from augment.backbones.schedule import Schedule, add_noise, halfway, stochastic_transfer, transfer
from augment.backbones.start import Condition, Inverted, Sampler, SamplerKind, Start, by_strength, join, upload
from augment.errors import UserError

__all__ = ["DTYPES", "Backbone", "Condition", "Inverted", "Precision", "Sampler", "Start", "allow_tf32"]

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "tf32": torch.float32,  # its products rounded by NVIDIA's tensor cores; elsewhere the same as fp32
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}

PromptKind = Literal["text", "class", "none"]

FIRST_ORDER = Sampler()


class Backbone(nn.Module, ABC):
    """A pretrained diffusion model with its autoencoder, text encoder and schedule.

    Latents cross this interface in float32, whatever precision the networks run in. A family says how images,
    prompts and noise levels reach its networks; the loops over the schedule are the same for all.
    """

    identity: str
    """Names the exact weights: latents inverted with one identity are never used with another."""

    image_size: int
    """Height and width of the images, in pixels."""

    latent_shape: tuple[int, int, int]
    """(C, h, w) of one latent."""

    dtype: torch.dtype = torch.float32
    """What the networks compute in."""

    inversions: tuple[InversionKind, ...]
    """The kinds of inversion that the family supports."""

    samplers: tuple[SamplerKind, ...]
    """The samplers that the family supports."""

    train_steps: int = 1000
    """T: the time at the noisiest end of the schedule."""

    prompts: PromptKind = "text"
    """What a prompt tells the network: any text, the name of a class, or nothing."""

    compiled: bool = False
    """Whether the denoiser has been compiled since its weights were loaded."""

    evaluations: int = 0
    """Images that the denoiser has seen so far, each guidance branch counted: what costs time."""

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
        """Of the checkpoint's own scheduler."""

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
    ) -> Inverted:
        """Clean latents z_0 to noise z_T by running the deterministic sampler backwards.

        Args:
            latents: z_0 [B, C, h, w].
            prompts: One per latent.
            steps: Of the schedule.
            guidance: Of the inversion; `null-text` and `negative-prompt` invert without guidance and use it for the
                way back.
            kind: The algorithm.
            tolerance: See `fixed_point` and `null_text`.
            iterations: See `fixed_point` and `null_text`.

        Raises:
            UserError: If the family does not support the kind.
        """
        self.check_inversion(kind)
        schedule = self.schedule(steps)
        z = latents.to(self.device, torch.float32)
        condition = self.condition(prompts)
        solved = torch.zeros(len(z), device=z.device)
        guided_kind = kind not in ("null-text", "negative-prompt")
        negative = self.unconditional(len(prompts)) if guided_kind and guidance != 1 else None

        def network(z: Tensor, time: float) -> Tensor:
            return self._guided(z, time, condition, negative, guidance)

        if kind == "fixed-point":
            return Inverted(*fixed_point(network, schedule, z, tolerance, iterations))
        if kind == "midpoint":
            return Inverted(midpoint(network, schedule, z), solved)
        if kind == "null-text":
            return self._null_text(z, prompts, schedule, guidance, tolerance, iterations)
        for noisier in explicit(network, schedule, z):
            z = noisier
        return Inverted(z, solved)

    def denoise(self, start: Start, steps: int, guidance: float, sampler: Sampler = FIRST_ORDER) -> Tensor:
        """A start to clean latents z_0 [B, C, h, w], from the start's place in the schedule.

        Args:
            start: Where to begin.
            steps: Of the whole schedule.
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
        left = max(1, round(steps * start.strength))
        z = start.latent.to(self.device, torch.float32)
        noise = None if start.noise is None else start.noise.to(self.device, torch.float32)
        first = self.condition(start.prompts)
        late = first if start.late_prompts is None else self.condition(start.late_prompts)
        switch = (1 - start.switch) * self.train_steps
        negative = None
        if guidance != 1:
            negative = self.condition(start.negative) if start.negative else self.unconditional(len(z))
        low, high = (bound * self.train_steps for bound in sampler.guidance_interval)

        def network(z: Tensor, time: float, number: int) -> Tensor:
            unconditional = negative if low <= time <= high else None
            if unconditional is not None and start.unconditional is not None:
                step_embeddings = start.unconditional[:, number].to(z.device, self.dtype)
                unconditional = Condition(step_embeddings, unconditional.pooled)
            return self._guided(z, time, first if time >= switch else late, unconditional, guidance)

        if sampler.kind == "dpm++":
            return self._multistep(network, z, noise, steps, left)
        schedule = self.schedule(steps)
        if noise is not None:
            z = add_noise(z, noise, schedule.steps[-left].noisy)
        noises = [torch.Generator().manual_seed(seed) for seed in start.seeds or ()]
        for number, step in enumerate(schedule.steps[-left:], steps - left):
            output = network(z, step.noisy.time, number)
            if sampler.kind == "midpoint":
                middle = halfway(step)
                half = transfer(schedule.prediction, z, output, step.noisy, middle)
                z = z + (step.clean.sigma - step.noisy.sigma) * network(half, middle.time, number)
            elif sampler.eta > 0 and step.clean.sigma > 0:
                fresh = torch.stack([torch.randn(z.shape[1:], generator=generator) for generator in noises])
                fresh = upload(fresh, z.device)
                z = stochastic_transfer(schedule.prediction, z, output, step, sampler.eta, fresh, schedule.clip)
            else:
                z = transfer(schedule.prediction, z, output, step.noisy, step.clean, schedule.clip)
        return z

    def check_inversion(self, kind: InversionKind) -> None:
        """Refuse an inversion that the family does not support."""
        if kind not in self.inversions:
            raise UserError(
                f"inversion.kind: {type(self).__name__} cannot do '{kind}'; choose from {', '.join(self.inversions)}"
            )

    def check_sampler(self, sampler: Sampler) -> None:
        """Refuse a sampler that the family does not support."""
        if sampler.kind not in self.samplers:
            raise UserError(
                f"sampler.kind: {type(self).__name__} cannot do '{sampler.kind}'; "
                f"choose from {', '.join(self.samplers)}"
            )
        if sampler.eta > 0 and (sampler.kind != "first-order" or "dpm++" not in self.samplers):
            raise UserError(
                f"sampler.eta: {sampler.eta} needs DDIM (a model that predicts eps or v, and `first-order`)"
            )

    def _guided(
        self, z: Tensor, time: float, condition: Condition, unconditional: Condition | None, guidance: float
    ) -> Tensor:
        """The network's output with classifier-free guidance (Ho & Salimans 2022), both branches in one call."""
        if unconditional is None:
            self.evaluations += len(z)
            return self.predict(z, time, condition)
        self.evaluations += 2 * len(z)
        both = self.predict(torch.cat([z, z]), time, join([unconditional, condition]))
        without, with_prompt = both.chunk(2)
        return without + guidance * (with_prompt - without)

    def _multistep(
        self, network: Callable[[Tensor, float, int], Tensor], z: Tensor, noise: Tensor | None, steps: int, left: int
    ) -> Tensor:
        """DPM-Solver++ 2M (Lu et al. 2022), by diffusers' scheduler with the checkpoint's configuration."""
        scheduler = DPMSolverMultistepScheduler.from_config(
            self.scheduler_config, algorithm_type="dpmsolver++", solver_order=2
        )
        scheduler.set_timesteps(steps)  # its tables stay in host memory, so that no step waits for the device
        scheduler.set_begin_index(steps - left)
        if noise is not None:
            z = scheduler.add_noise(z, noise, scheduler.timesteps[-left].repeat(len(z)))
        for number, time in enumerate(scheduler.timesteps.tolist()[-left:], steps - left):
            z = scheduler.step(network(z, time, number), time, z, return_dict=False)[0]
        return z

    def _null_text(
        self,
        z: Tensor,
        prompts: Sequence[str],
        schedule: Schedule,
        guidance: float,
        tolerance: float,
        iterations: int,
    ) -> Inverted:
        """Invert without guidance, then optimise the unconditional embeddings; Lightning's inference mode is left."""
        if self.dtype != torch.float32:
            raise UserError("inversion.precision: null-text optimises by gradients, which need fp32")
        if guidance == 1:
            raise UserError("inversion.guidance: null-text prepares for guidance, 1 is without; give the sampler's")
        with torch.inference_mode(False), torch.no_grad():
            condition, empty = (
                Condition(c.embeddings.clone(), None if c.pooled is None else c.pooled.clone())
                for c in (self.condition(prompts), self.unconditional(len(prompts)))
            )

            def plain(z: Tensor, time: float) -> Tensor:
                return self._guided(z, time, condition, None, guidance)

            def guided(z: Tensor, time: float, embeddings: Tensor) -> Tensor:
                return self._guided(z, time, condition, Condition(embeddings, empty.pooled), guidance)

            trajectory = [z.clone(), *explicit(plain, schedule, z.clone())]
            optimised = null_text(guided, schedule, trajectory, empty.embeddings, tolerance, iterations)
        return Inverted(trajectory[-1], torch.zeros(len(z), device=z.device), optimised)


def allow_tf32(convolutions: bool, products: bool | None = None) -> tuple[bool, bool]:
    """Let NVIDIA's tensor cores round float32 inputs to TF32, or not; returns the switches as they were."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = convolutions
    torch.backends.cuda.matmul.allow_tf32 = convolutions if products is None else products
    return before
