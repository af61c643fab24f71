from mesh.dataplane.record cimport Record
from mesh.wire.octets cimport octets_of, put_octets

cdef int TCP_
cdef int UDP_
cdef int SLOTS
cdef int SPANS_TAG
cdef int START_TAG
cdef int END_TAG
cdef int ATTRIBUTES_TAG
cdef int INT_TAG
cdef bytes TRACE_ID
cdef bytes SPAN_ID
cdef bytes PARENT_ID

cdef class Template:
    cdef bytes octets
    cdef int kind
    cdef int protocol
    cdef bint root
    cdef str service
    cdef bytes method
    cdef bytes authority
    cdef str endpoint
    cdef str peer_host
    cdef int peer_port
    cdef str source
    cdef int attempt
    cdef int attempts
    cdef int http_status
    cdef int grpc_status
    cdef str reason
    cdef str why
    cdef str pick
    cdef Py_ssize_t candidates
    cdef str version
    cdef str listener
    cdef bint fits(self, Record record) except -1

cdef class SpanEncoder:
    cdef readonly Py_ssize_t count
    cdef readonly Py_ssize_t size
    cdef object resource
    cdef dict templates
    cdef list slots
    cdef bytes request_key
    cdef bytes response_key
    cdef tuple paths
    cdef bytes scope
    cdef bytes head
    cdef bytearray out
    cpdef int add(self, Record record) except -1
    cdef Template template(self, Record record)
    cdef Template remembered(self, Record record)
    cdef bytes path(self, Record record)
    cdef bytes extras(self, Record record)

cdef bytes sized(bytes tag, bytes payload)
cdef bytes varint(unsigned long long number)
cdef int varint_size(unsigned long long number) except -1
cdef Py_ssize_t put_varint(bytearray out, Py_ssize_t at, unsigned long long number) except -1
cdef Py_ssize_t put_count(bytearray out, Py_ssize_t at, bytes key, unsigned long long number) except -1
cdef Py_ssize_t put_big(bytearray out, Py_ssize_t at, unsigned long long number) except -1
cdef Py_ssize_t put_little(bytearray out, Py_ssize_t at, long long number) except -1
