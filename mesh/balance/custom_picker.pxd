cimport cython

from mesh.balance.node cimport Node
from mesh.balance.picker cimport Picker
from mesh.balance.rng cimport Rng


@cython.final
cdef class Candidate:
    cdef Node node
    cdef readonly Py_ssize_t index
    cdef readonly str name
    cdef readonly str region
    cdef readonly str zone
    cdef readonly object metadata
    cdef readonly long long weight
    cdef readonly int priority


cdef class CustomPicker(Picker):
    cdef public object policy
    cdef readonly Picker inner
    cdef tuple candidates
    cdef dict by_node

    @cython.locals(node=Node, candidate=Candidate)
    cpdef take(self, list active, list away)
    cpdef detach(self)
    @cython.locals(other=CustomPicker)
    cpdef Picker fork(self, Rng rng)
    cpdef double score(self, Node node, unsigned long long key) except? -1
    @cython.locals(candidate=Candidate)
    cdef on_result(self, Node node, double latency, bint ok, double now)
    @cython.locals(node=Node, chosen=Node)
    cdef Node draw(self, unsigned long long key)
    @cython.locals(node=Node, chosen=Node, candidate=Candidate, rest=list)
    cdef Node draw_other(self, unsigned long long key, list tried)
    @cython.locals(candidate=Candidate)
    cdef Node ask(self, tuple candidates, unsigned long long key)
