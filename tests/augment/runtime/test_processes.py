import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from augment.runtime.processes import TERMINATED, Companions
from augment.runtime.trainer import QUIET_TRAINER


@pytest.fixture
def handlers_are_restored() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


class Watched(L.LightningModule):
    """Notes who answers SIGTERM while it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.heard: list[Any] = []

    def predict_step(self, batch: Any, batch_idx: int) -> None:
        self.heard.append(signal.getsignal(signal.SIGTERM))

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.heard.append(signal.getsignal(signal.SIGTERM))
        return self.weight.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.usefixtures("handlers_are_restored")
def test_sigterm_is_answered_by_us_in_every_trainer_and_between_them(tmp_path: Path) -> None:
    companions, model = Companions(), Watched()
    ours = signal.getsignal(signal.SIGTERM)
    data: Any = DataLoader([0, 1], batch_size=None)  # type: ignore[arg-type]
    options = QUIET_TRAINER | {"accelerator": "cpu", "max_epochs": 1, "default_root_dir": tmp_path}
    for _ in range(2):
        L.Trainer(callbacks=[companions], **options).predict(model, data)
        assert signal.getsignal(signal.SIGTERM) == ours
    L.Trainer(callbacks=[companions], **options).fit(model, data)
    assert signal.getsignal(signal.SIGTERM) == ours
    assert model.heard == [ours] * 6


@pytest.mark.usefixtures("handlers_are_restored")
def test_a_second_sigterm_does_not_interrupt_the_clean_up(capsys: pytest.CaptureFixture[str]) -> None:
    Companions()
    with pytest.raises(SystemExit) as exit_:
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    assert exit_.value.code == TERMINATED
    assert capsys.readouterr().err.count("stopped by SIGTERM") == 1
