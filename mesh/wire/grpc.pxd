from mesh.wire.fieldrules cimport digits
from mesh.wire.octets cimport octets_of

cdef bytearray SCRATCH
cdef bytearray SAFE
cdef dict UNITS
cdef bytes HEX_DIGITS

cpdef double parse_timeout(bytes value) except? -1.0
cpdef bytes format_timeout(double seconds)
cpdef int grpc_status_of(int http_status) except -1
cpdef bytes frame(bytes message, bint compressed=*)
cpdef bytes encode_message(str text)
cpdef str decode_message(bytes value)

cdef class MessageDecoder:
    cdef readonly Py_ssize_t limit
    cdef bytearray buffer
    cpdef list feed(self, bytes data)
