cimport cython


@cython.final
cdef class FairQueue:
    cdef public long long most
    cdef readonly long long count
    cdef object flows
    cdef object entries

    cpdef object push(self, object flow, object item, double now)
    @cython.locals(longest=cython.Py_ssize_t)
    cdef object displace(self, object flow)
    cpdef object head(self)
    cpdef object pop(self)
    @cython.locals(entry=tuple)
    cpdef bint serve(self, object item) except -1
    @cython.locals(entry=tuple)
    cpdef bint remove(self, object item) except -1
    cpdef double oldest(self) except? -1
    cpdef object pop_oldest(self)
