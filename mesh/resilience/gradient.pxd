cimport cython

from mesh.balance.rng cimport Rng


@cython.final
cdef class GradientLimit:
    cdef readonly object policy
    cdef Rng rng
    cdef long long lowest
    cdef long long highest
    cdef double interval
    cdef long long wanted
    cdef readonly long long limit
    cdef long long resumed
    cdef readonly double least
    cdef int in_a_row
    cdef list samples
    cdef readonly bint measuring
    cdef double since
    cdef double measure_at

    cdef measure(self, double now)
    cpdef sample(self, double latency, double now)
    cdef settle(self, double now)
    @cython.locals(present=cython.double, growth=cython.double, limit=cython.double)
    cdef update(self, double now)
    @cython.locals(place=cython.Py_ssize_t)
    cdef double summed_up(self) except? -1
