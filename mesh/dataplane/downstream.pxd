from mesh.dataplane.entry cimport Entry
from mesh.dataplane.exchange cimport Exchange
from mesh.dataplane.hub cimport Hub
from mesh.dataplane.probation cimport HeldCaller, Probation
from mesh.dataplane.relay cimport NEW
from mesh.dataplane.transport cimport Transport, TransportHandler
from mesh.wire.codec cimport Stream
from mesh.wire.hpack cimport Block

cdef class DownstreamHandler(TransportHandler):
    cdef readonly Entry entry
    cdef readonly Transport shell
    cdef set connections
    cdef list fresh
    cdef Probation probation
    cdef readonly HeldCaller held
    cdef bint judged
    cdef unsigned long long key
    cdef double heard
    cdef int on_headers(self, Stream stream, Block block, bint end) except -1
    cdef int on_data(self, Stream stream, bytearray buf, Py_ssize_t start, Py_ssize_t n, int credit, bint end) except -1
    cdef int on_reset(self, Stream stream, unsigned int code, bint by_peer) except -1
    cdef int on_writable(self, Stream stream) except -1
    cdef int on_connected(self, Transport transport) except -1
    cdef int on_received(self) except -1
    cdef int judge(self) except -1
    cdef int on_offence(self, str cause) except -1
    cdef int take_back(self, Exchange exchange, bint reset) except -1
    cdef int on_lost(self, object exc) except -1
    cdef int on_write_resume(self) except -1
    cpdef int fail_all(self, object reason) except -1
