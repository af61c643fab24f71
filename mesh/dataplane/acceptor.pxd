from mesh.dataplane.downstream cimport DownstreamHandler
from mesh.dataplane.entry cimport Entry
from mesh.dataplane.exchange cimport Exchange
from mesh.dataplane.hub cimport Hub
from mesh.dataplane.probation cimport Probation
from mesh.dataplane.transport cimport Transport
from mesh.wire.codec cimport Codec, Stream

cdef class HttpAcceptor:
    cdef readonly Hub hub
    cdef readonly Entry entry
    cdef object settings
    cdef readonly set connections
    cdef readonly Probation probation
    cdef double header
    cdef double idle
    cdef double progress
    cdef long long progress_bytes
    cdef readonly long long slow_headers
    cdef readonly long long slow_bodies
    cdef readonly long long stalled_readers
    cdef readonly long long idled
    cdef dict counts
    cdef object sweeping
    cdef int check(self, DownstreamHandler handler, double now) except -1
