cimport cython

from mesh.balance.alias cimport AliasTable
from mesh.balance.node cimport Node
from mesh.balance.picker cimport REDRAWS, Picker
from mesh.balance.rng cimport Rng


cdef class WeightedRandom(Picker):
    cdef AliasTable table

    cdef rebuild(self)
    cdef Node draw(self, unsigned long long key)


cdef class UniformRandom(Picker):
    @cython.locals(node=Node)
    cdef Node draw(self, unsigned long long key)
    @cython.locals(node=Node, rest=list, _=cython.int)
    cdef Node draw_other(self, unsigned long long key, list tried)
