cimport cython

from mesh.balance.node cimport Node, NodeSet
from mesh.balance.rng cimport Rng

cdef double INFINITY
cdef int REDRAWS


cdef class Picker:
    cdef readonly NodeSet nodes
    cdef readonly Rng rng
    cdef readonly list active
    cdef readonly bint panic
    cdef long long generation
    cdef double refresh_at

    cpdef Node pick(self, unsigned long long key, double now, list tried)
    cpdef changed(self)
    cpdef str describe(self)
    cdef Node draw(self, unsigned long long key)
    cdef rebuild(self)
    @cython.locals(node=Node, total=cython.longlong, left=cython.longlong, _=cython.int)
    cdef Node draw_other(self, unsigned long long key, list tried)
    @cython.locals(node=Node, active=list, ejected=list)
    cdef refresh(self, double now)
