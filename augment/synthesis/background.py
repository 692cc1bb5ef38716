"""Images to shards while the next batch is denoised: encoding and tar writing in background threads."""

import os
import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.profilers import PassThroughProfiler, Profiler
from PIL import Image
from torch import Tensor

from augment.dataset.shard_writer import ImageFormat, ShardFile, encode_image
from augment.errors import UserError
from augment.runtime.profile import profiler_of
from augment.synthesis.generated import Generated
from augment.synthesis.plan import PlannedBatch
from augment.synthesis.synthesizer import SynthesisBatch

Made = tuple[PlannedBatch, Generated, tuple[dict[str, Any], ...]]
QUEUED_BATCHES = 4
MOST_ENCODERS = 8


class ShardWriter(L.Callback):
    """Writes predicted batches to shards; the accelerator waits only when the bounded queue is full.

    Args:
        folder: Of the dataset.
        image_format: Of the images in the shards.
    """

    def __init__(self, folder: Path, image_format: ImageFormat) -> None:
        self.folder = folder
        self.image_format = image_format
        self._profiler: Profiler = PassThroughProfiler()
        self._queue: queue.Queue[Made | None] = queue.Queue(QUEUED_BATCHES)
        self._error: Exception | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._thread: threading.Thread | None = None

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the threads."""
        self._profiler = profiler_of(trainer)
        cores = (os.cpu_count() or 2) // max(1, getattr(trainer, "num_devices", 1))
        self._pool = ThreadPoolExecutor(min(max(2, cores), MOST_ENCODERS), thread_name_prefix="encode")
        self._thread = threading.Thread(target=self._work, name="write", daemon=True)
        self._thread.start()

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: SynthesisBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Hand a batch to the threads."""
        self._raise_error()
        with self._profiler.profile("wait"):
            self._queue.put((batch.planned, outputs, batch.records))

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Wait until everything is on disk."""
        with self._profiler.profile("wait"):
            self._stop()
        self._raise_error()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Let finished batches reach the disk; the shard in flight is dropped."""
        self._stop()

    def _stop(self) -> None:
        if self._thread is not None and self._pool is not None:
            self._queue.put(None)
            self._thread.join()
            self._pool.shutdown()
            self._thread = None

    def _raise_error(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            if not isinstance(error, OSError):
                raise error
            raise UserError(
                "output",
                f"a shard in '{self.folder}' could not be written ({error})",
                "finished shards are kept, run the same command again once there is room",
            ) from error

    def _encode(self, pixels: Tensor) -> bytes:
        return encode_image(Image.fromarray(pixels.numpy()), self.image_format)

    def _work(self) -> None:
        """The writing thread: batches of one shard follow one another, so one file is open at a time."""
        shard: ShardFile | None = None
        while (item := self._queue.get()) is not None:
            if self._error is not None:
                continue  # keep emptying the queue, so that nobody waits for room in it
            planned, generated, records = item
            try:
                pixels = generated.wait()
                with self._profiler.profile("write"):
                    if planned.first:
                        shard = ShardFile(self.folder, planned.shard)
                    assert shard is not None and self._pool is not None
                    images = self._pool.map(self._encode, pixels)
                    for sample, image, record in zip(planned.samples, images, records, strict=True):
                        shard.add(sample.key, image, self.image_format, record)
                    if planned.last:
                        shard.commit()
                        shard = None
            except Exception as error:
                self._error = error
        if shard is not None:
            shard.drop()
