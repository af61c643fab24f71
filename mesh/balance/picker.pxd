cimport cython

from mesh.balance.node cimport LoadWatcher, Node
from mesh.balance.rng cimport Rng

cdef int REDRAWS
cdef double NO_SCORE


cdef class Picker(LoadWatcher):
    cdef readonly Rng rng
    cdef readonly list active
    cdef public double now
    cdef bint watching
    cdef readonly bint feedback

    @cython.locals(node=Node)
    cpdef take(self, list active, list away)
    @cython.locals(node=Node)
    cpdef detach(self)
    @cython.locals(other=Picker)
    cpdef Picker fork(self, Rng rng)
    cdef separate(self)
    cpdef double score(self, Node node, unsigned long long key) except? -1
    cdef Node draw(self, unsigned long long key)
    cdef rebuild(self)
    cdef on_result(self, Node node, double latency, bint ok, double now)
    @cython.locals(node=Node, total=cython.longlong, left=cython.longlong, _=cython.int)
    cdef Node draw_other(self, unsigned long long key, list tried)
