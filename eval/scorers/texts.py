"""Judging texts: whole, by a pattern, by what they hold, and by the words that they share with the expected one."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from copy import copy
from functools import lru_cache
from typing import Any

from pydantic import field_validator

from agentlora.core import schema
from agentlora.core.accepts import Accepts, accepted
from agentlora.core.config import Strict
from agentlora.core.errors import DataError
from agentlora.core.texts import brief
from agentlora.core.types import Example, Output, Score
from agentlora.eval.calls import without_thoughts
from agentlora.eval.scorers.tool_calls import render_answer

NO_TEXT = (
    "the example expects no text: calls and values have evaluators of their own (tool-calls, json-fields)"
)


class Writing(Strict):
    """Differences between texts that say nothing. Never looked at are thoughts before an answer (``<think>``), blanks
    around it, and how many characters an é is made of.
    """

    ignore_case: bool = False
    ignore_spaces: bool = False
    """Blanks and line breaks in a row are one blank."""

    def plain(self, text: str) -> str:
        """`text` without what is not looked at."""
        text = said(text)
        text = " ".join(text.split()) if self.ignore_spaces else text
        return unicodedata.normalize("NFC", text.casefold()) if self.ignore_case else text


def said(text: str) -> str:
    """An answer's own text, in composed characters; half a character, which nothing can compare, is replaced."""
    whole = text.encode("utf-8", "replace").decode()
    return unicodedata.normalize("NFC", without_thoughts(whole).strip())


# --- the whole text -----------------------------------------------------------------------------


class Exact:
    """Whether the answer is the expected text, or one of ``accepts.texts``.

    - ``match``: it is.
    """

    metrics: Sequence[str] = ("match",)
    headline = "match"
    Params = Writing
    how: Writing = Writing()

    def configured(self, params: Writing) -> Exact:
        found = copy(self)
        found.how = params
        return found

    def score(self, example: Example, output: Output) -> Score:
        """Unscored where the example expects no text."""
        wanted = example.expected.text
        if wanted is None or example.expected.calls:
            return Score(unscored=NO_TEXT)
        try:
            right = {self.how.plain(text) for text in (wanted, *accepted(example.accepts).texts)}
        except DataError as exc:
            return Score(unscored=str(exc))
        found = self.how.plain(output.text)
        if found in right:
            return Score({"match": 1.0})
        return Score({"match": 0.0}, why=_why(output, found, f"not the expected {short(said(wanted))}"))

    def validate(self, examples: Sequence[Example]) -> list[str]:
        """Problems found: a gold text that does not match, a corruption of it that does."""
        return list(_problems(self, examples, lambda text: [f"{text}x", f"x {text}", text[:-1], ""]))


# --- a pattern ----------------------------------------------------------------------------------


class Pattern(Strict):
    pattern: str | None = None
    """What answers are searched for, in the dialect of JSON Schema (ECMA 262); an example's own (``accepts.pattern``)
    comes first. A point is no line break: [\\s\\S] is anything."""
    whole: bool = False
    """The whole answer has to match, and not a part of it."""
    ignore_case: bool = False

    @field_validator("pattern")
    @classmethod
    def _usable(cls, pattern: str | None) -> str | None:
        if pattern is not None and schema.check_schema({"pattern": pattern}):
            raise ValueError("it is no regular expression that can be used")
        return pattern


class Regex:
    """Whether the answer matches a pattern, in bounded time: one that takes too many steps leaves it unscored.

    - ``match``: it does.
    """

    metrics: Sequence[str] = ("match",)
    headline = "match"
    Params = Pattern
    how: Pattern = Pattern()

    def configured(self, params: Pattern) -> Regex:
        found = copy(self)
        found.how = params
        return found

    def score(self, example: Example, output: Output) -> Score:
        """Unscored where nobody gives a pattern, or the pattern cannot be used or does not come to an end."""
        try:
            pattern = accepted(example.accepts).pattern or self.how.pattern
            if pattern is None:
                return Score(
                    unscored="there is no pattern: give one as its parameter, or as accepts.pattern of the example"
                )
            held = {"pattern": self._as_asked(pattern)}
            text = said(output.text)
            if schema.is_valid(held, text):
                return Score({"match": 1.0})
            schema.errors(held, text)  # whether that was found out
        except schema.UndecidedError:
            return Score(unscored="the pattern takes too many steps on this answer")
        except DataError as exc:
            return Score(unscored=str(exc).splitlines()[0])
        return Score({"match": 0.0}, why=_why(output, text, f"does not match {short(pattern)}"))

    def validate(self, examples: Sequence[Example]) -> list[str]:
        """Problems found: a gold text that does not match; a pattern that matches nothing at all, or anything."""
        return list(_problems(self, examples, lambda text: ["", "\ufffd"]))

    def _as_asked(self, pattern: str) -> str:
        pattern = unicodedata.normalize("NFC", pattern)  # as what it is held against is
        pattern = f"^(?:{pattern})$" if self.how.whole else pattern
        return f"(?i){pattern}" if self.how.ignore_case else pattern


# --- what is in it ------------------------------------------------------------------------------


class Held(Writing):
    texts: tuple[str, ...] = ()
    """What has to be in every answer; an example's own (``accepts.contains``) comes in its place. Where there is
    neither, and nothing is excluded, the expected text."""
    excludes: tuple[str, ...] = ()
    """What must be in none; an example's own (``accepts.excludes``) comes beside it."""
    words: bool = True
    """A text that begins or ends with a letter or digit has to be there as whole words: 12 is not in 120, nor 5 in -5.
    Scripts without blanks between words, such as Chinese, have none."""


class Contains:
    """Whether texts are in the answer.

    - ``match``: all that have to be are, and none that must not.
    - ``share``: of those that have to be, how many are; 0 where one is that must not.
    """

    metrics: Sequence[str] = ("match", "share")
    headline = "match"
    Params = Held
    how: Held = Held()

    def configured(self, params: Held) -> Contains:
        found = copy(self)
        found.how = params
        return found

    def score(self, example: Example, output: Output) -> Score:
        """Unscored where nothing is said of what has to be, or must not be, in the answer."""
        try:
            wanted, unwanted = self._asked(example, accepted(example.accepts))
        except DataError as exc:
            return Score(unscored=str(exc))
        if not wanted and not unwanted:
            return Score(
                unscored="nothing says what has to be in the answer: give texts as its parameter, or accepts.contains"
            )
        text = self.how.plain(output.text)
        missing = [part for part in wanted if not self._holds(text, part)]
        wrong = next((part for part in unwanted if self._holds(text, part)), None)
        share = 0.0 if wrong is not None else 1 - len(missing) / len(wanted) if wanted else 1.0
        if missing or wrong is not None:
            what = f"holds {short(str(wrong))}" if wrong is not None else f"lacks {short(missing[0])}"
            return Score({"match": 0.0, "share": share}, why=_why(output, text, what))
        return Score({"match": 1.0, "share": 1.0})

    def validate(self, examples: Sequence[Example]) -> list[str]:
        """Problems found: a gold text that lacks something, an answer without one of the texts that is right."""
        problems = list(_problems(self, examples, lambda text: []))
        for example in examples:
            wanted, unwanted = self._asked(example, accepted(example.accepts))
            for i, part in enumerate(wanted):
                others = " ; ".join([*wanted[:i], *wanted[i + 1 :]])
                if not self._holds(others, part):
                    problems += self._right(example, others, f"{short(part)} left out", wanted)
            problems += self._right(example, " ; ".join([*wanted, *unwanted]), "an excluded text", unwanted)
        return problems

    def _right(self, example: Example, text: str, label: str, about: Sequence[str]) -> Iterator[str]:
        if about and self.score(example, Output(example.id, text)).metrics.get("match") == 1:
            yield f"{example.id}: an answer with {label} still scores 1"

    def _asked(self, example: Example, own: Accepts) -> tuple[list[str], list[str]]:
        texts = own.contains or self.how.texts
        excludes = [*self.how.excludes, *own.excludes]
        if not texts and not excludes and example.expected.text and not example.expected.calls:
            texts = (example.expected.text,)
        plain = self.how.plain
        return [found for t in texts if (found := plain(t))], [f for t in excludes if (f := plain(t))]

    def _holds(self, text: str, part: str) -> bool:
        return bool(_whole_words(part).search(text)) if self.how.words else part in text


# Scripts that are written without blanks between words: Thai, Lao, Burmese, Khmer, Japanese, Chinese.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_OF_WORD = rf"[^\W{_UNSPACED}]"  # a character that its neighbour may make another word of
_STARTS_WITH_NUMBER = re.compile(r"([-−+]?)([.,]?)\d")
_NO_SIGN = r"(?<!\W[-−])(?<!\A[-−])"  # a hyphen behind a word, as in 3-5, is none


@lru_cache(maxsize=4096)
def _whole_words(part: str) -> re.Pattern[str]:
    """Finds `part` where it neither begins nor ends within a word, or within a number such as 1.5 or -5."""
    before = rf"(?<!{_OF_WORD})" if re.match(_OF_WORD, part) else ""
    after = rf"(?!{_OF_WORD})" if re.match(_OF_WORD, part[-1]) else ""
    if number := _STARTS_WITH_NUMBER.match(part):
        sign, point = number.groups()
        before += r"(?<!\w)" if sign else r"(?<!\d)" + _NO_SIGN if point else r"(?<!\d[.,])" + _NO_SIGN
    after += r"(?![.,]\d)" if part[-1].isdigit() else ""
    return re.compile(before + re.escape(part) + after)


# --- its words ----------------------------------------------------------------------------------


class TextAgreement:
    """How far the words of an answer are those of the expected text (a teacher's, say): upper and lower case and
    punctuation are left out, signs and points of numbers and symbols are not: -5, 1.5, C++ and an emoji are words.

    - ``words``: the F1 of the words of both, as SQuAD's (Rajpurkar et al. 2016, arXiv 1606.05250).
    - ``same``: they are the same words in the same order.

    Of several right texts (``accepts.texts``) the one that the answer is most like counts.
    """

    metrics: Sequence[str] = ("words", "same")
    headline = "words"

    def score(self, example: Example, output: Output) -> Score:
        """Unscored where the example expects no text."""
        if example.expected.text is None or example.expected.calls:
            return Score(unscored=NO_TEXT)
        try:
            right = [example.expected.text, *accepted(example.accepts).texts]
        except DataError as exc:
            return Score(unscored=str(exc))
        found = words_of(said(output.text))
        f1, same = max(agreement(words_of(said(text)), found) for text in right)
        why = "" if same else _why(output, " ".join(found), "other words than expected")
        return Score({"words": f1, "same": float(same)}, why=why)

    def validate(self, examples: Sequence[Example]) -> list[str]:
        """Problems found: a gold text that is not the same, a corruption of it that is."""
        return list(_problems(self, examples, lambda text: [f"{text} x", f"x {text}", ""], "same"))


def agreement(wanted: Sequence[str], found: Sequence[str]) -> tuple[float, bool]:
    """(the F1 of two lists of words, whether they are the same and there are some)"""
    shared = sum((Counter(wanted) & Counter(found)).values())
    f1 = 2 * shared / (len(wanted) + len(found)) if shared else 0.0
    return f1, bool(wanted) and wanted == found


# A number with its sign (one that does not follow a word, as in 3-5) and what joins its digits; a word, also C++ and
# v1.5; any other mark.
_WORD = re.compile(r"(?<!\w)[-−]?(?:\d+(?:[.,:/]\d+)*|\.\d+)|\w+(?:(?<=\d)\.\d+)*(?:[+#]+(?!\w))?|[^\w\s]")


def words_of(text: str) -> list[str]:
    """The words of a text as `TextAgreement` compares them."""
    found = _WORD.findall(text.lower().replace("−", "-"))
    words = [word for word in found if len(word) > 1 or word.isalnum() or _is_symbol(word)]
    return words or text.split()  # "?!" is an answer too


def _is_symbol(mark: str) -> bool:
    """Whether a mark says something: +, €, % and emoji do; punctuation, backticks and accents do not."""
    return mark in "_%‰" or unicodedata.category(mark) in ("Sm", "Sc", "So")


# --- for all of them ----------------------------------------------------------------------------


def _why(output: Output, found: str, what: str) -> str:
    if not found:
        return "an empty answer"
    cut = " (cut off at the token limit)" if output.finish_reason == "length" else ""
    return f"{what}{cut}"


def short(text: str) -> str:
    """The beginning of a text, in quotes."""
    return repr(brief(text))


def _problems(
    evaluator: Any, examples: Sequence[Example], corrupt: Any, metric: str = "match"
) -> Iterator[str]:
    """Of gold texts and of what `corrupt` makes of them."""
    for example in examples:
        if example.expected.empty:
            continue
        gold = said(render_answer(example.expected))
        score = evaluator.score(example, Output(example.id, gold))
        if score.unscored:
            yield f"{example.id}: the gold answer is unscored: {score.unscored}"
        elif score.metrics[metric] != 1:
            yield f"{example.id}: the gold answer scores {metric} {score.metrics[metric]:g}: {score.why}"
        else:
            known = accepted(example.accepts).texts
            for wrong in (text for text in corrupt(gold) if text not in known):
                if evaluator.score(example, Output(example.id, wrong)).metrics.get(metric) == 1:
                    yield f"{example.id}: the wrong answer {short(wrong)} still scores 1"
