cdef class Allowance:
    cdef readonly double left
    cdef double most
    cdef double rate
    cdef double last
    cdef long long reads
    cdef long long earned
    cpdef bint take(self, double now, long long reads, long long earned=*) except -1
    cdef int give(self, double n) except -1
