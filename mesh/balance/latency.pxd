cimport cython

from mesh.balance.node cimport Node


@cython.final
cdef class LatencyAverage:
    cdef readonly double decay
    cdef readonly double initial

    @cython.locals(left=cython.double)
    cpdef double of(self, Node node, double now) except? -1
    cpdef double cost(self, Node node, double now, double mean_weight) except? -1
    @cython.locals(before=cython.double, share=cython.double)
    cpdef add(self, Node node, double latency, bint ok, double now, bint peak)
