"""What the sidecars hold, what they refused, and whom they see as down."""

from controlplane.status.sidecars import Refusal, SidecarReport, Sidecars
from controlplane.status.verdicts import Verdicts

__all__ = ["Refusal", "SidecarReport", "Sidecars", "Verdicts"]
