from mesh.wire.fieldrules cimport (
    ATTEMPTS, AUTHORITY, CONTENT_LENGTH, CONTENT_TYPE, GRPC_MESSAGE, GRPC_STATUS, GRPC_TIMEOUT, HOST, IDEMPOTENCY_KEY, METHOD,
    NOT_DELIVERED, OTHER, PATH, PROTOCOL, REASON, SCHEME, STATUS, TRACEPARENT, digits, value_problem)
from mesh.wire.blockmemo cimport MAX_MEMO, memorise, recall, skim
from mesh.wire.fields cimport (
    Field, Name, PER_CALL, STATIC_FIELDS, literal_octets, intern_field, intern_literal, name_prefix, new_field,
    new_name, seen_before, string_of)
from mesh.wire.octets cimport MASK, MIX, SEED, equal_at, hash_at, octets_of, put_octets
from mesh.wire.sectionrules cimport request_problem, response_problem

cdef int HEAD_SETS
cdef list HEADS
cdef bytearray SEEN
cdef list SCRATCH
cdef bytearray OUT
cdef dict PREFIXES

cdef class Head:
    cdef readonly list fields
    cdef readonly int size
    cdef readonly bytes method
    cdef readonly bytes scheme
    cdef readonly bytes authority
    cdef readonly bytes path
    cdef readonly bytes protocol
    cdef readonly int status
    cdef readonly bint is_grpc
    cdef readonly int grpc_status
    cdef readonly bytes grpc_message
    cdef readonly long long content_length
    cdef readonly bint idempotency_key
    cdef readonly bint not_delivered
    cdef readonly int attempts
    cdef readonly bytes reason
    cdef readonly str request_problem
    cdef readonly str response_problem
    cdef readonly str trailers_problem
    cdef object form
    cdef bytes encoded
    cdef unsigned long long hash
    cdef object dropped_names
    cdef Head dropped
    cdef int examine(self) except -1
    cdef int judge(self, str problem, int seen, bytes host) except -1
    cpdef Head without(self, object names)

cdef class Block:
    cdef readonly Head head
    cdef readonly bytes traceparent
    cdef readonly bytes tracestate
    cdef readonly bytes grpc_timeout
    cdef int set_per_call(self, int kind, bytes value) except -1

cdef class Decoder:
    cdef list ring
    cdef Py_ssize_t mask
    cdef Py_ssize_t inserted
    cdef readonly Py_ssize_t entries
    cdef readonly Py_ssize_t size
    cdef readonly Py_ssize_t max_size
    cdef readonly Py_ssize_t limit
    cdef readonly int max_list
    cdef readonly int max_fields
    cdef bint shrunk
    cdef bytearray buf
    cdef Py_ssize_t position
    cdef Py_ssize_t end
    cpdef Block decode(self, bytearray buf, Py_ssize_t start, Py_ssize_t end)
    cdef Py_ssize_t integer(self, int prefix) except -1
    cdef Field at(self, Py_ssize_t index)
    cdef Py_ssize_t skip_string(self) except -1
    cdef int insert(self, Field field) except -1
    cdef int widen(self) except -1
    cdef int evict(self, Py_ssize_t room) except -1
    cpdef int set_limit(self, Py_ssize_t size) except -1
    cdef int expect_update(self) except -1
    cdef int resize(self, Py_ssize_t size) except -1

cdef class Encoder:
    cdef bint pending
    cpdef bytes encode(self, Head head)
    cpdef int set_max_table(self, unsigned int size) except -1

cdef bytes encode_fields(list fields)
cdef Head new_head(list fields)
cdef Head head_of(list fields, Py_ssize_t n, unsigned long long h)
cdef int fewer(int one, long long other) except -1
cpdef Head make_head(object pairs)
cpdef bytes literal(bytes name, bytes value)
