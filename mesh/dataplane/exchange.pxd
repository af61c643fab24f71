from mesh.balance.node cimport Node
from mesh.dataplane.attempt cimport CANCEL, Attempt
from mesh.dataplane.cluster cimport Cluster
from mesh.dataplane.entry cimport Entry, Ticket
from mesh.dataplane.record cimport Record
from mesh.dataplane.relay cimport CONNECTING, DONE, NEW, WAITING
from mesh.dataplane.retrying cimport REPEATABLE, RESOURCE_EXHAUSTED, TOO_MANY_REQUESTS, Retrying
from mesh.dataplane.timers cimport TimerWheel
from mesh.dataplane.hub cimport Hub
from mesh.dataplane.rates cimport Rates
from mesh.dataplane.room cimport Room
from mesh.dataplane.transport cimport Transport
from mesh.resilience.budget cimport Budget
from mesh.resilience.replay cimport ReplayBuffer
from mesh.wire.codec cimport Codec, Stream
from mesh.wire.grpc cimport grpc_status_of, parse_timeout
from mesh.wire.hpack cimport Block, Head

cdef class Exchange(Retrying):
    cdef bint renewed
    cdef double retry_after
    cdef Ticket ticket
    cdef int give_back(self, bint answered, bint cancelled) except -1
    cdef int begin(self, Transport down, Stream stream, Block block, bint end, unsigned long long key) except -1
    cdef int inherit(self) except -1
    cdef int proceed(self) except -1
    cdef int admit(self) except -1
    cdef int on_caller_gone(self, bint reset) except -1
    cdef bint uploading(self) except -1
    cdef bint answer_failed(self, Head head, bint not_delivered) except -1
    cdef bint try_fresh_connection(self) except -1
    cdef int finish(self, object reason) except -1
