"""Which weights of a network are trained, and what is saved of it?"""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import timm
import torch
from conftest import SIDE
from timm.models import save_for_hf
from torch import Tensor, nn
from torch.utils.data import DataLoader

from augment.errors import UserError
from augment.runtime.trainer import QUIET_TRAINER
from classify.train.adapt import Adapt, attention_and_mlp
from classify.train.classifier import Classifier


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small vision transformer that timm reads as pretrained."""
    folder = tmp_path_factory.mktemp("towers") / "vit"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model("test_vit", num_classes=5, img_size=SIDE)
    network.pretrained_cfg = {**network.pretrained_cfg, "input_size": (3, SIDE, SIDE), "num_classes": 5}
    config = {"num_classes": 5, "model_args": {"img_size": SIDE}}
    save_for_hf(network, str(folder), model_config=config, safe_serialization=True)
    return f"local-dir:{folder}"


def trained(model: Classifier, steps: int = 3) -> dict[str, Tensor]:
    """The weights before the training; the model is trained in place."""
    before = {name: weight.detach().clone() for name, weight in model.network.state_dict().items()}
    random = torch.Generator().manual_seed(0)
    batches = [(torch.randn(4, 3, SIDE, SIDE, generator=random), torch.tensor([0, 1, 2, 0])) for _ in range(steps)]
    data: Any = DataLoader(batches, batch_size=None)  # type: ignore[arg-type]  # a list is a dataset
    L.Trainer(max_steps=steps, accelerator="cpu", **QUIET_TRAINER).fit(model, data)
    return before


def changed(before: dict[str, Tensor], network: nn.Module) -> set[str]:
    after = network.state_dict()
    return {name for name, weight in before.items() if not torch.equal(weight, after[name])}


@pytest.mark.parametrize(("adapt", "layers"), [("head", 0), ("lora", 24)])
def test_what_is_trained_and_what_is_saved(tower: str, tmp_path: Path, adapt: Adapt, layers: int) -> None:
    """The head, and with LoRA two matrices beside each of 4 linear layers in 6 blocks; saved as timm's own model."""
    torch.manual_seed(0)
    model = Classifier(3, tower, pretrained=True, adapt=adapt, rank=2, lr=0.01, warmup_steps=0)
    own = {name for name, weight in model.network.named_parameters() if weight.requires_grad}
    assert {name for name in own if "lora" not in name} == {"head.weight", "head.bias"}
    assert len([name for name in own if "lora_A" in name]) == len([name for name in own if "lora_B" in name]) == layers
    before = trained(model)
    assert changed(before, model.network) == own
    images = torch.randn(4, 3, SIDE, SIDE)
    model.eval()
    with torch.no_grad():
        expected = model.network(images)
        model.save(tmp_path / "model", ("a", "b", "c"), SIDE)
        loaded = timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True).eval()
        torch.testing.assert_close(loaded(images), expected, atol=1e-5, rtol=1e-5)
    assert loaded.state_dict().keys() == timm.create_model(tower, pretrained=True).state_dict().keys()


def test_a_probe_leaves_batch_norms_as_they_are(extractor_folder: Path) -> None:
    """Its features are those of the pretrained network, also while it is trained."""
    model = Classifier(3, f"local-dir:{extractor_folder}", pretrained=True, adapt="head", warmup_steps=0)
    before = trained(model)
    assert changed(before, model.network) == {"fc.weight", "fc.bias"}


def test_full_is_as_it_was(tower: str) -> None:
    model = Classifier(3, tower, pretrained=True)
    assert all(weight.requires_grad for weight in model.network.parameters())
    assert "adapt" not in model.description
    described = Classifier(3, tower, pretrained=True, adapt="lora").description
    assert (described["adapt"], described["rank"]) == ("lora", 16)


def test_layers_of_many_families() -> None:
    """Linear layers of attention and MLP, never of the head or of the patches' projection."""
    for name in ("test_vit", "test_vit2", "eva02_tiny_patch14_224", "test_convnext"):
        layers = attention_and_mlp(timm.create_model(name, num_classes=3))
        assert layers and not [layer for layer in layers if layer.startswith(("head", "fc", "patch"))], name


def test_what_cannot_be_adapted(extractor_folder: Path) -> None:
    with pytest.raises(UserError, match=r"model\.adapt: ResNet has no attention or MLP layers .*; use full or head"):
        Classifier(3, f"local-dir:{extractor_folder}", pretrained=True, adapt="lora")
    with pytest.raises(UserError, match=r"model\.adapt: 'head' keeps the weights .*they are random; set `model\.pre"):
        Classifier(3, "test_vit", adapt="head")
