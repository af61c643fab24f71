cimport cython

from mesh.balance.alias cimport AliasTable
from mesh.balance.node cimport Node, NodeSet
from mesh.balance.picker cimport Picker
from mesh.balance.rng cimport Rng

cdef int REDRAWS


cdef class PowerOfTwo(Picker):
    cdef AliasTable table

    cpdef str describe(self)
    cdef rebuild(self)
    @cython.locals(first=Node, second=Node, now=cython.longlong, then=cython.longlong, _=cython.int)
    cdef Node draw(self, unsigned long long key)
