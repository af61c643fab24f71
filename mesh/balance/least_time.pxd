cimport cython

from mesh.balance.latency cimport LatencyAverage
from mesh.balance.least_connections cimport LeastLoaded
from mesh.balance.node cimport Node
from mesh.balance.rng cimport Rng


cdef class LeastTime(LeastLoaded):
    cdef LatencyAverage latency
    cdef double mean_weight
    cdef Py_ssize_t next

    @cython.locals(total=cython.longlong, node=Node)
    cdef rebuild(self)
    cdef double load(self, Node node) except -1
    cdef on_result(self, Node node, double latency, bint ok, double now)
    @cython.locals(best=Node, node=Node, i=cython.Py_ssize_t)
    cdef Node best(self)
