"""Which synthetic images a filter drops, on a case made by hand."""

from functools import partial
from pathlib import Path

import pytest
import timm
import torch
from conftest import SIDE
from PIL import Image
from timm.models import save_for_hf
from torch.nn import functional as F

from augment.errors import UserError
from augment.measure.extractor import TimmFeatures
from classify.train.filter import Filtered, class_means, embed, keep_recognised
from classify.train.order import Example

CLASSES = ("red", "green", "blue")
RGB = {"red": (200, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 200)}


def coloured(name: str, label: int, colour: str, soft: tuple[tuple[int, float], ...] = ()) -> Example:
    return Example(name, label, partial(Image.new, "RGB", (20, SIDE), RGB[colour]), soft, synthetic=True)


REAL = [coloured(f"r{n}", n, colour) for n, colour in enumerate(CLASSES)]
MADE = [
    coloured("0000_000000", 0, "red"),
    coloured("0000_000001", 0, "green"),
    coloured("0000_000002", 0, "blue"),
    coloured("0001_000000", 1, "green"),
    coloured("0002_000000", 2, "red"),
    coloured("0002_000001", 2, "red", soft=((0, 0.3), (2, 0.7))),
    coloured("0002_000002", 2, "green", soft=((0, 0.3), (2, 0.7))),
]
KEPT = ["0000_000000", "0001_000000", "0002_000001"]
DROPPED = {"red": 2, "green": 0, "blue": 2}


def test_the_nearest_class_mean_drops_the_wrong_colours(extractor_folder: Path) -> None:
    name = f"local-dir:{extractor_folder}"
    kept, filtered = keep_recognised(MADE, REAL, CLASSES, name)
    assert [example.name for example in kept] == KEPT
    assert filtered == Filtered(name, "nearest class mean", 3, DROPPED)


@pytest.fixture
def colour_classifier(tmp_path: Path) -> str:
    """A timm classifier with the classes' names that tells colours by the few real images: its head is their means."""
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=3).eval()
    network.pretrained_cfg = {**network.pretrained_cfg, "input_size": (3, SIDE, SIDE), "num_classes": 3}
    save_for_hf(network, str(tmp_path), model_config={"num_classes": 3, "label_names": list(CLASSES)})
    features = embed(TimmFeatures(f"local-dir:{tmp_path}"), REAL)
    centred = features - features.mean(0)
    with torch.no_grad():
        network.get_classifier().weight.copy_(centred)
        network.get_classifier().bias.copy_(-(centred * features.mean(0)).sum(1))
    save_for_hf(network, str(tmp_path), model_config={"num_classes": 3, "label_names": list(CLASSES)})
    return f"local-dir:{tmp_path}"


def test_a_classifier_of_these_classes_decides_by_its_head(colour_classifier: str) -> None:
    kept, filtered = keep_recognised(MADE, REAL, CLASSES, colour_classifier)
    assert [example.name for example in kept] == KEPT
    assert filtered == Filtered(colour_classifier, "head", 3, DROPPED)


def test_the_head_on_the_features_is_the_network(colour_classifier: str) -> None:
    network = timm.create_model(colour_classifier, pretrained=True).eval()
    images = torch.randint(0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8)
    with torch.no_grad():
        features = TimmFeatures(colour_classifier)
        expected = network((images / 255 - features.mean) / features.std)
        torch.testing.assert_close(network.get_classifier()(features(images)), expected)


def test_a_classifier_of_other_classes_lends_its_features_only(colour_classifier: str) -> None:
    names = ("rot", "grün", "blau")
    kept, filtered = keep_recognised(MADE, REAL, names, colour_classifier)
    assert filtered.by == "nearest class mean"
    assert [example.name for example in kept] == KEPT


def test_class_means_are_unit_vectors_of_unit_features() -> None:
    features = torch.tensor([[2.0, 0.0], [0.0, 5.0], [0.0, -1.0]])
    means = class_means(features, torch.tensor([0, 0, 1]), 2)
    torch.testing.assert_close(means, F.normalize(torch.tensor([[1.0, 1.0], [0.0, -1.0]])))


def test_nothing_recognised_is_an_error(extractor_folder: Path) -> None:
    wrong = [coloured("a", 0, "green"), coloured("b", 1, "blue")]
    with pytest.raises(UserError, match=r"synthetic_filter: 'local-dir:.*' recognises none of 2 synthetic images"):
        keep_recognised(wrong, REAL, CLASSES, f"local-dir:{extractor_folder}")


@pytest.mark.parametrize("name", ["no_such_model", "local-dir:/no/such/folder", "resnet18"])
def test_an_extractor_that_cannot_be_had(name: str) -> None:
    with pytest.raises(
        UserError, match=rf"synthetic_filter: '{name}' cannot be loaded \(.*\); offline use digits"
    ) as e:
        keep_recognised(MADE, REAL, CLASSES, name)
    assert "\n" not in str(e.value)


def test_the_embedded_extractor_knows_the_digits() -> None:
    """Real digits under their names are kept; under a wrong one they are dropped."""
    from augment.images.sources import Digits

    source = Digits()
    right = [Example(i.name, i.label, partial(source.image, i)) for i in source.pool[:40]]
    wrong = [Example(f"{e.name}-", (e.label + 1) % 10, e.load) for e in right]
    kept, filtered = keep_recognised([*right, *wrong], [], source.classes, "digits")
    assert filtered.by == "head"
    assert [e.name for e in kept] == [e.name for e in right]
    assert sum(filtered.dropped.values()) == 40
