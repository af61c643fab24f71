from mesh.dataplane.reactor cimport Reactor, Watch
from mesh.dataplane.syscalls cimport (close_fd, connect_to, is_to_itself, recv_into, send_fin, send_from,
                                      set_nodelay)
from mesh.dataplane.tcp cimport TcpProxy
from mesh.dataplane.timers cimport Timer, TimerWheel
from mesh.dataplane.tls cimport Session
from mesh.wire.octets cimport octets_of


cdef class Side(Watch):
    cdef Connection connection
    cdef Side peer
    cdef Session tls
    cdef bytes pending
    cdef Py_ssize_t at
    cdef Py_ssize_t size
    cdef int full
    cdef readonly long long sent
    cdef bint prompt
    cdef bint readable
    cdef bint thorough
    cdef bint asked
    cdef bint ended
    cdef bint fin_sent
    cdef Py_ssize_t receive(self, bytearray buf, Py_ssize_t n) except? -1
    cdef Py_ssize_t send(self, object buf, Py_ssize_t start, Py_ssize_t n) except? -1


cdef class Connection(Timer):
    cdef TcpProxy proxy
    cdef Reactor reactor
    cdef readonly str source
    cdef int state
    cdef bint counted
    cdef public double active
    cdef readonly long long started_ns
    cdef public object target
    cdef readonly object last_target
    cdef object failure
    cdef list addresses
    cdef bytes early
    cdef bint introduced
    cdef list tried
    cdef readonly list events
    cdef readonly int attempts
    cdef readonly Side up
    cdef readonly Side down

    cdef int start(self, int fd, Session tls) except -1
    cdef int fire(self) except -1
    cdef int attempt(self) except -1
    cdef bint _connect_next(self) except -1
    cdef bint _connect(self, bytes address) except -1
    cdef int _send_early(self, Side up, int fd) except? -1
    cdef bint _relay(self) except -1
    cdef int _decided(self) except -1
    cdef int on_connect(self, bint broken) except -1
    cdef int _drop_up(self) except -1
    cdef bint _may_pick_again(self) except -1
    cdef int pump(self, Side source) except -1
    cdef int await_room(self, Side sink) except -1
    cdef int flush(self, Side sink) except -1
    cdef int pass_end(self, Side source, Side sink) except -1
    cdef int broken(self, Side side) except -1
    cdef int finish(self, object reason) except -1
    cdef int _close(self, Side side, bint by_reset) except -1
