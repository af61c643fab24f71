from mesh.wire.fieldrules cimport (
    AUTHORITY, CONTENT_LENGTH, CONTENT_TYPE, GRPC_MESSAGE, GRPC_STATUS, GRPC_TIMEOUT, HOST, IDEMPOTENCY_KEY, KINDS, METHOD,
    NOT_DELIVERED, OTHER, PATH, PROTOCOL, REASON, SCHEME, STATUS, TE, TRACEPARENT, TRACESTATE, digits, name_problem,
    value_problem)
from mesh.wire.huffman cimport huffman_decode
from mesh.wire.octets cimport MASK, MIX, equal_at, hash_at, octets_of

cdef int MAX_INTERNED
cdef int NAME_SETS
cdef int FIELD_SETS
cdef int HEAD_SETS
cdef list NAMES
cdef list FIELDS
cdef list HEADS
cdef list STATIC_FIELDS
cdef list SCRATCH
cdef dict PREFIXES
cdef dict STATIC_INDEX
cdef dict STATIC_VALUES
cdef unsigned long long SERIAL
cdef unsigned long long SEED

cdef class Name:
    cdef readonly bytes octets
    cdef readonly int kind
    cdef readonly str problem
    cdef readonly bytes prefix
    cdef dict static_values
    cdef bytes raw
    cdef unsigned long long serial

cdef class Field:
    cdef readonly bytes name
    cdef readonly bytes value
    cdef readonly int size
    cdef readonly bint sensitive
    cdef readonly str problem
    cdef Name ref
    cdef bytes raw
    cdef bytes encoded
    cdef unsigned long long serial
    cdef bytes encode(self)

cdef class Head:
    cdef readonly list fields
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
    cdef readonly bytes reason
    cdef readonly str request_problem
    cdef readonly str response_problem
    cdef readonly str trailers_problem
    cdef public object tag
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

cdef class Decoder:
    cdef list ring
    cdef int mask
    cdef long long inserted
    cdef readonly int entries
    cdef readonly int size
    cdef readonly int max_size
    cdef readonly int limit
    cdef readonly int max_list
    cdef bytearray buf
    cdef Py_ssize_t position
    cdef Py_ssize_t end
    cpdef Block decode(self, bytearray buf, Py_ssize_t start, Py_ssize_t end)
    cdef Py_ssize_t integer(self, int prefix) except -1
    cdef bytes string(self)
    cdef Field at(self, Py_ssize_t index)
    cdef Name name_here(self)
    cdef Field literal_here(self, Name name, bint sensitive)
    cdef int insert(self, Field field) except -1
    cdef Py_ssize_t long_literal(self) except -1
    cdef int widen(self) except -1
    cdef int evict(self, int room) except -1
    cdef int resize(self, Py_ssize_t size) except -1

cdef class Encoder:
    cdef bint pending
    cpdef bytes encode(self, Head head)
    cpdef int set_max_table(self, unsigned int size) except -1

cdef Head head_of(list fields, int n, unsigned long long h)
cpdef Head make_head(object pairs)
cpdef bytes literal(bytes name, bytes value)
cdef bytes integer_octets(Py_ssize_t value, int bits, int first)
cdef bytes name_prefix(bytes name)
