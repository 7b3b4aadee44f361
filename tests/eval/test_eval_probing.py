"""Asking the probes: what is right, what is compared, what is kept, and what cannot be scored."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from eval_examples import make_examples
from eval_runs import IDENTITY, Counting, perfect, run, shown

from agentlora.core.errors import EvalError
from agentlora.core.types import Capabilities, ChoiceOutput, ChoiceRequest
from agentlora.eval.cache import AnswerCache
from agentlora.eval.engines.echo import EchoEngine
from agentlora.eval.probes import AREAS, Probe, all_probes, take
from agentlora.eval.probing import _of_all, ask_probes, likeliest
from agentlora.eval.record import ProbesRecord, Record
from agentlora.eval.report import html, markdown


class Knowing(EchoEngine):
    """Finds the right choice likeliest (base), but for those that `forgets` says of an adapter."""

    def __init__(self, forgets: Sequence[str] = (), fails: Sequence[str] = ()) -> None:
        super().__init__({}, {})
        self._right = {p.id: p.right for p in all_probes()}
        self._forgets, self._fails = set(forgets), set(fails)
        self.asked: list[ChoiceRequest] = []

    def score_choices(self, requests: Sequence[ChoiceRequest]) -> list[ChoiceOutput]:
        self.asked += requests
        return [self._of(r) for r in requests]

    def _of(self, request: ChoiceRequest) -> ChoiceOutput:
        if request.id in self._fails:
            return ChoiceOutput(request.id, error="too \ud800hard at http://me:word@host")
        forgot = bool(request.adapter) and request.id in self._forgets
        if request.id.startswith("refusal"):  # how likely a call begins
            return ChoiceOutput(request.id, (math.log(0.6 if forgot else 0.05),))
        chosen = self._right[request.id]
        if forgot:
            chosen = (chosen + 1) % len(request.choices)
        return ChoiceOutput(
            request.id,
            tuple(-len(c.encode()) * (1.0 if i == chosen else 2.0) for i, c in enumerate(request.choices)),
        )


def ask(engine: Any, tmp_path: Path, count: Any = 90, **more: Any) -> tuple[ProbesRecord, list[Any]]:
    engine.add_adapter("skill", tmp_path)
    found, samples = ask_probes(engine, "skill", count, identity=IDENTITY, **more)
    assert found is not None
    return found, samples


def test_what_is_likeliest_is_counted_by_the_byte_and_decided_by_it() -> None:
    probe = Probe("p", "chat", "f", "g", (), ("ab", "abcdefgh", "é"), 1)
    assert likeliest(probe, (-2.0, -4.0, -3.0)) == 1
    assert likeliest(probe, (-2.0, -4.0, -3.0), by_byte=False) == 0
    assert likeliest(probe, (-3.0, -24.0, -1.9)) == 2  # of two bytes
    assert likeliest(probe, (-2.0, -8.0, -5.0)) is None  # nobody is first


def test_a_call_is_compared_with_all_that_is_none(tmp_path: Path) -> None:
    """A model that calls one time in twenty does not call, whatever it would have said instead."""
    calls = [p.id for p in take(90) if p.area == "refusal"][::2]
    found, samples = ask(Knowing(calls), tmp_path)
    here = [s for s in samples if s["area"] == "refusal"]
    assert found.areas["refusal"].adapter.mean == pytest.approx(1 - len(calls) / len(here))
    for sample in here:
        assert math.fsum(map(math.exp, sample["adapter"]["log_probs"])) == pytest.approx(1)
        assert sample["base"]["log_probs"][sample["right"]] == pytest.approx(math.log(0.95))
    certain = Probe("p", "refusal", "f", "g", (), ("<tool_call>", ""), 1)
    assert likeliest(certain, _of_all(certain, ChoiceOutput("p", (0.0,))).log_probs) == 0


def test_what_the_adapter_forgets_is_seen_where_it_forgot(tmp_path: Path) -> None:
    lost = [p.id for p in take(90) if p.area == "arithmetic"]
    found, samples = ask(Knowing(lost), tmp_path)
    assert (found.n, found.available) == (90, len(all_probes()))
    assert found.base is not None
    assert found.adapter is not None
    assert found.difference is not None
    assert (found.base.mean, found.base.n) == (1.0, 90)
    assert found.adapter.mean == pytest.approx(1 - len(lost) / 90)
    assert found.difference.mean == pytest.approx(-len(lost) / 90)
    assert found.difference.low is not None
    assert found.difference.low < found.difference.mean < found.difference.high < 0.05  # type: ignore[operator]
    assert (found.difference.metric, found.difference.higher, found.difference.lower) == (
        "probes",
        0,
        len(lost),
    )
    assert list(found.areas) == list(AREAS)
    assert sum(part.base.n for part in found.areas.values()) == 90
    for area, part in found.areas.items():
        assert part.difference.mean == (-1.0 if area == "arithmetic" else 0.0)
        assert part.base.low is not None
    assert [s["id"] for s in samples] == [p.id for p in take(90)]
    wrong = [s["id"] for s in samples if s["adapter"]["chosen"] != s["right"]]
    assert wrong == lost
    assert all(s["base"]["chosen"] == s["right"] for s in samples)


def test_both_rules_are_told(tmp_path: Path) -> None:
    """The engine is surer of every byte of the right choice; of whole ones, the shortest wins here."""
    found, _ = ask(Knowing(), tmp_path, "all")
    assert found.base is not None
    assert found.base.mean == 1.0
    assert found.unnormalised is not None
    assert found.unnormalised.base.mean is not None
    assert 0.8 < found.unnormalised.base.mean < 1.0


def test_groups_are_facts_and_texts_not_areas(tmp_path: Path) -> None:
    """With nine areas for groups nothing could ever be decided; and two questions on a text are no two texts."""
    found, _ = ask(Knowing(), tmp_path, "all")
    assert found.difference is not None
    assert found.difference.groups == len({p.group for p in all_probes()})
    assert found.difference.low is not None
    assert found.difference.low > -0.02  # what the gate's margin is


def test_an_engine_that_cannot_say_leaves_them_unscored(tmp_path: Path) -> None:
    engine = Knowing()
    engine.capabilities = Capabilities(adapters=True)
    found, samples = ask(engine, tmp_path)
    assert found.unscored == "the engine 'echo' does not say how likely a given answer is"
    assert (found.base, found.adapter, found.difference, samples) == (None, None, None, [])
    assert engine.asked == []


def test_a_few_that_fail_are_errors_and_many_are_no_figures(tmp_path: Path) -> None:
    ids = [p.id for p in take(90)]
    found, samples = ask(Knowing(fails=ids[:4]), tmp_path)
    assert found.base is not None
    assert found.difference is not None
    assert (found.base.n, found.base.errored, found.base.scored) == (90, 4, 86)
    assert found.difference.n == 86
    assert samples[0]["base"] == {"error": "too ?hard at http://me:[redacted]@host"}
    found, samples = ask(Knowing(fails=ids[:10]), tmp_path)
    assert found.base is None
    assert (
        found.unscored
        == "10 of 90 failed for the base, the first time because: too ?hard at http://me:[redacted]@host"
    )
    assert len(samples) == 90


def test_what_is_not_finite_is_an_error(tmp_path: Path) -> None:
    class Broken(Knowing):
        def _of(self, request: ChoiceRequest) -> ChoiceOutput:
            found = super()._of(request)
            broken = (float("nan"), *found.log_probs[1:])
            return ChoiceOutput(request.id, broken) if request.adapter else found

    cache = AnswerCache(tmp_path)
    found, samples = ask(Broken(), tmp_path, cache=cache)
    assert (
        found.unscored == "90 of 90 failed for the adapter, the first time because: a log-probability is nan"
    )
    json.loads(json.dumps(samples, allow_nan=False))


def test_none_is_asked_where_none_is_wanted(tmp_path: Path) -> None:
    engine = Knowing()
    assert ask_probes(engine, "skill", 0, identity=IDENTITY) == (None, [])
    assert engine.asked == []


def test_figures_are_kept_by_base_adapter_and_engine(tmp_path: Path) -> None:
    first, second = Knowing(), Knowing()
    cache = AnswerCache(tmp_path)
    before, told = ask(first, tmp_path, cache=cache)
    after, again = ask(second, tmp_path, cache=cache)
    assert before == after
    assert told == again
    assert (len(first.asked), len(second.asked)) == (180, 0)
    for other, asked in (
        ({"engine": "other"}, {None: 90, "skill": 90}),
        ({"base": {"digest": "c" * 64}}, {None: 90, "skill": 90}),
        ({"adapter": "sha256:" + "e" * 64}, {"skill": 90}),
        ({"adapter": None}, {"skill": 90}),  # who is not named is asked, and not kept
        ({"adapter": None}, {"skill": 90}),
        ({"base": {}}, {None: 90, "skill": 90}),
        ({"base": {}}, {None: 90, "skill": 90}),
    ):
        engine = Knowing()
        ask_probes(engine, "skill", 90, identity=IDENTITY | other, cache=cache)
        assert Counter(r.adapter for r in engine.asked) == asked
    drawing = Knowing()
    drawing.decoding = {"top_p": 0.5}  # type: ignore[attr-defined]
    ask(drawing, tmp_path, cache=cache)
    assert len(drawing.asked) == 180


def test_what_is_ended_among_the_adapters_probes_asks_only_the_rest(tmp_path: Path) -> None:
    def end(condition: str, done: int, total: int) -> None:
        if condition == "probes adapter":
            raise KeyboardInterrupt

    cache = AnswerCache(tmp_path)
    lost = [p.id for p in take(90)][::7]
    whole = ask(Knowing(lost), tmp_path)
    with pytest.raises(KeyboardInterrupt):
        ask(Knowing(lost), tmp_path, cache=cache, on_progress=end)
    second = Knowing(lost)
    assert ask(second, tmp_path, cache=cache) == whole
    assert [(r.id, r.adapter) for r in second.asked] == [(p.id, "skill") for p in take(90)[64:]]


def test_an_engine_that_answers_something_else_is_at_fault(tmp_path: Path) -> None:
    class Muddled(Knowing):
        def score_choices(self, requests: Sequence[ChoiceRequest]) -> list[ChoiceOutput]:
            return super().score_choices(requests)[::-1]

    class Short(Knowing):
        def score_choices(self, requests: Sequence[ChoiceRequest]) -> list[ChoiceOutput]:
            return [ChoiceOutput(o.id, o.log_probs[1:]) for o in super().score_choices(requests)]

    class Few(Knowing):
        def score_choices(self, requests: Sequence[ChoiceRequest]) -> list[ChoiceOutput]:
            return super().score_choices(requests)[1:]

    for kind in (Muddled, Short, Few):
        with pytest.raises(EvalError, match="fault of the engine"):
            ask(kind(), tmp_path)


def test_progress_is_told(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    ask(Knowing(), tmp_path, on_progress=lambda *row: seen.append(row))
    assert seen == [
        ("probes base", 64, 90),
        ("probes base", 90, 90),
        ("probes adapter", 64, 90),
        ("probes adapter", 90, 90),
    ]


def with_probes(tmp_path: Path, probes: ProbesRecord | None) -> Record:
    examples = make_examples(3)
    record, _ = run(Counting(perfect(examples)), examples, tmp_path)
    return record.model_copy(update={"probes": probes})


def test_the_record_keeps_them_and_records_without_keep_their_digest(tmp_path: Path) -> None:
    found, _ = ask(Knowing([take(90)[0].id]), tmp_path)
    record = with_probes(tmp_path, found)
    record.save(tmp_path / "record.json")
    again = Record.load(tmp_path / "record.json")
    assert again == record
    assert again.probes == found
    assert record.to_dict()["probes"]["difference"]["mean"] == pytest.approx(-1 / 90)
    assert "probes" not in with_probes(tmp_path, None).to_dict()


def test_every_report_has_its_line(tmp_path: Path) -> None:
    lost = [p.id for p in take(90) if p.area == "chat"]
    found, _ = ask(Knowing(lost), tmp_path)
    record = with_probes(tmp_path, found)
    for report in (html(record), markdown(record), " ".join(shown(record).split())):
        assert f"General-ability probes (90 of {len(all_probes())}): " in report
        assert "100.0 %" in report
    for report in (html(record), markdown(record)):
        assert "Arithmetic" in report
        assert "−100.0" in report
    dumb, _ = ask_probes(Unable(), "skill", 90, identity=IDENTITY)
    for report in (html(with_probes(tmp_path, dumb)), markdown(with_probes(tmp_path, dumb))):
        assert "unscored, because the engine" in report
    for report in (html(with_probes(tmp_path, None)), markdown(with_probes(tmp_path, None))):
        assert "probes" not in report


class Unable(EchoEngine):
    def __init__(self) -> None:
        super().__init__({}, {})
        self.capabilities = Capabilities(adapters=True)
