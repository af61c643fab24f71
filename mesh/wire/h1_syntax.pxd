from mesh.wire.ip_address cimport parse_ipv6
from mesh.wire.octets cimport octets_of

cdef int MAX_LINE
cdef int MAX_SECTION
cdef int MAX_FIELDS
cdef int MAX_TRAILERS
cdef bytearray LOWER
cdef bytes JUDGED
cdef frozenset METHODS
cdef int HOST, HEX
cdef bytearray HOST_OCTETS

cpdef bint is_token(bytearray buf, Py_ssize_t start, Py_ssize_t end) except -1
cpdef bint is_target(bytearray buf, Py_ssize_t start, Py_ssize_t end) except -1
cpdef bint is_path(bytes text) except -1
cpdef bint same_word(bytearray buf, Py_ssize_t start, Py_ssize_t end, bytes word) except -1
cpdef str method_problem(bytes method)
cpdef str authority_problem(bytes authority, bint port_due=*)
cdef Py_ssize_t host_end(bytes authority) except -1
cpdef list members(bytes value)
cpdef bytes lower_token(bytearray buf, Py_ssize_t start, Py_ssize_t end)
