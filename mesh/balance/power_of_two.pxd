cimport cython

from mesh.balance.alias cimport AliasTable
from mesh.balance.node cimport Node
from mesh.balance.picker cimport Picker
from mesh.balance.rng cimport Rng

cdef int REDRAWS


cdef class PowerOfTwo(Picker):
    cdef AliasTable table

    cpdef double score(self, Node node, unsigned long long key) except? -1
    cdef rebuild(self)
    @cython.locals(first=Node, second=Node, _=cython.int)
    cdef Node draw(self, unsigned long long key)
    @cython.locals(now=cython.longlong, then=cython.longlong)
    cdef inline Node less_loaded(self, Node first, Node second)
