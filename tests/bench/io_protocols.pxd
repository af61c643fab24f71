from mesh.dataplane.transport cimport Transport, TransportHandler
from mesh.wire.codec cimport STAYS, Codec, Stream
from mesh.wire.hpack cimport Block
from mesh.wire.octets cimport octets_of

cdef class Responder(TransportHandler):
    cdef public Codec conn
    cdef bint grpc
    cdef int answer(self, Stream stream) except -1

cdef class Carrier:
    cdef Codec conn
    cdef object now
    cdef object transport
    cdef object write
    cdef object call_soon
    cdef bytes rest
    cdef bint paused
    cdef int feed(self, Py_ssize_t total) except -1

cdef class Relay:
    cdef object transport
    cdef object other
    cdef object write
    cpdef object pair(self, object other)

cdef class Upstream(Relay):
    pass

cdef class Downstream(Relay):
    cdef object connect
    cdef object task
    cdef list early

cdef class BufferedDownstream(Downstream):
    pass
