from mesh.dataplane.h2transport cimport H2Transport, Hub, TransportHandler
from mesh.wire.h2 cimport Connection, Stream
from mesh.wire.hpack cimport Block

cdef class RpcHandler(TransportHandler):
    cdef Hub hub
    cdef object listener
    cdef H2Transport shell
    cdef readonly long long heard
    cdef int tell_all(self, str method) except -1
