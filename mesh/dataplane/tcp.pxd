from mesh.dataplane.record cimport Record
from mesh.dataplane.tcp_connection cimport Connection, Side
from mesh.dataplane.reactor cimport Reactor
from mesh.dataplane.syscalls cimport reset_fd


cdef class TcpProxy:
    cdef readonly Reactor reactor
    cdef readonly object upstream
    cdef readonly object introduction
    cdef readonly int kind
    cdef readonly str service
    cdef readonly object on_record
    cdef public long long connecting
    cdef long long accepted
    cdef long long failed
    cdef public long long connect_failures
    cdef long long request_bytes
    cdef long long response_bytes
    cdef dict _open
    cdef bint _draining
    cdef object _empty
    cdef object _idle_timer

    cdef int release(self, object target, object reason) except -1
    cdef int ended(self, Connection connection, object reason) except -1
    cdef Record _record(self, Connection connection, object target, object reason, long long requested,
                        long long responded)
