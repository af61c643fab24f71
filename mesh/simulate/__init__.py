"""What a policy would do: callers and servers on a virtual clock. No I/O, no clock, no global randomness."""

from mesh.simulate.engine import Outcome, Result, Server, Simulation

__all__ = ["Outcome", "Result", "Server", "Simulation"]
