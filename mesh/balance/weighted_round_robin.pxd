cimport cython

from mesh.balance.node cimport Node
from mesh.balance.picker cimport Picker
from mesh.balance.rng cimport Rng


@cython.final
cdef class Group:
    cdef long long weight
    cdef long long current
    cdef Py_ssize_t next
    cdef list members

    @cython.locals(node=Node)
    cdef Py_ssize_t place(self) except -1


cdef class WeightedRoundRobin(Picker):
    cdef list groups
    cdef long long total

    cdef separate(self)
    @cython.locals(node=Node, group=Group, by_weight=dict, cycle=cython.longlong,
                   steps=cython.longlong, _=cython.longlong)
    cdef rebuild(self)
    @cython.locals(i=cython.Py_ssize_t, best=Group, group=Group, node=Node)
    cdef Node draw(self, unsigned long long key)
