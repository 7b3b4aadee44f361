"""What every test can use: a home of its own, and a tiny random-weight model with a real tokenizer."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def pytest_collection_finish() -> None:
    """What torch and its like have made by then stays: to look through it took half a second of every training, which
    collects garbage before its first step.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Fast tests never see the user's home; slow ones share the one that `make` prepared."""
    if "slow" not in request.keywords:
        monkeypatch.setenv("AGENTLORA_HOME", str(tmp_path / "home"))


@pytest.fixture(autouse=True, scope="session")
def _records_fit_their_schemas() -> Iterator[None]:
    """Every record and every sample that a test has written is what the published schemas say."""
    import jsonschema_rs

    from agentlora.eval import samples, schemas
    from agentlora.eval.record import FORMAT, Record

    record_fits, sample_fits = (
        jsonschema_rs.Draft202012Validator(of()) for of in (schemas.record_schema, schemas.sample_schema)
    )
    save, write = Record.save, samples.write_jsonl

    def save_fitting(record: Record, path: Path) -> None:
        if record.format == FORMAT:
            record_fits.validate(record.to_dict())
        save(record, path)

    def write_fitting(path: Path, values: Iterable[Any]) -> None:
        values = list(values)
        for value in values:
            sample_fits.validate(value)
        write(path, values)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Record, "save", save_fitting)
        patched.setattr(samples, "write_jsonl", write_fitting)
        yield


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers, hidden size 64, with a byte-level BPE tokenizer that knows ChatML."""
    from agentlora.plugins.bases.templates import chatml_tools

    text = [
        chatml_tools(),
        '{"name": "set_light", "arguments": {"room": "kitchen"}}',
        "turn on the light in the kitchen",
    ]
    return _tiny_model(tmp_path_factory.mktemp("tiny-model"), text, 600)


@pytest.fixture(scope="session")
def stranger_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `tiny_model_dir`, with other tokens and other weights."""
    text = [
        "the kitchen light is on, the hall is dark",
        '"arguments": {"room": "attic", "level": 3}',
        "<tool_call>",
    ]
    return _tiny_model(tmp_path_factory.mktemp("stranger"), text, 320, seed=1)


def _tiny_model(directory: Path, text: list[str], vocabulary: int, seed: int = 0) -> Path:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from agentlora.plugins.bases.templates import chatml_tools

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        text * 3,
        trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=special, initial_alphabet=alphabet),
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
    )
    fast.chat_template = chatml_tools()
    fast.save_pretrained(directory)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
        bos_token_id=None,
        initializer_range=0.2,  # with the default 0.02 the logits are so flat that no adapter can learn
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    return directory
