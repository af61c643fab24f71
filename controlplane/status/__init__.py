"""What the sidecars hold and what they refused."""

from controlplane.status.sidecars import Refusal, SidecarReport, Sidecars

__all__ = ["Refusal", "SidecarReport", "Sidecars"]
