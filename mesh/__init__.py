"""A service mesh: light sidecars that carry the traffic, one control plane that steers them.

    app ──▶ sidecar (outbound) ══════════▶ sidecar (inbound) ──▶ app
                ▲   │ spans                    ▲
      resources │   ▼ OTLP                     │ resources
              ┌─┴───────── control plane ──────┴─┐
              │ registry ─ discovery ─ traces    │── SQLite
              └──────────────────────────────────┘

Lowest first; a package imports only what stands above it:
    v1          generated messages              errors      reason codes, one error tree
    model       validated values                resource    messages <-> values
    balance     which endpoint                  resilience  whether again, when, with what bytes
    simulate    what a policy would do, on a virtual clock
    wire        codecs without I/O (compiled)   dataplane   shells: listeners, pools, relays (compiled)
    discovery   subscription, registration, last known good on disk
    telemetry   records -> OpenTelemetry spans  sidecar     composition        cli   commands

A decision is a pure function of (snapshot, request, state, now, rng) and says why. Shells move bytes, keep timers,
call it.
"""

__version__ = "0.1.0"
