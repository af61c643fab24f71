from mesh.wire.fieldrules cimport (
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HTTP2_SETTINGS, KEEP_ALIVE, OTHER, PROXY_CONNECTION, TE,
    TRANSFER_ENCODING, UPGRADE, WEBSOCKET_KEY, digits)
from mesh.wire.fields cimport Field, Name, intern_field, intern_literal, intern_name, new_field, new_name, seen_before
from mesh.wire.h1_syntax cimport LOWER, is_token, lower_token, members
from mesh.wire.octets cimport MIX, copy_octets, equal_at, find_octet, hash_at, is_text, octets_of, put_octets

cdef bytearray SCRATCH
cdef int MAX_LITERAL
cdef int LINE_SETS
cdef list LINES
cdef bytearray SEEN
cdef frozenset FORBIDDEN_TRAILERS
cdef tuple PER_CALL_NAMES
cdef frozenset HARMLESS
cdef Field TE_TRAILERS

cdef class Section:
    cdef bint trailers
    cdef public list fields
    cdef readonly bytes host
    cdef readonly long long length
    cdef readonly set options
    cdef readonly bytes coding
    cdef readonly list protocols
    cdef readonly bint te_trailers
    cdef readonly bint expects
    cdef readonly bint expects_other
    cdef readonly bytes key
    cdef readonly int keep_alive
    cdef readonly int forgets
    cpdef int read(self, bytearray buf, Py_ssize_t at, Py_ssize_t end) except -1
    cdef int take(self, Field field) except -1
    cdef int special(self, int kind, Field field) except -1
    cdef int content_length(self, Field field) except -1
    cdef int trailer(self, Field field) except -1
    cdef int drop_nominated(self, set options) except -1

cpdef Section new_section(bint trailers)
cpdef str value_problem_of(bytes value)
cpdef int timeout_of(bytes value) except -1
cdef Field field_at(bytearray buf, Py_ssize_t at, Py_ssize_t end)
cdef Field read_line(bytearray buf, Py_ssize_t at, Py_ssize_t end)
cdef Py_ssize_t put_length(bytearray out, Py_ssize_t at, Py_ssize_t n) except -1
cpdef Field field_of(bytearray buf, Py_ssize_t at, Py_ssize_t n_name, Py_ssize_t start, Py_ssize_t n_value)
cpdef Field field_named(Name ref, bytes value)
