from mesh.wire.fieldrules cimport KINDS, name_problem, value_problem
from mesh.wire.octets cimport MASK, MIX

cdef unsigned long long SERIAL
cdef dict STATIC_INDEX
cdef dict STATIC_VALUES
cdef list STATIC_FIELDS
cdef list ONE_OCTET

cdef class Name:
    cdef readonly bytes octets
    cdef readonly int kind
    cdef readonly str problem
    cdef readonly bytes prefix
    cdef readonly bytes raw
    cdef dict static_values
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
    cpdef bytes encode(self)

cdef Name new_name(bytes octets, bytes raw)
cdef Field new_field(Name ref, bytes value, bytes raw, bint sensitive)
cdef bytes integer_octets(Py_ssize_t value, int bits, int first)
cdef bytes name_prefix(bytes name)
