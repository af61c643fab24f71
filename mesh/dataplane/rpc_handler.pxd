from mesh.dataplane.hub cimport Hub
from mesh.dataplane.transport cimport Transport, TransportHandler
from mesh.wire.codec cimport Stream
from mesh.wire.hpack cimport Block

cdef class RpcHandler(TransportHandler):
    cdef Hub hub
    cdef object listener
    cdef Transport shell
    cdef readonly long long heard
    cdef int tell_all(self, str method) except -1
