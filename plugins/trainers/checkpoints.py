"""Checkpoints that prove themselves: a torn one is passed over, and a resumed training goes on exactly where
the interrupted one was, or stops and says what differs.

A checkpoint's proof is written with the forward pass after it: digests of its files, of the adapter's parameters
and of the optimizer's state, that pass's token ids and loss, and what the training is made of: its settings and its
data. What has no proof, or other bytes, is torn.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agentlora.core.errors import AgentLoraError, TrainError
from agentlora.core.files import read_json, sha256_file, write_json
from agentlora.core.processes import process_index
from agentlora.core.provenance import redact
from agentlora.core.run import Run
from agentlora.core.types import JSON

PROOF = "proof.json"
DATA = "data/train.jsonl"
# Of the loss. A GPU's sums are not always in the same order.
TOLERANCE = {"cpu": 1e-6, "cuda": 1e-3}


def last_whole(directory: Path) -> Path | None:
    """The newest checkpoint in `directory` that has a proof and the bytes that it names."""
    found = ((re.fullmatch(r"checkpoint-(\d+)", path.name), path) for path in directory.glob("checkpoint-*"))
    numbered = [(int(name[1]), path) for name, path in found if name]
    return next((path for _, path in sorted(numbered, reverse=True) if is_whole(path)), None)


def is_whole(checkpoint: Path) -> bool:
    """Whether every file that the proof names is there with the bytes that it had."""
    try:
        proof = read_json(checkpoint / PROOF)
        files = proof["files"]
        says_all = math.isfinite(proof["loss"]) and min(proof["micro_batch_size"], proof["threads"]) > 0
        return (
            says_all
            and bool(files)
            and all(sha256_file(checkpoint / name) == digest for name, digest in files.items())
        )
    except (OSError, AgentLoraError, KeyError, AttributeError, TypeError):
        return False


def made_of(run: Run) -> JSON:
    """What decides what a run's training learns: its settings by their full names, and the digest of its data."""
    config = run.config.model_dump(mode="json", include={"method", "trainer", "training", "seed"})
    data = run.directory / DATA
    digest = sha256_file(data) if data.is_file() else None
    return {**redact(dict(_flat(config))), DATA: digest}


def refuse_changed(checkpoint: Path, now: JSON) -> None:
    """Raises TrainError where `now` (see `made_of`) is not what it was when the checkpoint was saved; with what
    differs. One that does not say, of an older version, is not held to it.
    """
    before = read_json(checkpoint / PROOF).get("made_of")
    if not before:
        return
    # a setting that a later version brings has its default; a method's and a trainer's are stored as they were given
    keys = {*before, *(key for key in now if key.startswith(("method.params.", "trainer.params.")))}
    differing = [
        f"{DATA} was changed" if key == DATA else f"{key} is {now.get(key)!r} and was {before.get(key)!r}"
        for key in sorted(keys)
        if now.get(key) != before.get(key) and not (key == DATA and before[key] is None)
    ]
    if differing:
        raise TrainError(
            f"the training cannot go on from {checkpoint.name}, which another one saved: {'; '.join(differing)}. Bring "
            "that back, or start anew with `agentlora train`."
        )


def _flat(settings: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{key}.")
        else:
            yield path + key, value


class Prover:
    """Writes the proofs of a training's checkpoints, and holds a resumed training to the proof of its own.

    Args:
        resumed_from: the checkpoint that the training goes on from, if it is resumed.
        made_of: see there; what is told to the proofs.

    Attributes:
        micro_batch_size: examples a forward pass; of a resumed training, what it was. Kept in the proof: chosen by
            free memory, it might be another one now.
    """

    def __init__(self, resumed_from: Path | None = None, made_of: JSON | None = None) -> None:
        self._made_of = made_of or {}
        self._expected: JSON | None = read_json(resumed_from / PROOF) if resumed_from else None
        self._saved: tuple[Path, JSON] | None = None
        self.micro_batch_size: int | None = None
        if self._expected:
            import torch

            self.micro_batch_size = self._expected["micro_batch_size"]
            torch.set_num_threads(self._expected["threads"])  # sums are rounded by how they are divided

    def saved(self, checkpoint: Path, model: Any, optimizer: Any) -> None:
        """A checkpoint was written; its proof follows with the next forward pass."""
        (checkpoint / PROOF).unlink(missing_ok=True)  # of a torn one that was written over
        files = {path.name: sha256_file(path) for path in sorted(checkpoint.iterdir()) if path.is_file()}
        self._saved = checkpoint, {"files": files, **_state(model, optimizer)}

    def before_pass(self, model: Any, optimizer: Any) -> None:
        """Raises TrainError when what was restored is not what was saved."""
        if self._expected:
            found = _state(model, optimizer)
            differing = [what for what in found if found[what] != self._expected[what]]
            if differing:
                raise TrainError(f"{_INEXACT}: {' and '.join(differing)} differ from those that were saved.")

    def after_pass(self, ids: Any, loss: Any) -> None:
        """The first pass after a resumption is compared, the first after a checkpoint goes into its proof.

        Raises:
            TrainError: other examples came, or the same gave another loss. No update was made with them.
        """
        if process_index():  # the proof is of the first process' passes; what was restored is compared by all
            self._expected = None
        if not (self._expected or self._saved):
            return
        import torch

        digest, value, device = _digest([ids]), float(loss), ids.device.type
        if self._expected:
            expected, self._expected = self._expected, None
            if digest != expected["ids"]:
                raise TrainError(f"{_INEXACT}: the next examples are not those that came next then.")
            limit = TOLERANCE.get(device, TOLERANCE["cuda"]) * max(1.0, abs(expected["loss"]))
            if not abs(value - expected["loss"]) <= limit:
                raise TrainError(
                    f"{_INEXACT}: the next loss is {value:.9g} and was {expected['loss']:.9g} (tolerance {limit:g})."
                )
        if self._saved:
            (checkpoint, proof), self._saved = self._saved, None
            how = {"micro_batch_size": self.micro_batch_size, "threads": torch.get_num_threads()}
            of_run = {"made_of": self._made_of}
            write_json(checkpoint / PROOF, {**proof, "ids": digest, "loss": value, **how, **of_run})


_INEXACT = (
    "the training cannot be resumed exactly, on this machine and with these packages; start it anew with "
    "`agentlora train`"
)


def _state(model: Any, optimizer: Any) -> JSON:
    trained = (parameter for parameter in model.parameters() if parameter.requires_grad)
    return {"parameters": _digest(trained), "optimizer": _digest(_tensors(optimizer.state_dict()["state"]))}


def _tensors(state: Any) -> Iterator[Any]:
    """Every tensor and number in nested dicts and lists, in the order of the keys."""
    if isinstance(state, Mapping):
        for key in sorted(state, key=str):
            yield from _tensors(state[key])
    elif isinstance(state, list | tuple):
        for item in state:
            yield from _tensors(item)
    else:
        yield state


def _digest(values: Any) -> str:
    import torch

    digest = hashlib.sha256()
    for value in values:
        if isinstance(value, torch.Tensor):
            flat = value.detach().cpu().contiguous().view(-1)
            digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
            digest.update(flat.view(torch.uint8).numpy().tobytes())
        else:
            digest.update(repr(value).encode())
    return digest.hexdigest()
