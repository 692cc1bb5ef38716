"""What the page of a dataset shows, seen in a real browser: images, sources, orders, and nothing from elsewhere."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import COLOURS, SIDE, make_images
from playwright.sync_api import Browser, Page, sync_playwright

from augment.cli import main
from augment.dataset.reader import read_shard
from augment.errors import UserError
from augment.explore.browse import render, write_page
from augment.explore.contents import Contents
from augment.explore.thumbnails import MOST_PIXELS, SIDES, thumbnail_side
from augment.images.few_shot import choose_few_shot_set
from augment.images.origin import restore_source
from augment.images.sources import ImageFolder
from augment.measure.extractor import Extractor
from augment.measure.recognition import class_probabilities

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"no browser to look at the page with: install one of {', '.join(NAMES)}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--disable-background-networking"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Browser) -> Iterator[Open]:
    """Opens a page that must neither ask for anything nor make a mistake."""
    faults: list[str] = []
    requests: list[str] = []
    contexts = []

    def open_(path: Path, fragment: str = "", width: int = 1200) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 800})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text))
        page.on("dialog", lambda dialog: faults.append(dialog.message))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(f"file://{path}{fragment}")
        page.wait_for_selector(".tile")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert faults == []
    assert {url.partition(":")[0] for url in requests} <= {"file", "data"}


def of_class(page: Page, name: str) -> Any:
    return page.locator("section").filter(has=page.get_by_role("heading", name=name, exact=True))


def records(folder: Path, label: int) -> list[dict[str, Any]]:
    found = [record for shard in sorted(folder.glob("*.tar")) for _, _, record in read_shard(shard)]
    return sorted((r for r in found if r["label"] == label), key=lambda record: record["index"])


@pytest.fixture(scope="module")
def classifier(extractor_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small timm model as a classifier of these classes."""
    folder = Path(shutil.copytree(extractor_folder, tmp_path_factory.mktemp("fitted") / "classifier"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"label_names": list(COLOURS)}))
    return folder


@pytest.fixture(scope="module")
def page_file(dataset: Path, train_folder: Path, classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pages") / "page.html"
    return write_page(dataset, ImageFolder(train_folder), f"local-dir:{classifier}", output=path)


def test_the_command_finds_the_real_images_and_says_where_the_page_lies(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], opened: Open
) -> None:
    folder = Path(shutil.copytree(dataset, tmp_path / "set"))
    main(["browse", str(folder)])
    assert capsys.readouterr().out.startswith(f"page: {folder / 'browse.html'} (")
    page = opened(folder / "browse.html")
    assert page.locator("h2").all_inner_texts()[:3] == list(COLOURS)
    assert (page.locator("[data-real] img").count(), page.locator("[data-row] img").count()) == (9, 12)
    widths = page.evaluate("Promise.all([...document.images].map((i) => i.decode().then(() => i.naturalWidth)))")
    assert widths == [SIDE] * 21
    assert page.locator(".note").all_inner_texts() == [
        "Nothing was measured, so images are sorted by number only. To sort them by how near they are to a real image, "
        "run augment browse again with --extractor."
    ]
    assert page.locator("#sort option").all_inner_texts() == ["number"]


def test_a_click_shows_sources_and_weights(dataset: Path, page_file: Path, opened: Open) -> None:
    page = opened(page_file)
    record = records(dataset, 2)[1]
    of_class(page, "rød").locator("[data-row]").nth(1).click()
    assert page.get_by_role("dialog").locator("h2").inner_text() == "rød, synthetic image 1"
    assert "0002_000001" in page.locator("#detail dl").inner_text()
    made = sorted(zip(record["weights"], record["sources"], strict=True), reverse=True)
    assert page.locator(".made .source small").all_inner_texts()[:-1] == [name for _, name in made]
    shown = [float(text.removesuffix(" %")) / 100 for text in page.locator(".made .source b").all_inner_texts()[:-1]]
    assert shown == pytest.approx([weight for weight, _ in made], abs=0.0051)
    assert page.locator(".made h3").all_inner_texts() == ["Made from 3 real images", "Nearest real image"]


def test_a_click_on_a_real_image_says_what_it_is_in(dataset: Path, page_file: Path, opened: Open) -> None:
    page = opened(page_file)
    of_class(page, "blue sky").locator("[data-real]").first.click()
    name = page.locator("#detail dd").first.inner_text()
    used = sum(name in record["sources"] for record in records(dataset, 0))
    assert page.locator("#detail dd").nth(1).inner_text() == f"{used} of 4 synthetic images"


def test_orders(dataset: Path, train_folder: Path, classifier: Path, page_file: Path, opened: Open) -> None:
    """By distances and probabilities that are computed here once more."""
    source, extractor = ImageFolder(train_folder), Extractor(f"local-dir:{classifier}", None, SIDE)
    shots = choose_few_shot_set(source, 3, 0).all
    samples = [s for shard in sorted(dataset.glob("*.tar")) for s in read_shard(shard)]
    mine = sorted((s for s in samples if s[2]["label"] == 1), key=lambda sample: sample[2]["index"])
    features, _ = extractor.embed((image, 0) for _, image, _ in mine)
    real, _ = extractor.embed((source.image(shot), 0) for shot in shots)
    distances = torch.cdist(features.double(), real.double()).amin(1)
    probabilities = class_probabilities(classifier, features)[:, 1]
    page = opened(page_file)

    def order() -> list[int]:
        labels = of_class(page, "green.leaf").locator("[data-row]").all()
        return [int(tile.get_attribute("aria-label").split()[2]) for tile in labels]

    assert order() == [0, 1, 2, 3]
    orders = {"near": distances, "far": -distances, "worst": probabilities, "best": -probabilities}
    for value, expected in orders.items():
        page.select_option("#sort", value)
        assert order() == expected.argsort().tolist(), value


def test_classes_are_ordered_by_how_well_they_are_recognised(page_file: Path, opened: Open) -> None:
    page = opened(page_file)
    page.select_option("#order", "worst")
    shares = [float(text.split(" %")[0]) for text in page.locator(".meta").all_inner_texts()]
    assert shares == sorted(shares)
    assert sorted(page.locator("section h2").all_inner_texts()) == sorted(COLOURS)


def test_the_keyboard_is_enough(page_file: Path, opened: Open) -> None:
    page = opened(page_file)
    of_class(page, "blue sky").locator("[data-row]").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#title").inner_text() == "blue sky, synthetic image 0"
    page.keyboard.press("ArrowRight")
    assert page.locator("#title").inner_text() == "blue sky, synthetic image 1"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#title").inner_text() == "blue sky, synthetic image 0"
    page.keyboard.press("Escape")
    assert not page.get_by_role("dialog").is_visible()
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Synthetic image 0 of blue sky"


@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_sticks_out(page_file: Path, opened: Open, width: int) -> None:
    page = opened(page_file, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("[data-row]").first.click()
    assert page.evaluate("document.querySelector('dialog').scrollWidth") <= width


def test_real_images_that_are_gone_or_changed_are_named(dataset: Path, tmp_path: Path, opened: Open) -> None:
    images = make_images(tmp_path / "train", count=5, first_seed=0)
    shots = choose_few_shot_set(ImageFolder(images), 3, 0).all
    (images / shots[0].name).unlink()
    (images / shots[1].name).write_bytes((images / shots[2].name).read_bytes())
    page = opened(write_page(dataset, ImageFolder(images), output=tmp_path / "page.html"))
    assert page.locator("[data-real] .gone").all_inner_texts() == ["not found", "has changed since"]
    assert (
        "2 of 9 real images were not found where they were when the dataset was made"
        in page.locator(".note").first.inner_text()
    )


def test_without_a_source_the_page_still_works(dataset: Path, tmp_path: Path, opened: Open) -> None:
    page = opened(write_page(dataset, restore_source(None), "none", output=tmp_path / "page.html"))
    assert page.locator("[data-real] .gone").count() == 9
    assert "this dataset does not say where they are" in page.locator(".note").first.inner_text()
    page.locator("[data-row]").first.click()
    assert page.locator(".made .source small").count() == 3


def test_distances_need_a_real_image(dataset: Path, classifier: Path, tmp_path: Path, opened: Open) -> None:
    page = opened(write_page(dataset, None, f"local-dir:{classifier}", output=tmp_path / "page.html"))
    assert page.locator("#sort option").evaluate_all("all => all.map((o) => o.value)") == ["index", "worst", "best"]


EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}"


def test_names_are_data(dataset: Path, tmp_path: Path, opened: Open) -> None:
    folder = Path(shutil.copytree(dataset, tmp_path / "<b>set"))
    manifest = json.loads((folder / "dataset.json").read_text())
    manifest["classes"][0] = EVIL
    manifest["config"]["prompt"] = EVIL
    (folder / "dataset.json").write_text(json.dumps(manifest))
    page = opened(write_page(folder, None))
    assert page.locator("h1").inner_text() == "<b>set"
    assert page.locator("section h2").first.inner_text() == EVIL
    assert page.locator("#go option").first.inner_text() == EVIL
    page.locator("[data-row]").first.click()
    assert page.locator("#title").inner_text() == f"{EVIL}, synthetic image 0"


def test_a_part_of_the_images_is_named_as_one(dataset: Path, tmp_path: Path, opened: Open) -> None:
    page = opened(write_page(dataset, None, per_class=2, output=tmp_path / "page.html"))
    assert "This page shows the first 6 of them" in page.locator(".note").first.inner_text()
    assert page.locator("[data-row]").count() == 6


def test_a_hundred_thousand_images_open_quickly(dataset: Path, tmp_path: Path, opened: Open) -> None:
    """Two classes of 15,000 images and one of 70,000: only what is seen becomes elements."""
    contents = Contents(dataset, None)
    for _ in (*contents.read_real(), *contents.read_synthetic()):
        pass
    for label, count in enumerate((15_000, 15_000, 70_000)):
        images = contents.classes[label]
        for column in ("image", "sources", "weights", "record"):
            setattr(images, column, (getattr(images, column) * count)[:count])
        images.index = list(range(count))
        images.distance, images.nearest = [float((7919 * n) % count) for n in range(count)], [0] * count
    path = tmp_path / "page.html"
    path.write_text(render(contents, dataset, "any"), encoding="utf-8")
    begun = time.perf_counter()
    page = opened(path)
    assert time.perf_counter() - begun < 20  # one or two on an idle core
    assert page.locator("img").count() < 500
    page.select_option("#go", "1")
    page.wait_for_timeout(300)
    assert 0 <= of_class(page, "green.leaf").bounding_box()["y"] < 100
    page.select_option("#sort", "near")
    of_class(page, "rød").locator(".more").click()
    assert of_class(page, "rød").locator("[data-row]").count() == 96
    assert of_class(page, "rød").locator("[data-row] span").all_inner_texts()[95] == "95.0"
    assert of_class(page, "rød").locator(".more").inner_text() == "Show 48 more (69,904 left)"


def test_thumbnails_are_as_large_as_the_page_allows() -> None:
    assert [thumbnail_side(count, 512) for count in (100, 10_000, 100_000)] == [256, 128, 48]
    assert thumbnail_side(100_000, 32) == 32
    for count in (5_000, 30_000, 60_000, 100_000):
        assert count * thumbnail_side(count, 512) ** 2 <= MOST_PIXELS
    assert thumbnail_side(10_000_000, 512) == SIDES[-1]


def test_a_page_that_cannot_be_written(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"output: .* cannot be written"):
        write_page(dataset, None, "none", output=tmp_path / "file" / "page.html")


def test_an_unfinished_dataset_is_refused(tmp_path: Path, fails: Callable[..., str]) -> None:
    error = fails(main, ["browse", str(tmp_path)], 1)
    assert error.startswith(f"augment browse: dataset: no '{tmp_path / 'dataset.json'}'") and error.count("\n") == 1
