from mesh.wire.octets cimport equal_at

cdef bytearray CLASSES

cpdef int detect(bytearray buf, Py_ssize_t n) except -1
cdef int matches(bytearray buf, Py_ssize_t n, bytes signature) except -2
cdef int request_line(bytearray buf, Py_ssize_t n) except -1
