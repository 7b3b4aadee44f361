"""The training requests of a builder in a teacher's words: once for each, within its budget, and only what asks for the
same. What dev and test ask stays as it is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import chain

from agentlora.core.config import RunConfig, TeacherConfig
from agentlora.core.data import Splits, builder_of
from agentlora.core.errors import ConfigError, DataError
from agentlora.core.examples import kept
from agentlora.core.files import sha256_json
from agentlora.core.manager import Plugins
from agentlora.core.teacher import ADAPTER, MOST_FAILED, TOLD, find_teacher, limits_of, opened, put
from agentlora.core.types import JSON, Example, GenerateRequest, Output, Rewords
from agentlora.plugins.datasets.near import said, similarity

ROLE = "rewriter"
NEARLY = 0.85  # similarity from which on two requests with one answer are one, as of rows of files
_LIST_MARK = re.compile(r"^\s*(?:[-*•]|\(?\d{1,2}[.)]|Request:)\s+")
_QUOTES = ('""', "''", "“”", "‘’", "``")


def check_rewriter(config: RunConfig, plugins: Plugins) -> None:
    """Raises ConfigError where nobody could say when a request of the data is the same in other words."""
    if config.rewriter.source and not hasattr(builder_of(config, plugins)[1], "rewords"):
        name = builder_of(config, plugins)[0]
        raise ConfigError(
            f"rewriter: nothing could tell whether other words ask for the same as the requests of dataset builder "
            f"{name!r} do. Leave --rewriter out: it is for tool-calling, over --tools or the task's own tools."
        )


def rewritten(
    config: RunConfig, plugins: Plugins, splits: Splits, on_progress: Callable[[int, int], None] | None = None
) -> tuple[Splits, JSON]:
    """`splits` with training requests in the words of the rewriter, and what the data card says of it. What it does not
    answer, or answers otherwise than it should, stays as it was generated. The same answers give the same examples.

    Raises:
        ConfigError: see `find_teacher`.
        EvalError: the rewriter refuses, or fails again and again.
        DataError: most of what it was asked failed.
    """
    from agentlora.eval.teaching import Account

    asking = as_teacher(config)
    teacher, account = find_teacher(asking, plugins, ROLE), Account()
    rewords, asked = _rewords(config, plugins), dict[str, GenerateRequest]()
    adapter, unchecked = ADAPTER if teacher.adapter is not None else None, 0
    for example in _chosen(config, rewords, splits["train"]):
        request = _request(config, rewords, example, adapter)
        unchecked += request is None
        if request is not None:
            asked[example.id] = request
    # where a budget ends early, it ends anywhere and not with the last tools
    requests = sorted(asked.values(), key=lambda r: sha256(r.id.encode()).digest())
    with opened(teacher, plugins) as engine:
        answers = put(asking.teacher, teacher, engine, requests, account, on_progress, who=ROLE)
    if account.failed > MOST_FAILED * account.asked:
        raise DataError(
            f"{account.failed:,} of {account.asked:,} requests to the rewriter {teacher.label!r} failed; what was "
            "answered is kept: give the same command again when it answers. The first error: "
            f"{account.first_error}"
        )
    taking = _Taking(rewords, config.rewriter.ways, splits)
    train = kept(chain.from_iterable(map(_told(taking, answers), splits["train"])))
    account.dropped = taking.why_not
    found = account.to_dict(limits_of(asking.teacher))
    facts = {"rewriter": teacher.label, "share": config.rewriter.share, "ways": config.rewriter.ways,
             "requests": len(asked), "rewritten": taking.rewritten, "kept": taking.kept, "unchecked": unchecked,
             **found}  # fmt: skip
    return {**splits, "train": train}, facts


def as_teacher(config: RunConfig) -> RunConfig:
    """`config` with the rewriter in the teacher's place."""
    own = config.rewriter.model_dump(include=set(TeacherConfig.model_fields))
    return config.model_copy(update={"teacher": TeacherConfig(**own)})


def line(facts: JSON) -> str:
    """What `rewritten` did, for people."""
    why = ", ".join(f"{reason}: {n:,}" for reason, n in Counter[str](facts["dropped"]).most_common(TOLD))
    more = f"; {facts['unchecked']:,} cannot be checked and stay" if facts["unchecked"] else ""
    return (
        f"rewriter {facts['rewriter']}: {facts['asked']:,} asked, {facts['known_before']:,} known before; "
        f"{facts['rewritten']:,} of {facts['requests']:,} requests in other words, {facts['kept']:,} ways"
        f"{f'; not kept: {why}' if why else ''}{more}"
    )


def _rewords(config: RunConfig, plugins: Plugins) -> Rewords:
    check_rewriter(config, plugins)
    _, builder, params = builder_of(config, plugins)
    found: Rewords = builder.rewords(params, config.seed)  # type: ignore[attr-defined]
    return found


def _chosen(config: RunConfig, rewords: Rewords, examples: Sequence[Example]) -> Iterator[Example]:
    """The share of the requests, by their ids and the seed."""
    for example in examples:
        drawn = sha256(f"{config.seed}/{ROLE}/{example.id}".encode()).digest()
        if int.from_bytes(drawn[:4], "big") < config.rewriter.share * 2**32 and rewords.takes(example):
            yield example


def _request(
    config: RunConfig, rewords: Rewords, example: Example, adapter: str | None
) -> GenerateRequest | None:
    rewriter = config.rewriter
    prompt = rewords.prompt(example, rewriter.ways)
    if not prompt:
        return None
    return GenerateRequest(
        example.id,
        ({"role": "user", "content": prompt},),
        adapter=adapter,
        max_tokens=rewriter.max_new_tokens,
        temperature=rewriter.temperature,
        seed=config.seed if rewriter.temperature else None,
    )


def _told(taking: _Taking, answers: dict[str, list[Output]]) -> Callable[[Example], list[Example]]:
    def found(example: Example) -> list[Example]:
        if example.id not in answers:
            return [example]
        return taking.take(example, answers[example.id]) or [example]

    return found


@dataclass
class _Taking:
    """Takes from answers what asks for the same in other words, and counts: `rewritten` requests, `kept` texts, and why
    others are not.
    """

    rewords: Rewords
    ways: int
    splits: Splits
    rewritten: int = 0
    kept: int = 0
    why_not: Counter[str] = field(default_factory=Counter)
    _by_answer: dict[str, list[tuple[str, str]]] = field(init=False)
    _texts: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self._by_answer, self._texts = {}, set()
        for split, examples in self.splits.items():
            for example in examples:
                self._know(example, example.id, split == "train")

    def take(self, example: Example, outputs: Sequence[Output]) -> list[Example]:
        """The example as it is asked for otherwise, at most `ways` times; nothing where it is to stay."""
        lines = self._lines(outputs)
        found: list[Example] = []
        for text in lines:
            if len(found) == self.ways:
                break
            name = example.id if not found else f"{example.id}-way{len(found) + 1}"
            messages = (*example.messages[:-1], {**example.messages[-1], "content": text})
            other = replace(example, id=name, messages=messages, tags={**example.tags, "words": ROLE})
            problem = self.rewords.problem(example, text) or self._like_another(other, example.id)
            if problem:
                self.why_not[problem] += 1
            else:
                found.append(other)
                self._know(other, "", True)
        self.kept += len(found)
        self.rewritten += bool(found)
        return found

    def _lines(self, outputs: Sequence[Output]) -> list[str]:
        """What was written, line by line; some more than was asked for, as a preamble may come first."""
        if not outputs or outputs[0].error is not None:
            self.why_not["no answer" if outputs else "not asked: the budget is spent"] += 1
            return []
        lines = [
            text for line in outputs[0].text.splitlines()[: 4 * self.ways + 8] if (text := _unmarked(line))
        ]
        if outputs[0].finish_reason == "length":
            lines = lines[:-1]
        if not lines:
            self.why_not["an empty answer"] += 1
        return lines[: self.ways + 2]

    def _like_another(self, example: Example, own: str) -> str:
        text = said(example)
        if text in self._texts:
            return "the same as another request"
        for key in {_key(example, True), _key(example, False)}:
            for name, other in self._by_answer.get(key, ()):
                if name != own and similarity(text, other) >= NEARLY:
                    return "nearly another request"
        return ""

    def _know(self, example: Example, name: str, trained: bool) -> None:
        text = said(example)
        self._texts.add(text)
        self._by_answer.setdefault(_key(example, trained), []).append((name, text))


def _key(example: Example, trained: bool) -> str:
    """What requests have in common that could be nearly the same: their calls, or where there are none their answer,
    which in training very many have, so that only those of a group are compared.
    """
    expected = example.expected
    answer = sha256_json([[[c.name, dict(c.arguments)] for c in expected.calls], expected.text])
    return f"{answer} {example.group}" if trained and not expected.calls else answer


def _unmarked(line: str) -> str:
    """A line without what lists and quotations put around it."""
    text = " ".join(_LIST_MARK.sub("", line).split())
    if len(text) > 1 and text[0] + text[-1] in _QUOTES:
        text = text[1:-1].strip()
    return text
