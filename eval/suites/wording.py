"""A suite's figures in words, for every kind of report."""

from __future__ import annotations

from agentlora.eval.record import SuiteRecord
from agentlora.eval.wording import difference_text, figure_text


def suite_title(suite: SuiteRecord) -> str:
    """What gave the figures, of how many samples, and the first thing that went wrong."""
    errored = max((f.errored for figures in suite.systems.values() for f in figures.values()), default=0)
    failed = f" Up to {errored} answers failed, in no mean: {suite.first_error:.200}" if errored else ""
    return f"{suite.n} samples, {suite.library} {suite.version}, engine {suite.engine}.{failed}"


def suite_header(suite: SuiteRecord) -> list[str]:
    return ["", *suite.systems, *dict.fromkeys(f"{d.system} − {d.baseline}" for d in suite.differences)]


def suite_rows(suite: SuiteRecord) -> list[list[str]]:
    """A metric a row: each system's figure with its interval, then the paired differences."""
    return [
        [
            metric + (" ↓" if metric in suite.lower_is_better else ""),
            *(figure_text(figures[metric]) for figures in suite.systems.values()),
            *(difference_text(d) for d in suite.differences if d.metric == metric),
        ]
        for metric in suite.metrics
    ]
