"""A training pass without its numbers: what it keeps in memory and how much it computes, in seconds, at any size.

The model stands on the meta device, and forward and backward pass run as they would, on tensors that have a shape and
no content. Whatever a method adds, whatever is fused or recomputed, is counted because it happens.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import astuple, dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakIdKeyDictionary

from agentlora.plugins.trainers.loading import casting_left_to_autocast
from agentlora.plugins.trainers.loss import Targets, model_inputs, token_losses
from agentlora.plugins.trainers.speed import Speed

AS_ADDMM = {torch.ops.aten.addmm_: torch.ops.aten.addmm, torch.ops.aten.addmm: torch.ops.aten.addmm}
VIEWS = frozenset({"view", "_unsafe_view", "t", "transpose", "permute", "expand", "slice", "select", "split",
                   "split_with_sizes", "unsqueeze", "squeeze", "alias", "detach", "as_strided", "unbind"})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Simulated:
    """One pass (forward and backward) in the middle of a training, and one update. Sizes in bytes.

    Beside weights, gradients and `optimizer` (its states) a pass has the most of `kept` and `logits` where the forward
    pass ends, or of `late` behind that, where gradients of embeddings are made. `seconds`: by a `Speed`;
    `forward_seconds` of them are the forward pass'.
    """

    optimizer: int
    kept: int
    logits: int
    late: int
    forward_seconds: float
    pass_seconds: float
    update_seconds: float

    @property
    def activations(self) -> int:
        """All but `logits` of what a pass has at its peak."""
        return max(self.kept, self.late - self.logits)

    def deeper(self, further: Simulated, times: float) -> Simulated:
        """What a model has that is deeper than this one by `times` what that of `further` is.

        The most may be had at another moment in the one than in the other: it grows as a whole, and logits, which no
        layer adds to, are those of `further`.
        """
        ours, theirs = astuple(self), astuple(further)
        grown = Simulated(*(type(b)(a + times * (b - a)) for a, b in zip(ours, theirs, strict=True)))
        return replace(
            grown,
            kept=max(further.kept, grown.kept + grown.logits - further.logits),
            logits=further.logits,
            late=further.late,  # by then the layers have given back what they kept
        )


class Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of every storage that is alive, after every operation, and the time that each would take."""

    def __init__(self, vocabulary: int, speed: Speed) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.vocabulary, self.speed = vocabulary, speed
        self.seconds = 0.0
        self.logits = self.others = 0
        self.history: list[tuple[int, int]] = []
        self._known = WeakIdKeyDictionary()

    def restart(self) -> None:
        """Count the time anew, and forget the history."""
        self.seconds, self.history = 0.0, []

    def know(self, model: Any) -> None:
        """Leave what the model holds, gradients included, out of the count."""
        for tensor in (*model.parameters(), *model.buffers()):
            self._known[tensor.untyped_storage()] = True
            if tensor.grad is not None:
                self._known[tensor.grad.untyped_storage()] = True

    def add(self, tensor: Any) -> None:
        """Count a tensor's storage, once, until it dies."""
        if not isinstance(tensor, FakeTensor):
            return
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        self._known[storage] = True
        of_logits = bool(tensor.dim()) and tensor.shape[-1] == self.vocabulary
        self._count(of_logits, storage.nbytes())
        weakref.finalize(storage, self._count, of_logits, -storage.nbytes())

    def _count(self, of_logits: bool, size: int) -> None:
        if of_logits:
            self.logits += size
        else:
            self.others += size

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            return 1  # a value that nobody has; methods compare it with the probability of a dropout
        if func is torch.ops.prim.device.default:  # most of what is asked; counted as an operation that reads
            self.history.append((self.others, self.logits))
            self.seconds += self.speed.seconds(0, args[0].numel() * args[0].element_size())
            return args[0].fake_device
        out = func(*args, **(kwargs or {}))
        made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        for tensor in made:
            self.add(tensor)
        self.history.append((self.others, self.logits))
        packet = func._overloadpacket
        if packet.__name__ in VIEWS:
            return out
        count = flop_registry.get(AS_ADDMM.get(packet, packet))
        flops = int(count(*args, **(kwargs or {}), out_val=out)) if count else 0
        read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        moved = sum(t.numel() * t.element_size() for t in (*read, *made))
        self.seconds += self.speed.seconds(flops, moved)
        return out


def simulate(
    model: Any,
    batch: Mapping[str, Any],
    optimizer: Callable[[Any], Any],
    autocast: Callable[[], AbstractContextManager[Any]],
    speed: Speed,
    fused: bool = True,
) -> Simulated:
    """Run an update and a pass of a `model` on the meta device over a `batch` (see `layout`).

    Args:
        optimizer: makes the optimizer of the model that it is given. autocast: makes the context of a forward pass.
        fused: whether the plain LoRA layers compute as `fused_lora` lets them.

    Raises:
        Exception: whatever a model raises that looks at values (to choose experts, say).
    """
    from agentlora.plugins.trainers.fused import fused_lora

    pretended = FakeTensorMode(allow_non_fake_inputs=True)
    fake = pretended.from_tensor
    of = Targets.of(batch["labels"], batch["weights"])
    where = None if of.where is None else (fake(of.where[0]), fake(of.where[1]))
    targets = Targets(fake(of.at), where, fake(of.labels), fake(of.weights))
    batch = {key: fake(value) if isinstance(value, Tensor) else value for key, value in batch.items()}
    on_cpu(model, pretended)
    meter = Meter(model.config.get_text_config().vocab_size, speed)
    with pretended, casting_left_to_autocast(model), fused_lora(model) if fused else nullcontext():
        stepping = optimizer(model)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.empty_like(parameter)  # of the update's passes before this one
        meter.know(model)
        with meter:
            stepping.step()
            update_seconds, state = meter.seconds, meter.others
            meter.restart()
            with autocast():
                losses = token_losses(model, model_inputs(model, batch), targets, model)
                loss = (losses * targets.weights).sum()
            forward, forward_seconds = len(meter.history), meter.seconds
            loss.backward()
    # half of the last layer's part of the way back: what the layers kept is all there still
    end = forward + (len(meter.history) - forward) // (2 * model.config.get_text_config().num_hidden_layers)
    kept, logits = max(meter.history[:end], key=sum)
    late = max(map(sum, meter.history[end:]))
    return Simulated(
        state, kept - state, logits, late - state, forward_seconds, meter.seconds, update_seconds
    )


def on_cpu(model: Any, pretended: FakeTensorMode) -> None:
    """Let the meta tensors of `model` pass for tensors of a CPU, so that autocast and fused parts see one."""
    found: dict[int, Tensor] = {}

    def same(tensor: Tensor) -> Tensor:
        if id(tensor) not in found:
            stand_in: Tensor = FakeTensor(pretended, tensor.detach(), torch.device("cpu"))
            if isinstance(tensor, torch.nn.Parameter):
                stand_in = torch.nn.Parameter(stand_in, requires_grad=tensor.requires_grad)
            found[id(tensor)] = stand_in
        return found[id(tensor)]

    for module in model.modules():
        for of_module in (module._parameters, module._buffers):
            for name, tensor in of_module.items():
                if tensor is not None:
                    of_module[name] = same(tensor)
