"""What ends a run of several processes early, and does the run notice? SIGTERM, a dead process, a foreign folder."""

import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from types import FrameType

import lightning as L
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from augment.errors import UserError

TERMINATED = 128 + signal.SIGTERM
"""Exit code of a run that SIGTERM stopped."""

KEPT = "finished work is kept, run the same command again"
POLL_SECONDS = 0.5
APPEARS_WITHIN_SECONDS = 20.0
"""How long a network file system may take to show one machine's new file to another."""


class Companions(L.Callback):
    """Ends this process in good order on SIGTERM, and at once when another process of the same run has died.

    Lightning's own watch kills the first process without a word when another dies, the others never learn that the
    first one is gone, and its handler of SIGTERM broadcasts from within the signal, which may hang. Where torchrun or
    SLURM started the processes, they do the watching. One object serves all trainers of a command.
    """

    def __init__(self) -> None:
        self._children: list[Popen[bytes]] = []
        self._over = threading.Event()
        self._watching = False
        self._speaks = os.environ.get("LOCAL_RANK", "0") == "0"
        if threading.current_thread() is threading.main_thread():  # no other thread may set handlers
            signal.signal(signal.SIGTERM, self._stop)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Start watching, and keep the trainer from replacing our handler of SIGTERM."""
        self._speaks = trainer.is_global_zero
        trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
        launched: list[Popen[bytes]] = getattr(trainer.strategy.launcher, "procs", [])
        self._children += launched
        launched.clear()  # so that Lightning's watch ends; only the first trainer starts processes
        environment = getattr(trainer.strategy, "cluster_environment", None)
        if self._watching:
            return
        if self._children:
            self._watch(self._dead_child)
        elif trainer.local_rank > 0 and isinstance(environment, LightningEnvironment):
            parent = os.getppid()
            self._watch(lambda: "process 1 is gone" if os.getppid() != parent else None)

    def close(self) -> None:
        """Stop watching: from here on the processes end at their own pace."""
        self._over.set()

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the clean-up is not to be interrupted
        self.close()
        for child in self._children:
            child.terminate()
        if self._speaks:
            print(f"stopped by SIGTERM; {KEPT}", file=sys.stderr)
        raise SystemExit(TERMINATED)

    def _watch(self, died: Callable[[], str | None]) -> None:
        def look() -> None:
            while not self._over.wait(POLL_SECONDS):
                if (text := died()) is not None:
                    print(f"{text}; {KEPT}", file=sys.stderr, flush=True)
                    for child in self._children:
                        child.kill()
                    os._exit(1)  # the main thread may hang in a call that waits for the dead

        self._watching = True
        threading.Thread(target=look, name="companions", daemon=True).start()

    def _dead_child(self) -> str | None:
        for number, child in enumerate(self._children, 2):
            if code := child.poll():
                how = f"was killed by signal {-code}" if code < 0 else f"stopped with exit code {code}"
                return f"process {number} of {len(self._children) + 1} {how}"
        return None


class SharedFolder(L.Callback):
    """Makes sure that every process sees the same folder, before any work is spent.

    Args:
        folder: Where all processes write.

    Raises:
        UserError: If a process does not see the first one's file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """The first process leaves a file that the others look for."""
        if trainer.world_size == 1:
            return
        marker = self.folder / f".{trainer.strategy.broadcast(uuid.uuid4().hex)}.partial"
        if trainer.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            marker.touch()
        trainer.strategy.barrier()
        seen = torch.tensor(float(appears(marker)), device=trainer.strategy.root_device)
        missing = trainer.world_size - int(trainer.strategy.reduce(seen, reduce_op="sum"))
        if trainer.is_global_zero:
            marker.unlink(missing_ok=True)
        if missing:
            raise UserError(
                f"output: {missing} of {trainer.world_size} processes do not see '{self.folder}' of the first one; "
                f"all machines need one file system: give a folder on it"
            )


def appears(marker: Path) -> bool:
    """Whether a file that another machine made is seen here, sooner or later; listing defeats cached absence."""
    deadline = time.monotonic() + APPEARS_WITHIN_SECONDS
    while not (marker.parent.is_dir() and marker in marker.parent.iterdir()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True
