from mesh.wire.hpack cimport Block, Head
from mesh.wire.output cimport Output
from mesh.wire.streams cimport StreamState

cdef int STAYS
cdef int CLOSES
cdef int ABORTS

cdef class Stream(StreamState):
    pass

cdef class Handler:
    cdef int on_headers(self, Stream stream, Block block, bint end) except -1
    cdef int on_data(self, Stream stream, bytearray buf, Py_ssize_t start, Py_ssize_t n, int credit, bint end) except -1
    cdef int on_reset(self, Stream stream, unsigned int code, bint by_peer) except -1
    cdef int on_writable(self, Stream stream) except -1
    cdef int on_goaway(self, unsigned int last_id, unsigned int code, bytes debug) except -1
    cdef int on_settings(self) except -1
    cdef int on_ping_ack(self, bytes data) except -1

cdef class Codec(Output):
    cdef Handler handler
    cdef readonly bint client
    cdef readonly bint textual
    cdef public bint closed
    cdef public int ending
    cdef public bint shut
    cdef public bint deferred
    cdef public dict counts
    cdef public double now
    cdef int open_streams(self) except -1
    cpdef int start(self) except -1
    cpdef Py_ssize_t receive(self, bytearray buf, Py_ssize_t n) except -1
    cpdef bint receive_eof(self) except -1
    cpdef bint reading(self) except -1
    cpdef list all_streams(self)
    cpdef double oldest_unfinished(self) except -1
    cpdef int end(self) except -1
    cpdef int count(self, str cause) except -1
    cpdef int drain(self) except -1
    cpdef int expire(self, bint begun) except -1
    cpdef bint settled(self) except -1
    cpdef bint can_open(self) except -1
    cpdef str request_problem(self, Head head)
    cpdef bint tunnels(self) except -1
    cpdef Stream request(self, object owner, Head head, bytes extra, bint end)
    cpdef int send_head(self, StreamState stream, Head head, bytes extra, bint end) except -1
    cpdef bytes field(self, bytes name, bytes value)
    cpdef Py_ssize_t sendable(self, StreamState stream) except -1
    cpdef int send_data(self, StreamState stream, object buf, Py_ssize_t start, Py_ssize_t n, bint end) except -1
    cpdef int wait(self, StreamState stream) except -1
    cpdef int serve(self) except -1
    cpdef Py_ssize_t waiters(self) except -1
    cpdef int release(self, StreamState stream, int credit) except -1
    cpdef int reset(self, StreamState stream, unsigned int code) except -1
