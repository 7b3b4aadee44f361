"""What it costs to prepare for products of matrices of ever new shapes, as a training's passes have them on a CPU.

    .venv/bin/python benchmarks/cpu_caches.py

For every setting a fresh process: products in bfloat16 of the starter model's sizes, forward and backward, with 400
lengths one after the other. Resident memory at the end, less that before the first, in MB; and the median of
milliseconds that a length takes of the processor.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from agentlora.core.libraries import CPU_CACHES, find_tcmalloc
from agentlora.core.provenance import this_machine

SIZES = ((576, 576), (576, 192), (576, 1536), (1536, 576), (16, 576), (576, 16), (16, 1536), (1536, 16))
LENGTHS = 400


def resident_mb() -> float:
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))


def measure() -> None:
    import torch

    torch.set_num_threads(1)
    weights = [torch.randn(size).bfloat16() for size in SIZES]
    before, took = resident_mb(), []
    for length in range(300, 300 + LENGTHS):
        began = time.thread_time()
        for weight in weights:
            x = torch.ones(length, weight.shape[1], dtype=torch.bfloat16)
            y = x @ weight.T
            _ = y @ weight, y.T @ x
        took.append(time.thread_time() - began)
    print(f"{resident_mb() - before:.0f} MB, {1000 * statistics.median(took):.1f} ms")


def main() -> None:
    if "--measure" in sys.argv:
        measure()
        return
    print(this_machine())
    library = find_tcmalloc()
    for preload in filter(None, (str(library or ""), "-")):
        for sizes in ((1024, 1024), (128, 1024), (1024, 128), (128, 128), (32, 32)):
            settings = dict(zip(CPU_CACHES, map(str, sizes), strict=True))
            env = os.environ | settings | ({"LD_PRELOAD": preload} if preload != "-" else {})
            found = subprocess.run(
                [sys.executable, __file__, "--measure"], env=env, check=True, capture_output=True, text=True
            )
            said = ", ".join(f"{name}={size}" for name, size in settings.items())
            print(f"{'tcmalloc' if preload != '-' else 'malloc'}, {said}: {found.stdout.strip()}", flush=True)


if __name__ == "__main__":
    main()
