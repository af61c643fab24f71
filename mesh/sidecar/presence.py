"""The instance's place in the registry: taken when the app is there, left before the port closes.

What lives here: the watch on the app, and when the instance is registered and when it leaves. What this must not know:
how a lease is kept (registration), what is carried.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from mesh.balance.rng import Rng
from mesh.dataplane.rpc import Channel
from mesh.dataplane.tasks import spawn
from mesh.discovery.registration import Registration
from mesh.model import SIDECAR_METADATA, Endpoint, Locality, Protocol
from mesh.sidecar.config import Address, SidecarConfig

_log = logging.getLogger("mesh.sidecar")
_PROBE_FIRST = 0.05
_PROBE_SLOWEST = 1.0
# An app that takes longer to listen is worth a word: a wrong --app looks just like it. Seconds.
_PATIENCE = 5.0
_LEAVE_WITHIN = 2.0


class Presence:
    """The instance of `config`, whose callers come to `address` (host, port) unless it advertises another.

    The app is asked for once before the instance is registered, so that no call arrives too early. With UDP there is no
    way to ask.
    """

    def __init__(self, config: SidecarConfig, app: Address, address: tuple[str, int], channel: Channel,
                 rng: Rng) -> None:
        self._config = config
        self._app = app
        self._channel = channel
        self._rng = rng
        host, port = address
        if config.advertise is not None:
            host, port = config.advertise.host, config.advertise.port or port
        self._endpoint = Endpoint(config.service, config.instance, host, port, config.weight,
                                  Locality(config.region, config.zone), metadata=(SIDECAR_METADATA, *config.metadata),
                                  priority=config.priority)
        self._registration: Registration | None = None
        self._watch: asyncio.Task[None] | None = None
        self._contested: bool | None = None

    def watch_app(self) -> None:
        """Register as soon as the app accepts connections, with UDP at once."""
        self._watch = spawn("watch app", self._register_when_up())

    async def _register_when_up(self) -> None:
        loop = asyncio.get_running_loop()
        wait, began, told = _PROBE_FIRST, loop.time(), False
        while self._config.protocol is not Protocol.UDP and not await self._app_is_up():
            if not told and loop.time() - began >= _PATIENCE:
                told = True
                _log.warning("nothing accepts connections at %s: not registered until something does", self._app)
            await asyncio.sleep(wait)
            wait = min(_PROBE_SLOWEST, wait * 1.5)
        self._registration = Registration(self._channel, self._endpoint, self._config.protocol, self._config.id,
                                          self._rng)
        if self._contested is not None:
            self._registration.contest(self._contested)
        self._registration.start()

    async def _app_is_up(self) -> bool:
        try:
            async with asyncio.timeout(1.0):
                _, writer = await asyncio.open_connection(self._app.host, self._app.port)
        except (OSError, TimeoutError):
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True

    def contest(self, register: bool) -> None:
        """Another process of this instance lives, until `settle`: one that is to go, or without `register` to come."""
        self._contested = register
        if self._registration is not None:
            self._registration.contest(register)

    def settle(self) -> None:
        """The instance is this process's alone again."""
        self._contested = None
        if self._registration is not None:
            self._registration.settle()

    async def wait_registered(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds until the registry has the instance."""
        try:
            async with asyncio.timeout(timeout):
                if self._watch is not None:
                    await asyncio.shield(self._watch)
                if self._registration is not None:
                    await self._registration.registered.wait()
        except TimeoutError:
            return False
        return True

    async def leave(self, deregister: bool) -> bool:
        """Leave the registry, or leave the place to another process of this instance that has it; once only.

        Returns whether callers may have known of it.
        """
        if self._watch is not None:
            self._watch.cancel()
        if self._registration is None:
            return False
        if deregister:
            await self._registration.deregister(_LEAVE_WITHIN)
        else:
            await self._registration.abandon()
        return True
