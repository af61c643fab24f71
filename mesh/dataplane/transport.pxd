from mesh.balance.rng cimport Rng
from mesh.dataplane.record cimport Recorder
from mesh.dataplane.timers cimport TimerWheel
from mesh.wire.codec cimport Codec, Handler

cdef extern from "sys/socket.h" nogil:
    ssize_t c_send "send"(int fd, const void *buf, size_t n, int flags)
    int MSG_DONTWAIT
    int MSG_NOSIGNAL
from cpython.bytearray cimport PyByteArray_AS_STRING

cdef class Hub:
    cdef public object loop
    cdef readonly list dirty
    cdef public double now
    cdef readonly Rng rng
    cdef readonly TimerWheel timers
    cdef readonly Recorder recorder
    cdef bytearray inbox
    cdef object clock
    cdef object wall_clock
    cdef long long wall_base
    cdef double wall_mono
    cdef double wall_checked
    cdef bint ticking
    cdef bint flushing
    cdef public long long transports
    cpdef double touch(self)
    cdef long long wall_ns(self)
    cpdef int flush(self) except -1
    cdef int start_ticking(self) except -1

cdef class TransportHandler(Handler):
    cdef int on_connected(self, Transport transport) except -1
    cdef int on_lost(self, object exc) except -1
    cdef int on_received(self) except -1
    cdef int on_write_resume(self) except -1

cdef class Transport:
    cdef readonly Hub hub
    cdef readonly Codec conn
    cdef readonly TransportHandler handler
    cdef object transport
    cdef int fd
    cdef bytes rest
    cdef readonly bint paused
    cdef readonly bint closed
    cdef readonly bint closing
    cdef readonly bint failed
    cdef bint blocked
    cdef public str peer_host
    cdef public int peer_port
    cdef int write_out(self) except -1
    cpdef int close(self) except -1
    cpdef int abort(self) except -1
