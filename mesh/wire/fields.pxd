from mesh.wire.fieldrules cimport KINDS, LOOK_ALIKES, name_problem, value_problem
from mesh.wire.huffman cimport huffman_decode, huffman_encode
from mesh.wire.octets cimport MASK, MIX, SEED, equal_at, hash_at, octets_of, put_octets

cdef int MAX_INTERNED
cdef int NAME_SETS
cdef int FIELD_SETS
cdef list NAMES
cdef list FIELDS
cdef bytearray SEEN
cdef unsigned long long SERIAL
cdef dict STATIC_INDEX
cdef dict STATIC_VALUES
cdef list PER_CALL
cdef list STATIC_FIELDS
cdef bytearray SCRATCH
cdef list ONE_OCTET

cdef class Name:
    cdef readonly bytes octets
    cdef readonly int kind
    cdef readonly str problem
    cdef readonly bytes prefix
    cdef readonly bytes raw
    cdef dict static_values
    cdef bint look_alike
    cdef unsigned long long serial

cdef class Field:
    cdef readonly bytes name
    cdef readonly bytes value
    cdef readonly int size
    cdef readonly bint sensitive
    cdef bint named
    cdef readonly str problem
    cdef Name ref
    cdef bytes raw
    cdef bytes encoded
    cdef bytes line
    cdef bytes text
    cdef unsigned long long serial
    cpdef bytes encode(self)

cpdef Name new_name(bytes octets, bytes raw)
cpdef Field sound_field(Name ref, bytes value)
cdef unsigned long long next_serial() noexcept
cpdef Field new_field(Name ref, bytes value, bytes raw, bint sensitive)
cpdef Name intern_name(bytearray buf, Py_ssize_t start, Py_ssize_t n)
cpdef Field intern_literal(bytearray buf, Py_ssize_t start, Py_ssize_t name_n, Py_ssize_t n, bint sensitive)
cpdef Field intern_field(Name name, bytearray buf, Py_ssize_t start, Py_ssize_t n, bint sensitive)
cpdef bint seen_before(bytearray seen, unsigned long long h) except -1
cpdef bint is_literal(Field field, Name name, bytearray buf, Py_ssize_t start, Py_ssize_t n, bint sensitive) except -1
cpdef bytes string_of(bytearray buf, Py_ssize_t start, Py_ssize_t n)
cpdef bytes integer_octets(Py_ssize_t value, int bits, int first)
cpdef bytes literal_octets(bytes prefix, bytes value, int flag)
cpdef bytes name_prefix(bytes name)
