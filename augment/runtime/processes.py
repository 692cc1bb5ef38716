"""What ends a run of several processes early, and does the run notice? Signals, a dead process, a foreign folder."""

import multiprocessing
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from multiprocessing.connection import wait
from pathlib import Path
from subprocess import Popen
from types import FrameType, TracebackType
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from augment.errors import UserError

TERMINATED = 128 + signal.SIGTERM
"""Exit code of a run that SIGTERM stopped."""

SIGNALS = ("SIGTERM", "SIGUSR1")
"""Those that Lightning would handle itself: SIGUSR1 under SLURM, where its checkpoint would land among the shards."""

KEPT = "finished work is kept, run the same command again"
PARENT = "CHM_AUGMENT_PARENT"
"""Environment variable with the id of the process that started this one, which may be gone before it looks."""

POLL_SECONDS = 0.5
APPEARS_WITHIN_SECONDS = 20.0
"""How long a network file system may take to show one machine's new file to another."""


class Companions(L.Callback):
    """Starts a run's other processes; ends this one in good order on SIGTERM or Ctrl-C, at once when another has died.

    Lightning's own watch would kill the first process without a word when another dies, the others would never learn
    that the first one is gone, and its handler of SIGTERM broadcasts from within the signal, which may hang. So the
    processes are started here, by the environment variables that Lightning documents for processes it did not start,
    and our handler is set again after Lightning's. Where torchrun or SLURM started the processes, they do the
    watching. One object serves all trainers of a command.

    Args:
        kept: What becomes of the work when the run ends early, for the line that says so.
    """

    def __init__(self, kept: str = KEPT) -> None:
        self._children: list[Popen[bytes]] = []
        self._over = threading.Event()
        self._watching = False
        self._stopped = False
        self._process = os.getpid()
        self._handlers: dict[signal.Signals, Any] = {}
        self._speaks, self._kept = os.environ.get("LOCAL_RANK", "0") == "0", kept
        if threading.current_thread() is threading.main_thread():  # no other thread may set handlers
            signal.signal(signal.SIGTERM, self._stop)
            signal.signal(signal.SIGINT, self._stop)  # Lightning would leave without a word
        if PARENT in os.environ:
            self._watch_parent(int(os.environ[PARENT]))

    def launch(self, trainer: L.Trainer) -> None:
        """Start the trainer's other processes on this machine, if it runs by scripts and nobody else starts them.

        To be called before the trainer runs. Later trainers of the same command share these processes, which run the
        same command as this one; called in them, it watches the first process.
        """
        environment = getattr(trainer.strategy.launcher, "cluster_environment", None)
        if self._watching or not isinstance(environment, LightningEnvironment):
            return
        if not environment.creates_processes_externally:
            os.environ |= {
                "MASTER_ADDR": environment.main_address,
                "MASTER_PORT": str(environment.main_port),
                "NODE_RANK": str(environment.node_rank()),
                "WORLD_SIZE": str(trainer.num_devices * trainer.num_nodes),
                "LOCAL_RANK": "0",
            }
            command = [sys.executable, *sys.orig_argv[1:]]
            ranks = range(1, trainer.num_devices)
            with deaf_to_interrupts():  # the terminal sends Ctrl-C to all; the first process decides
                own = os.environ | {PARENT: str(os.getpid())}
                self._children = [Popen(command, env=own | {"LOCAL_RANK": str(rank)}) for rank in ranks]
            self._watch(self._dead_child)
        elif environment.local_rank() > 0:
            self._watch_parent(os.getppid())

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Remember the handlers that are in place before Lightning sets its own."""
        self._speaks = trainer.is_global_zero
        self._handlers = {number: signal.getsignal(number) for number in signal.Signals if number.name in SIGNALS}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put our handlers back in the place of Lightning's, which restores them itself when it ends."""
        self._handle()

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put our handlers back in the place of Lightning's, which restores them itself when it ends."""
        self._handle()

    def close(self) -> None:
        """Stop watching: from here on the processes end at their own pace, and no longer speak to each other."""
        self._over.set()
        patient_group.cache_clear()
        if dist.is_initialized():
            dist.destroy_process_group()  # left to the interpreter's end, its threads may abort or hang

    def _handle(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._handlers.items():
                if signal.getsignal(number) != handler:
                    signal.signal(number, handler)

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        if self._stopped or os.getpid() != self._process:  # the clean-up is not to be interrupted, a loader is told
            return
        self._stopped = True
        self._over.set()
        for child in self._children:
            child.terminate()
        if self._speaks:
            how = "Ctrl-C" if signum == signal.SIGINT else signal.Signals(signum).name
            print(f"stopped by {how}; {self._kept}", file=sys.stderr)
        raise SystemExit(128 + signum)

    def _watch_parent(self, parent: int) -> None:
        one_line = os.environ.get("LOCAL_RANK") == "1"  # of all that are left, one speaks
        self._watch(lambda: "process 1 is gone" if os.getppid() != parent else None, one_line)

    def _watch(self, died: Callable[[], str | None], speaks: bool = True) -> None:
        def look() -> None:
            while not self._over.wait(POLL_SECONDS):
                if (text := died()) is not None:
                    if speaks:
                        print(f"{text}; {self._kept}", file=sys.stderr, flush=True)
                    for child in self._children:
                        child.kill()
                    os._exit(1)  # the main thread may hang in a call that waits for the dead

        def uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
            time.sleep(2 * POLL_SECONDS)  # the death of another process may be the reason: the watch tells it shortly
            sys.__excepthook__(kind, error, trace)

        self._watching = True
        sys.excepthook = uncaught
        threading.Thread(target=look, name="companions", daemon=True).start()

    def _dead_child(self) -> str | None:
        for number, child in enumerate(self._children, 2):
            if code := child.poll():
                how = f"was killed by signal {-code}" if code < 0 else f"stopped with exit code {code}"
                return f"process {number} of {len(self._children) + 1} {how}"
        return None


def end_with_parent() -> None:
    """End this process of a pool at once when the one that started it is gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait_and_end(sentinel: int) -> None:
        wait([sentinel])
        os._exit(1)  # nobody listens any more; what is written appears whole or not at all

    threading.Thread(target=wait_and_end, args=(parent.sentinel,), name="parent", daemon=True).start()


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Processes that are started in this block never hear Ctrl-C, which a terminal sends to all: this one decides."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@cache
def patient_group() -> Any:
    """All processes, on the host, without the usual limit of half an hour; all must be here when it is made."""
    return dist.new_group(backend="gloo", timeout=timedelta(days=365))


def wait_for_all(trainer: L.Trainer, *folders: Path) -> None:
    """Wait until every process is here, however long the slowest one takes; signals are heard meanwhile.

    Args:
        trainer: This process's trainer.
        folders: Looked into afterwards, so that a network file system shows what the others have written.
    """
    if trainer.world_size > 1:
        work: Any = dist.barrier(patient_group(), async_op=True)
        while not work.is_completed():
            time.sleep(POLL_SECONDS)
        work.wait()
    for folder in folders:
        if folder.is_dir():
            list(folder.iterdir())


def check_shared(trainer: L.Trainer | None, *folders: Path) -> None:
    """Make sure that every process sees the same folders, before any work is spent; all processes must call this.

    Args:
        trainer: This process's trainer.
        folders: Where all processes write.

    Raises:
        UserError: If a process does not see the first one's files.
    """
    if trainer is None or trainer.world_size == 1:
        return
    patient_group()
    name = f".{trainer.strategy.broadcast(uuid.uuid4().hex)}.partial"
    markers = [folder / name for folder in folders]
    if trainer.is_global_zero:
        for marker in markers:
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()
    trainer.strategy.barrier()
    unseen = [float(not appears(marker)) for marker in markers]
    missing = trainer.strategy.reduce(torch.tensor(unseen, device=trainer.strategy.root_device), reduce_op="sum")
    if trainer.is_global_zero:
        for marker in markers:
            marker.unlink(missing_ok=True)
    for folder, count in zip(folders, missing.tolist(), strict=True):
        if count:
            raise UserError(
                "output",
                f"{count:.0f} of {trainer.world_size} processes do not see '{folder}' of the first one",
                "all machines need one file system: give a folder on it",
            )


def appears(marker: Path) -> bool:
    """Whether a file that another machine made is seen here, sooner or later; listing defeats cached absence."""
    deadline = time.monotonic() + APPEARS_WITHIN_SECONDS
    while not (marker.parent.is_dir() and marker in marker.parent.iterdir()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True
