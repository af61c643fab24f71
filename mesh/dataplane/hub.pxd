from mesh.balance.rng cimport Rng
from mesh.dataplane.reactor cimport Reactor, Watch
from mesh.dataplane.record cimport Recorder
from mesh.wire.output cimport Output
from mesh.wire.windows cimport Memory


cdef class Shell(Watch):
    cdef int attended(self) except -1


cdef class Hub(Reactor):
    cdef readonly list dirty
    cdef readonly Rng rng
    cdef readonly Recorder recorder
    cdef object wall_clock
    cdef long long wall_base
    cdef double wall_mono
    cdef double wall_checked
    cdef bint flushing
    cdef public long long transports
    cdef public long long lingering
    cdef readonly Memory memory
    cdef public long long shed_above
    cdef public long long shed
    cdef public int workers
    cdef readonly dict counts
    cdef long long wall_ns(self)
