from mesh.wire.fieldrules cimport GRPC_TIMEOUT, TRACEPARENT, TRACESTATE
from mesh.wire.fields cimport STATIC_FIELDS, Field, Name, new_field, new_name, seen_before
from mesh.wire.h1_section cimport Section, field_named, new_section, value_problem_of
from mesh.wire.h1_syntax cimport MAX_SECTION, authority_problem, is_target, is_token, members, method_problem, same_word
from mesh.wire.hpack cimport Block, Head, head_of
from mesh.wire.octets cimport MASK, MIX, SEED, copy_octets, equal_at, find_octet, hash_at, octets_of

cdef int MAX_MEMO
cdef int MEMO_SETS
cdef list MEMOS
cdef bytearray SEEN
cdef bytearray SCRATCH
cdef Name AUTHORITY_NAME
cdef Name METHOD_NAME
cdef Name PATH_NAME
cdef Name STATUS_NAME
cdef Name PROTOCOL_NAME
cdef Field HTTP
cdef Field HTTPS
cdef Field CONNECT
cdef frozenset UNHEARD
cdef int REQUEST
cdef int RESPONSE
cdef Reader READER

cdef class Message:
    cdef bytes octets
    cdef unsigned long long hash
    cdef readonly Head head
    cdef readonly bint http10
    cdef readonly bint persistent
    cdef readonly bint chunked
    cdef readonly long long length
    cdef readonly bint expects
    cdef readonly bint tunnel
    cdef readonly bytes key
    cdef readonly bytes switched
    cdef readonly int keep_alive
    cdef int forgets

cdef class Reader:
    cdef bytearray source
    cdef Py_ssize_t at
    cdef Py_ssize_t n
    cdef int cut(self, bytearray buf, Py_ssize_t start, Py_ssize_t first, Py_ssize_t end, Block block) except -1

cpdef Message message_at(int role, bytearray buf, Py_ssize_t start, Py_ssize_t first, Py_ssize_t end, Block block)
cdef Message recall(bytearray buf, Py_ssize_t at, Py_ssize_t n, unsigned long long h, Py_ssize_t slot)
cpdef int trailers_at(bytearray buf, Py_ssize_t start, Py_ssize_t first, Py_ssize_t end, Block block) except -1
cdef int per_call_kind(bytearray buf, Py_ssize_t line, Py_ssize_t end) except -1
cdef int set_per_call(Block block, int kind, bytearray buf, Py_ssize_t line, Py_ssize_t end) except -1
cdef Head shared(list fields)
cdef Message new_message(Section section, bint http10)
cdef Message message_like(Message base, Head head)
cdef Message read_request(bytearray buf, Py_ssize_t start, Py_ssize_t end)
cdef int version_at(bytearray buf, Py_ssize_t at, Py_ssize_t end) except -2
cdef list pseudo_fields(Section section, Message message, bytes method, bytes target)
cdef tuple absolute(bytes target, Py_ssize_t begin, bytes method)
cdef list connect_fields(Section section, Message message, bytes target)
cdef bytes upgrade_of(Section section, Message message, bytes method)
cdef int drop_length(Section section, Message message) except -1
cdef int drop_field(Section section, bytes name) except -1
cdef Message read_response(bytearray buf, Py_ssize_t start, Py_ssize_t end)
