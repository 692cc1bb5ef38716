"""GIF against a plain statement of its update, image by image, with transformers' own CLIP."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import SIDE
from tiny_rivals import save_clip
from torch import Tensor
from transformers import CLIPModel

from augment.backbones.stable_diffusion import StableDiffusion
from augment.errors import UserError
from augment.mix.clip import Clip, locate_clip, read_clip
from augment.mix.draws import Draws
from augment.mix.guided_imagination import GuidedImagination, diversity, informativeness, within_ball
from augment.mix.method import Originals

CLASSES = ("blue sky", "green leaf", "red")
DRAWS = (Draws(0, 0, 0), Draws(0, 1, 0), Draws(0, 1, 1))


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("models") / "clip")


@pytest.fixture(scope="module")
def backbone(model_folder: Path) -> StableDiffusion:
    return StableDiffusion(str(model_folder))


@pytest.fixture(scope="module")
def latents(backbone: StableDiffusion) -> Tensor:
    return 0.5 * torch.randn(3, *backbone.latent_shape, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def originals() -> Originals:
    images = torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return Originals(images, DRAWS, CLASSES)


class Decoder:
    """The backbone's, which remembers what it was given last."""

    def __init__(self, backbone: StableDiffusion) -> None:
        self.decode, self.last = backbone.decode, torch.empty(0)

    def __call__(self, latents: Tensor) -> Tensor:
        self.last = latents
        return self.decode(latents)


def probabilities(folder: Path, classes: tuple[str, ...] = CLASSES) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """What transformers' own model says of an image [3, H, W] in [-1, 1]: its vector, and each class's probability."""
    model, tokenizer = CLIPModel.from_pretrained(folder).eval().requires_grad_(False), Clip(folder).tokenizer
    tokens = tokenizer([f"This is a photo of a {name}" for name in classes], padding=True, return_tensors="pt")
    mean, std = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])

    def see(image: Tensor) -> tuple[Tensor, Tensor]:
        large = torch.nn.functional.interpolate(image[None] / 2 + 0.5, (24, 24), mode="bicubic", antialias=True)
        pixels = (large.clamp(0, 1) - mean.view(3, 1, 1)) / std.view(3, 1, 1)
        seen = model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask, pixel_values=pixels)
        cosines = (seen.image_embeds @ seen.text_embeds.T)[0]
        return seen.image_embeds[0], (100 * cosines).softmax(0)

    return see


def plain_update(
    see: Callable[[Tensor], tuple[Tensor, Tensor]],
    decode: Callable[[Tensor], Tensor],
    z: Tensor,
    original: Tensor,
    draws: Draws,
    group: int,
    step: float,
    radius: float,
) -> Tensor:
    """The paper's update of one latent z [C, h, w] with its siblings, all means taken over the group as there."""
    uniform, normal = (part[..., 0, 0] for part in draws.perturbations(group, len(z)))  # [G, C]
    a, b = uniform.clone().requires_grad_(), normal.clone().requires_grad_()
    kept = int(see(original)[1].argmax())
    vectors, entropies, chances = [], [], []
    for n in range(group):
        changed = torch.stack([z[c] * (1 + a[n, c]) + b[n, c] for c in range(len(z))])
        vector, chance = see(decode(changed[None])[0])
        vectors.append(vector)
        chances.append(chance[kept])
        entropies.append(-sum(p * p.log() for p in chance))
    middle = torch.stack(vectors).mean(0).softmax(0)
    spread = [(middle * (middle.log() - vector.log_softmax(0))).sum() for vector in vectors]
    score = (sum(entropies) + sum(chances) + sum(spread)) / group
    score.backward()
    assert a.grad is not None and b.grad is not None
    a, b = (a + step * a.grad.sign()).detach()[0], (b + step * b.grad.sign()).detach()[0]
    moved = torch.stack([z[c] * (1 + a[c]) + b[c] for c in range(len(z))])
    return torch.minimum(torch.maximum(moved, z - radius), z + radius)


@pytest.mark.parametrize("settings", [{}, {"group": 1}, {"step": 0.3, "radius": 0.4, "group": 3}])
def test_it_is_the_papers_update(
    settings: dict[str, float], backbone: StableDiffusion, latents: Tensor, originals: Originals, clip_folder: Path
) -> None:
    """Of a batch, in inference mode as the sampler runs, against one latent after the other."""
    method = GuidedImagination(clip=str(clip_folder), **settings)  # type: ignore[arg-type]
    decoder = Decoder(backbone)
    with torch.inference_mode():
        made = method.finish(latents.clone(), decoder, originals)
    see = probabilities(clip_folder)
    for n, z in enumerate(latents):
        expected = plain_update(
            see, backbone.decode, z, originals.images[n], DRAWS[n], method.group, method.step, method.radius
        )
        assert torch.allclose(decoder.last[n], expected, atol=1e-5)
        assert torch.allclose(made[n], backbone.decode(expected[None])[0], atol=1e-5)
    assert float((decoder.last - latents).abs().max()) <= method.radius + 1e-6


def test_diversity_alone_moves_images_of_one_class(
    backbone: StableDiffusion, latents: Tensor, originals: Originals, clip_folder: Path
) -> None:
    """Of one class there is neither doubt nor choice, so that siblings decide each step, and without them none is."""
    one, decoder = Originals(originals.images, DRAWS, ("red",)), Decoder(backbone)
    GuidedImagination(clip=str(clip_folder), radius=9.0).finish(latents, decoder, one)
    see = probabilities(clip_folder, ("red",))
    moved = [
        plain_update(see, backbone.decode, z, image, draws, 5, 0.1, 9.0)
        for z, image, draws in zip(latents, one.images, DRAWS, strict=True)
    ]
    assert torch.allclose(decoder.last, torch.stack(moved), atol=1e-5)
    GuidedImagination(clip=str(clip_folder), radius=9.0, group=1).finish(latents, decoder, one)
    drawn = [draws.perturbations(1, len(z)) for z, draws in zip(latents, DRAWS, strict=True)]
    rested = [z * (1 + uniform[0]) + normal[0] for z, (uniform, normal) in zip(latents, drawn, strict=True)]
    assert torch.allclose(decoder.last, torch.stack(rested), atol=1e-6)


def test_a_step_is_a_tenth_in_every_number(
    backbone: StableDiffusion, latents: Tensor, originals: Originals, clip_folder: Path
) -> None:
    """Beyond its draws each channel's two numbers have moved by 0.1, up or down; other classes, another step."""
    wide = GuidedImagination(radius=1e6, clip=str(clip_folder))
    decoder = Decoder(backbone)
    wide.finish(latents, decoder, originals)
    for n, (z, draws) in enumerate(zip(latents, DRAWS, strict=True)):
        uniform, normal = (part[0] for part in draws.perturbations(1, len(z)))
        rest = decoder.last[n] - (z * (1 + uniform) + normal)  # s z + t for a channel, s and t being 0.1 or -0.1
        mean = z.mean((1, 2), keepdim=True)
        slopes = (rest * (z - mean)).sum((1, 2)) / ((z - mean) ** 2).sum((1, 2))
        assert torch.allclose(slopes.abs(), torch.full((len(z),), 0.1), atol=1e-4)
    other = Decoder(backbone)
    wide.finish(latents, other, Originals(originals.images, DRAWS, ("night", "day", "noon")))
    assert not torch.equal(other.last, decoder.last)


def test_the_class_that_is_kept_is_the_one_seen_in_the_real_image(
    backbone: StableDiffusion, latents: Tensor, clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Tensor] = []

    def spy(logits: Tensor, seen: Tensor) -> Tensor:
        kept.append(seen)
        return informativeness(logits, seen)

    monkeypatch.setattr("augment.mix.guided_imagination.informativeness", spy)
    names = ("red", "cat", "zebra", "owl", "house", "jug", "mop", "fig")
    see = probabilities(clip_folder, names)
    colours = torch.rand(40, 3, 1, 1, generator=torch.Generator().manual_seed(4)) * 2 - 1
    images = colours.expand(40, 3, SIDE, SIDE)
    classes = [int(see(image)[1].argmax()) for image in images]
    chosen = [classes.index(label) for label in sorted(set(classes))][:3]
    assert len(chosen) > 1  # the model tells some colours apart
    given = Originals(images[chosen], DRAWS[: len(chosen)], names)
    GuidedImagination(clip=str(clip_folder), group=1).finish(latents[: len(chosen)], backbone.decode, given)
    assert kept[0].tolist() == [classes[n] for n in chosen]


def test_an_image_depends_on_no_other(
    backbone: StableDiffusion, latents: Tensor, originals: Originals, clip_folder: Path
) -> None:
    method = GuidedImagination(clip=str(clip_folder))
    together = method.finish(latents, backbone.decode, originals)
    apart = [method.finish(latents[[n]], backbone.decode, originals.take(slice(n, n + 1))) for n in range(3)]
    assert torch.allclose(together, torch.cat(apart), atol=1e-5)


def test_gradients_pass_through_networks_that_an_accelerator_has_laid_out(
    model_folder: Path, latents: Tensor, originals: Originals, clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning prepares a run in inference mode, and whatever is copied there takes no gradient."""
    backbone = StableDiffusion(str(model_folder))
    with torch.inference_mode():
        backbone.load()
        with monkeypatch.context() as patch:
            patch.setattr(StableDiffusion, "device", property(lambda self: torch.device("cuda")))
            backbone.prepare(compile=False)
        assert backbone.vae.decoder.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
        made = GuidedImagination(clip=str(clip_folder)).finish(latents, backbone.decode, originals)
    assert torch.isfinite(made).all()


# Mathematics.


def test_informativeness_is_chance_and_entropy() -> None:
    flat = torch.zeros(1, 4)
    assert informativeness(flat, torch.tensor([2])).item() == pytest.approx(0.25 + torch.tensor(4.0).log().item())
    sure = torch.tensor([[50.0, 0.0, 0.0]])
    assert informativeness(sure, torch.tensor([0])).item() == pytest.approx(1)
    assert informativeness(sure, torch.tensor([1])).item() == pytest.approx(0, abs=1e-6)


def test_diversity_is_nothing_among_equals() -> None:
    vectors = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(diversity(vectors[:, :1].expand(2, 4, 8)), torch.zeros(2), atol=1e-6)
    assert (diversity(vectors) > 0).all()
    assert torch.allclose(diversity(vectors), diversity(vectors[:, [2, 0, 3, 1]]))


def test_the_ball_is_a_cube() -> None:
    z, moved = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.5, -3.0, 2.5])
    assert torch.equal(within_ball(moved, z, 1.0), torch.tensor([0.5, -1.0, 2.0]))


def test_perturbations_are_the_images_own() -> None:
    uniform, normal = DRAWS[0].perturbations(3, 4)
    assert uniform.shape == normal.shape == (3, 4, 1, 1)
    assert float(uniform.min()) >= 0 and float(uniform.max()) < 1 and float(normal.min()) < 0
    assert torch.equal(uniform[:1], DRAWS[0].perturbations(1, 4)[0])
    assert torch.equal(normal[:1], DRAWS[0].perturbations(1, 4)[1])
    assert not torch.equal(uniform, DRAWS[1].perturbations(3, 4)[0])


# CLIP.


def test_clip_sees_what_transformers_model_sees(clip_folder: Path, originals: Originals) -> None:
    clip, see = read_clip(str(clip_folder)), probabilities(clip_folder)
    texts = clip.texts([f"This is a photo of a {name}" for name in CLASSES])
    vectors = clip.images(originals.images)
    chances = (100 * vectors @ texts.T).softmax(1)
    for n, image in enumerate(originals.images):
        vector, chance = see(image)
        assert torch.allclose(vectors[n], vector, atol=1e-5)
        assert torch.allclose(chances[n], chance, atol=1e-4)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(3)) and float(chances.std()) > 0.05


def test_its_weights_name_it_and_its_place_does_not(clip_folder: Path, tmp_path: Path) -> None:
    again = save_clip(tmp_path / "clip")
    assert locate_clip(str(again))[1] == locate_clip(str(clip_folder))[1]
    assert GuidedImagination(clip=str(again)).identities() == GuidedImagination(clip=str(clip_folder)).identities()


def test_what_is_no_clip_is_said(clip_folder: Path, model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"settings.clip: '.*' is of the type 'clip_text_model', not 'clip'; give CLIP"):
        locate_clip(str(model_folder / "text_encoder"))
    with pytest.raises(UserError, match=r"settings.clip: '.*' has no config.json"):
        locate_clip(str(tmp_path))
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_bytes((clip_folder / "config.json").read_bytes())
    (pickled / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(UserError, match=r"has no safetensors weights, and pickled ones are never read"):
        locate_clip(str(pickled))
    (pickled / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(UserError, match=r"settings.clip: '.*' cannot be loaded as a CLIP model"):
        read_clip.__wrapped__(str(pickled))


def test_weights_that_are_missing_are_never_drawn(clip_folder: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    copy = shutil.copytree(clip_folder, tmp_path / "copy")
    weights = load_file(copy / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"has no weights for visual_projection.weight"):
        Clip(copy)


def test_without_a_network_the_default_is_asked_for(no_network: None) -> None:
    locate_clip.cache_clear()
    with pytest.raises(UserError, match=r"settings.clip: no network, and 'openai/clip-vit-large-patch14' is not on"):
        GuidedImagination().identities()
