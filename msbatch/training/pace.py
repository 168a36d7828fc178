"""How fast training goes, and what it waits for."""

from __future__ import annotations

import resource
import time

import torch

from msbatch.training.data import Batches


class Pace:
    """Counts the seconds of a round, and those of them in which training waited for its next batch.

    A GPU may still be at work while its process waits, so there the share of waiting is an upper bound.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.begin_round()

    def begin_round(self) -> None:
        """Start to count anew."""
        self._began = time.perf_counter()
        self._waited_s = 0.0

    def timed(self, batches: Batches) -> Batches:
        """Yield the same batches, counting how long they let wait."""
        asked = time.perf_counter()
        for batch in batches:
            self._waited_s += time.perf_counter() - asked
            yield batch
            asked = time.perf_counter()

    def scalars(self, images: int) -> dict[str, float]:
        """Give speed, share of waiting and the most memory so far, after so many images of this round."""
        took = time.perf_counter() - self._began
        return {
            "train/images_per_second": images / took,
            "train/input_wait": self._waited_s / took,
            "train/memory_gb": self._peak_bytes() / 1e9,
        }

    def _peak_bytes(self) -> int:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
