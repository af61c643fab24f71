cimport cython

from mesh.balance.node cimport Node, NodeSet
from mesh.balance.rng cimport Rng


cpdef bint to_blame(int http_status, int grpc_status) noexcept


@cython.final
cdef class Outlier:
    cdef readonly NodeSet nodes
    cdef Rng rng
    cdef readonly long long threshold
    cdef readonly double base
    cdef readonly double longest
    cdef readonly double ratio
    cdef readonly double jitter
    cdef readonly bint half_open
    cdef readonly double interval
    cdef readonly object policy
    cdef readonly bint timing
    cdef readonly bint counting
    cdef double due
    cdef readonly bint news
    cdef list changed

    cpdef bint on_result(self, Node node, bint ok, double now) except -1
    cpdef bring_back(self, Node node, double now)
    cpdef list take_news(self)
    @cython.locals(returned=cython.double, lasts=cython.double, up=cython.longlong)
    cdef eject(self, Node node, double now, str why)
    @cython.locals(healthy=cython.longlong, ejected=cython.longlong, node=Node)
    cdef bint may_eject(self, double now) except -1
    @cython.locals(node=Node)
    cdef compare(self, double now)
    @cython.locals(node=Node)
    cdef eject_worst(self, list found, double now)
