"""The last good state on disk, so that a sidecar that starts while the control plane is away serves from what it knew.

What lives here: the file's format and its atomic replacement. What this must not know: what is in a resource, and when
to save.

Format: `mesh state 1\\n`, the SHA-256 of the rest, then per resource its length (4 bytes, big-endian) and the
`mesh.xds.v3.Resource` (name, version, payload). A file of another format or with a wrong sum is ignored with a
warning: the registry has the truth, a sidecar must start.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from google.protobuf.message import DecodeError

from mesh.xds.v3.discovery_pb2 import Resource

_MAGIC = b"mesh state 1\n"
_SUM = hashlib.sha256().digest_size

_log = logging.getLogger(__name__)


class StateFile:
    """The state of one sidecar: `<directory>/<service>.<instance>.state`. Both methods block on the disk.

    Each further worker of it has a file of its own (`<service>.<instance>.<worker>.state`), and without one begins with
    what the first knew. No name has a dot in it, so no two sidecars share a file.
    """

    def __init__(self, directory: str | Path, service: str, instance: str, worker: int = 0) -> None:
        self._first = Path(directory) / f"{service}.{instance}.state"
        self.path = self._first.with_name(f"{service}.{instance}.{worker}.state") if worker else self._first

    def load(self) -> list[Resource]:
        """Return what was saved last; nothing when there is none or it can't be used (which is logged)."""
        for path in dict.fromkeys((self.path, self._first)):
            try:
                return _unpack(path.read_bytes())
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as exc:
                _log.warning("ignoring saved state %s: %s", path, exc)
        return []

    def save(self, resources: Iterable[bytes]) -> None:
        """Replace the file by `resources`, each a serialised Resource. Raises OSError.

        After a crash either the old file or the new one is there.
        """
        payload = b"".join(len(resource).to_bytes(4, "big") + resource for resource in resources)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            with temporary.open("wb") as file:
                file.write(_MAGIC + hashlib.sha256(payload).digest() + payload)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path)
        finally:
            temporary.unlink(missing_ok=True)
        directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _unpack(data: bytes) -> list[Resource]:
    if not data.startswith(_MAGIC):
        raise ValueError("not a state file of this version")
    start = len(_MAGIC) + _SUM
    payload = memoryview(data)[start:]
    if hashlib.sha256(payload).digest() != data[len(_MAGIC):start]:
        raise ValueError("its checksum is wrong")
    resources: list[Resource] = []
    at = 0
    while at < len(payload):
        end = at + 4 + int.from_bytes(payload[at:at + 4], "big")
        if at + 4 > len(payload) or end > len(payload):
            raise ValueError("it is cut off")
        try:
            resources.append(Resource.FromString(payload[at + 4:end].tobytes()))
        except DecodeError as exc:
            raise ValueError(str(exc)) from None
        at = end
    return resources
