from mesh.dataplane.syscalls cimport recv_into, send_fin, send_from
from mesh.wire.octets cimport octets_of, put_octets


cdef object part_of(object buf, Py_ssize_t start, Py_ssize_t n)


cdef class Session:
    cdef str peer
    cdef object incoming
    cdef object outgoing
    cdef object tls
    cdef object decrypt
    cdef object encrypt
    cdef object take_in
    cdef object take_out
    cdef bytes ready
    cdef bytes unsent
    cdef Py_ssize_t owed
    cdef Py_ssize_t size
    cdef Py_ssize_t greeting
    cdef bint whole
    cdef readonly bint established
    cdef bint ended
    cdef bint finishing
    cdef bint dry
    cdef bint thorough
    cpdef int notice(self, bint thorough) except -1
    cpdef Py_ssize_t handshake(self, int fd, bytearray buf) except? -1
    cpdef Py_ssize_t recv_into(self, int fd, bytearray buf, Py_ssize_t start, Py_ssize_t n) except? -1
    cpdef Py_ssize_t peek_into(self, int fd, bytearray buf, Py_ssize_t start, Py_ssize_t n) except? -1
    cpdef Py_ssize_t send_from(self, int fd, object buf, Py_ssize_t start, Py_ssize_t n) except? -1
    cpdef Py_ssize_t send_fin(self, int fd) except? -1
    cdef Py_ssize_t fill(self, int fd, bytearray buf, Py_ssize_t start) except? -1
    cdef Py_ssize_t open(self, int fd, bytearray buf, Py_ssize_t start, Py_ssize_t n) except? -1
    cdef Py_ssize_t push(self, int fd) except? -1
    cdef int keep(self) except -1
