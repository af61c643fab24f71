from mesh.dataplane.reactor cimport Watch
from mesh.dataplane.syscalls cimport close_fd, peek_into, recv_into, reset_fd
from mesh.dataplane.hub cimport Hub
from mesh.dataplane.tls cimport Session
from mesh.wire.detect cimport detect
from mesh.wire.octets cimport equal_at

cdef class Sources:
    cdef Hub hub
    cdef Py_ssize_t most
    cdef readonly dict open
    cdef Py_ssize_t clear_at
    cpdef bint full(self, str host) except -1
    cpdef int note(self, str host, int fd) except -1
    cdef Py_ssize_t clear(self, str host) except -1
    cdef int clear_all(self) except -1

cdef class Inspector:
    cdef readonly Hub hub
    cdef object protocol
    cdef object http
    cdef object relay
    cdef object relay_name
    cdef object trusted
    cdef double limit
    cdef readonly dict waiting
    cdef object sweeping
    cdef readonly long long refused
    cdef readonly long long malformed
    cdef bint draining
    cdef Py_ssize_t most
    cdef object population
    cdef readonly Sources sources
    cdef double told
    cdef object tls
    cdef bint tls_required
    cdef readonly long long handshakes
    cdef readonly long long failed_handshakes
    cdef readonly long long without_tls
    cdef bint is_full(self) except -1
    cdef int refuse(self, int fd, str host) except -1
    cdef int note(self, str host, int fd) except -1
    cdef int await_more(self, Inspection inspection) except -1

cdef class Inspection(Watch):
    cdef Inspector inspector
    cdef int mode
    cdef str host
    cdef int port
    cdef bint believed
    cdef int number
    cdef Session session
    cdef double began
    cdef double limit
    cdef int begin(self, int fd) except -1
    cdef int on_event(self, unsigned int mask) except -1
    cdef int on_error(self) except -1
    cdef bint look(self) except -1
    cdef bint may_be_proxy(self, bytearray buf, Py_ssize_t n) except -1
    cdef bint take_header(self, bytearray buf, Py_ssize_t n) except -1
    cdef int begin_tls(self) except -1
    cdef bint shake_hands(self, bytearray buf) except -1
    cdef int wait_anew(self) except -1
    cdef bint refused_without_tls(self) except -1
    cdef bint decide(self, bytearray buf, Py_ssize_t n) except -1
    cdef bint decide_http(self, bytearray buf, Py_ssize_t n) except -1
    cdef bint decide_name(self, bytearray buf, Py_ssize_t n) except -1
    cdef bint hand_to_http(self, int version) except -1
    cdef bint hand_to_relay(self) except -1
    cdef int on_deadline(self) except -1
    cdef int give_up(self) except -1
    cdef int forget(self) except -2
