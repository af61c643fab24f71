cimport cython

from mesh.balance.alias cimport AliasTable
from mesh.balance.latency cimport LatencyAverage
from mesh.balance.node cimport Node
from mesh.balance.picker cimport Picker
from mesh.balance.power_of_two cimport REDRAWS
from mesh.balance.rng cimport Rng


cdef class PeakEwma(Picker):
    cdef int choices
    cdef LatencyAverage latency
    cdef AliasTable table
    cdef double mean_weight

    cpdef double score(self, Node node, unsigned long long key) except? -1
    cdef rebuild(self)
    cdef on_result(self, Node node, double latency, bint ok, double now)
    @cython.locals(best=Node, node=Node, cost=cython.double, other=cython.double, redraws=cython.int, _=cython.int)
    cdef Node draw(self, unsigned long long key)
