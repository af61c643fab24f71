from mesh.dataplane.reactor cimport Reactor, Watch
from mesh.dataplane.record cimport Record
from mesh.dataplane.syscalls cimport disconnect, receive_from, sender
from mesh.dataplane.udp_session cimport Session, Sessions


cdef class UdpListener(Watch):
    cdef UdpProxy proxy
    cdef readonly object sock
    cdef readonly object address
    cdef bytearray peer


cdef class UdpProxy:
    cdef readonly Reactor reactor
    cdef readonly object upstream
    cdef readonly int kind
    cdef readonly str service
    cdef readonly object on_record
    cdef readonly Py_ssize_t max_sessions
    cdef Sessions _sessions
    cdef list _listeners
    cdef object _own_address
    cdef long long _opened
    cdef long long _refused
    cdef long long _evicted
    cdef bint _draining
    cdef double _complained
    cdef object _idle_timer
    cdef object _refusal
    cdef object _empty

    cdef int datagram(self, bytes address, Py_ssize_t n) except -1
    cdef Session _admit(self, bytes address)
    cdef double _idle(self) except -1
    cdef int _arm_idle_timer(self) except -1
    cdef Record _record(self, Session session, object reason)
