from mesh.dataplane.record cimport Record

cdef enum:
    BOUNDS = 16
    CODES = 17
    CLASSES = 6


cdef class Tally:
    cdef public long long ok
    cdef readonly dict reasons
    cdef readonly dict retries
    cdef public long long attempts
    cdef public long long request_bytes
    cdef public long long response_bytes
    cdef public long long nanoseconds
    cdef long long bounds[BOUNDS]
    cdef long long buckets[BOUNDS + 1]
    cdef long long grpc[CODES]
    cdef long long http[CLASSES]
    cdef int add(self, Record record) except -1


cdef class Tallies:
    cdef readonly dict outbound
    cdef readonly dict inbound
    cdef readonly Py_ssize_t most
    cpdef int add(self, Record record) except -1
    cdef Tally of(self, Record record)
