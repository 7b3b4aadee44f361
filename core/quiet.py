"""Keeps libraries from writing to the user's terminal: their progress bars and notes are not ours to show."""

from __future__ import annotations

import logging
import os


def quiet_libraries() -> None:
    """Call before torch, transformers or bitsandbytes is imported. Errors still show."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    for name in ("bitsandbytes", "torch.distributed", "accelerate", "datasets"):
        logging.getLogger(name).setLevel(logging.ERROR)
