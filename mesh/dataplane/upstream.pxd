from mesh.balance.node cimport Node
from mesh.dataplane.hub cimport Hub
from mesh.dataplane.room cimport Room
from mesh.dataplane.transport cimport Transport, TransportHandler
from mesh.dataplane.timers cimport Timer, TimerWheel
from mesh.resilience.fair_queue cimport FairQueue
from mesh.wire.codec cimport Codec, Stream
from mesh.wire.hpack cimport Block

cdef class UpstreamCall(Timer):
    cdef int on_cluster_known(self) except -1
    cdef object flow(self)
    cdef bint on_room(self) except -1
    cdef int on_no_room(self, object reason) except -1
    cdef int on_connection(self, Transport transport) except -1
    cdef int on_no_connection(self, object reason, str detail) except -1
    cdef int on_response_headers(self, Block block, bint end) except -1
    cdef int on_response_data(self, bytearray buf, Py_ssize_t start, Py_ssize_t n, int credit, bint end) except -1
    cdef int on_upstream_reset(self, unsigned int code, bint by_peer) except -1
    cdef int on_upstream_lost(self) except -1
    cdef int on_upstream_writable(self) except -1

cdef class UpstreamHandler(TransportHandler):
    cdef Pool pool
    cdef Transport shell
    cdef readonly object greeting
    cdef int on_headers(self, Stream stream, Block block, bint end) except -1
    cdef int on_data(self, Stream stream, bytearray buf, Py_ssize_t start, Py_ssize_t n, int credit, bint end) except -1
    cdef int on_reset(self, Stream stream, unsigned int code, bint by_peer) except -1
    cdef int on_writable(self, Stream stream) except -1
    cdef int on_goaway(self, unsigned int last_id, unsigned int code, bytes debug) except -1
    cdef int on_settings(self) except -1
    cdef int on_connected(self, Transport transport) except -1
    cdef int on_lost(self, object exc) except -1
    cdef int on_received(self) except -1
    cdef int on_write_resume(self) except -1

cdef class Hurry(Timer):
    cdef Pool pool

cdef class Pool:
    cdef readonly Room room
    cdef readonly Node node
    cdef Hurry hurry
    cdef readonly Hub hub
    cdef readonly str host
    cdef readonly int port
    cdef public double connect_timeout
    cdef readonly list ready
    cdef readonly list retiring
    cdef readonly int connecting
    cdef FairQueue waiting
    cdef readonly bint retired
    cdef readonly bint textual
    cdef public Pool sibling
    cpdef Codec make_codec(self, UpstreamHandler handler)
    cdef bint may_connect(self) except -1
    cdef bint may_grow(self) except -1
    cdef int start_connecting(self) except -1
    cpdef int take(self, Transport transport) except -1
    cpdef int fail_waiting(self, object reason, str detail) except -1
    cdef Transport acquire(self)
    cdef int wait(self, UpstreamCall call) except -1
    cdef int count_waiting(self, long long more) except -1
    cdef int leave(self, UpstreamCall call) except -1
    cdef int rest(self) except -1
    cdef int expire(self) except -1
    cdef int tell_oldest(self, object reason, str detail) except -1
    cdef int part(self) except -1
    cpdef size(self)
    cpdef hungry(self)
    cpdef serve(self)
    cpdef spare_one(self)
    cpdef over(self)
    cdef int forget(self, Transport transport) except -1
    cpdef int discard_idle(self) except -1
    cdef int settle(self, Transport transport) except -1
    cdef int retire_connection(self, Transport transport) except -1
    cdef int serve_waiting(self) except -1
    cpdef int retire(self) except -1
