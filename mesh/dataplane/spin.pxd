cdef class Spin:
    cdef public double window
    cdef readonly int misses
    cdef readonly int skip

    cpdef bint wanted(self) except -1
    cpdef int ended(self, bint found) except -1
