"""What has to be said to the model libraries before they are imported."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

TCMALLOC = "libtcmalloc_minimal.so.4"


def prepare_libraries() -> None:
    """Keep their progress bars and notes from the user's terminal (errors still show), and keep them offline.

    A hub id is fetched before (plugins.bases.resolve); nothing after that may reach for a network. What the
    user set in the environment stays.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # libgomp's threads spin at barriers by default; beside one other busy process a training step then takes
    # ten times as long (docs/experiments.md). This keeps the spin to microseconds.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    for name in ("bitsandbytes", "torch.distributed", "accelerate", "datasets"):
        logging.getLogger(name).setLevel(logging.ERROR)


def find_tcmalloc() -> Path | None:
    """The allocator's library on Linux, where distributions put it."""
    folders = ("lib/*-linux-gnu", "lib64", "lib") if sys.platform == "linux" else ()
    return next((path for folder in folders for path in Path("/usr").glob(f"{folder}/{TCMALLOC}")), None)


def start_with_tcmalloc() -> None:
    """Start this process anew with tcmalloc as its allocator, where it is installed and nothing else is preloaded.

    glibc's searches its free blocks for every large tensor, and training makes that search long: an eighth of a
    training step on a CPU (docs/experiments.md).
    """
    if "LD_PRELOAD" not in os.environ and (found := find_tcmalloc()):
        os.environ["LD_PRELOAD"] = str(found)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
