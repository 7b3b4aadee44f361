"""On-policy distillation from a teacher with other tokens: compared at the places where both have read the same."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from dtypes import DTYPES
from rollout_runs import fit, fit_interrupted, learnt_by_heart, new_run
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from trl.trainer.distillation_trainer import _chunked_divergence_loss

from agentlora.core.errors import ConfigError
from agentlora.core.manager import default_plugins
from agentlora.core.run import Run
from agentlora.core.types import Example, Expected
from agentlora.plugins.bases.resolve import resolve_base
from agentlora.plugins.trainers.across import (
    ELSE,
    END,
    divergence,
    probabilities,
    shared_events,
    shared_spans,
    spelling_of,
)

PARAMS = {"max_new_tokens": 12}
TEXT = 'Dim the "hall": ünï 🛋️\n<tool_call>'


@pytest.fixture(scope="module")
def teacher(stranger_dir: Path, examples: list[Example], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of the model with other tokens, which has learnt the answers by heart."""
    return learnt_by_heart(stranger_dir, examples, tmp_path_factory.mktemp("teacher") / "run", 40)


@pytest.fixture
def prompts(examples: list[Example]) -> list[Example]:
    """Nobody has answered them."""
    return [replace(example, expected=Expected()) for example in examples]


def student(tiny: Path, prompts: list[Example], directory: Path, teacher: Path, **training: Any) -> Run:
    training = {"batch_size": 4, "lr": 1e-2, **training}
    source = {"teacher": {"source": str(teacher)}}
    return new_run(tiny, prompts, directory, "on-policy", PARAMS, source, **training)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_student_comes_nearer_to_a_teacher_with_other_tokens(
    dtype: str, tiny_model_dir: Path, prompts: list[Example], teacher: Run, tmp_path: Path
) -> None:
    run = student(tiny_model_dir, prompts, tmp_path / "run", teacher.directory, max_steps=30, dtype=dtype)
    rows = fit(run, prompts)
    losses = [row["loss"] for row in rows]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5]), losses
    assert all(0 < row["compared_tokens"] <= row["answer_tokens"] for row in rows[-5:])
    assert (run.adapter_dir / "adapter_model.safetensors").is_file()


def test_an_interrupted_training_ends_as_if_it_had_not_been(
    tiny_model_dir: Path, prompts: list[Example], teacher: Run, tmp_path: Path
) -> None:
    whole = student(tiny_model_dir, prompts, tmp_path / "whole", teacher.directory)
    expected = fit(whole, prompts)
    torn = student(tiny_model_dir, prompts, tmp_path / "torn", teacher.directory)
    for found, wanted in zip(fit_interrupted(torn, prompts, 5), expected, strict=True):
        assert found["loss"] == pytest.approx(wanted["loss"], abs=1e-6), found["step"]


def test_answers_are_cut_where_both_have_read_the_same() -> None:
    assert shared_spans([b"kit", b"chen", b" on"], [b"kitchen", b" o", b"n"]) == [(0, 2, 0, 1), (2, 3, 1, 3)]
    # nothing is compared behind what they spell differently, nor within a token of the other
    assert shared_spans([b"a", b"\xff", b"c"], [b"a", "\ufffd".encode(), b"c"]) == [(0, 1, 0, 1)]
    assert shared_spans([b"ab"], [b"a", b"bc"]) == []
    assert shared_spans([b"a", b"", b"b"], [b"ab"]) == [(0, 3, 0, 1)]


def test_tokens_spell_what_they_are_made_of(tiny_model_dir: Path, stranger_dir: Path) -> None:
    pieces = AutoTokenizer.from_pretrained(tiny_model_dir), AutoTokenizer.from_pretrained(stranger_dir)
    for tokenizer in (*pieces, sentencepiece()):
        spelt = spelling_of(tokenizer, "it").written(tokenizer(TEXT, add_special_tokens=False)["input_ids"])
        assert b"".join(spelt).decode() == TEXT
    a, b = (tokenizer(TEXT, add_special_tokens=False)["input_ids"] for tokenizer in pieces)
    assert len(a) != len(b)
    words = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordPiece({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    )
    with pytest.raises(ConfigError, match="'bert' write cannot be read"):
        spelling_of(words, "bert")


def sentencepiece() -> Any:
    """As Llama 2 has it: a space before the text, bytes for what has no token."""
    alphabet = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"Dimthe", "▁t", "▁th"]
    merges = [("▁", "t"), ("▁t", "h")]
    vocabulary = {token: i for i, token in enumerate(alphabet)}
    made = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")


def test_a_token_counts_as_the_longest_beginning_that_both_have() -> None:
    ours, theirs = bytewise("kit", "kitchen", "<end>"), bytewise("kit", "kitten", "<stop>")
    of_ours, of_theirs, count = shared_events(ours[0], [ours[1]["<end>"]], theirs[0], [theirs[1]["<stop>"]])
    kit = of_ours[ours[1]["kit"]]
    assert of_ours[ours[1]["kitchen"]] == of_theirs[theirs[1]["kitten"]] == of_theirs[theirs[1]["kit"]] == kit
    assert of_ours[ours[1]["<end>"]] == of_theirs[theirs[1]["<stop>"]] == END
    assert sorted({*of_ours.values(), *of_theirs.values(), ELSE}) == list(range(count))


def bytewise(*words: str) -> tuple[Any, dict[str, int]]:
    """The spelling of a tokenizer of all bytes and some words, of which those in brackets are of control; its ids."""
    ids = {token: i for i, token in enumerate([*sorted(pre_tokenizers.ByteLevel.alphabet()), *words])}
    made = Tokenizer(models.BPE(ids, []))
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([word for word in words if word.startswith("<")])
    return spelling_of(PreTrainedTokenizerFast(tokenizer_object=made), "it"), ids


def test_one_who_says_the_same_in_other_tokens_is_no_distance_away() -> None:
    """kit and chen against kitchen: as likely as a whole, and no token of the one is one of the other's."""
    (ours, a), (theirs, b) = bytewise("kit", "chen", "<end>"), bytewise("kitchen", "<end>")
    of_ours, of_theirs, count = shared_events(ours, [a["<end>"]], theirs, [b["<end>"]])

    def seen(
        rows: list[dict[int, float]], ids: list[int], spans: Any, events: dict[int, int]
    ) -> torch.Tensor:
        log_probs = torch.full((len(rows), len(events)), -100.0)
        for row, chances in enumerate(rows):
            for token, chance in chances.items():
                log_probs[row, token] = torch.tensor(chance).log()
        return probabilities(
            log_probs, ids, spans, torch.tensor([events[i] for i in range(len(events))]), count
        )

    rows = [{a["kit"]: 0.5, a["x"]: 0.5}, {a["chen"]: 0.5, a["e"]: 0.5}, {a["<end>"]: 1.0}]
    p = seen(rows, [a["kit"], a["chen"], a["<end>"]], [(0, 2), (2, 2)], of_ours)
    # a quarter each: kitchen, and what else begins with k; that half is x
    q = seen(
        [{b["kitchen"]: 0.25, b["k"]: 0.25, b["x"]: 0.5}, {b["<end>"]: 1.0}],
        [b["kitchen"]],
        [(0, 1), (1, 1)],
        of_theirs,
    )
    assert p.sum(1).tolist() == pytest.approx([1, 1])
    for beta in (0.0, 0.3, 1.0):
        assert float(divergence(p, q, beta)) == pytest.approx(0, abs=1e-5)
    other = seen(
        [{b["kitchen"]: 0.5, b["x"]: 0.5}, {b["<end>"]: 1.0}], [b["kitchen"]], [(0, 1), (1, 1)], of_theirs
    )
    assert float(divergence(p, other, 0.0)) == pytest.approx(0.5 * torch.tensor(2.0).log().item(), abs=1e-5)


@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
def test_with_one_vocabulary_it_is_trls_divergence(beta: float) -> None:
    torch.manual_seed(0)
    ours, theirs = torch.randn(2, 5, 40, requires_grad=True).unbind(0)
    ids, each, events = [3, 1, 4, 1], [(i, i + 1) for i in range(4)] + [(4, 4)], torch.arange(40) + 1
    p, q = (probabilities(x.log_softmax(-1), ids, each, events, 41) for x in (ours, theirs))
    found = divergence(p, q, beta)
    head = torch.eye(40)
    wanted, *_ = _chunked_divergence_loss(ours[None], theirs[None], head, head, torch.ones(1, 5), beta, 1)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
    gradients = (torch.autograd.grad(loss, ours, retain_graph=True)[0] for loss in (found, wanted))
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


def test_a_teacher_that_writes_calls_in_another_form_is_refused(
    tiny_model_dir: Path, stranger_dir: Path, prompts: list[Example], tmp_path: Path
) -> None:
    plugins = default_plugins()
    trainer, method = plugins.get("trainers", "on-policy"), plugins.get("peft_methods", "lora")
    base = resolve_base(str(tiny_model_dir), plugins, tmp_path)
    run = student(tiny_model_dir, prompts, tmp_path / "run", stranger_dir)
    trainer.check(run.config, base, method)
    foreign = shutil.copytree(stranger_dir, tmp_path / "foreign")
    template = (  # begins with a thought, which no answer has
        "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant] <think>{% endif %}"
    )
    (foreign / "chat_template.jinja").write_text(template)
    run = student(tiny_model_dir, prompts, tmp_path / "run2", foreign)
    with pytest.raises(ConfigError, match="does not render an answer as a continuation"):
        trainer.check(run.config, base, method)
