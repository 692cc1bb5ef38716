"""A timm model in training and at its one final test."""

from pathlib import Path
from typing import Any

import lightning as L
import timm
import torch
from jsonargparse.typing import ClosedUnitInterval, NonNegativeInt, PositiveInt
from timm.data import resolve_data_config
from timm.models import save_for_hf
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError, MulticlassConfusionMatrix

from augment.errors import UserError
from augment.runtime.network import one_try
from augment.runtime.numbers import NonNegativeNumber, PositiveNumber
from classify.train.adapt import Adapt, Adapted


class Classifier(L.LightningModule):
    """Any timm model, trained for a fixed number of optimizer steps; no epoch is ever chosen.

    Args:
        num_classes: Number of classes, which the command takes from the data.
        name: timm's name of the model, such as `resnet50` or `local-dir:FOLDER`.
        pretrained: Start from timm's weights (downloaded once) instead of from random ones.
        optimizer: timm's name of the optimizer.
        lr: Peak learning rate of the cosine schedule.
        weight_decay: Weight decay of all weights but biases and norms.
        warmup_steps: The learning rate rises over this many optimizer steps.
        label_smoothing: The cross-entropy smooths all labels by this share.
        drop_rate: Rate of the dropout before the head.
        adapt: Train all weights (`full`), those of the head alone (`head`, a linear probe of a pretrained network), or
            the head and LoRA weights beside the attention and MLP layers (`lora`). It is saved as one network anyway.
        rank: Rank of the LoRA weights.
    """

    def __init__(
        self,
        num_classes: PositiveInt,
        name: str = "resnet18",
        pretrained: bool = False,
        optimizer: str = "adamw",
        lr: PositiveNumber = 1e-3,
        weight_decay: NonNegativeNumber = 0.05,
        warmup_steps: NonNegativeInt = 20,
        label_smoothing: ClosedUnitInterval = 0.1,
        drop_rate: ClosedUnitInterval = 0.0,
        adapt: Adapt = "full",
        rank: PositiveInt = 16,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise UserError("source", "images of one class leave nothing to classify", "add images of another class")
        self.settings: dict[str, Any] = {"opt": optimizer, "lr": lr, "weight_decay": weight_decay}
        self.warmup_steps = warmup_steps
        self.description = {
            "name": name,
            "pretrained": pretrained,
            **self.settings,
            "warmup_steps": warmup_steps,
            "label_smoothing": label_smoothing,
            "drop_rate": drop_rate,
        }
        if adapt != "full":
            self.description |= {"adapt": adapt} | ({"rank": rank} if adapt == "lora" else {})
            if not pretrained:
                problem = f"'{adapt}' keeps the weights of the network, and they are random"
                raise UserError("model.adapt", problem, "set `model.pretrained`, or train all with full")
        self.network = create_network(name, pretrained, num_classes, drop_rate)
        self.adapted = Adapted(self.network, adapt, rank)
        self.loss = nn.CrossEntropyLoss(label_smoothing=label_smoothing)
        metrics: dict[str, Metric | MetricCollection] = {
            "top1": MulticlassAccuracy(num_classes, average="micro"),
            "macro": MulticlassAccuracy(num_classes, average="macro"),
            "per_class": MulticlassAccuracy(num_classes, average="none"),
            "confusion": MulticlassConfusionMatrix(num_classes),
        }
        if num_classes > 5:
            metrics["top5"] = MulticlassAccuracy(num_classes, top_k=5, average="micro")
        self.metrics = MetricCollection(metrics, compute_groups=False)
        # Keeps the confidence of every test image: 8 bytes each, nothing for a test set.
        self.calibration = MulticlassCalibrationError(num_classes, n_bins=15, norm="l1")
        self.log_loss = MeanMetric()
        self.values: dict[str, Tensor] = {}

    @torch.inference_mode()
    def check_size(self, side: int) -> None:
        """Refuse images of a size that the network cannot take.

        Raises:
            UserError: If so.
        """
        network = self.network.eval()
        try:
            network(torch.zeros(1, 3, side, side))
        except (AssertionError, RuntimeError, ValueError) as error:
            wanted = resolve_data_config({}, model=network)["input_size"][-1]
            problem = f"'{self.description['name']}' cannot take {side} px ({str(error).splitlines()[0]})"
            raise UserError("batches.image_size", problem, f"it was made for {wanted}") from error
        network.train()

    def configure_optimizers(self) -> Any:
        """timm's optimizer, and timm's cosine schedule over all steps of the trainer."""
        optimizer = create_optimizer_v2(self.network, **self.settings)
        steps = int(self.trainer.estimated_stepping_batches)
        warmup = min(self.warmup_steps, steps // 2)
        schedule = CosineLRScheduler(
            optimizer,
            t_initial=steps,
            warmup_t=warmup,
            warmup_lr_init=self.settings["lr"] / 100,
            t_in_epochs=False,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def lr_scheduler_step(self, scheduler: CosineLRScheduler, metric: Any) -> None:
        """timm's schedulers count updates themselves."""
        scheduler.step_update(num_updates=self.global_step)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """What is frozen stays as it is."""
        self.adapted.train(self.network)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy of one batch."""
        images, labels = batch
        loss: Tensor = self.loss(self.network(images), labels)
        self.log("loss", loss, prog_bar=True)
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"])
        return loss

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Count hits and misses, and keep how sure the network was."""
        images, labels = batch
        logits = self.network(images)
        self.metrics.update(logits, labels)
        # torchmetrics would take logits that happen to lie in [0, 1] for probabilities.
        self.calibration.update(logits.softmax(-1), labels)
        self.log_loss.update(nn.functional.cross_entropy(logits.float(), labels, reduction="none"))

    def on_test_epoch_end(self) -> None:
        """Reduce over processes while the counts are still on the device."""
        values = self.metrics.compute() | {"ece": self.calibration.compute(), "log_loss": self.log_loss.compute()}
        self.values = {name: value.cpu() for name, value in values.items()}
        self.log_dict({f"test_{name}": value for name, value in self.values.items() if value.ndim == 0})

    def results(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """What the last test found, as plain numbers.

        Top-1 and (of more than five classes) top-5 accuracy, the mean of the classes' accuracies, the expected
        calibration error in 15 bins (Guo et al. 2017), the log-loss (mean -log of the probability that was given to
        the true class), each class's accuracy, and the confusion matrix.
        """
        values = self.values
        return {
            "top1": float(values["top1"]),
            **({"top5": float(values["top5"])} if "top5" in values else {}),
            "macro": float(values["macro"]),
            "ece": float(values["ece"]),
            "log_loss": float(values["log_loss"]),
            "per_class": dict(zip(classes, values["per_class"].tolist(), strict=True)),
            "confusion": values["confusion"].tolist(),
        }

    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation that the weights were trained with; 0.5 for random ones."""
        if not self.description["pretrained"]:
            return (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
        config = resolve_data_config({}, model=self.network)
        return tuple(config["mean"]), tuple(config["std"])

    def save(self, folder: Path, classes: tuple[str, ...], image_size: int, half: bool = False) -> None:
        """Write the network so that `timm.create_model("local-dir:FOLDER", pretrained=True)` loads it."""
        mean, std = self.normalisation()
        network: Any = self.adapted.whole(self.network)
        network = network.half() if half else network
        # Images as `ClassificationData.test_dataloader` shows them: the whole short side, not the backbone's own crop.
        view = {"crop_pct": 1.0, "crop_mode": "center", "interpolation": "bicubic"}
        size = {"input_size": (3, image_size, image_size), "mean": mean, "std": std}
        network.pretrained_cfg = {**network.pretrained_cfg, **size, **view, "num_classes": len(classes)}
        config = {"label_names": list(classes), "num_classes": len(classes)}
        save_for_hf(network, str(folder), model_config=config, safe_serialization=True)


def create_network(name: str, pretrained: bool, num_classes: int, drop_rate: float = 0.0) -> nn.Module:
    """Create a timm model.

    Raises:
        UserError: If timm does not know the name, or the weights cannot be had.
    """
    try:
        with one_try() as reachable:
            network: nn.Module = timm.create_model(
                name, pretrained=pretrained, num_classes=num_classes, drop_rate=drop_rate
            )
    except (RuntimeError, OSError, ValueError) as error:
        if isinstance(error, OSError) and pretrained and timm.is_model(name) and not reachable:
            raise UserError(
                "model.name",
                f"no network, and the weights of '{name}' are not on this machine",
                f"run `python -c \"import timm; timm.create_model('{name}', pretrained=True)\"` once where there is "
                "one, give local-dir:FOLDER, or take random weights with `model.pretrained` false",
            ) from error
        close = timm.list_models(f"*{name.split('_')[0]}*")[:5]
        remedy = f"similar names: {', '.join(close)}" if close else "choose one of `timm.list_models()`"
        problem = f"timm cannot make '{name}' ({str(error).splitlines()[0]})"
        raise UserError("model.name", problem, remedy) from error
    return network
