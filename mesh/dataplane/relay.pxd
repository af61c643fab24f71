from mesh.dataplane.transport cimport Transport
from mesh.dataplane.upstream cimport UpstreamCall
from mesh.resilience.replay cimport ReplayBuffer
from mesh.wire.codec cimport Codec, Stream
from mesh.wire.hpack cimport Block, Head
from mesh.wire.octets cimport octets_of
from mesh.wire.windows cimport Memory

cdef int NEW
cdef int WAITING
cdef int CONNECTING
cdef int OPEN
cdef int PAUSED
cdef int DONE
cdef int QUEUED

cdef class Relay(UpstreamCall):
    cdef Transport down
    cdef Stream down_stream
    cdef Transport up
    cdef Stream up_stream
    cdef int state
    cdef Block trailers
    cdef bint request_ended
    cdef bint request_sent
    cdef bint body_sent
    cdef bint between
    cdef bint response_ended
    cdef bint committed
    cdef long long request_bytes
    cdef long long response_bytes
    cdef long long answered_bytes
    cdef double checked_at
    cdef long long checked_request
    cdef long long checked_response
    cdef readonly object pending
    cdef Py_ssize_t pending_at
    cdef readonly object response
    cdef Py_ssize_t response_at
    cdef ReplayBuffer replay
    cdef object flow(self)
    cdef int answered(self) except -1
    cdef int request_complete(self) except -1
    cdef int unreadable(self) except -1
    cdef int drop_response(self) except -1
    cdef bint replayable(self) except -1
    cdef int on_request_data(self, bytearray buf, Py_ssize_t start, Py_ssize_t n, int credit, bint end) except -1
    cdef int keep_request(self, bytes chunk, int credit) except -1
    cdef int keep_response(self, bytes chunk, int credit, bint end) except -1
    cdef int on_request_trailers(self, Block block) except -1
    cdef int pump_request(self) except -1
    cdef int rewind(self) except -1
    cdef int release_pending(self) except -1
    cdef int send_response_head(self, Head head, bint end) except -1
    cdef int on_downstream_writable(self) except -1
    cdef int pump_response(self) except -1
