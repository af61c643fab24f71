"""What a policy would do: callers and servers on a virtual clock. No I/O, no clock, no global randomness."""

from mesh.simulate.engine import Outcome, Result, Simulation
from mesh.simulate.server import Server, State

__all__ = ["Outcome", "Result", "Server", "Simulation", "State"]
