cimport cython
from libc.math cimport log2



@cython.final
cdef class LatencyHistogram:
    cdef list counts
    cdef readonly double total
    cdef readonly double halve_at

    cpdef int add(self, double latency, double now) except -1
    cdef int age(self, double now) except -1
    cpdef double percentile(self, double ratio, double now) except -1


@cython.final
cdef class Hedging:
    cdef readonly double ratio
    cdef readonly double min_delay
    cdef readonly double needed
    cdef readonly LatencyHistogram latencies
    cdef int news
    cdef double last

    cpdef int observe(self, double latency, double now) except -1
    cpdef double delay(self, double now) except? -1
