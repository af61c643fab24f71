"""`mesh demo`: open the shop, tell the story, say the verdict; without `--once` keep the shop open until Ctrl-C.

What lives here: flags, the order of things, and that everything started is stopped, whatever happens.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import NoReturn

import grpc.aio
from rich.console import Console

from mesh.demo.load import Load
from mesh.demo.shop import Shop, wait_until
from mesh.demo.story import VICTIM, Story
from mesh.demo.view import Figures, View
from mesh.errors import InvalidConfig, MeshError

WORKERS = 16  # customers at once
RATE = 400.0  # orders a second; a machine that can't is given less
OPEN_TIMEOUT = 30.0  # seconds for the first order to go through
STAY_WINDOW = 5.0  # seconds over which figures are taken once the story is told
DRAW_INTERVAL = 0.25  # seconds
_EXAMPLES = """
examples:
  mesh demo
      tells the story, then keeps the shop open until Ctrl-C and shows commands for another terminal
  mesh demo --once
      tells the story and ends; for CI: exit status 1 when a promise was broken
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InvalidConfig(message.removeprefix("argument "))


def main(argv: Sequence[str]) -> int:
    """Run the demo; returns the exit code.

    0 when every promise was kept, 1 when one was broken or something failed, 2 for a wrong flag, 130 after Ctrl-C.
    """
    parser = _Parser(
        prog="mesh demo", description="A control plane and a small shop of real services on this machine, each\n"
        "instance behind its own sidecar; traffic, a weight change, two killings and a trace.",
        epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--once", action="store_true",
                        help="run the story unattended and end; exit status 1 when a promise was broken")
    try:
        flags, unknown = parser.parse_known_args(argv)
        if unknown:
            word = unknown[0].partition("=")[0]
            parser.error(f"{word}: no such flag" if word.startswith("-") else f"{unknown[0]}: unexpected argument")
    except InvalidConfig as error:
        print(f"mesh demo: {error}", file=sys.stderr)
        return error.exit_code
    try:
        return asyncio.run(_demo(flags.once))
    except KeyboardInterrupt:
        return 130


async def _demo(once: bool) -> int:
    task = asyncio.current_task()
    assert task is not None
    # The processes sit in sessions of their own and never see the terminal's Ctrl-C; they are stopped from here.
    # A second one changes nothing: stopping takes a few seconds at most.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, _cancel_once(task))
    directory = Path(tempfile.mkdtemp(prefix="mesh-demo-"))
    console = Console(highlight=False)
    kept: bool | None = None  # None: not known yet
    failed = False
    try:
        async with _open(directory, console) as (shop, load):
            view = View(console)
            kept = view.verdict(await Story(shop, load, view).tell())
            if not once:
                await _stay(shop, load, view)
    except asyncio.CancelledError:
        console.print("\nStopped.")
        return 130 if kept is None else int(not kept)
    except (MeshError, OSError, grpc.aio.AioRpcError) as error:
        failed = True
        print(f"mesh demo: {error}", file=sys.stderr)
    finally:
        if failed or kept is False:
            print(f"mesh demo: logs and data are in {directory}", file=sys.stderr)
        else:
            shutil.rmtree(directory, ignore_errors=True)
    return int(failed or not kept)


def _cancel_once(task: asyncio.Task[object]) -> Callable[[], None]:
    def cancel() -> None:
        if not task.cancelling():
            task.cancel()

    return cancel


@contextlib.asynccontextmanager
async def _open(directory: Path, console: Console) -> AsyncIterator[tuple[Shop, Load]]:
    """Start the shop and the load; stop both at the end, whatever it is."""
    shop = Shop(directory)
    load: Load | None = None
    began = time.monotonic()
    console.print(f"Opening the shop: a control plane, {len(shop.instances)} instances with a sidecar each; stock is "
                  + (f"a real Redis ({shop.redis})" if shop.redis else "a small TCP service (no redis-server here)"),
                  soft_wrap=True)
    try:
        await shop.open()
        load = Load(shop.storefront, WORKERS, RATE)

        async def order_goes_through() -> bool:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await load.order()
                return True
            return False

        await wait_until("an order goes through", order_goes_through, OPEN_TIMEOUT)
        console.print(f"Open after {time.monotonic() - began:.1f} s; control plane {shop.control_plane}, "
                      f"storefront {shop.storefront}", soft_wrap=True)
        load.start()
        yield shop, load
    finally:
        if load is not None:
            await load.close()
        await shop.close()


async def _stay(shop: Shop, load: Load, view: View) -> None:
    """Keep the shop open and show what goes on until the task is cancelled."""
    load.close_window(load.total)
    await shop.instances[VICTIM].start()
    mesh = "mesh" if shutil.which("mesh") else str(Path(sys.executable).with_name("mesh"))
    view.act("The shop stays open until Ctrl-C. In another terminal:")
    for line in (f"export MESH_CONTROL_PLANE={shop.control_plane}", f"{mesh} get endpoints",
                 f"{mesh} weight cart cart-0=5 cart-1=5 cart-2=0", f"{mesh} drain payment payment-2", f"{mesh} status",
                 f"{mesh} traces --service payment", f"{mesh} trace ID"):
        view.show(f"  {line}")
    view.watch()
    try:
        while True:
            window = load.open_window()
            for _ in range(int(STAY_WINDOW / DRAW_INTERVAL)):
                await asyncio.sleep(DRAW_INTERVAL)
                view.figures(Figures(window, seconds=time.monotonic() - window.opened))
            load.close_window(window)
    finally:
        view.unwatch()
