"""`mesh status`: does every sidecar have in force what the registry holds?

What lives here: the judgement over what the control plane tells of its sidecars, and its print. What this must not
know: how sidecars are served.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from mesh.cli.client import CallFailed, call
from mesh.cli.get import sidecar_json, timestamp
from mesh.cli.output import Cell, format_ago, format_seconds, print_json, print_table
from mesh.cli.settings import Settings, common
from mesh.v1 import introspection_pb2, registry_pb2

# A sidecar answers within milliseconds; one that has not after this is behind. In seconds.
GRACE = 2.0
_POLL = 0.1


def behind(item: Any) -> bool:
    """Whether a connected sidecar has not answered yet for the newest revision sent to it."""
    return bool(item.connected and item.acked_revision < item.sent_revision)


@click.command(epilog="""\b
Examples:
  mesh status
  mesh status -o json
  mesh status && echo every sidecar is up to date
Exit code 0: every connected sidecar holds all that it was sent. 1: one refuses a resource, or has not answered for the
newest revision within 2 seconds, or the control plane can't be reached.""")
@common
@click.pass_obj
def status(settings: Settings) -> int:
    """Which sidecar holds which revision, who is behind, and who refused what and why."""
    where = ",".join(map(str, settings.addresses))
    try:
        listed = _listed(settings)
    except CallFailed as error:
        if not settings.json:
            raise
        print_json({"control_plane": {"address": where, "reachable": False, "error": str(error)}, "healthy": False})
        return error.exit_code
    late = [item for item in listed.sidecars if behind(item)]
    refusing = [item for item in listed.sidecars if item.refusals]
    healthy = not late and not any(item.connected for item in refusing)
    policies = _policies(settings)
    if settings.json:
        print_json({"control_plane": {"address": where, "reachable": True, "revision": listed.revision},
                    "healthy": healthy,
                    "sidecars": [{**sidecar_json(item), "behind": behind(item)} for item in listed.sidecars],
                    "policies": [{"sidecar": name, **_policy_json(report)} for name, report in policies]})
    else:
        _print(where, listed, refusing)
        _print_policies(policies)
    return 0 if healthy else 1


def _listed(settings: Settings) -> Any:
    """The sidecars; those that are behind are given GRACE to catch up."""
    deadline = time.monotonic() + GRACE
    while True:
        listed = call(settings, "registry", "ListSidecars", registry_pb2.ListSidecarsRequest())
        if not any(behind(item) for item in listed.sidecars) or time.monotonic() >= deadline:
            return listed
        time.sleep(_POLL)


def _policies(settings: Settings) -> list[tuple[str, Any]]:
    """What sidecars report of policies of one's own; nothing from a control plane that knows of none."""
    try:
        listed = call(settings, "introspection", "ListPolicies", introspection_pb2.ListPoliciesRequest())
    except CallFailed:
        return []
    return [(each.sidecar, report) for each in listed.sidecars for report in each.reports]


def _policy_json(report: Any) -> dict[str, Any]:
    return {"service": report.service, "class": report.class_name, "mode": report.mode, "state": report.state,
            "picks": report.picks, "agreed": report.agreed, "differed": report.differed, "abstained": report.abstained,
            "faults": dict(sorted(report.faults.items())), "last_fault": report.last_fault or None,
            "pick_seconds": report.pick_seconds, "longest_pick": report.longest_pick}


def _print_policies(policies: list[tuple[str, Any]]) -> None:
    if not policies:
        return
    click.echo("\nPolicies of one's own:")
    print_table(["SIDECAR", "SERVICE", "CLASS", "MODE", "STATE", "PICKS", "AGREED", "MEAN", "LONGEST", "FAULTS",
                 "LAST FAULT"],
                [_policy_row(name, report) for name, report in policies])
    sys.stdout.flush()


def _policy_row(name: str, report: Any) -> list[Cell]:
    faults = sum(report.faults.values())
    compared = report.agreed + report.differed
    return [name, report.service, report.class_name, report.mode,
            (report.state, "green" if report.state == "running" else "red"), str(report.picks),
            f"{report.agreed / compared:.1%}" if compared else "-",
            format_seconds(report.pick_seconds / report.picks) if report.picks else "-",
            format_seconds(report.longest_pick) if report.picks else "-",
            (str(faults), "red") if faults else "-", report.last_fault or "-"]


def _print(where: str, listed: Any, refusing: list[Any]) -> None:
    now = time.time()
    connected = sum(1 for item in listed.sidecars if item.connected)
    click.echo(f"Control plane {where} is up, revision {listed.revision}; "
               f"{connected} {'sidecar' if connected == 1 else 'sidecars'} connected.")
    if listed.sidecars:
        click.echo()
        print_table(["SIDECAR", "STATE", "HOLDS", "SENT", "LAST ANSWER", "REFUSES", "BUILD"],
                    [_row(item, now) for item in listed.sidecars])
    if refusing:
        click.echo("\nRefused, the version before stays in force:")
        print_table(["SIDECAR", "RESOURCE", "VERSION", "SINCE", "REASON"],
                    [[item.id, refusal.resource, refusal.version or "-", format_ago(now - timestamp(refusal.at)),
                      (refusal.reason, "red")] for item in refusing for refusal in item.refusals])
    sys.stdout.flush()


def _row(item: Any, now: float) -> list[Cell]:
    state: Cell = ("up to date", "green")
    if not item.connected:
        state = ("gone", "yellow")
    elif behind(item):
        state = ("behind", "red")
    elif item.refusals:
        state = ("refusing", "red")
    heard = format_ago(now - timestamp(item.last_ack)) if item.HasField("last_ack") else "-"
    return [item.id, state, str(item.acked_revision), str(item.sent_revision), heard,
            str(len(item.refusals)) if item.refusals else "-", item.build or "-"]
