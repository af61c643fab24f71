from mesh.dataplane.hub cimport Hub, Shell
from mesh.dataplane.reactor cimport Watch
from mesh.dataplane.syscalls cimport connect_to, send_fin, is_to_itself, recv_into, send_from, set_nodelay, socket_error
from mesh.dataplane.timers cimport Timer
from mesh.dataplane.tls cimport Session
from mesh.wire.codec cimport ABORTS, STAYS, Codec, Handler
from mesh.wire.octets cimport octets_of, put_octets

cdef class TransportHandler(Handler):
    cdef int on_connected(self, Transport transport) except -1
    cdef int on_lost(self, object exc) except -1
    cdef int on_received(self) except -1
    cdef int on_offence(self, str cause) except -1
    cdef int on_write_resume(self) except -1

cdef class Patience(Timer):
    cdef Transport transport

cdef class Transport(Shell):
    cdef readonly Hub hub
    cdef readonly Codec conn
    cdef Session tls
    cdef readonly TransportHandler handler
    cdef int state
    cdef bytes rest
    cdef readonly double begun
    cdef Py_ssize_t limit
    cdef Py_ssize_t sent
    cdef Py_ssize_t refused
    cdef Py_ssize_t discarded
    cdef object loss
    cdef object opening
    cdef bytes address
    cdef Patience patience
    cdef bint readable
    cdef bint shut
    cdef bint thorough
    cdef bint asked
    cdef bint ended
    cdef bint held
    cdef bint deferred
    cdef readonly bint paused
    cdef readonly bint closed
    cdef readonly bint closing
    cdef readonly bint failed
    cdef public str peer_host
    cdef public int peer_port
    cdef public long long unread
    cdef int on_event(self, unsigned int mask) except -1
    cdef int on_again(self) except -1
    cdef int on_error(self) except -1
    cdef int opened(self) except -1
    cdef int on_connect(self, unsigned int mask) except -1
    cdef int read(self) except -1
    cdef int again(self) except -1
    cdef int feed(self, Py_ssize_t total) except -1
    cdef int on_eof(self) except -1
    cdef int attended(self) except -1
    cdef int on_ending(self) except -1
    cdef int write_out(self) except -1
    cdef bint push(self) except -1
    cdef int pause(self) except -1
    cdef Py_ssize_t say_end(self) except? -1
    cdef int written(self) except -1
    cdef int resume(self) except -1
    cdef int part(self) except -1
    cdef int discard(self) except -1
    cdef int depart(self) except -1
    cdef int end(self, object exc) except -1
    cdef int lose(self) except -1
    cdef int let_go(self) except -1
    cdef int wait_at_most(self, double seconds) except -1
    cdef int lose_patience(self) except -1
    cdef int expire(self) except -1
    cpdef int close(self) except -1
    cpdef int abort(self) except -1
    cpdef int reset(self) except -1
