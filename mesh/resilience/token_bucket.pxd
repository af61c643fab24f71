cimport cython


@cython.final
cdef class TokenBuckets:
    cdef readonly double interval
    cdef readonly double slack
    cdef readonly long long max_keys
    cdef readonly long long forgotten
    cdef object full_at

    @cython.locals(full_at=cython.double, early=cython.double)
    cpdef double take(self, object key, double now) except? -1
    @cython.locals(full_at=cython.double, early=cython.double)
    cpdef double wait(self, object key, double now) except? -1
