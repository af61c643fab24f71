"""Which endpoint: node sets, one picker per algorithm, passive ejection. No I/O, no clock, no global randomness."""

from mesh.balance.ejection import Outlier
from mesh.balance.factory import make_picker
from mesh.balance.node import Node, NodeSet
from mesh.balance.picker import Picker
from mesh.balance.rng import Rng
from mesh.balance.source_ip_hash import source_key

__all__ = ["Node", "NodeSet", "Outlier", "Picker", "Rng", "make_picker", "source_key"]
