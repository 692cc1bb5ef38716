import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from augment.cli import main
from augment.runtime.processes import TERMINATED, Companions
from augment.runtime.trainer import QUIET_TRAINER


@pytest.fixture
def handlers_are_restored() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


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


@pytest.mark.usefixtures("handlers_are_restored")
def test_an_interrupt_is_one_line_and_its_own_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also from within a trainer, which would leave without a word; and not from a loader's process."""

    class Interrupted(Watched):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            signal.raise_signal(signal.SIGINT)
            return super().training_step(batch, batch_idx)

    companions = Companions()
    options = QUIET_TRAINER | {"accelerator": "cpu", "max_epochs": 1, "default_root_dir": tmp_path}
    data: Any = DataLoader([0, 1], batch_size=None)  # type: ignore[arg-type]
    with pytest.raises(SystemExit) as exit_:
        L.Trainer(callbacks=[companions], **options).fit(Interrupted(), data)
    assert exit_.value.code == 130
    assert capsys.readouterr().err == "stopped by Ctrl-C; finished work is kept, run the same command again\n"
    Companions()
    monkeypatch.setattr("os.getpid", lambda: 1)
    signal.raise_signal(signal.SIGINT)
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("handlers_are_restored")
@pytest.mark.parametrize(("rank", "printed"), [("0", "augment verify: stopped by Ctrl-C"), ("1", "")])
def test_an_interrupt_outside_of_a_trainer(
    rank: str, printed: str, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setenv("LOCAL_RANK", rank)
    monkeypatch.setattr("augment.commands.verify.verify_command", lambda args: signal.raise_signal(signal.SIGINT))
    error = fails(main, ["verify", "x"], 130)
    assert error.startswith(printed) and error.count("\n") == bool(printed)
