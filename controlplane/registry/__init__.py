"""The registry without I/O: its rules, what is published of it, what each reader has yet to see."""

from controlplane.registry.follow import Follower, Interest
from controlplane.registry.leases import Leases
from controlplane.registry.records import (
    NO_OVERLAY,
    Change,
    EndpointRecord,
    Key,
    Lease,
    Outcome,
    Overlay,
    ServiceRecord,
    Stated,
    Stored,
    canonical,
)
from controlplane.registry.state import Registry
from controlplane.registry.view import Entry, Table, View

__all__ = ["NO_OVERLAY", "Change", "EndpointRecord", "Entry", "Follower", "Interest", "Key", "Lease", "Leases", 
           "Outcome", "Overlay", "Registry", "ServiceRecord", "Stated", "Stored", "Table", "View",
           "canonical"]
