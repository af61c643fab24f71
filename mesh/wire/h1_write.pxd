from mesh.wire.fieldrules cimport (
    CONTENT_LENGTH, COOKIE, HOST, HTTP2_SETTINGS, METHOD, STATUS, TE, WEBSOCKET_ACCEPT, WEBSOCKET_KEY)
from mesh.wire.fields cimport Field
from mesh.wire.h1_section cimport FORBIDDEN_TRAILERS
from mesh.wire.h1_syntax cimport authority_problem, is_path, method_problem
from mesh.wire.hpack cimport Head
from mesh.wire.octets cimport octets_of, put_octets

cdef dict REASONS
cdef int TRAILERS
cdef int RESPONSE
cdef int REQUEST
cdef frozenset WITH_CONTENT
cdef bytes GUID
cdef bytearray TEXT

cdef class Form:
    cdef readonly int kind
    cdef readonly bytes start
    cdef readonly bytes lines
    cdef readonly bytes length
    cdef readonly str problem
    cdef readonly bint with_content
    cdef readonly bint tunnel
    cdef readonly bytes protocol
    cdef readonly bint has_key
    cdef readonly bint has_accept

cdef class Segments:
    cdef Form form
    cdef list parts
    cdef list places

cpdef Form form_of(Head head)
cdef Segments segments_of(Head base, list fields, list places)
cdef Form joined(Segments segments, Head head)
cdef Form new_form(Head head)
cdef str request_line(Form form, Head head)
cdef int write_fields(Form form, Head head, list fields) except -1
cdef Py_ssize_t put_text(Py_ssize_t at, bytes octets) except -1
cdef Py_ssize_t put_line(Py_ssize_t at, bytes name, bytes value) except -1
cpdef bytes refusal(int status)
cpdef bytes accept_of(bytes key)
