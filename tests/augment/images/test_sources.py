import hashlib
import shutil
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import COLOURS, make_images, paint
from PIL import Image

from augment.errors import UserError
from augment.images.decode import to_rgb
from augment.images.few_shot import choose_few_shot_set
from augment.images.pixels import to_tensor
from augment.images.sources import Digits, ImageFolder, Item
from augment.images.sources.base import decode


@pytest.fixture(scope="module")
def digits() -> Digits:
    return Digits()


def contents(source: Digits, items: tuple[Item, ...]) -> set[bytes]:
    return {source.content(item) for item in items}


def test_digits_are_cut_into_three_parts(digits: Digits) -> None:
    backbone = Digits(part="backbone")
    assert (len(digits.test), len(digits.pool), len(backbone.pool)) == (500, 400, 897)
    assert len({item.name for item in (*digits.test, *digits.pool, *backbone.pool)}) == 1797
    assert backbone.test == digits.test


def test_no_digit_is_in_two_parts(digits: Digits) -> None:
    parts = [contents(digits, part) for part in (digits.test, digits.pool, Digits(part="backbone").pool)]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]


@pytest.mark.parametrize("part", ["test", "few-shot", "backbone"])
def test_every_part_has_every_digit(digits: Digits, part: str) -> None:
    items = digits.test if part == "test" else Digits(part=part).pool
    counts = Counter(item.label for item in items)
    assert set(counts) == set(range(10))
    assert min(counts.values()) >= 20


def test_digits_show_what_their_labels_say(digits: Digits) -> None:
    from sklearn.datasets import load_digits

    truth = load_digits()
    for item in digits.pool[:50]:
        number = int(item.name.removeprefix("digit-"))
        assert item.label == truth.target[number]
        expected = np.round(truth.images[number] * 255 / 16).astype(np.uint8)
        assert digits.content(item) == expected.tobytes()
    image = digits.image(digits.pool[0])
    assert (image.mode, image.size) == ("RGB", (32, 32))
    small = np.asarray(image.convert("L").resize((8, 8), Image.Resampling.BOX), dtype=int)
    original = np.frombuffer(digits.content(digits.pool[0]), np.uint8).reshape(8, 8).astype(int)
    assert np.corrcoef(small.ravel(), original.ravel())[0, 1] > 0.95


def test_few_shot_set_is_the_seeds(digits: Digits) -> None:
    first, again, other = (choose_few_shot_set(digits, 5, seed) for seed in (3, 3, 4))
    assert first == again
    assert first != other
    assert [len(members) for members in first.shots] == [5] * 10
    assert all(shot.label == label for label, members in enumerate(first.shots) for shot in members)
    pool = {item.name for item in digits.pool}
    assert len({shot.name for shot in first.all} & pool) == 50


def test_shots_are_pinned_by_their_content(train_folder: Path) -> None:
    chosen = choose_few_shot_set(ImageFolder(train_folder), 2, 0)
    for shot in chosen.all:
        assert shot.sha256 == hashlib.sha256((train_folder / shot.name).read_bytes()).hexdigest()


def test_another_class_changes_nobody_elses_shots(train_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(train_folder, tmp_path / "images")
    before = choose_few_shot_set(ImageFolder(folder), 2, 0)
    make_images(folder, 9, 900, {"aardvark": (1, 2, 3)})
    after = choose_few_shot_set(ImageFolder(folder), 2, 0)
    assert after.classes == ("aardvark", *before.classes)
    names = [{shot.name for shot in members} for members in after.shots[1:]]
    assert names == [{shot.name for shot in members} for members in before.shots]


def test_asking_for_one_class_changes_no_label_and_no_shot(train_folder: Path) -> None:
    source = ImageFolder(train_folder)
    everything = choose_few_shot_set(source, 2, 0)
    one = choose_few_shot_set(source, 2, 0, classes=["green.leaf"])
    assert one.classes == everything.classes
    assert one.labels == (1,)
    assert one.shots[1] == everything.shots[1]


def test_no_number_of_shots_takes_the_whole_pool(train_folder: Path) -> None:
    source = ImageFolder(train_folder)
    assert {shot.name for shot in choose_few_shot_set(source, None, 0).all} == {item.name for item in source.pool}


def test_unknown_class_is_refused_with_the_known_ones(train_folder: Path) -> None:
    with pytest.raises(UserError, match=r"unknown class 'cat'; the source has 'blue sky', 'green\.leaf', 'rød'"):
        choose_few_shot_set(ImageFolder(train_folder), 2, 0, classes=["cat"])


def test_fewer_images_than_shots(train_folder: Path) -> None:
    with pytest.raises(UserError, match="class 'blue sky' has 5 images, fewer than 6; lower `shots`"):
        choose_few_shot_set(ImageFolder(train_folder), 6, 0)


def test_class_names_are_kept(train_folder: Path) -> None:
    source = ImageFolder(train_folder)
    assert source.classes == tuple(COLOURS)
    assert all(item.name.startswith(source.classes[item.label] + "/") for item in source.pool)


def test_test_images_are_those_of_the_test_folder(train_folder: Path, test_folder: Path) -> None:
    source = ImageFolder(train_folder, test_folder)
    assert len(source.test) == 9
    for item in source.test:
        assert source.content(item) == (test_folder / item.name).read_bytes()
        assert np.array_equal(np.asarray(source.image(item)), np.asarray(Image.open(test_folder / item.name)))


# Images of every kind. Each test makes a file and checks pixel values.


def folder_with(tmp_path: Path, image: Image.Image, name: str, **options: object) -> tuple[ImageFolder, Item]:
    path = tmp_path / "images" / "only" / name
    path.parent.mkdir(parents=True)
    image.save(path, **options)
    source = ImageFolder(tmp_path / "images")
    (item,) = source.pool
    return source, item


def pixels_of(source: ImageFolder, item: Item) -> np.ndarray:
    image = source.image(item)
    assert image.mode == "RGB"
    return np.asarray(image, dtype=int)


def test_grey(tmp_path: Path) -> None:
    values = np.arange(64, dtype=np.uint8).reshape(8, 8)
    pixels = pixels_of(*folder_with(tmp_path, Image.fromarray(values), "a.png"))
    assert np.array_equal(pixels, np.repeat(values[..., None], 3, axis=2))


def test_black_and_white(tmp_path: Path) -> None:
    values = np.indices((8, 8)).sum(0) % 2 == 0
    pixels = pixels_of(*folder_with(tmp_path, Image.fromarray(values), "a.png"))
    assert np.array_equal(pixels[..., 0], 255 * values)


def test_palette(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1])
    assert pixels_of(*folder_with(tmp_path, image, "a.png")).tolist() == [[[10, 20, 30], [200, 100, 50]]]


@pytest.mark.parametrize("name", ["a.png", "a.gif"])
def test_palette_with_transparency_is_laid_on_white(tmp_path: Path, name: str) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1])
    pixels = pixels_of(*folder_with(tmp_path, image, name, transparency=0))
    assert pixels.tolist() == [[[255, 255, 255], [200, 100, 50]]]


def test_alpha_is_laid_on_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (3, 1))
    image.putdata([(100, 0, 0, 255), (100, 0, 0, 0), (100, 0, 0, 128)])
    (row,) = pixels_of(*folder_with(tmp_path, image, "a.png")).tolist()
    assert row[:2] == [[100, 0, 0], [255, 255, 255]]
    assert row[2] == pytest.approx([255 - 155 * 128 / 255, 127, 127], abs=1)


def test_grey_with_alpha_is_laid_on_white(tmp_path: Path) -> None:
    image = Image.new("LA", (2, 1))
    image.putdata([(60, 255), (60, 0)])
    assert pixels_of(*folder_with(tmp_path, image, "a.png")).tolist() == [[[60] * 3, [255] * 3]]


def test_rgb_with_a_transparent_colour_is_laid_on_white(tmp_path: Path) -> None:
    image = Image.new("RGB", (2, 1))
    image.putdata([(1, 2, 3), (100, 110, 120)])
    pixels = pixels_of(*folder_with(tmp_path, image, "a.png", transparency=(1, 2, 3)))
    assert pixels.tolist() == [[[255] * 3, [100, 110, 120]]]


def test_cmyk(tmp_path: Path) -> None:
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # no cyan, all magenta and yellow: red
    pixels = pixels_of(*folder_with(tmp_path, image, "a.jpg", quality=100))
    assert np.abs(pixels - [255, 0, 0]).max() <= 3


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bit_grey_is_scaled(tmp_path: Path, name: str) -> None:
    values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    pixels = pixels_of(*folder_with(tmp_path, Image.fromarray(values), name))
    assert pixels[..., 0].tolist() == [[0, 1, 128, 255]]
    assert np.array_equal(pixels[..., 0], pixels[..., 2])


def test_dark_sixteen_bit_grey_stays_dark(tmp_path: Path) -> None:
    """A file's depth decides its scale, not its brightest pixel: two exposures of one scene must not swap order."""
    values = np.full((4, 4), 255, dtype=np.uint16)
    assert pixels_of(*folder_with(tmp_path, Image.fromarray(values), "a.png")).max() <= 1


def test_float_grey_is_taken_as_it_is() -> None:
    image = Image.fromarray(np.array([[0.0, 99.6, 255.0]], dtype=np.float32))
    assert np.asarray(to_rgb(image))[..., 0].tolist() == [[0, 100, 255]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    """Eight files that look the same in a viewer: each stores the pixels turned, and says how to turn them back."""
    upright = Image.new("RGB", (3, 2), "black")
    upright.putpixel((0, 0), (255, 0, 0))
    upright.putpixel((2, 0), (0, 255, 0))
    turn_away = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(turn_away[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = pixels_of(*folder_with(tmp_path, stored, "a.png", exif=exif))
    assert np.array_equal(pixels, np.asarray(upright))


def test_nested_folders_and_capital_suffixes_count(tmp_path: Path) -> None:
    paint(tmp_path / "images" / "cat" / "deep" / "A.PNG", (1, 2, 3), 0)
    paint(tmp_path / "images" / "cat" / "b.webp", (1, 2, 3), 1)
    (tmp_path / "images" / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "images" / ".hidden").mkdir()
    source = ImageFolder(tmp_path / "images")
    assert source.classes == ("cat",)
    assert [item.name for item in source.pool] == ["cat/b.webp", "cat/deep/A.PNG"]


def test_to_tensor_crops_the_centre() -> None:
    wide = np.zeros((4, 8, 3), dtype=np.uint8)
    wide[:, 2:6] = 255  # the middle square is white, both sides are black
    tensor = to_tensor(Image.fromarray(wide), 4)
    assert (tensor.dtype, tensor.shape) == (torch.float32, (3, 4, 4))
    assert (tensor == 1).all()


def test_to_tensor_scales_to_one_and_minus_one() -> None:
    image = Image.new("RGB", (2, 2))
    image.putdata([(0, 0, 0), (255, 255, 255), (51, 102, 204), (0, 255, 0)])
    expected = torch.tensor([-1, 1, 51 / 127.5 - 1, -1])
    torch.testing.assert_close(to_tensor(image, 2)[0].flatten(), expected)


# What can be wrong with a folder.


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"source\.path: no folder '.*nowhere'; give a folder of class folders"):
        choose_few_shot_set(ImageFolder(tmp_path / "nowhere"), 1, 0)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"source\.path: no folder '.*file'"):
        choose_few_shot_set(ImageFolder(tmp_path / "file"), 1, 0)


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no class folders; sort images as .*/<class>/<image>"):
        choose_few_shot_set(ImageFolder(tmp_path), 1, 0)


def test_empty_class(train_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(train_folder, tmp_path / "images")
    (folder / "nothing").mkdir()
    with pytest.raises(UserError, match=r"source\.path: class 'nothing' of '.*images' has no images; add some"):
        choose_few_shot_set(ImageFolder(folder), 1, 0)


def test_no_test_folder(train_folder: Path) -> None:
    with pytest.raises(UserError, match=r"source\.test_path: not given"):
        _ = ImageFolder(train_folder).test


def test_missing_test_folder(train_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"source\.test_path: no folder '.*nowhere'"):
        _ = ImageFolder(train_folder, tmp_path / "nowhere").test


def test_test_folder_with_an_unknown_class(train_folder: Path, tmp_path: Path) -> None:
    paint(tmp_path / "cat" / "a.png", (1, 2, 3), 0)
    with pytest.raises(UserError, match=r"source\.test_path: class 'cat' of '.*' is not in"):
        _ = ImageFolder(train_folder, tmp_path).test


BROKEN = {
    "empty.png": lambda good: b"",
    "text.jpg": lambda good: b"this is not an image",
    "truncated.png": lambda good: good[: len(good) // 2],
    "flipped.png": lambda good: good[:300] + bytes(255 - b for b in good[300:600]) + good[600:],
}


@pytest.fixture(params=sorted(BROKEN))
def folder_with_broken_image(request: pytest.FixtureRequest, train_folder: Path, tmp_path: Path) -> Path:
    folder = shutil.copytree(train_folder, tmp_path / "images")
    good = (folder / "rød" / "00.png").read_bytes()
    (folder / "rød" / request.param).write_bytes(BROKEN[request.param](good))
    return folder


def test_a_broken_image_is_named(folder_with_broken_image: Path) -> None:
    (broken,) = {path.name for path in (folder_with_broken_image / "rød").iterdir()} & set(BROKEN)
    with pytest.raises(UserError, match=rf"image '.*rød/{broken}': cannot be read \(.+\); .* `skip_bad`") as error:
        choose_few_shot_set(ImageFolder(folder_with_broken_image), 6, 0, classes=["rød"])
    assert "\n" not in str(error.value)


def test_a_broken_image_is_passed_over(folder_with_broken_image: Path) -> None:
    source = ImageFolder(folder_with_broken_image)
    chosen = choose_few_shot_set(source, 5, 0, skip_bad=True)
    assert not {shot.name.split("/")[1] for shot in chosen.all} & set(BROKEN)
    assert [len(members) for members in chosen.shots] == [5, 5, 5]


def test_too_few_readable_images(folder_with_broken_image: Path) -> None:
    for name in ("blue sky", "green.leaf"):
        paint(folder_with_broken_image / name / "99.png", (1, 2, 3), 99)
    with pytest.raises(UserError, match="class 'rød' has 5 readable images, fewer than 6; lower"):
        choose_few_shot_set(ImageFolder(folder_with_broken_image), 6, 0, skip_bad=True)


def test_a_class_without_any_readable_image(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.png").write_bytes(b"broken")
    with pytest.raises(UserError, match="class 'cat' has no readable image"):
        choose_few_shot_set(ImageFolder(tmp_path), None, 0, skip_bad=True)


# What the numbers of studies hang on: which images are whose, and how deep they are.


SPLIT = {
    "test": (500, "ac139bbe9453b84a9aa0e8a34a527244ca087a6bba19d37dcfb2f6b7da3baa95"),
    "few-shot": (400, "09a0f76f6387c8db140bfb2a8afab351cd8884aac6502d40b498c3dd0316c6e7"),
    "backbone": (897, "a141e7203255077bf84bad691505e25b812ddbdc6c1fa2f3eba521dd0394e66b"),
}


@pytest.mark.parametrize("part", SPLIT)
def test_the_digits_of_a_part_are_those_that_the_embedded_models_were_made_with(digits: Digits, part: str) -> None:
    """Another split would put test images into what they were trained on."""
    source = Digits(part="backbone") if part == "backbone" else digits
    images = sorted(contents(source, source.test if part == "test" else source.pool))
    assert (len(images), hashlib.sha256(b"".join(images)).hexdigest()) == SPLIT[part]


def test_the_three_parts_are_all_digits_and_share_none(digits: Digits) -> None:
    parts = [contents(digits, items) for items in (digits.test, digits.pool, Digits(part="backbone").pool)]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 1797


def test_the_class_name_chooses_its_shots(tmp_path: Path) -> None:
    """Classes of equal files: were the name left out of the draw, all would get the same numbers."""
    for name in ("ant", "bee", "cat", "dog"):
        for number in range(12):
            paint(tmp_path / name / f"{number:02d}.png", (1, 2, 3), number)
    chosen = choose_few_shot_set(ImageFolder(tmp_path), 4, 0)
    numbers = {tuple(shot.name.split("/")[1] for shot in members) for members in chosen.shots}
    assert len(numbers) > 1


def test_shots_are_a_permutation_drawn_by_seed_and_class_name(digits: Digits) -> None:
    """The first of numpy's permutation, seeded by the seed and 8 bytes of the name's hash, then sorted."""
    chosen = choose_few_shot_set(digits, 5, 3)
    for label, (name, shots) in enumerate(zip(digits.classes, chosen.shots, strict=True)):
        items = [item for item in digits.pool if item.label == label]
        entropy = int(hashlib.sha256(name.encode()).hexdigest()[:16], 16)
        order = np.random.default_rng([3, entropy]).permutation(len(items))
        assert [shot.name for shot in shots] == sorted(items[n].name for n in order[:5])
        assert {(shot.label, shot.split, shot.sha256) for shot in shots} == {
            (label, "pool", digits.sha256(item)) for item in items if item.name in {shot.name for shot in shots}
        }


def test_the_shots_of_every_class_one_after_the_other(digits: Digits) -> None:
    chosen = choose_few_shot_set(digits, 2, 0, classes=["seven", "one"])
    assert chosen.labels == (1, 7)
    assert chosen.all == chosen.shots[1] + chosen.shots[7]
    assert [len(members) for members in chosen.shots] == [0, 2, 0, 0, 0, 0, 0, 2, 0, 0]


def test_as_many_shots_as_there_are_images_are_all_of_them(train_folder: Path) -> None:
    source = ImageFolder(train_folder)
    assert choose_few_shot_set(source, 5, 0) == choose_few_shot_set(source, None, 0)


def test_sixteen_bit_grey_is_divided_by_257() -> None:
    """65535 / 255: what 8-bit grey v becomes in 16 bits, 257 v, comes back as v for every v (by 256 some would not)."""
    values = 257 * np.arange(256, dtype=np.uint16).reshape(16, 16)
    between = values[:-1] + 128  # the last number that still rounds down
    for sixteen, eight in ((values, np.arange(256)), (between, np.arange(240))):
        assert np.array_equal(np.asarray(to_rgb(Image.fromarray(sixteen)))[..., 0].ravel(), eight)


def test_a_large_photograph_is_no_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow warns of what is larger than its limit, and refuses what is more than twice as large."""
    paint(tmp_path / "x.png", (1, 2, 3), 0, size=(20, 20))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
        assert decode(tmp_path / "x.png", "x.png").size == (20, 20)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 199)
        with pytest.raises(UserError, match=r"image 'x\.png': cannot be read \(Image size \(400 pixels\) exceeds"):
            decode(tmp_path / "x.png", "x.png")
