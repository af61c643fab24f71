from mesh.wire.octets cimport copy_octets, put_octets, unfilled

cdef class Output:
    cdef public bytearray out
    cdef public Py_ssize_t out_len
    cdef long long batch
    cdef public object owner
    cdef list dirty
    cdef int room(self, Py_ssize_t n) except -1
    cdef int put(self, bytes octets) except -1
    cdef int attend(self) except -1
    cpdef bytes take_output(self)
    cpdef int trim(self) except -1
