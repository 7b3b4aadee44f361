"""A small MCP server: the working hours of a freelancer, in an SQLite file.

    python benchmarks/own_tools/timesheet.py [timesheet.sqlite]

It talks over its standard input and output. Listing its tools opens no file.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

TABLES = """
create table if not exists projects (name text primary key, client text, hourly_rate real, archived int default 0);
create table if not exists entries (id integer primary key, project text, day text, minutes int, note text);
create table if not exists timer (project text, started text, note text);
"""
Project = Annotated[str, Field(description="Name of the project.")]
Note = Annotated[str, Field(description="What was done.")]
Rate = Annotated[float, Field(ge=0, description="Euros an hour.")]

server = MCPServer("timesheet")


def ask(sql: str, *values: Any) -> list[dict[str, Any]]:
    """The rows that a statement gives; what it changes is kept."""
    with closing(sqlite3.connect(sys.argv[1] if len(sys.argv) > 1 else "timesheet.sqlite")) as file:
        file.row_factory = sqlite3.Row
        file.executescript(TABLES)
        rows = [dict(row) for row in file.execute(sql, values)]
        file.commit()
        return rows


def known(project: str) -> None:
    if not ask("select 1 from projects where name = ? and not archived", project):
        raise ToolError(f"no open project is called {project!r}: add_project makes one")


@server.tool()
def add_project(
    name: Annotated[str, Field(description="Name of the new project.")],
    client: Annotated[str, Field(description="Who pays for it.")],
    hourly_rate: Rate,
) -> str:
    """Add a project that time can be booked on."""
    if ask("select 1 from projects where name = ?", name):
        raise ToolError(f"there is a project {name!r} already")
    ask("insert into projects (name, client, hourly_rate) values (?, ?, ?)", name, client, hourly_rate)
    return f"added {name}"


@server.tool()
def set_rate(project: Project, hourly_rate: Rate) -> str:
    """Change what an hour on a project costs."""
    known(project)
    ask("update projects set hourly_rate = ? where name = ?", hourly_rate, project)
    return f"an hour on {project} costs {hourly_rate:g} euros"


@server.tool()
def archive_project(project: Project) -> str:
    """Close a project: its entries stay, and no more time can be booked on it."""
    known(project)
    ask("update projects set archived = 1 where name = ?", project)
    return f"archived {project}"


@server.tool()
def start_timer(project: Project, note: Note | None = None) -> str:
    """Start the clock on a project. A clock that runs already is stopped and booked first."""
    known(project)
    booked = f"{stop_timer()}; " if ask("select 1 from timer") else ""
    ask("insert into timer values (?, ?, ?)", project, datetime.now(UTC).isoformat(), note)
    return f"{booked}the clock runs on {project}"


@server.tool()
def stop_timer() -> str:
    """Stop the running clock and book its time."""
    running = ask("select * from timer")
    if not running:
        raise ToolError("no clock is running")
    timer = running[0]
    began = datetime.fromisoformat(timer["started"])
    minutes = max(1, round((datetime.now(UTC) - began).total_seconds() / 60))
    ask("delete from timer")
    return log_time(timer["project"], minutes, began.date(), timer["note"])


@server.tool()
def log_time(
    project: Project,
    minutes: Annotated[int, Field(ge=1, le=1440)],
    day: Annotated[date, Field(description="The day of the work.")],
    note: Note | None = None,
) -> str:
    """Book time that was worked without a clock."""
    known(project)
    sql = "insert into entries (project, day, minutes, note) values (?, ?, ?, ?) returning id"
    (row,) = ask(sql, project, day.isoformat(), minutes, note)
    return f"entry {row['id']}: {minutes} minutes on {project}"


@server.tool()
def list_entries(
    project: Project | None = None,
    since: Annotated[date | None, Field(description="First day.")] = None,
    until: Annotated[date | None, Field(description="Last day.")] = None,
) -> list[dict[str, Any]]:
    """List booked time with the numbers of its entries."""
    return ask(
        "select * from entries where project = coalesce(?, project) and day between ? and ? order by day, id",
        project, str(since or date.min), str(until or date.max),
    )  # fmt: skip


@server.tool()
def delete_entry(entry_id: Annotated[int, Field(ge=1, description="Number of the entry.")]) -> str:
    """Delete one entry of booked time."""
    if not ask("delete from entries where id = ? returning id", entry_id):
        raise ToolError(f"there is no entry {entry_id}")
    return f"deleted entry {entry_id}"


@server.tool()
def summarise(
    since: Annotated[date, Field(description="First day.")],
    until: Annotated[date, Field(description="Last day.")],
    group_by: Literal["project", "client", "day"] = "project",
) -> list[dict[str, Any]]:
    """Add up the hours of a period, with what they earn."""
    # `group_by` is a column's name as it stands: the server lets nothing but these three through
    return ask(
        f"select {group_by}, sum(minutes) / 60.0 as hours, sum(minutes * hourly_rate) / 60 as euros"
        f" from entries join projects on name = project where day between ? and ? group by {group_by}",
        str(since), str(until),
    )  # fmt: skip


@server.tool()
def create_invoice(
    client: Annotated[str, Field(description="Who pays.")],
    month: Annotated[str, Field(pattern=r"^\d{4}-\d{2}$", description="Month of the work, YYYY-MM.")],
    due_in_days: Annotated[int, Field(ge=0, le=90, description="Days until it is to be paid.")] = 14,
) -> dict[str, Any]:
    """Write the invoice for what a client's projects took in a month."""
    lines = ask(
        "select project, sum(minutes) / 60.0 as hours, sum(minutes * hourly_rate) / 60 as euros"
        " from entries join projects on name = project where client = ? and day like ? group by project",
        client, f"{month}-%",
    )  # fmt: skip
    if not lines:
        raise ToolError(f"nothing was booked for {client!r} in {month}")
    due = datetime.now(UTC).date() + timedelta(days=due_in_days)
    return {
        "client": client,
        "month": month,
        "due": str(due),
        "lines": lines,
        "euros": sum(line["euros"] for line in lines),
    }


if __name__ == "__main__":
    server.run()
