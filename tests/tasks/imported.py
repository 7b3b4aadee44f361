"""What an importer found, as tests look at it."""

from __future__ import annotations

from agentlora.tasks.tool_calling.importing.types import Imported, ImportedTool


def by_name(imported: Imported) -> dict[str, ImportedTool]:
    return {tool.name: tool for tool in imported.tools}


def whys(imported: Imported) -> str:
    return "\n".join(f"{row.what}: {row.why}" for row in imported.left_out)
