"""Requests over tools: groups that share one tool list, cases mixed inside each group.

Tools come from our catalogue and from real API descriptions. Whole domains and services are held out for
dev and test, and so are two phrasings of every trained tool; the slices are tagged:

========== =============== ====================================================
tools      slice           what
========== =============== ====================================================
new        new-tools       catalogue domains never trained on
new        new-apis        real services never trained on
new        handwritten     requests written one by one, over the new-tools
trained    new-phrasings   trained tools, phrasings never trained on
========== =============== ====================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pydantic import Field

from agentlora.core.types import JSON, Example, Split
from agentlora.tasks.tool_calling import groups, handwritten
from agentlora.tasks.tool_calling.api_sources import API_PACKAGES
from agentlora.tasks.tool_calling.composed import compose_tools
from agentlora.tasks.tool_calling.groups import RequestParams
from agentlora.tasks.tool_calling.rewording import Rewording
from agentlora.tasks.tool_calling.styles import restyle
from agentlora.tasks.tool_calling.toolspec import ToolSpec, load_catalogue

COMPOSED_ROUNDS = 6  # about 900 tools
CATALOGUE = {"name": "agentlora tool catalogue", "licence": "Apache-2.0", "version": "2"}
HELD_OUT_PHRASINGS = 2  # of every trained tool: the last but one for dev, the last for test


class ToolRequestParams(RequestParams):
    """How much of what. `test_examples` are over new catalogue tools; half as many over new APIs come on top."""

    catalogue_share: float = Field(0.55, ge=0, le=1)
    """Of the groups, how many are over our own catalogue."""
    composed_share: float = Field(0.2, ge=0, le=1)
    """Of the groups, how many are over tools put together from parts; the rest is over real API descriptions."""
    real_tools: int = Field(2400, ge=0)
    """Operations to take from each of the installed API description packages; 0: catalogue only."""
    test_handwritten: int = Field(70, ge=0)
    test_new_phrasings: int = Field(64, ge=0)
    tools_chars_max: int = Field(2600, ge=200)
    """Characters of JSON that a tool list may take (about 3.4 a token)."""

    @property
    def list_chars(self) -> int:
        """See `RequestParams`."""
        return self.tools_chars_max

    def parts(self) -> tuple[tuple[str, ...], ...]:
        """See `RequestParams`."""
        return (("catalogue_share", "composed_share"), *super().parts())


class ToolRequests:
    """The dataset builder ``tool-requests``."""

    Params = ToolRequestParams

    def build(self, split: Split, params: ToolRequestParams, seed: int) -> Iterator[Example]:
        """See `agentlora.core.types.DatasetBuilder`."""
        for pool, count in self._pools(split, params, seed):
            yield from groups.examples(pool, count, params, seed, restyle if split == "train" else None)
        if split != "train":
            yield from handwritten.examples(split, params.test_handwritten)

    def rewords(self, params: ToolRequestParams, seed: int) -> Rewording:
        """See `agentlora.core.types.DatasetBuilder`."""
        return Rewording(params)

    def card(self, params: ToolRequestParams) -> JSON:
        """Sources, licences and versions."""
        from agentlora.core.provenance import package_version

        sources = [CATALOGUE]
        if params.real_tools:
            for package in API_PACKAGES.values():
                found = package_version(package)
                sources.append(
                    {"name": package, "licence": "Apache-2.0", "version": found or "not installed"}
                )
        return {
            "sources": sources,
            "notes": f"Requests are generated from phrasings; up to {params.test_handwritten} of test's are "
            "written by hand, one by one.",
        }

    def _pools(self, split: Split, params: ToolRequestParams, seed: int) -> Iterator[tuple[groups.Pool, int]]:
        catalogue = load_catalogue()
        own = [tool for tool in catalogue if tool.split == split]
        real = _real_tools(split, params, seed)
        if split == "train":
            kept_apart = [
                *(tool for tool in catalogue if tool.split != "train"),
                *_real_tools("dev", params, seed),
                *_real_tools("test", params, seed),
            ]
            names = {groups.name_in_any_style(tool) for tool in kept_apart}
            sources = {
                "catalogue": (own, params.catalogue_share),
                "composed": (compose_tools(COMPOSED_ROUNDS, seed), params.composed_share),
                "apis": (real, 1 - params.catalogue_share - params.composed_share),
            }
            shares = {
                name: ([tool for tool in tools if groups.name_in_any_style(tool) not in names], share)
                for name, (tools, share) in sources.items()
            }
            usable = {name: (tools, share) for name, (tools, share) in shares.items() if tools and share > 0}
            total, left = sum(share for _, share in usable.values()), params.examples
            for number, (name, (tools, share)) in enumerate(usable.items(), 1):
                whole = round(params.examples * share / total / params.requests_per_toolset)
                whole = min(left, whole * params.requests_per_toolset)
                count = left if number == len(usable) else whole
                yield (
                    groups.Pool(split, name, [for_training(tool) for tool in tools], True, groups.INVENTED),
                    count,
                )
                left -= count
            return
        count = params.test_examples if split == "test" else params.dev_examples
        yield groups.Pool(split, "new-tools", own), count
        if real:
            yield groups.Pool(split, "new-apis", real), count // 2
        count = params.test_new_phrasings if split == "test" else params.dev_examples // 4
        unseen = [_in_new_words(tool, split) for tool in catalogue if tool.split == "train"]
        yield groups.Pool(split, "new-phrasings", unseen, trained=True), count


def _real_tools(split: Split, params: ToolRequestParams, seed: int) -> list[ToolSpec]:
    if not params.real_tools:
        return []
    from agentlora.tasks.tool_calling.real_apis import load_real_tools

    found = [tool for source in API_PACKAGES for tool in load_real_tools(source, params.real_tools, seed)]
    return [tool for tool in found if tool.split == split and groups.chars_of(tool) < params.tools_chars_max]


def for_training(tool: ToolSpec) -> ToolSpec:
    """A tool of the catalogue without the wordings that are kept for dev and test."""
    return replace(tool, phrasings=tool.phrasings[:-HELD_OUT_PHRASINGS], missing=tool.missing[:-1])


def _in_new_words(tool: ToolSpec, split: Split) -> ToolSpec:
    """A trained tool with the phrasing that is kept for this split; its last question is test's."""
    if split == "test":
        return replace(tool, phrasings=tool.phrasings[-1:], missing=tool.missing[-1:])
    return replace(tool, phrasings=tool.phrasings[-HELD_OUT_PHRASINGS:-1], missing=())
