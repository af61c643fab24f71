"""The story: traffic settles, weights change, a replica dies, the control plane dies and returns, a trace is read.

What lives here: the acts in their order and what each promises. What this must not know: how processes are started, how
anything is drawn.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable

from mesh.dataplane.tasks import spawn
from mesh.demo import promises
from mesh.demo.load import Load, Tally
from mesh.demo.process import ProcessFailed
from mesh.demo.promises import ORDERS, Promise
from mesh.demo.shop import Shop, wait_until
from mesh.demo.tracing import customer_span
from mesh.demo.view import Figures, View

ACT_SECONDS = 25.0  # an act that has not seen its orders by then goes on without, and breaks its promise
SETTLE = 0.5  # seconds in which a weight change must have reached every sidecar
BACK = 15.0  # seconds that sidecars have to find back to the control plane
TRACED = 8.0  # seconds that the spans of one order have to arrive
VICTIM = "payment-1"
SERVICES = ("customer", "storefront", "cart", "payment")


class Story:
    """One telling over an open shop and a running load."""

    def __init__(self, shop: Shop, load: Load, view: View) -> None:
        self._shop = shop
        self._load = load
        self._view = view
        self._promises: list[Promise] = []
        self._weights: dict[str, int] = {}
        self._down: set[str] = set()
        self._shown = load.open_window()
        self._retried = 0

    async def tell(self) -> list[Promise]:
        """Play all acts; return promises and what was seen. Raises ProcessFailed when a command or a start fails."""
        began = time.monotonic()
        drawing = spawn("figures", self._draw())
        self._view.watch()
        try:
            await self._settle()
            await self._shift()
            await self._kill_replica()
            await self._kill_control_plane()
            await self._look_at_one_order()
        finally:
            drawing.cancel()
            self._view.unwatch()
        self._promises.insert(0, promises.no_failures("in the whole story", self._load.total))
        self._promises.append(promises.in_time(time.monotonic() - began))
        return self._promises

    async def _settle(self) -> None:
        self._view.act("1. Traffic settles at the weights that the cart replicas registered with, 1:3:2")
        self._weights = {"cart-0": 1, "cart-1": 3, "cart-2": 2}
        self._promises.append(promises.shares_follow(self._weights, await self._orders(ORDERS)))

    async def _shift(self) -> None:
        self._view.act("2. Weights change to 1:0:9 while orders go on")
        await self._set_weights({"cart-0": 1, "cart-1": 0, "cart-2": 9}, leaving="cart-1")
        self._promises.append(promises.shares_follow(self._weights, await self._orders(ORDERS)))

    async def _kill_replica(self) -> None:
        self._view.act(f"3. {VICTIM} is killed with SIGKILL under load, app and sidecar at once")
        window = self._load.open_window()
        before = await self._shop.retries()
        count = await self._shop.instances[VICTIM].kill()
        self._down.add(VICTIM)
        self._view.say(f"SIGKILL to the {count} processes of {VICTIM}")
        after = await self._orders(ORDERS // 2)
        repeated = await self._shop.retries() - before
        self._view.say(f"{repeated} attempts were repeated, {window.failures} of {window.requests} orders failed",
                       "red" if window.failures else "")
        self._load.close_window(window)
        self._promises += [promises.no_failures(f"while {VICTIM} dies", window),
                           promises.went_elsewhere(VICTIM, "payment", after)]

    async def _kill_control_plane(self) -> None:
        self._view.act("4. The control plane is killed with SIGKILL and comes back")
        window = self._load.open_window()
        await self._shop.controller.kill()
        self._view.say("SIGKILL to the control plane; orders go on without it")
        await self._orders(ORDERS // 4)
        self._promises.append(promises.no_failures("without a control plane", window))
        await self._shop.start_controller()
        back = time.monotonic()
        self._view.say("the control plane is started again from its data directory")
        stored = await self._shop.weights("cart")
        self._promises.append(promises.kept_weights(self._weights, stored))
        expected = set(self._shop.instances) - self._down
        heard: set[str] = set()

        async def all_back() -> bool:
            heard.update(await self._shop.heard(back))
            return expected <= heard

        await self._eventually("every sidecar is back", all_back, BACK)
        self._promises.append(promises.reconnected(expected, heard))
        self._view.say(f"{len(expected & heard)} of {len(expected)} sidecars are back")
        await self._set_weights({"cart-0": 2, "cart-1": 1, "cart-2": 1}, leaving=None)
        self._promises.append(promises.shares_follow(self._weights, await self._orders(ORDERS)))
        self._load.close_window(window)
        self._promises.append(promises.no_failures("until the control plane is back in charge", window))

    async def _look_at_one_order(self) -> None:
        self._view.act("5. The trace of one order")
        trace, span = secrets.randbits(128) or 1, secrets.randbits(64) or 1
        trace_id = f"{trace:032x}"
        began = time.time_ns()
        await self._load.order([("traceparent", f"00-{trace_id}-{span:016x}-01")])
        await self._shop.export(customer_span(trace, span, began, time.time_ns()))
        spans: list[tuple[str, str, str]] = []

        async def arrived() -> bool:
            before = len(spans)
            spans[:] = await self._shop.trace(trace_id)
            # Every sidecar sends for itself, so a trace is read once it has stopped growing.
            return len(spans) == before and promises.trace_complete(SERVICES, spans).kept

        await self._eventually("the trace is complete", arrived, TRACED)
        self._promises.append(promises.trace_complete(SERVICES, spans))
        if spans:
            self._view.say(f"mesh trace {trace_id}")
            self._view.show(await self._shop.command("trace", trace_id, columns=self._view.width))

    async def _set_weights(self, weights: dict[str, int], leaving: str | None) -> None:
        window = self._load.open_window()
        words = [f"{name}={weight}" for name, weight in weights.items()]
        self._view.say(f"mesh weight cart {' '.join(words)}")
        await self._shop.command("weight", "cart", *words)
        done = time.monotonic()
        self._weights = weights
        await asyncio.sleep(SETTLE)
        self._load.close_window(window)
        if leaving is not None:
            late = (window.last.get(leaving, done) - done) * 1000
            self._view.say(f"no order went to {leaving} once the command had returned" if late <= 0 else
                           f"the last order for {leaving} began {late:.0f} ms after the command had returned")

    async def _eventually(self, what: str, condition: Callable[[], Awaitable[bool]], timeout: float) -> None:
        """Wait for what a promise will be checked for; the check tells when it has not come true."""
        try:
            await wait_until(what, condition, timeout)
        except ProcessFailed as error:
            self._view.say(str(error), "red")

    async def _orders(self, count: int) -> Tally:
        """Watch until `count` orders that begin now are through."""
        tally = await self._show(count)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(tally.reached.wait(), ACT_SECONDS)
        self._load.close_window(tally)
        self._view.result(await self._figures())
        await self._show()
        return tally

    async def _show(self, goal: int = 0) -> Tally:
        """Show what begins from now on."""
        self._load.close_window(self._shown)
        self._retried = await self._shop.retries()
        self._shown = self._load.open_window(goal)
        return self._shown

    async def _figures(self) -> Figures:
        retries = await self._shop.retries() - self._retried
        return Figures(self._shown, self._weights, self._down, retries, time.monotonic() - self._shown.opened)

    async def _draw(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            self._view.figures(await self._figures())
