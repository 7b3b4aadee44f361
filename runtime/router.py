"""The router ``tfidf``: a logistic regression for each skill, its prompts against others' and general chat.

A linear model on n-grams, because it routes in about a millisecond without numpy, fits in a second, and its
state is plain JSON: for each skill a bias, a bar, and the weights ``idf × coefficient`` of hashed n-grams.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

from agentlora.core.errors import needs_extra
from agentlora.core.files import shipped_yaml
from agentlora.core.types import JSON, Decision
from agentlora.runtime.features import features, last_user_text, tool_named

# In log-odds. A request that offers tools is in doubt sent to the skill: the skill has learnt to answer
# without a call where none fits, while the base makes a mess of every call. 1.0 lowers a bar of 0.50 to 0.27;
# together with the second, for a request that shares a telling word with an offered tool, to 0.12.
LEAN_TOOLS = 1.0
LEAN_NAMED = 1.0
_MAX_PROMPTS = 2000  # of each kind: more changes nothing but the time
_MAX_WEIGHTS = 20_000
_HELD_OUT = 0.2

log = logging.getLogger(__name__)


class TfidfRouter:
    """See `agentlora.core.types.Router`. A profile may have ``negatives``: prompts of no skill."""

    def fit(self, profiles: Sequence[JSON], seed: int = 0) -> JSON:
        """Fit each profile with two prompts or more against the others; one with fewer cannot be routed to.

        Raises:
            MissingExtra: scikit-learn is not installed.
        """
        skills = {}
        for profile in sorted(profiles, key=lambda p: str(p["skill"])):
            name, prompts = str(profile["skill"]), _distinct(profile.get("prompts") or [])
            if len(prompts) < 2:
                log.warning("skill %s has %d router prompts: only its name reaches it", name, len(prompts))
                continue
            others = [text for p in profiles if p is not profile for text in p.get("prompts") or []]
            negatives = _distinct([*general_chat(), *(profile.get("negatives") or []), *others])
            own = set(prompts)
            fitted = _fit_one(
                prompts, [text for text in negatives if text not in own], random.Random(seed), seed
            )
            skills[name] = {"needs_tools": bool(profile.get("needs_tools")), **fitted}
        return {"kind": "tfidf/1", "skills": skills}

    def route(self, request: Mapping[str, Any], state: JSON) -> Decision:
        """Choose by the last user turn. A skill that needs tools is eligible only when some are offered."""
        tools = request.get("tools") or []
        eligible = {name: s for name, s in state["skills"].items() if tools or not s["needs_tools"]}
        text = last_user_text(request)
        if not state["skills"]:
            return Decision(None, None, 1.0, "no skill can be routed to")
        if not eligible:
            return Decision(None, None, 1.0, "the request offers no tools")
        if not text.strip():
            return Decision(None, None, 1.0, "the request has no text of a user to go by")
        named = tool_named(text, tools)
        grams = features(text)
        ranked = sorted(
            (_judge(name, s, grams, bool(tools), named) for name, s in eligible.items()), reverse=True
        )
        return _decide(ranked, not tools and len(eligible) < len(state["skills"]), named)


def _judge(
    name: str, skill: JSON, grams: Mapping[str, float], tools: bool, named: str | None
) -> tuple[float, str, float, float]:
    """(probability above the lowered bar as odds against it, skill, probability, the bar)."""
    logit = _logit(skill, grams)
    lean = (LEAN_TOOLS * tools + LEAN_NAMED * (named is not None)) if skill["needs_tools"] else 0.0
    bar = skill["bar"] - lean
    return _sigmoid(logit - bar), name, _sigmoid(logit), _sigmoid(bar)


def _decide(ranked: list[tuple[float, str, float, float]], toolless: bool, named: str | None) -> Decision:
    share, name, probability, bar = ranked[0]
    if share <= 0.5:
        others = "; the request offers no tools" if toolless else ""
        why = f"reads like general chat ({name} {probability:.2f}, bar {bar:.2f}){others}"
        return Decision(None, name, min(1.0, 1 - 2 * share), why)
    runner_up = ranked[1] if len(ranked) > 1 and ranked[1][0] > 0.5 else None
    margin = share - runner_up[0] if runner_up else 2 * share - 1
    if probability >= 0.5:
        why = f"reads like the training prompts of {name} ({probability:.2f})"
    elif named is not None:
        why = f"asks for what the tool {named} does ({name} {probability:.2f}, bar {bar:.2f})"
    else:
        why = f"reads a little like the training prompts of {name} ({probability:.2f}, bar {bar:.2f})"
    return Decision(name, runner_up[1] if runner_up else None, margin, why)


@cache
def general_chat() -> tuple[str, ...]:
    """The prompts of ``general_chat.yaml``."""
    return tuple(map(str, shipped_yaml("agentlora.runtime", "general_chat.yaml")["prompts"]))


def _fit_one(positives: list[str], negatives: list[str], rng: random.Random, seed: int) -> JSON:
    """The bar comes from a model that has not seen the prompts it is judged on, the weights from all."""
    positives = rng.sample(positives, min(len(positives), _MAX_PROMPTS))
    negatives = rng.sample(negatives, min(len(negatives), _MAX_PROMPTS))
    cut, other_cut = (max(1, int(len(texts) * _HELD_OUT)) for texts in (positives, negatives))
    trial = _regress(positives[cut:], negatives[other_cut:], seed)
    own, other = (
        [_logit(trial, features(t)) for t in held] for held in (positives[:cut], negatives[:other_cut])
    )
    bar = _bar(own, other)
    return {"bar": round(bar, 4), **_regress(positives, negatives, seed)}


def _regress(positives: Sequence[str], negatives: Sequence[str], seed: int) -> JSON:
    with needs_extra("gateway", "fitting the router"):
        from sklearn.feature_extraction import DictVectorizer
        from sklearn.feature_extraction.text import TfidfTransformer
        from sklearn.linear_model import LogisticRegression

    vectorizer = DictVectorizer()
    counts = vectorizer.fit_transform([features(text) for text in (*positives, *negatives)])
    idf = TfidfTransformer(norm=None).fit(counts)
    labels = [1] * len(positives) + [0] * len(negatives)
    # liblinear: 0.05 s where lbfgs takes 2.5 s on two cores; it regularises the intercept too, hence the scaling
    model = LogisticRegression(
        C=1.0, solver="liblinear", intercept_scaling=10.0, class_weight="balanced", random_state=seed
    )
    model.fit(idf.transform(counts), labels)
    products = zip(vectorizer.feature_names_, (idf.idf_ * model.coef_[0]).tolist(), strict=True)
    heaviest = sorted(products, key=lambda item: (-abs(item[1]), item[0]))[:_MAX_WEIGHTS]
    weights = {gram: round(weight, 4) for gram, weight in sorted(heaviest) if round(weight, 4)}
    return {"bias": round(float(model.intercept_[0]), 4), "weights": weights}


def _bar(own: Sequence[float], other: Sequence[float]) -> float:
    """The log-odds that part held-out prompts with the fewest mistakes; of equals the nearest to 0."""
    points = sorted({*own, *other})
    between = [(a + b) / 2 for a, b in pairwise(points)]

    def mistakes(bar: float) -> float:
        return sum(x < bar for x in own) / len(own) + sum(x >= bar for x in other) / len(other)

    bar: float = min([0.0, *between], key=lambda b: (mistakes(b), abs(b)))
    return min(max(bar, -1.5), 1.5)  # 0.18 … 0.82: a few held-out prompts are no reason for more


def _logit(fitted: JSON, grams: Mapping[str, float]) -> float:
    weights = fitted["weights"]
    logit: float = sum((value * weights.get(gram, 0.0) for gram, value in grams.items()), fitted["bias"])
    return logit


def _distinct(texts: Sequence[Any]) -> list[str]:
    return list(dict.fromkeys(str(text) for text in texts if str(text).strip()))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, x))))
