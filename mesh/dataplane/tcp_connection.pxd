from mesh.dataplane.reactor cimport Reactor, Watch
from mesh.dataplane.syscalls cimport connect_to, send_fin, is_to_itself, recv_into, send_from, socket_error
from mesh.wire.octets cimport octets_of


cdef class Side(Watch):
    cdef Connection connection
    cdef Side peer
    cdef bytes pending
    cdef Py_ssize_t at
    cdef Py_ssize_t size
    cdef int full
    cdef readonly long long sent
    cdef bint readable
    cdef bint hung_up
    cdef bint ended
    cdef bint fin_sent


cdef class Connection:
    cdef object proxy
    cdef Reactor reactor
    cdef readonly str source
    cdef int state
    cdef public double active
    cdef readonly long long started_ns
    cdef public object target
    cdef readonly object last_target
    cdef object failure
    cdef list addresses
    cdef bytes address
    cdef list tried
    cdef readonly list events
    cdef object timer
    cdef readonly int attempts
    cdef readonly Side up
    cdef readonly Side down

    cdef int start(self, int fd) except -1
    cdef int on_connect(self, bint broken) except -1
    cdef int _drop_up(self) except -1
    cdef int pump(self, Side source) except -1
    cdef int flush(self, Side sink) except -1
    cdef int pass_end(self, Side source, Side sink) except -1
    cdef int broken(self, Side side) except -1
    cpdef int finish(self, object reason) except -1
