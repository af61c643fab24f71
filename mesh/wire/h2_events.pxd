from mesh.wire.fields cimport Field
from mesh.wire.codec cimport Handler, Stream
from mesh.wire.hpack cimport Block

cdef class EventLog(Handler):
    cdef public list events
    cdef public dict streams
    cdef public object conn
    cdef public bint auto_release
    cdef public object hook
    cdef int note(self, tuple event, Stream stream) except -1
    cdef int on_headers(self, Stream stream, Block block, bint end) except -1
    cdef int on_data(self, Stream stream, bytearray buf, Py_ssize_t start, Py_ssize_t n, int credit, bint end) except -1
    cdef int on_reset(self, Stream stream, unsigned int code, bint by_peer) except -1
    cdef int on_writable(self, Stream stream) except -1
    cdef int on_goaway(self, unsigned int last_id, unsigned int code, bytes debug) except -1
    cdef int on_settings(self) except -1
    cdef int on_ping_ack(self, bytes data) except -1
