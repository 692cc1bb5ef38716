"""A classifier's probabilities from its features are those that it gives itself."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from augment.errors import UserError
from augment.images.sources import Digits
from augment.measure.extractor import EMBEDDED, Extractor
from augment.measure.recognition import class_probabilities, classifier_folder

DIGITS = Digits().classes


def test_only_a_classifier_of_these_very_classes_is_one(extractor_folder: Path) -> None:
    assert classifier_folder("digits", DIGITS) == EMBEDDED / "digits"
    assert classifier_folder("digits", DIGITS[::-1]) is None
    assert classifier_folder(f"local-dir:{extractor_folder}", DIGITS) is None
    assert classifier_folder("inception", DIGITS) is None


def test_probabilities_are_the_networks_own() -> None:
    items = Digits().pool[:8]
    images = [Digits().image(item) for item in items]
    features, labels = Extractor("digits", None, 32).embed(zip(images, (item.label for item in items), strict=True))
    found = class_probabilities(EMBEDDED / "digits", features)
    network = timm.create_model(f"local-dir:{EMBEDDED / 'digits'}", pretrained=True).eval()
    pixels = torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255 for image in images])
    with torch.no_grad():
        expected = network((pixels - 0.5) / 0.5).softmax(1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert found.argmax(1).tolist() == labels


def test_other_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"extractor: .* cannot be loaded"):
        class_probabilities(tmp_path, torch.zeros(1, 96))
