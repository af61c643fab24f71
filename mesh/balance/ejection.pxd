cimport cython

from mesh.balance.node cimport Node, NodeSet


@cython.final
cdef class Outlier:
    cdef readonly NodeSet nodes
    cdef readonly long long threshold
    cdef readonly double base
    cdef readonly double longest
    cdef readonly double ratio

    cpdef bint on_result(self, Node node, bint ok, double now) except -1
    @cython.locals(healthy=cython.longlong, ejected=cython.longlong, node=Node)
    cdef bint may_eject(self, double now) except -1
