from mesh.dataplane.record cimport Record

cdef bytes _attribute(bytes key, bytes value)
cdef bytes _sized(bytes payload)
cdef bytes _varint(long long number)

cdef class SpanEncoder:
    cdef object _resource
    cdef dict _templates
    cdef bytes _request_bytes
    cdef bytes _response_bytes
    cdef bytes _url_path
    cdef bytes _scope
    cdef bytes _head
    cpdef bytes span(self, Record record)
    cdef bytes _template(self, Record record)
