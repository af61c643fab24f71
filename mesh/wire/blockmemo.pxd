from mesh.wire.fields cimport PER_CALL, Name, seen_before
from mesh.wire.octets cimport equal_at

cdef int MAX_MEMO
cdef int MEMO_SETS
cdef list MEMOS
cdef bytearray SEEN

cdef class Memo:
    cdef bytes octets
    cdef unsigned long long hash
    cdef object head

cpdef Py_ssize_t skim(bytearray buf, Py_ssize_t at, Py_ssize_t end) except -2
cpdef object recall(bytearray buf, Py_ssize_t start, Py_ssize_t n, unsigned long long h)
cpdef int memorise(bytes octets, unsigned long long h, object head) except -1
