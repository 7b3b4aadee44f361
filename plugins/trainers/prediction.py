"""What a training will need and take, before it begins: parameters, peak memory, time."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

from agentlora.core.config import RunConfig, TrainingConfig
from agentlora.core.libraries import best_dtype
from agentlora.core.types import JSON, Method
from agentlora.plugins.trainers.attention import NAME as TREE_ATTENTION
from agentlora.plugins.trainers.layout import computed_tokens, items_in_all, lay_out, pad, training_passes
from agentlora.plugins.trainers.loading import attention_for, is_quantized, stored_bits
from agentlora.plugins.trainers.memory import activation_bytes, heaviest, micro_batch_of
from agentlora.plugins.trainers.rows import Item, Pair, Row, flat

COUNTED = 8  # models whose counts are kept
# Layers that are simulated; every further one adds what those between them added. With checkpointing the most is had
# where a layer is computed anew, which needs more of them to be seen (docs/experiments.md).
DEPTHS, DEPTHS_CHECKPOINTED = (1, 2), (2, 4)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Of one training. `memory`: bytes at its peak, by what holds them; `process` is what the process has before, where
    it trains on a CPU. `simulated`: whether the model could be run without values; if not, a formula stands in, and
    there is no time. `tokens` and `computed_tokens` are of the whole training.
    """

    per_module: Mapping[str, int]
    trainable: int
    parameters: int
    memory: Mapping[str, int]
    micro_batch: int
    passes: int
    updates: int
    tokens: int
    computed_tokens: int
    sharing: bool
    seconds: float | None
    simulated: bool

    @property
    def peak(self) -> int:
        """Bytes."""
        return sum(self.memory.values())

    def to_dict(self) -> JSON:
        return {**asdict(self), "peak": self.peak}


def predict(
    model_dir: Path,
    config: RunConfig,
    method: Method,
    params: Any,
    items: Sequence[Item],
    sharing: bool | None = None,
    micro_batch: int | None = None,
    process: int | None = None,
    arguments: Any = None,
    part: float = 1.0,
) -> Prediction:
    """What training on `items` will need on this device; nothing is computed and no weight is read.

    Args:
        model_dir: has a ``config.json``; weights are not needed.
        params: an instance of ``method.Params``.
        sharing: whether the model can share prefixes, and micro_batch: items a forward pass, where that is known.
        process: bytes that the process has before it loads the model; as now when not given.
        arguments: the ``TrainingArguments``, where they are made already: making them resets what accelerate knows.
        part: how much of all there is to train on `items` are.
    """
    import torch

    training = config.training
    counted = counts_of(model_dir, method, params, training)
    of_model = counted.config
    value_bytes = torch.finfo(getattr(torch, dtype_of(training))).bits // 8
    if sharing is None:
        sharing = training.shared_prefix and _sees_everything(of_model) and not counted.has_prompt
    attention = TREE_ATTENTION if training.attention in ("auto", "flex") else training.attention
    micro = micro_batch or micro_batch_of(training, items, of_model, value_bytes, sharing, attention)
    accumulate = training.batch_size // micro
    in_all = items_in_all(training, round(len(items) / part))
    updates = ceil(in_all / training.batch_size)
    # of a training that is shorter than its data, no more than it will see
    of_epoch = min(in_all, len(items))
    passes = training_passes(items, training.batch_size, micro, config.seed, of_epoch, training.order)
    seen = sum(map(len, passes))

    def parts() -> Iterator[list[Item]]:
        """One at a time: there may be more than fit into memory."""
        return ([items[i] for i in part] for part in passes)

    worst = heaviest(parts(), of_model, value_bytes, training.gradient_checkpointing, sharing)
    memory = {"process": resident_bytes() if process is None else process, **counted.weights}
    found = simulated(model_dir, method, params, training, worst, sharing, arguments)
    if found is None:
        memory |= _by_formula(worst, of_model, value_bytes, training, counted.trainable)
    else:
        memory |= {"optimizer": found.optimizer, "activations": found.activations, "logits": found.logits}
    if training.optimizer.endswith("8bit"):
        memory["optimizer"] = counted.states_of_8bit
    cost = list(map(_cost(sharing), parts()))
    of_mean = sum(cost) / len(cost) / _cost(sharing)(worst)
    # how many times a forward pass over `worst` is as much as all that pairs only ask: the base once about every
    # answer, and the model in every epoch about those that belong to other prompts
    pairs = [item for item in items if isinstance(item, Pair)]
    once = _asked(sharing, [row for pair in pairs for row in pair.computed]) / part
    again = _asked(sharing, [row for pair in pairs for row in pair.mismatched]) * in_all / len(items)
    asked = (once + again) / _cost(sharing)(worst)
    return Prediction(
        per_module=counted.per_module,
        trainable=counted.trainable,
        parameters=counted.parameters,
        memory=memory,
        micro_batch=micro,
        passes=accumulate,
        updates=updates,
        tokens=round(sum(len(row.ids) for members in parts() for row in flat(members)) * in_all / seen),
        computed_tokens=round(sum(cost) * in_all / seen),
        sharing=sharing,
        seconds=found
        and updates * (accumulate * of_mean * found.pass_seconds + found.update_seconds)
        + asked * found.forward_seconds,
        simulated=found is not None,
    )


@dataclass(frozen=True, slots=True)
class Counts:
    """What a prediction asks of a whole model as a method changes it. `config`: of its text part; `weights`: bytes of
    weights, adapter and gradients; `states_of_8bit`: of an optimizer that keeps its states so.
    """

    config: Any
    has_prompt: bool
    per_module: Mapping[str, int]
    trainable: int
    parameters: int
    weights: Mapping[str, int]
    states_of_8bit: int

    @classmethod
    def of(cls, model: Any, bits: float) -> Counts:
        """`bits`: of a weight of the frozen linear layers, where that is not 0."""
        return cls(
            config=model.config.get_text_config(),
            has_prompt=_has_prompt(model),
            per_module=_per_module(model),
            trainable=sum(p.numel() for p in model.parameters() if p.requires_grad),
            parameters=sum({id(p): p.numel() for p in model.parameters()}.values()),
            weights=_weights(model, bits),
            states_of_8bit=_states_of_8bit(model),
        )


_counted: dict[tuple[Any, ...], tuple[Counts, Method]] = {}


def counts_of(model_dir: Path, method: Method, params: Any, training: TrainingConfig) -> Counts:
    """Of the model that is trained so. What is counted is kept: a plan that looks for settings that fit asks again with
    passes of another size, and a method needs a second for the layers of a large model.
    """
    # the method stands beside what it made, so that no other one gets its id
    key = (
        (model_dir / "config.json").read_text(), id(method), repr(params),
        dtype_of(training), training.attention,
    )  # fmt: skip
    if key not in _counted:
        bits = _bits(method.load_kwargs(params).get("quantization_config")) or _stored(model_dir)
        counts = Counts.of(meta_model(model_dir, method, params, training), bits)
        if len(_counted) == COUNTED:
            _counted.clear()
        _counted[key] = counts, method
    return _counted[key][0]


def simulated(
    model_dir: Path,
    method: Method,
    params: Any,
    training: TrainingConfig,
    items: Sequence[Item],
    sharing: bool,
    arguments: Any,
) -> Any:
    """The `Simulated` of a forward pass over `items`, extrapolated from a shallow model to the whole one; None where
    the model cannot be run without its values.
    """
    import torch
    from transformers import AutoConfig

    from agentlora.plugins.trainers.attention import use_tree_attention
    from agentlora.plugins.trainers.simulation import simulate
    from agentlora.plugins.trainers.speed import measured_speed

    dtype = getattr(torch, dtype_of(training))
    batch = lay_out(items) if sharing else pad(items, 0)
    config = AutoConfig.from_pretrained(model_dir).get_text_config()
    inner = getattr(config, "intermediate_size", 4 * config.hidden_size)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokens = 1 << batch["input_ids"].numel().bit_length()  # rounded, so that one measurement serves for many
    speed = measured_speed(dtype, device, tokens, config.hidden_size, inner)

    def at(depth: int | None) -> Any:
        model = meta_model(model_dir, method, params, training, depth)
        if sharing and training.attention in ("auto", "flex"):
            use_tree_attention(model)
        return simulate(
            model,
            batch,
            partial(_optimizer, method, params, arguments),
            partial(torch.autocast, "cpu", torch.bfloat16, enabled=dtype == torch.bfloat16),
            speed,
            fused="quantization_config" not in method.load_kwargs(params) and not is_quantized(model_dir),
        )

    layers = config.num_hidden_layers
    try:
        shallow, deep = DEPTHS_CHECKPOINTED if training.gradient_checkpointing else DEPTHS
        if layers <= deep:
            return at(None)
        return at(shallow).deeper(at(deep), (layers - shallow) / (deep - shallow))
    except RuntimeError:  # what torch raises where a model looks at values, to choose experts for instance
        return None


def _by_formula(
    items: Sequence[Item], config: Any, value_bytes: int, training: TrainingConfig, trainable: int
) -> dict[str, int]:
    """Bytes of what cannot be simulated, with AdamW's two states in float32."""
    scored = sum(len(row.ids) - row.start for row in flat(items))
    checkpointing = training.gradient_checkpointing
    return {
        "optimizer": 8 * trainable,
        "activations": activation_bytes(config, computed_tokens(items), 0, value_bytes, checkpointing),
        "logits": activation_bytes(config, 0, scored, value_bytes, checkpointing),
    }


def meta_model(
    model_dir: Path, method: Method, params: Any, training: TrainingConfig, depth: int | None = None
) -> Any:
    """The model as the method changes it, ready to train, on the meta device; of `depth` layers where that is given."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(model_dir)
    of_text = config.get_text_config()
    if depth is not None:
        of_text.num_hidden_layers = depth
        if getattr(of_text, "layer_types", None):
            of_text.layer_types = of_text.layer_types[:depth]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            config,
            dtype=getattr(torch, dtype_of(training)),
            attn_implementation=attention_for(model_dir, training),
        )
        model = method.apply(model, params)
    if training.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype == torch.bfloat16:
            parameter.data = parameter.data.float()  # as the trainer does
    return model.train()


def dtype_of(training: TrainingConfig) -> str:
    """Of the frozen base."""
    return best_dtype() if training.dtype == "auto" else training.dtype


def resident_bytes() -> int:
    """What this process has in memory; 0 where a GPU will hold what is trained, and off Linux."""
    import torch

    status = Path("/proc/self/status")
    if torch.cuda.is_available() or not status.is_file():
        return 0
    return int(re.search(r"VmRSS:\s+(\d+)", status.read_text())[1]) * 1024  # type: ignore[index]


def _optimizer(method: Method, params: Any, arguments: Any, model: Any) -> Any:
    from torch.optim import AdamW

    made = None
    with suppress(Exception):  # one that needs values, or a device that is not here
        made = own_optimizer(method, params, model, arguments)
    return made or AdamW([p for p in model.parameters() if p.requires_grad], fused=True)


def own_optimizer(method: Method, params: Any, model: Any, arguments: Any = None) -> Any:
    """The method's, or None where it takes the usual one."""
    from transformers import TrainingArguments

    if not hasattr(method, "optimizer"):
        return None
    return method.optimizer(model, params, arguments or TrainingArguments(use_cpu=True, max_steps=100))


def _states_of_8bit(model: Any) -> int:
    """Bytes of AdamW's two states in bitsandbytes' blocks; small tensors and embeddings keep theirs in float32."""
    import torch

    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    total = 0
    for parameter in model.parameters():
        size = parameter.numel()
        in_bytes = size >= 4096 and id(parameter) not in embeddings
        if parameter.requires_grad:
            total += 2 * (size + size // 64 if in_bytes else 4 * size)
    return total


def _weights(model: Any, bits: float) -> dict[str, int]:
    """Bytes of the frozen weights (of linear layers with so many `bits`, where that is not 0), of the trained ones and
    their gradients.
    """
    import torch

    head = model.get_output_embeddings()
    quantized = {
        id(module.weight): int(module.weight.numel() * bits / 8)
        for module in model.modules()
        if bits
        and isinstance(module, torch.nn.Linear)
        and module is not head
        and not module.weight.requires_grad
    }
    tensors = {id(t): t for t in (*model.parameters(), *model.buffers())}.values()
    trained = sum(t.numel() * t.element_size() for t in tensors if t.requires_grad)
    frozen = sum(quantized.get(id(t), t.numel() * t.element_size()) for t in tensors if not t.requires_grad)
    return {"weights": frozen, "adapter": trained, "gradients": trained}


def _bits(quantization: Any) -> float:
    """Bits a weight, with the constants of its blocks (Dettmers et al. 2023, section 3: 64 weights a block)."""
    if quantization is None:
        return 0.0
    if quantization.load_in_8bit:
        return 8.0
    return 4 + (0.127 if quantization.bnb_4bit_use_double_quant else 0.5)


def _stored(model_dir: Path) -> float:
    """The same of a base that is stored quantized, with constants of 64 weights a block below eight bits."""
    bits = stored_bits(model_dir) or 0
    return bits + 0.5 if 0 < bits < 8 else float(bits)


def _per_module(model: Any) -> dict[str, int]:
    """Trained parameters by the last two names of the module that they belong to, the most first."""
    counts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            path = re.sub(
                r"^base_model\.(model\.)?|\.(lora|hada|lokr|ia3|vera|miss|adaption|bottleneck)_.*$", "", name
            )
            parts = [
                part
                for part in path.split(".")
                if not part.isdigit() and part not in ("weight", "bias", "default")
            ]
            counts[".".join(parts[-2:])] += parameter.numel()
    return dict(counts.most_common())


def _cost(sharing: bool) -> Callable[[Sequence[Item]], int]:
    """Tokens that a forward pass computes."""

    def padded(part: Sequence[Item]) -> int:
        rows = flat(part)
        return len(rows) * max(len(row.ids) for row in rows)

    return computed_tokens if sharing else padded


def _asked(sharing: bool, rows: Sequence[Row]) -> int:
    """Tokens that are computed to ask about all `rows`, in passes of rows that are about equally long."""
    return computed_tokens(rows) if sharing else sum(len(row.ids) for row in rows)


def _sees_everything(config: Any) -> bool:
    """Whether every layer attends to all that is before, as far as a configuration says."""
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return kinds == {"full_attention"} and not getattr(config, "sliding_window", None)


def _has_prompt(model: Any) -> bool:
    config = getattr(model, "active_peft_config", None)
    return bool(config is not None and config.is_prompt_learning) or hasattr(config, "adapter_layers")
