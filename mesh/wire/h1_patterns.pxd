from mesh.wire.fieldrules cimport OTHER
from mesh.wire.fields cimport Field, Name, new_field, sound_field
from mesh.wire.h1_parse cimport MAX_MEMO, PATH_NAME, REQUEST, Message, message_like, per_call_kind
from mesh.wire.h1_section cimport HARMLESS, Section, field_at, new_section
from mesh.wire.h1_syntax cimport MAX_SECTION, is_target
from mesh.wire.h1_write cimport Segments, segments_of
from mesh.wire.hpack cimport Block, Head, new_head
from mesh.wire.octets cimport equal_at, find_octet, is_text, octets_of

cdef int SAME, VARIES, MAX_PATTERNS, MAX_WAIT
cdef bytes VERSION
cdef tuple BY_ROLE

cdef class Slot:
    cdef int kind
    cdef bytes octets
    cdef Name ref
    cdef Py_ssize_t place

cdef class Pattern:
    cdef int role
    cdef bytes start
    cdef list slots
    cdef Message message
    cdef list fields
    cdef Head base
    cdef readonly list places
    cdef bytes path
    cdef Py_ssize_t path_place
    cdef Segments segments
    cdef readonly Py_ssize_t end
    cpdef Message match(self, bytearray buf, Py_ssize_t at, Py_ssize_t n, Block block)
    cdef Message compose(self, bytes path, object values)
    cdef bint loosen(self, Slot slot, bytearray buf, Py_ssize_t line, Py_ssize_t n) except -1

cdef class Patterns:
    cdef int role
    cdef readonly list known
    cdef int wait
    cdef int next_wait
    cdef readonly Pattern matched
    cpdef Message match(self, Pattern last, bytearray buf, Py_ssize_t at, Py_ssize_t n, Block block)
    cpdef forget(self)
    cpdef int learn(self, bytearray buf, Py_ssize_t at, Py_ssize_t end, Message message) except -1

cdef bint stands_at(bytearray buf, Py_ssize_t at, Py_ssize_t n, bytes octets) except -1
cdef bytes value_at(bytearray buf, Py_ssize_t start, Py_ssize_t end)
cpdef Pattern pattern_of(int role, bytearray buf, Py_ssize_t at, Py_ssize_t end, Message message)
cdef Head head_like(Head base, list fields, bytes path, Py_ssize_t size, object form)
cdef Py_ssize_t add_slot(Pattern pattern, bytearray buf, Py_ssize_t line, Py_ssize_t behind, Py_ssize_t place) except -1
