from mesh.dataplane.reactor cimport Reactor, Watch
from mesh.dataplane.syscalls cimport accept_one, close_fd, set_nodelay


cdef class Port(Watch):
    cdef readonly tuple address
    cdef Reactor _reactor
    cdef object _sock
    cdef object _accept
    cdef object _paused
    cdef bytearray _peer

    cdef int on_event(self, unsigned int mask) except -1
    cdef int on_error(self) except -1
    cdef int _take(self, int fd) except -1

