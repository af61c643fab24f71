cimport cython

from mesh.balance.node cimport Node
from mesh.balance.rng cimport Rng


@cython.final
cdef class Slot:
    cdef Node node
    cdef Node other
    cdef unsigned long long threshold


@cython.final
cdef class AliasTable:
    cdef list nodes
    cdef list slots
    cdef unsigned long long total

    @cython.locals(n=cython.ulonglong, node=Node, slot=Slot, rich=Slot, small=list, large=list)
    cdef build(self)
    @cython.locals(i=cython.Py_ssize_t, slot=Slot)
    cpdef Node draw(self, Rng rng)
