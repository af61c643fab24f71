from mesh.dataplane.reactor cimport Reactor, Watch
from mesh.dataplane.syscalls cimport close_fd, connect_datagrams, is_to_itself, recv_into, send_from, send_to
from mesh.wire.octets cimport octets_of


cdef class UpstreamSocket(Watch):
    cdef Session session


cdef class Session:
    cdef Sessions table
    cdef readonly bytes address
    cdef readonly str source
    cdef public double active
    cdef readonly long long started_ns
    cdef readonly object target
    cdef readonly object last_target
    cdef readonly object failure
    cdef readonly list events
    cdef list tried
    cdef list held
    cdef bint resolving
    cdef bint answered
    cdef bint dead
    cdef readonly int attempts
    cdef readonly long long request_datagrams
    cdef readonly long long response_datagrams
    cdef readonly long long request_bytes
    cdef readonly long long response_bytes
    cdef readonly long long dropped
    cdef UpstreamSocket up
    cdef Session older
    cdef Session newer

    cdef int forward(self, Py_ssize_t n) except -1
    cdef int find(self) except -1
    cdef int connect(self, bytes address) except -1
    cdef int hold(self, Py_ssize_t n) except -1
    cdef int reply(self, Py_ssize_t n) except -1
    cdef int drop(self) except -1
    cdef int failed(self, object reason) except -1
    cdef int leave(self, object reason) except -1
    cpdef int end(self, object reason) except -1


cdef class Sessions:
    cdef readonly Reactor reactor
    cdef readonly object upstream
    cdef object owner
    cdef public int replies_by
    cdef readonly dict by_address
    cdef Session ends
    cdef Py_ssize_t held_bytes
    cdef readonly long long unreachable
    cdef public long long dropped
    cdef readonly long long request_datagrams
    cdef readonly long long response_datagrams
    cdef readonly long long request_bytes
    cdef readonly long long response_bytes

    cdef Session add(self, bytes address)
    cpdef Session oldest(self)
    cdef int touch(self, Session session) except -1
    cdef int remove(self, Session session) except -1
