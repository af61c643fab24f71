cimport cython

from mesh.balance.node cimport Node
from mesh.balance.picker cimport Picker
from mesh.balance.rng cimport Rng


cdef class RoundRobin(Picker):
    cdef Py_ssize_t next
    cdef Node last

    @cython.locals(n=cython.Py_ssize_t, i=cython.Py_ssize_t, node=Node)
    cdef rebuild(self)
    @cython.locals(i=cython.Py_ssize_t, node=Node)
    cdef Node draw(self, unsigned long long key)
    @cython.locals(node=Node, _=cython.Py_ssize_t)
    cdef Node draw_other(self, unsigned long long key, list tried)
