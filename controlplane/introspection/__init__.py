"""Questions to sidecars: `desk` knows who can be asked, `service` is the grpc.aio shell."""

from controlplane.introspection.desk import Desk

__all__ = ["Desk"]
