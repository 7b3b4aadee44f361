"""The built-in trackers, of which a run's configuration names those that it is shown in (``trackers``)."""

from __future__ import annotations

from agentlora.core.hookspecs import hookimpl
from agentlora.core.types import RunEvent
from agentlora.plugins.trackers.views import Views

_views = Views()


@hookimpl
def on_run_event(event: RunEvent) -> None:
    _views.see(event)
