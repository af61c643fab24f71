cimport cython

from mesh.balance.node cimport Node, NodeSet
from mesh.balance.picker cimport Picker
from mesh.balance.rng cimport Rng

cdef double INFINITY


@cython.final
cdef class Balancer:
    cdef readonly object policy
    cdef readonly NodeSet nodes
    cdef readonly Rng rng
    cdef readonly Picker picker
    cdef readonly bint feedback
    cdef readonly object sticky
    cdef str name
    cdef readonly str why
    cdef readonly list active
    cdef readonly bint panic
    cdef long long generation
    cdef double refresh_at

    @cython.locals(picker=Picker)
    cpdef Node pick(self, unsigned long long key, double now, list tried)
    @cython.locals(node=Node)
    cpdef Node pick_again(self, bytes cookies, unsigned long long key, double now, list tried)
    cpdef int on_result(self, Node node, double latency, bint ok, double now) except -1
    cpdef changed(self)
    cpdef str describe(self)
    cpdef close(self)
    @cython.locals(node=Node, active=list, ejected=list)
    cdef refresh(self, double now)
