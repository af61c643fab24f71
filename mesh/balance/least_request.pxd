cimport cython

from mesh.balance.node cimport Node
from mesh.balance.power_of_two cimport REDRAWS, PowerOfTwo
from mesh.balance.rng cimport Rng


cdef class LeastRequest(PowerOfTwo):
    cdef int choices

    @cython.locals(best=Node, _=cython.int)
    cdef Node draw(self, unsigned long long key)
    @cython.locals(node=Node, _=cython.int)
    cdef Node better(self, Node best)
