"""What has to be said to the model libraries before they are imported."""

from __future__ import annotations

import logging
import os
import platform
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from agentlora.core.errors import ConfigError, needs_extra
from agentlora.core.files import read_json
from agentlora.core.types import Base

TCMALLOC = "libtcmalloc_minimal.so.4"
OFFLINE = "HF_HUB_OFFLINE"
# How many products of matrices, each of its own shape, oneDNN and torch keep what they have prepared for: 1,024 take
# a gigabyte (docs/experiments.md), and a pass of a new length asks for some forty that never come again.
CPU_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
_set_here: set[str] = set()  # variables that are ours and not the user's
STOPS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>")  # ends of a turn, where the vocabulary has them
PRELOADED = "AGENTLORA_PRELOADED"  # set while this process starts anew


def prepare_libraries() -> None:
    """Keep their progress bars and notes from the user's terminal (errors still show), and keep them offline.

    A hub id is fetched before (plugins.bases.resolve); nothing after that may reach for a network. What the
    user set in the environment stays.
    """
    if OFFLINE not in os.environ:
        os.environ[OFFLINE] = "1"
        _set_here.add(OFFLINE)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # a launcher's, by accelerate's configuration: --dtype says what is computed in, and autocast is the trainers'
    os.environ.pop("ACCELERATE_MIXED_PRECISION", None)
    # libgomp's threads spin at barriers by default; beside one other busy process a training step then takes
    # ten times as long (docs/experiments.md). This keeps the spin to microseconds.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    for name in CPU_CACHES:
        if name not in os.environ:
            os.environ[name] = "128"
            _set_here.add(name)
    # TRL, of a vLLM that it does not use
    warnings.filterwarnings("ignore", message="TRL currently supports vLLM versions")
    for name in ("bitsandbytes", "torch.distributed", "accelerate", "datasets"):
        logging.getLogger(name).setLevel(logging.ERROR)


def offline_by_wish() -> bool:
    """Whether it is the user, and not `prepare_libraries`, who keeps the hub's client from the network."""
    return OFFLINE not in _set_here and os.environ.get(OFFLINE, "").upper() in ("1", "ON", "YES", "TRUE")


def environment_for_others() -> dict[str, str]:
    """The environment for a program that computes in its own way: `CPU_CACHES` as the user has them."""
    return {
        name: value for name, value in os.environ.items() if name not in _set_here.intersection(CPU_CACHES)
    }


def free_memory() -> None:
    """Give a GPU's memory back that nothing uses any more, for another process to take."""
    import gc

    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def best_dtype() -> str:
    """``bfloat16`` on a GPU and on a CPU that has instructions for its products, ``float32`` on other CPUs.

    With them bfloat16 is the faster dtype, without them float32 is (docs/experiments.md). Linux only, elsewhere the
    CPU counts as one without.
    """
    import torch

    cpuinfo = Path("/proc/cpuinfo")
    flags = set(cpuinfo.read_text().split()) if cpuinfo.is_file() else set()
    return "bfloat16" if torch.cuda.is_available() or {"amx_bf16", "avx512_bf16"} & flags else "float32"


def find_tcmalloc() -> Path | None:
    """The allocator's library on Linux, where distributions put it."""
    if sys.platform != "linux":
        return None
    folders = (f"lib/{platform.machine()}-linux-gnu", "lib64", "lib")
    return next((path for folder in folders if (path := Path("/usr", folder, TCMALLOC)).is_file()), None)


def start_with_tcmalloc(words: Sequence[str]) -> None:
    """Start this process anew with tcmalloc as its allocator, where it is installed and ``LD_PRELOAD`` is not set.

    glibc's searches its free blocks for every large tensor, and training makes that search long: an eighth of a
    training step on a CPU (docs/experiments.md). Only for a process that is the command line and nothing else: a
    debugger, a notebook or a script that calls us goes on as it is.

    Args:
        words: the command line behind the program's name.
    """
    if library := os.environ.pop(
        PRELOADED, None
    ):  # done; processes that this one starts choose for themselves
        if os.environ.get("LD_PRELOAD") == library:
            del os.environ["LD_PRELOAD"]
        return
    started_as = sys.orig_argv[1 : len(sys.orig_argv) - len(words)]
    ours = started_as == ["-m", "agentlora"] or [Path(word).name for word in started_as] == ["agentlora"]
    if not ours or sys.orig_argv[len(started_as) + 1 :] != list(words) or "LD_PRELOAD" in os.environ:
        return
    if found := find_tcmalloc():
        with suppress(OSError):
            env = os.environ | {"LD_PRELOAD": str(found), PRELOADED: str(found)}
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], env)


def tokenizer_of(base: Base) -> Any:
    """A base model's tokenizer. Raises ConfigError where its directory has none, MissingExtra without transformers."""
    with needs_extra("train", "training"):
        from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(base.model_dir)
    except (OSError, ValueError) as exc:
        raise ConfigError(
            f"model {base.name!r} has no tokenizer that can be read in {str(base.model_dir)!r}. Give a directory "
            "that both model and tokenizer were saved into."
        ) from exc


def stops_of(model_dir: Path) -> list[int]:
    """The tokens that a server stops at by a model's ``generation_config.json``, or its ``config.json`` where it has
    none, beside its tokenizer's ``eos_token``. Raises ConfigError where that is damaged.
    """
    for name in ("generation_config.json", "config.json"):
        if (model_dir / name).is_file():
            config = read_json(model_dir / name, "put it right")
            inner = config.get("text_config") or {}  # of a model that sees too
            said = config.get("eos_token_id", inner.get("eos_token_id") if isinstance(inner, dict) else None)
            return [token for token in (said if isinstance(said, list) else [said]) if isinstance(token, int)]
    return []


def stop_ids(model: Any, tokenizer: Any) -> list[int]:
    """Every token that ends an answer; the first one also pads.

    Raises:
        ConfigError: the model has none.
    """
    found: list[int] = []
    configured = getattr(model.generation_config, "eos_token_id", None)
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    listed = configured if isinstance(configured, list) else [configured]
    for token in (tokenizer.eos_token_id, *listed, *(vocabulary.get(stop) for stop in STOPS)):
        if token is not None and token not in found:
            found.append(int(token))
    if not found:
        raise ConfigError(
            "the model has no end-of-sequence token; set eos_token in its tokenizer_config.json."
        )
    return found
