cimport cython


@cython.final
cdef class ReplayBuffer:
    cdef readonly Py_ssize_t limit
    cdef readonly Py_ssize_t size
    cdef readonly bint overflowed
    cdef readonly list chunks

    cpdef bint append(self, bytes chunk) except -1
