from mesh.wire.octets cimport ONES, load, octets_of, store

cdef bytearray HEX
cdef int FLAW
cdef bytearray DIGITS
cdef bytearray SCRATCH
cdef bint LITTLE
cdef unsigned long long LOW_HALVES, HIGH_HALVES, ZEROS, SIXES, EVEN_OCTETS, EVEN_PAIRS, EVEN_HALVES, LOW_FOUR

cdef class TraceParent:
    cdef readonly unsigned long long trace_hi
    cdef readonly unsigned long long trace_lo
    cdef readonly unsigned long long span_id
    cdef readonly int flags

cpdef TraceParent parse_traceparent(bytes value)
cpdef bytes format_traceparent(unsigned long long trace_hi, unsigned long long trace_lo, unsigned long long span_id,
                               int flags)
cpdef bytes limit_tracestate(bytes value)
cdef unsigned long long number_at(bytes text, Py_ssize_t start, Py_ssize_t n) except? 0
cdef int put_hex(Py_ssize_t start, Py_ssize_t n, unsigned long long number) except -1
cdef unsigned long long eight_at(bytes text, Py_ssize_t start) except? 0
cdef unsigned long long written(unsigned long long digits) noexcept
cdef unsigned long long turned(unsigned long long number) noexcept
cdef int put_eight(Py_ssize_t start, unsigned long long number) except -1
