from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memchr, memcmp, memcpy

cdef unsigned long long MIX
cdef unsigned long long MASK
cdef unsigned long long SEED
cdef unsigned long long ONES, SPACES, DELETES, HIGH_BITS

cpdef bytearray unfilled(Py_ssize_t size)
cpdef bytes octets_of(bytearray buf, Py_ssize_t start, Py_ssize_t n)
cpdef bint equal_at(bytearray buf, Py_ssize_t start, bytes octets) except -1
cpdef Py_ssize_t find_octet(bytearray buf, int octet, Py_ssize_t start, Py_ssize_t end) except -2
cpdef unsigned long long hash_at(bytearray buf, Py_ssize_t start, Py_ssize_t n, unsigned long long seed) except? 0
cpdef bint is_text(bytes octets) except -1
cpdef unsigned long long load(bytes octets, Py_ssize_t start) except? 0
cpdef int store(bytearray buf, Py_ssize_t start, unsigned long long word) except -1
cpdef int put_octets(bytearray buf, Py_ssize_t start, bytes octets) except -1
cpdef int copy_octets(bytearray target, Py_ssize_t at, object source, Py_ssize_t start, Py_ssize_t n) except -1
