"""Two models with different words, compared where both have read the same: what `on_policy` minimises where the
teacher's vocabulary is not the student's.

Both read the student's answer, each in tokens of its own. Wherever a token of the one ends at the same byte as a token
of the other, each says what comes next, and that is compared as a distribution over what both can say:

- the tokens that both have. One that only one of them has counts as the longest beginning of it that both have;
- the end of the answer, however either says it;
- the text up to the next shared end, as a whole: the product of its tokens' probabilities, taken from where its first
  token counts;
- anything else.

With one vocabulary that is the divergence of the two distributions. The last but one is what Minixhofer et al. 2025
(Universal Cross-Tokenizer Distillation via Approximate Likelihood Matching) compare; that tokens are compared by what
they say where both have read the same, is as in GOLD (Patiño et al. 2025). What only one of them has is not sorted by
size as in ULD (Boizard et al. 2024), which does not see what is said. TRL's GOLDTrainer shows the teacher the student's
prompt, special tokens and all, and has no place for prompts and checkpoints of ours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, TypeAlias

from agentlora.core.errors import ConfigError, DataError
from agentlora.core.libraries import stop_ids
from agentlora.core.types import Example, Expected
from agentlora.plugins.trainers.loss import takes_positions
from agentlora.plugins.trainers.rollouts import Session
from agentlora.plugins.trainers.rows import row_of

ELSE, END = 0, 1  # numbers of events; those of shared tokens follow
Span: TypeAlias = tuple[int, int, int, int]  # from and to of the student's tokens, and of the teacher's


@dataclass(frozen=True)
class Spelling:
    """How a tokenizer spells. `tokens`: what each token writes. `control`: those that no text is made of. `prefixed`:
    whether a space before the first token is not written.
    """

    tokens: Mapping[int, bytes]
    control: frozenset[int]
    prefixed: bool

    def written(self, ids: Sequence[int]) -> list[bytes]:
        """What each of the tokens of an answer writes."""
        found = [self.tokens.get(i, b"") for i in ids]
        if self.prefixed and found:
            found[0] = found[0].removeprefix(b" ")
        return found

    def keys(self) -> Iterator[tuple[int, tuple[bool, bytes]]]:
        """(token, what it is: whether of control, and what it writes)."""
        return ((i, (i in self.control, text)) for i, text in self.tokens.items())


def spelling_of(tokenizer: Any, whose: str) -> Spelling:
    """How a byte-level or a SentencePiece-like tokenizer spells.

    Raises:
        ConfigError: it is neither.
    """
    import json

    from transformers.convert_slow_tokenizer import bytes_to_unicode

    decoder = json.loads(tokenizer.backend_tokenizer.to_str())["decoder"] if tokenizer.is_fast else None
    steps = [] if decoder is None else decoder.get("decoders", [decoder])
    kinds = {step["type"] for step in steps}
    if not kinds & {"ByteLevel", "ByteFallback", "Metaspace"}:
        raise ConfigError(
            f"trainer 'on-policy' compares text byte by byte, and what the tokens of {whose!r} write cannot be read "
            "from its tokenizer (neither byte-level nor SentencePiece's). Train with --trainer sft on the teacher's "
            "answers."
        )
    alphabet = {character: byte for byte, character in bytes_to_unicode().items()}

    def text_of(token: str) -> bytes:
        if "ByteLevel" in kinds and all(character in alphabet for character in token):
            return bytes(alphabet[character] for character in token)
        if len(token) == 6 and token.startswith("<0x") and "ByteFallback" in kinds:
            return bytes([int(token[3:5], 16)])
        return token.replace("▁", " ").encode()

    added = tokenizer.added_tokens_decoder
    tokens = {i: text_of(token) for token, i in tokenizer.get_vocab().items() if i not in added}
    tokens |= {i: token.content.encode() for i, token in added.items()}
    prefixed = any(
        step["type"] == "Strip" or (step["type"] == "Metaspace" and step.get("prepend_scheme") != "never")
        for step in steps
    )
    control = {i for i, token in added.items() if token.special} | set(tokenizer.all_special_ids)
    return Spelling(tokens, frozenset(control), prefixed)


def shared_events(
    ours: Spelling, our_ends: Collection[int], theirs: Spelling, their_ends: Collection[int]
) -> tuple[dict[int, int], dict[int, int], int]:
    """What both can say: the number of each token's event, of the student's and of the teacher's tokens, and how many
    events there are. A token that is in neither is of event ELSE.
    """
    shared = sorted({key for _, key in ours.keys()} & {key for _, key in theirs.keys()})  # noqa: SIM118
    numbers = {key: n for n, key in enumerate(shared, END + 1)}

    def number(token: int, key: tuple[bool, bytes], ends: Collection[int]) -> int:
        if token in ends:
            return END
        control, text = key
        lengths = [len(text)] if control else range(len(text), 0, -1)
        return next((n for size in lengths if (n := numbers.get((control, text[:size])))), ELSE)

    of_ours, of_theirs = (
        {token: number(token, key, ends) for token, key in one.keys()}  # noqa: SIM118
        for one, ends in ((ours, our_ends), (theirs, their_ends))
    )
    return of_ours, of_theirs, len(numbers) + END + 1


def shared_spans(ours: Sequence[bytes], theirs: Sequence[bytes]) -> list[Span]:
    """The tokens of both between the ends that they share, as far as they write the same."""
    one, other = b"".join(ours), b"".join(theirs)
    differing = (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    together = next(differing, min(len(one), len(other)))
    their_ends = {end: n for n, end in enumerate(accumulate(map(len, theirs)), 1)}
    spans, a, b = [], 0, 0
    for n, end in enumerate(accumulate(map(len, ours)), 1):
        if end <= together and their_ends.get(end, 0) > b:
            spans.append((a, n, b, their_ends[end]))
            a, b = n, their_ends[end]
    return spans


def probabilities(
    log_probs: Any, ids: Sequence[int], spans: Sequence[tuple[int, int]], events: Any, count: int
) -> Any:
    """Of what comes at the beginning of each of n spans: [n, count + 1]; the last is the span as it was written. An
    empty span is a place that nothing was written at.

    Args:
        log_probs: of the next token, before each token [length, vocabulary]; a place may be behind the last of `ids`.
        events: the number of each token's event, long [vocabulary].
    """
    import torch

    device = log_probs.device
    starts = torch.tensor([start for start, _ in spans], device=device)
    found = log_probs.new_zeros(len(spans), count).index_add(1, events, log_probs[starts].exp())
    at = [(place, owner) for owner, (start, end) in enumerate(spans) for place in range(start, end)]
    places, owners = torch.tensor(at, device=device, dtype=torch.long).view(-1, 2).unbind(1)
    tokens = torch.tensor(list(ids), device=device, dtype=torch.long)[places]
    whole = log_probs.new_zeros(len(spans)).index_add(0, owners, log_probs[places, tokens]).exp()
    whole = whole * torch.tensor([float(end > start) for start, end in spans], device=device)
    begun = torch.tensor([ids[start] if end > start else 0 for start, end in spans], device=device)
    found = found.scatter_add(1, events[begun][:, None], -whole[:, None])
    return torch.cat([found, whole[:, None]], 1).clamp_min(0)


def divergence(ours: Any, theirs: Any, beta: float) -> Any:
    """The generalized Jensen-Shannon divergence of distributions [n, events], in nats, summed: Agarwal et al. 2024,
    equation 1, whose ends are the forward (`beta` 0) and the reverse (1) Kullback-Leibler divergence.
    """
    import torch

    def log(values: Any) -> Any:
        return values.clamp_min(torch.finfo(values.dtype).tiny).log()

    if beta in (0, 1):
        one, other = (theirs, ours) if beta == 0 else (ours, theirs)
        return (one * (log(one) - log(other))).sum()
    between = log((1 - beta) * ours + beta * theirs)
    return (beta * theirs * (log(theirs) - between) + (1 - beta) * ours * (log(ours) - between)).sum()


@dataclass(frozen=True)
class Comparison:
    """Of a student and a teacher in a training. `prompts`: the teacher's, by the number of the example. `events`: of
    the student's and of the teacher's tokens, long [vocabulary] each; `count`: how many there are.
    """

    teacher: Any
    tokenizer: Any
    prompts: Mapping[int, tuple[int, ...]]
    ours: Spelling
    theirs: Spelling
    ends: frozenset[int]
    events: tuple[Any, Any]
    count: int
    temperature: float
    beta: float

    @classmethod
    def of(cls, session: Session) -> Comparison:
        """Raises DataError where the teacher's template cannot render a prompt, or one is longer than what it reads."""
        import torch
        from transformers import AutoTokenizer

        teacher, base = session.beside.model, session.beside.base
        tokenizer = AutoTokenizer.from_pretrained(base.model_dir)
        ours, theirs = spelling_of(session.tokenizer, "the student"), spelling_of(tokenizer, base.name)
        ends, their_ends = stop_ids(session.model, session.tokenizer), stop_ids(teacher, tokenizer)
        *numbers, count = shared_events(ours, ends, theirs, their_ends)

        def laid(events: Mapping[int, int], model: Any) -> Any:
            size = model.config.get_text_config().vocab_size
            return torch.tensor([events.get(token, ELSE) for token in range(size)], device=model.device)

        return cls(
            teacher=teacher,
            tokenizer=tokenizer,
            prompts={n: _prompt(session, session.examples[n], tokenizer) for n in session.prompts},
            ours=ours,
            theirs=theirs,
            ends=frozenset(ends),
            events=(laid(numbers[0], session.model), laid(numbers[1], teacher)),
            count=count,
            temperature=session.params.temperature,
            beta=session.params.beta,
        )

    def align(self, answer: Sequence[int]) -> tuple[list[int], list[Span], int]:
        """An answer in the teacher's tokens; where the two are compared; how many of the student's tokens that is."""
        ended = bool(answer) and answer[-1] in self.ends
        said = self.ours.written(answer[:-1] if ended else answer)
        text = b"".join(said).decode("utf-8", "replace")
        their_ids = list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        spans = shared_spans(said, self.theirs.written(their_ids))
        compared, behind = (spans[-1][1], spans[-1][3]) if spans else (0, 0)
        if ended and compared == len(said):
            return their_ids, [*spans, (compared, compared, behind, behind)], compared + 1
        return their_ids, spans, compared

    def loss(self, student: Any, inputs: Mapping[str, Any]) -> Any:
        """The divergence summed over the places of all answers.

        Args:
            inputs: as TRL's DistillationTrainer makes them, with ``example`` [rows], the numbers of the examples.
        """
        import torch

        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
        mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
        logits = last_logits(
            student, inputs["completion_ids"].shape[1] + 1, input_ids=ids, attention_mask=mask
        )
        total = logits[:1, :1, 0].float().sum() * 0.0  # where nothing can be compared
        for row, (number, answer) in enumerate(
            zip(inputs["example"].tolist(), answers_of(inputs), strict=True)
        ):
            total = total + self._of_answer(logits[row, : len(answer)], answer, self.prompts[number])
        return total

    def _of_answer(self, logits: Any, answer: list[int], prompt: Sequence[int]) -> Any:
        """Of one answer. logits: of its tokens [length, vocabulary]."""
        import torch

        their_ids, spans, _ = self.align(answer)
        if not spans:
            return 0.0
        read = torch.tensor([[*prompt, *their_ids]], device=self.teacher.device)
        with torch.no_grad():
            their_logits = last_logits(self.teacher, len(their_ids) + 1, input_ids=read)[0]
        ours, theirs = (
            probabilities(
                torch.log_softmax(values.float() / self.temperature, -1), ids, places, events, self.count
            )
            for values, ids, places, events in (
                (logits, answer, [span[:2] for span in spans], self.events[0]),
                (their_logits, their_ids, [span[2:] for span in spans], self.events[1]),
            )
        )
        return divergence(ours, theirs, self.beta)


def answers_of(inputs: Mapping[str, Any]) -> list[list[int]]:
    """The token ids of every row's answer, as TRL's DistillationTrainer has them."""
    lengths = inputs["completion_mask"].sum(1).tolist()
    return [ids[:length] for ids, length in zip(inputs["completion_ids"].tolist(), lengths, strict=True)]


def last_logits(model: Any, count: int, **inputs: Any) -> Any:
    """What follows the last `count` tokens: [rows, count, vocabulary]."""
    wanted = {"logits_to_keep": count} if takes_positions(model) else {}
    return model(**inputs, **wanted, use_cache=False).logits[:, -count:]


def _prompt(session: Session, example: Example, tokenizer: Any) -> tuple[int, ...]:
    """The teacher's."""
    from jinja2 import TemplateError

    teacher, asked = session.beside, replace(example, expected=Expected(text="-"))
    try:
        row = row_of(asked, tokenizer, teacher.base.chat_template)
    except TemplateError as exc:
        raise DataError(
            f"example {example.id!r}: the teacher's chat template cannot render its prompt ({exc}). Choose another "
            "--teacher, or train with --trainer sft on its answers."
        ) from exc
    room = getattr(teacher.model.config.get_text_config(), "max_position_embeddings", None)
    if room and row.start + session.params.max_new_tokens > room:
        raise DataError(
            f"example {example.id!r}: its prompt is {row.start} tokens for the teacher, which reads {room}, the answer "
            "included. Lower --max-len."
        )
    return row.ids[: row.start]
