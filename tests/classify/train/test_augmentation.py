"""Classical augmentation: the transforms that settings choose, and Mixup and CutMix against timm's own."""

import random
from collections import Counter

import lightning as L
import numpy as np
import pytest
import timm.data
import torch
from PIL import Image
from timm.data import create_transform
from timm.data.auto_augment import RandAugment
from torch.nn import functional as F
from torchvision.transforms import ColorJitter, TrivialAugmentWide

from augment.errors import UserError
from classify.train.augmentation import mix, normalise, train_transform
from classify.train.batches import Batches

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 48, 3)).astype(np.uint8))


def parts(batches: Batches) -> list[type]:
    flat = [part for t in train_transform(batches, MEAN).transforms for part in getattr(t, "transforms", [t])]
    return [type(part) for part in flat]


def seeded(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@pytest.mark.parametrize("settings", [{}, {"color_jitter": 0.0}, {"auto_augment": "rand-m9-mstd0.5"}, {"hflip": 0.0}])
def test_equals_timms_training_transform(settings: dict[str, object]) -> None:
    batches = Batches(image_size=16, **settings)
    theirs = create_transform(
        16,
        is_training=True,
        scale=batches.crop_scale,
        ratio=batches.crop_ratio,
        hflip=batches.hflip,
        color_jitter=batches.color_jitter or None,
        auto_augment=batches.auto_augment,
        interpolation="bicubic",
        mean=MEAN,
        std=STD,
    )
    ours = train_transform(batches, MEAN)
    for seed in range(5):
        seeded(seed)
        expected = theirs(picture())
        seeded(seed)
        pixels = ours(picture())
        assert pixels.dtype == torch.uint8
        assert torch.equal(normalise(pixels[None], MEAN, STD)[0], expected)


def test_a_policy_takes_the_place_of_the_jitter() -> None:
    assert ColorJitter in parts(Batches())
    assert {RandAugment, ColorJitter} & set(parts(Batches(auto_augment="rand-m9"))) == {RandAugment}
    assert {TrivialAugmentWide, ColorJitter} & set(parts(Batches(trivial_augment=True))) == {TrivialAugmentWide}
    assert {TrivialAugmentWide, ColorJitter} & set(parts(Batches(color_jitter=0.0))) == set()


def test_trivial_augment_is_torchvisions() -> None:
    still = {"crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0), "hflip": 0.0, "image_size": 40}
    image = picture().crop((0, 0, 40, 40))
    ours = train_transform(Batches(trivial_augment=True, **still), MEAN)
    for seed in range(10):
        seeded(seed)
        expected = torch.from_numpy(np.array(TrivialAugmentWide()(image))).permute(2, 0, 1)
        seeded(seed)
        assert torch.equal(ours(image), expected)


def test_two_policies_at_once_are_refused() -> None:
    with pytest.raises(UserError, match=r"batches\.trivial_augment: not together with auto_augment 'rand-m9'; choose"):
        Batches(auto_augment="rand-m9", trivial_augment=True).check(False, 1)


def test_a_policy_that_timm_does_not_know() -> None:
    with pytest.raises(UserError, match=r"batches\.auto_augment: timm cannot make 'wild'.*rand-m9-mstd0\.5") as error:
        train_transform(Batches(auto_augment="wild"), MEAN)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])
def test_mix_is_timms_on_the_shuffled_batch(mixup: float, cutmix: float) -> None:
    """With the same seed, the same images and targets as timm.data.Mixup of the shuffled batch."""
    labels = torch.tensor([0, 1, 2, 2, 1, 0, 4, 4])
    theirs = timm.data.Mixup(mixup, cutmix, label_smoothing=0.0, num_classes=5)
    for step in range(20):
        images = torch.rand(8, 3, 12, 12, generator=torch.Generator().manual_seed(step))
        mixed, targets = mix(images.clone(), F.one_hot(labels, 5).float(), mixup, cutmix, [3, step, 0])
        np.random.seed(np.random.SeedSequence([3, step, 0]).generate_state(1))
        order = torch.from_numpy(np.random.permutation(8))
        expected, expected_targets = theirs(images[order], labels[order])
        assert torch.equal(mixed, expected)
        torch.testing.assert_close(targets, expected_targets, rtol=0, atol=1e-6)


def test_soft_labels_are_mixed_like_the_images() -> None:
    """Constant images hold their own target: what Mixup does to the one it does to the other."""
    targets = torch.rand(6, 3, generator=torch.Generator().manual_seed(0))
    targets /= targets.sum(1, keepdim=True)
    images = targets[:, :, None, None].expand(6, 3, 4, 4).clone()
    mixed, mixed_targets = mix(images, targets, 1.0, 0.0, [0])
    torch.testing.assert_close(mixed.mean((2, 3)), mixed_targets)
    torch.testing.assert_close(mixed_targets.sum(1), torch.ones(6))
    assert not torch.allclose(mixed_targets.sort(0).values, targets.sort(0).values)


def test_mixing_leaves_the_global_generators_alone_and_is_the_seeds() -> None:
    images, targets = torch.rand(4, 3, 8, 8), torch.eye(4)

    def mixed(seed: list[int]) -> torch.Tensor:
        return mix(images.clone(), targets, 0.8, 1.0, seed)[1]

    L.seed_everything(0, verbose=False)
    before = np.random.rand(), torch.rand(1), random.random()
    L.seed_everything(0, verbose=False)
    first = mixed([1, 2, 0])
    assert (np.random.rand(), torch.rand(1), random.random()) == before
    assert torch.equal(mixed([1, 2, 0]), first)
    assert not torch.equal(mixed([1, 2, 1]), first)
    assert not torch.equal(mixed([1, 3, 0]), first)


def test_real_and_synthetic_images_meet_every_kind() -> None:
    """A batch is real images, then synthetic ones; timm alone would mix each real one with a synthetic one."""
    pairs: Counter[bool] = Counter()
    for step in range(200):
        _, shares = mix(torch.zeros(8, 1, 1, 1), torch.eye(8), 1.0, 0.0, [step])
        for row in shares:
            partners = torch.nonzero(row).flatten().tolist()
            if len(partners) == 2:
                pairs[(partners[0] < 4) == (partners[1] < 4)] += 1
    share = pairs[True] / sum(pairs.values())
    assert abs(share - 3 / 7) < 0.06


def test_normalise_is_torchvisions() -> None:
    from torchvision.transforms import functional as TF

    images = torch.randint(0, 256, (2, 3, 5, 5), dtype=torch.uint8)
    expected = torch.stack([TF.normalize(TF.convert_image_dtype(image), MEAN, STD) for image in images])
    assert torch.equal(normalise(images, MEAN, STD), expected)
