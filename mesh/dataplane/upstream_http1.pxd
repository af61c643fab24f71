from mesh.dataplane.timers cimport Timer, TimerWheel
from mesh.dataplane.hub cimport Hub
from mesh.dataplane.room cimport Room
from mesh.dataplane.transport cimport Transport
from mesh.dataplane.upstream cimport Pool, UpstreamHandler
from mesh.wire.codec cimport Codec
from mesh.wire.h1 cimport Connection

cdef int MAX_CONNECTING

cdef class Sweep(Timer):
    cdef Http1Pool pool

cdef class Http1Pool(Pool):
    cdef readonly dict idle
    cdef readonly set everyone
    cdef Sweep sweeper
    cpdef Codec make_codec(self, UpstreamHandler handler)
    cdef bint may_connect(self) except -1
    cdef bint may_grow(self) except -1
    cdef Transport acquire(self)
    cpdef int take(self, Transport transport) except -1
    cdef int keep(self, Transport transport) except -1
    cdef int settle(self, Transport transport) except -1
    cdef int sweep(self) except -1
    cpdef int discard_idle(self) except -1
    cpdef int fail_waiting(self, object reason, str detail) except -1
    cdef int forget(self, Transport transport) except -1
    cpdef int retire(self) except -1
    cpdef size(self)
    cpdef spare_one(self)
