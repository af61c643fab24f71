from mesh.resilience.token_bucket cimport TokenBuckets
from mesh.wire.hpack cimport Head

cdef class Rates:
    cdef readonly tuple limits
    cdef tuple headers
    cdef readonly list buckets
    cpdef double take(self, Head head, str source, double now) except? -1
    cdef object key(self, Py_ssize_t index, Head head, str source)
