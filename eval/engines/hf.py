"""The engine in this process: transformers for the base model, peft for its adapters."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentlora.core.decoding import neutral
from agentlora.core.errors import ConfigError, EvalError, PluginError, boundary, needs_extra, unknown
from agentlora.core.files import read_json
from agentlora.core.libraries import prepare_libraries, stop_ids
from agentlora.core.logits import with_wide_logits
from agentlora.core.provenance import cpu_name, package_version
from agentlora.core.types import (
    JSON,
    METHOD_FILE,
    Capabilities,
    ChoiceOutput,
    ChoiceRequest,
    EngineSpec,
    GenerateRequest,
    Output,
    Trace,
)
from agentlora.eval.engines import choices, grammars, prefixes
from agentlora.eval.engines.batching import halved, ready
from agentlora.eval.engines.decoding import generation_config, neutralised
from agentlora.eval.engines.likeliest import Likeliest
from agentlora.eval.engines.options import check_options
from agentlora.eval.engines.prompts import Prompt, batches

if TYPE_CHECKING:
    import torch

OPTIONS = ("device", "dtype", "batch_size", "batch_tokens")
BATCH_SIZE = 16
BATCH_TOKENS = 8192  # padded prompt tokens and new tokens of a batch: about 1 GB of activations at 135 M


class TransformersFactory:
    """Opens `TransformersEngine`. Options: device, dtype, batch_size, batch_tokens."""

    def open(self, spec: EngineSpec) -> TransformersEngine:
        """Load model and tokenizer of ``spec.model_dir``: float32 on a CPU, bfloat16 elsewhere.

        Raises:
            MissingExtra: torch, transformers or peft is not installed.
            ConfigError: an unknown option, or a directory that holds no model.
        """
        check_options("transformers", spec.options, OPTIONS)
        prepare_libraries()
        with needs_extra("train", "the engine 'transformers'"):
            import torch
            import transformers
        if not (spec.model_dir / "config.json").is_file():
            raise ConfigError(f"{str(spec.model_dir)!r} holds no model: it has no config.json.")
        device = str(spec.options.get("device") or ("cuda" if torch.cuda.is_available() else "cpu"))
        name = str(spec.options.get("dtype") or ("float32" if device == "cpu" else "bfloat16"))
        dtype = getattr(torch, name, None)
        if not isinstance(dtype, torch.dtype):
            raise ConfigError(
                f"engine 'transformers': dtype {name!r} is none; use float32, bfloat16 or float16."
            )
        with boundary(ConfigError, f"loading the model in {str(spec.model_dir)!r}"):
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                spec.model_dir, local_files_only=True, padding_side="left"
            )
            model = transformers.AutoModelForCausalLM.from_pretrained(
                spec.model_dir, local_files_only=True, dtype=dtype
            )
            model = with_wide_logits(model.to(device).eval())
        return TransformersEngine(model, tokenizer, spec)


class TransformersEngine:
    """Greedy (or sampled) generation in left-padded batches of requests for the same adapter.

    Attributes:
        identity: what else than the model decides its answers: number format, device and libraries.
        decoding: how they are written (`agentlora.core.decoding`).
    """

    def __init__(self, model: Any, tokenizer: Any, spec: EngineSpec) -> None:
        self.capabilities = Capabilities(adapters=True, json_schema=grammars.available(), choices=True)
        self._model, self._tokenizer, self._spec = neutralised(model), tokenizer, spec
        self.decoding = neutral(spec.model_dir)
        libraries = " ".join(f"{name} {package_version(name)}" for name in ("torch", "transformers"))
        libraries += f" xgrammar {package_version('xgrammar')}" if grammars.available() else ""
        head = "" if str(model.dtype) == "torch.float32" else " logits float32"
        self.identity = f"{model.dtype}{head} {_device_name(model.device)} {libraries}"
        self._adapters: dict[str, tuple[str, Path]] = {}  # name → (peft's name, directory)
        self._models: dict[str, Any] = {}  # of adapters that PEFT does not load
        self._unpadded: set[str] = set()  # adapters whose prompts are not padded
        self._virtual: set[str] = set()  # adapters with virtual tokens, which stand before whole prompts only
        self._loads = 0  # from the first one on the model is wrapped by peft
        self._stops = stop_ids(model, tokenizer)
        self._grammars = grammars.Grammars(tokenizer, model.config.get_text_config().vocab_size, self._stops)
        self._batch_size = int(spec.options.get("batch_size", BATCH_SIZE))
        self._batch_tokens = int(spec.options.get("batch_tokens", BATCH_TOKENS))

    def add_adapter(self, name: str, directory: Path) -> None:
        """Load a PEFT adapter, or what another method exported.

        Raises:
            ConfigError: `directory` holds no adapter, or `name` stands for another directory.
            EvalError: weights of the adapter have no place in this model, or places stay empty; PEFT would
                only warn, and the base would answer in the adapter's name.
        """
        if name in self._adapters:
            if self._adapters[name][1] != directory:
                raise ConfigError(
                    f"adapter {name!r} is {str(self._adapters[name][1])!r} already; name it anew."
                )
            return
        if (directory / METHOD_FILE).is_file():
            self._models[name] = self._load_by_method(directory)
            self._adapters[name] = name, directory
            return
        if not (directory / "adapter_config.json").is_file():
            raise ConfigError(
                f"adapter {name!r}: {str(directory)!r} holds no PEFT adapter (adapter_config.json)."
            )
        from peft import PeftConfig, PeftModelForCausalLM, PeftType

        inner = f"a{self._loads}"  # peft makes module names of it, which may hold no dot
        with boundary(EvalError, f"loading adapter {name!r} from {str(directory)!r}"):
            if not self._loads:
                config = PeftConfig.from_pretrained(str(directory))
                config.inference_mode = True
                self._model = PeftModelForCausalLM(self._model, config, inner)
            self._loads += 1
            result = self._model.load_adapter(str(directory), inner)
        self._model.eval()
        # PEFT loads prompt embeddings apart
        unexpected = [key for key in result.unexpected_keys if key != "prompt_embeddings"]
        strangers = [*unexpected, *result.missing_keys]
        if strangers:
            raise EvalError(
                f"adapter {name!r} in {str(directory)!r} does not fit this base: "
                f"{len(unexpected)} of its weights have no place and {len(result.missing_keys)} "
                f"places stay empty, for example {strangers[0]!r}. Use the base that it was trained on."
            )
        self._adapters[name] = (inner, directory)
        loaded = self._model.peft_config[inner]
        if loaded.is_prompt_learning:
            self._virtual.add(name)
        if loaded.peft_type == PeftType.PROMPT_TUNING:
            # PEFT puts the virtual tokens before the padding and counts it as positions
            self._unpadded.add(name)

    def _load_by_method(self, directory: Path) -> Any:
        """Raises PluginError when the method that made the export cannot load it."""
        from agentlora.core.manager import default_plugins

        name = str(read_json(directory / METHOD_FILE).get("name"))
        method = default_plugins().get("peft_methods", name)
        if not hasattr(method, "load"):
            raise PluginError(f"method {name!r} exported {str(directory)!r} and has no `load` for it.")
        with boundary(PluginError, f"method {name!r}, loading {str(directory)!r}"):
            model = method.load(self._spec.model_dir, directory, dtype=self._model.dtype)
        return with_wide_logits(neutralised(model).to(self._model.device).eval())

    def generate(self, requests: Sequence[GenerateRequest]) -> list[Output]:
        """Answer in order; a request that does not fit or fails is an Output with `error`."""
        return [output for _, output in sorted(self._answers(requests), key=lambda found: found[0])]

    def stream(self, requests: Sequence[GenerateRequest]) -> Iterator[Output]:
        """As `generate`, batch by batch: those with the longest prompts first."""
        return (output for _, output in self._answers(requests))

    def score_choices(self, requests: Sequence[ChoiceRequest]) -> list[ChoiceOutput]:
        """Score in order, in batches; the prompt of a request is computed once for all its choices."""
        asked, failed = ready(self._asked, requests)
        found = failed | dict(self._scored(asked))
        return [
            ChoiceOutput(request.id, error=told)
            if isinstance(told := found[place], str)
            else ChoiceOutput(request.id, tuple(told))
            for place, request in enumerate(requests)
        ]

    def trace(self, requests: Sequence[GenerateRequest]) -> list[Trace]:
        """As `generate`, token by token. Memory has to be enough for a batch."""
        prompts, outputs = self._prompts(requests)
        traces = {place: Trace(output) for place, output in outputs.items()}
        for batch in self._batches(prompts):
            watch = Likeliest()
            for row, (prompt, ids) in enumerate(zip(batch, self._new_ids(batch, [watch]), strict=True)):
                output = self._output(prompt, ids)
                ids = ids[: output.output_tokens]
                likeliest = tuple(watch.at(row, place, token) for place, token in enumerate(ids))
                traces[prompt.place] = Trace(output, tuple(prompt.ids), tuple(ids), likeliest)
        return [traces[place] for place in range(len(requests))]

    def next_logprobs(
        self, request: GenerateRequest, ids: Sequence[int], among: Sequence[int]
    ) -> list[float]:
        """Log-probabilities of the tokens `among` as the next one after the request's prompt and `ids`."""
        import torch

        model = self._models.get(request.adapter or "", self._model)
        known = torch.tensor([[*self._render(request), *ids]], device=model.device)  # [1, prompt and ids]
        with self._using(request.adapter), torch.inference_mode():
            logits = model(input_ids=known).logits[0, -1].float()  # [vocabulary]
        said: list[float] = torch.log_softmax(logits, -1)[list(among)].tolist()
        return said

    def spell(self, token: int) -> str:
        """A token as text."""
        return str(self._tokenizer.decode([token], skip_special_tokens=False))

    def answer_nats(self, requests: Sequence[GenerateRequest], answers: Sequence[JSON]) -> list[float | str]:
        """See `agentlora.eval.nats.TellsNats`; the end of the turn is one of an answer's tokens."""
        given, failed = ready(self._given, requests, answers)
        found = failed | dict(self._scored(given))
        lengths = {one.place: len(one.choices[0]) for one in given}
        return [
            told if isinstance(told := found[place], str) else -told[0] / lengths[place]
            for place in range(len(requests))
        ]

    @contextmanager
    def in_process(self, adapter: str | None) -> Iterator[tuple[Any, Any]]:
        """(model, tokenizer) that answer as `adapter`, or as the base, inside the block.

        Raises:
            ConfigError: there is no such adapter.
        """
        if adapter is not None and adapter not in self._adapters:
            raise ConfigError(unknown("adapter", adapter, self._adapters))
        with self._using(adapter):
            yield self._models.get(adapter or "", self._model), self._tokenizer

    def __enter__(self) -> TransformersEngine:
        return self

    def __exit__(self, *exc: object) -> None:
        self._model = None
        self._models.clear()
        gc.collect()

    def _answers(self, requests: Sequence[GenerateRequest]) -> Iterator[tuple[int, Output]]:
        """(place in `requests`, output), as they are there."""
        prompts, failed = self._prompts(requests)
        yield from failed.items()
        for batch in self._batches(prompts):
            for prompt, told in zip(batch, halved(batch, self._run), strict=True):
                yield prompt.place, _failed(prompt.request, told) if isinstance(told, str) else told

    def _scored(self, asked: Sequence[choices.Asked]) -> Iterator[tuple[int, list[float] | str]]:
        """(place, log-probabilities of its choices, or why there are none), as they are there."""
        for batch in choices.batches(asked, self._batch_size, self._batch_tokens):
            for one, told in zip(batch, halved(batch, self._log_probs), strict=True):
                yield one.place, told

    # --- one batch ---

    def _prompts(self, requests: Sequence[GenerateRequest]) -> tuple[list[Prompt], dict[int, Output]]:
        """What can be answered, and the errors of the others by place."""
        prompts, failed = ready(self._prepared, requests)
        return prompts, {place: _failed(requests[place], why) for place, why in failed.items()}

    def _prepared(self, place: int, request: GenerateRequest) -> Prompt:
        return Prompt(place, request, self._render(request), self._grammars.of(request))

    def _batches(self, prompts: Sequence[Prompt]) -> Iterator[list[Prompt]]:
        return batches(prompts, self._batch_size, self._batch_tokens, self._unpadded, self._shares)

    def _shares(self, adapter: str | None) -> bool:
        """Whether prefixes are computed once. Virtual tokens stand before whole prompts only."""
        return adapter not in self._virtual and prefixes.takes(self._models.get(adapter or "", self._model))

    def _render(self, request: GenerateRequest) -> list[int]:
        """The prompt's token ids. Raises ValueError when it cannot be answered here."""
        return self._prompt(request, request.max_tokens)

    def _prompt(self, request: GenerateRequest | ChoiceRequest, room: int) -> list[int]:
        """Raises ValueError when the adapter is unknown, or after the prompt there is no `room` for so many tokens."""
        if request.adapter is not None and request.adapter not in self._adapters:
            raise ValueError(f"unknown adapter {request.adapter!r}")
        ids: list[int] = self._tokenizer(self._text(request), add_special_tokens=False)["input_ids"]
        if len(ids) + room > self._spec.max_len_tokens:
            raise ValueError(
                f"the prompt has {len(ids)} tokens; with {room} new ones that is more than "
                f"the {self._spec.max_len_tokens} of max_len_tokens"
            )
        return ids

    def _text(self, request: GenerateRequest | ChoiceRequest, *answer: JSON) -> str:
        """The prompt as text; with an answer, the conversation that ends with it."""
        text: str = self._tokenizer.apply_chat_template(
            [*request.messages, *answer],
            tools=list(request.tools) or None,
            chat_template=self._spec.chat_template,
            add_generation_prompt=not answer,
            tokenize=False,
        )
        return text

    def _given(self, place: int, request: GenerateRequest, answer: JSON) -> choices.Asked:
        """The answer as the only choice.

        Raises ValueError where the template does not write the answer behind the prompt, or there is no room.
        """
        prompt, whole = self._text(request), self._text(request, answer)
        if not whole.startswith(prompt):
            raise ValueError("the chat template writes the prompt otherwise where an answer follows")
        ids: list[int] = self._tokenizer(whole[len(prompt) :], add_special_tokens=False)["input_ids"]
        end = next((i for i, token in enumerate(ids) if token in self._stops), len(ids) - 1)
        ids = ids[: end + 1]  # as far as a model writes
        before = self._render(replace(request, max_tokens=len(ids)))
        if not ids:
            raise ValueError("the expected answer has no tokens")
        return choices.Asked(place, request.adapter, before, [ids])

    def _asked(self, place: int, request: ChoiceRequest) -> choices.Asked:
        """Choices are tokenized alone, because an answer begins after the prompt's last token and never within it.

        Raises ValueError when it cannot be scored here.
        """
        rows = [self._tokenizer(choice, add_special_tokens=False)["input_ids"] for choice in request.choices]
        if not all(rows):
            raise ValueError("a choice has no tokens")
        prompt = self._prompt(request, max(map(len, rows)))
        return choices.Asked(place, request.adapter, prompt, rows)

    def _log_probs(self, batch: Sequence[choices.Asked]) -> list[list[float]]:
        adapter = batch[0].adapter
        model = self._models.get(adapter or "", self._model)
        with self._using(adapter):
            return choices.log_probs(model, batch, self._stops[0], shared=adapter not in self._virtual)

    def _run(self, batch: Sequence[Prompt]) -> list[Output]:
        began = time.perf_counter()
        answers = self._new_ids(batch)
        took = round(time.perf_counter() - began, 4)
        return [self._output(p, ids, took) for p, ids in zip(batch, answers, strict=True)]

    def _new_ids(self, batch: Sequence[Prompt], watching: Sequence[Likeliest] = ()) -> list[list[int]]:
        """What is generated for each prompt, with what stands behind its end of turn."""
        import torch
        from transformers import LogitsProcessorList

        request = batch[0].request
        rows, pad = [p.ids for p in batch], self._stops[0]
        if request.temperature and request.seed is not None:
            torch.manual_seed(request.seed)  # the batch is the same one for the same requests
        model = self._models.get(request.adapter or "", self._model)
        ids, mask = prefixes.padded(rows, pad, model.device)  # [batch, width]
        with self._using(request.adapter), torch.inference_mode():
            begun = prefixes.begun(model, rows, pad) if self._shares(request.adapter) else None
            generated = model.generate(
                input_ids=ids,
                attention_mask=mask,
                generation_config=generation_config([p.request for p in batch], self._stops),
                logits_processor=LogitsProcessorList(
                    [*(grammars.held([p.grammar for p in batch]) or ()), *watching]
                ),
                **({} if begun is None else {"past_key_values": begun}),
            )
        new: list[list[int]] = generated[:, ids.shape[1] :].tolist()  # [batch, at most max_new_tokens]
        return new

    def _using(self, adapter: str | None) -> AbstractContextManager[Any]:
        if adapter in self._models:
            return nullcontext()
        if adapter is not None:
            self._model.set_adapter(self._adapters[adapter][0])
            return nullcontext()
        return self._model.disable_adapter() if self._loads else nullcontext()

    def _output(self, prompt: Prompt, ids: list[int], seconds: float | None = None) -> Output:
        ids = ids[: prompt.request.max_tokens]
        end = next((i for i, token in enumerate(ids) if token in self._stops), None)
        # Call marks may be special tokens, so none is skipped; the end of turn is cut off instead.
        text = self._tokenizer.decode(
            ids[:end], skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return Output(
            id=prompt.request.id,
            text=text,
            finish_reason="length" if end is None else "stop",
            prompt_tokens=len(prompt.ids),
            output_tokens=len(ids) if end is None else end + 1,
            latency_s=seconds,
        )


def _device_name(place: torch.device) -> str:
    """What computes: CPUs of one kind and GPUs of one model answer alike."""
    import torch

    return torch.cuda.get_device_name(place) if place.type == "cuda" else f"{place.type} {cpu_name()}"


def _failed(request: GenerateRequest, error: str) -> Output:
    return Output(request.id, "", finish_reason="error", error=error)
