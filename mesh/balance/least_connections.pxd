cimport cython

from mesh.balance.node cimport Node
from mesh.balance.picker cimport Picker


cdef class LeastConnections(Picker):
    cpdef str describe(self)
    @cython.locals(node=Node)
    cdef Node draw(self, unsigned long long key)
    cdef Node draw_other(self, unsigned long long key, list tried)
    @cython.locals(best=Node, node=Node, equals=cython.longlong, left=cython.longlong)
    cdef Node least(self, list tried)
