"""Which endpoint: node sets, who of them may be picked, one picker per algorithm, passive ejection. No I/O, no clock,
no global randomness."""

from mesh.balance.balancer import Balancer
from mesh.balance.ejection import Outlier, to_blame
from mesh.balance.factory import check_policy, make_picker
from mesh.balance.hashing import source_key
from mesh.balance.node import Node, NodeSet
from mesh.balance.picker import Picker
from mesh.balance.rng import Rng
from mesh.balance.subset import Caller

__all__ = ["Balancer", "Caller", "Node", "NodeSet", "Outlier", "Picker", "Rng", "check_policy", "make_picker",
           "source_key", "to_blame"]
