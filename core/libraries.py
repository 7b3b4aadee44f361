"""What has to be said to the model libraries before they are imported."""

from __future__ import annotations

import logging
import os


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
