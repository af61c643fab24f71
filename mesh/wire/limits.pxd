cdef class Allowance:
    cdef readonly double left
    cdef double most
    cdef double rate
    cdef double last
    cdef long long reads
    cpdef bint take(self, double now, long long reads) except -1
    cpdef int give(self, double n) except -1
