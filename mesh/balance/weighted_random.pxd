from mesh.balance.alias cimport AliasTable
from mesh.balance.node cimport Node, NodeSet
from mesh.balance.picker cimport Picker
from mesh.balance.rng cimport Rng


cdef class WeightedRandom(Picker):
    cdef AliasTable table

    cpdef str describe(self)
    cdef rebuild(self)
    cdef Node draw(self, unsigned long long key)
