"""What the configuration says of callers, in the terms of the data path.

What lives here: the limits that every listening port shares. What this must not know: how they are kept.
"""

from __future__ import annotations

from mesh.dataplane.acceptor import Limits
from mesh.dataplane.inspector import Crowd
from mesh.sidecar.config import SidecarConfig

# From this part of --max-buffered on no new request is taken: what is left is for those that are under way.
SHED_RATIO = 0.75


def patience(config: SidecarConfig) -> Limits:
    """How slow an HTTP caller may be."""
    return Limits(header=config.header_timeout, idle=config.idle_timeout, progress=config.progress_timeout)


def crowd(config: SidecarConfig) -> Crowd:
    """How many connections a port takes."""
    return Crowd(config.max_connections, config.max_connections_per_source)
