from mesh.balance.node cimport Node
from mesh.dataplane.cluster cimport Cluster
from mesh.dataplane.entry cimport Entry
from mesh.dataplane.gate cimport Gate
from mesh.dataplane.hub cimport Hub
from mesh.dataplane.record cimport Record
from mesh.dataplane.relay cimport CONNECTING, OPEN, PAUSED, QUEUED, WAITING, Relay
from mesh.dataplane.timers cimport Timer, TimerWheel
from mesh.dataplane.transport cimport Transport
from mesh.dataplane.upstream cimport Pool
from mesh.resilience.fair_queue cimport FairQueue
from mesh.wire.codec cimport Codec, Stream
from mesh.wire.hpack cimport Block, Head

cdef int CANCEL

cdef class LateReset(Timer):
    cdef Transport up
    cdef Stream stream
    cdef Pool pool

cdef class Attempt(Relay):
    cdef Entry entry
    cdef Hub hub
    cdef Cluster cluster
    cdef Head head
    cdef double request_deadline
    cdef Node node
    cdef Pool pool
    cdef Record attempt_record
    cdef int number
    cdef int allowance
    cdef double opened_at
    cdef double sent_at
    cdef int set_up(self, Entry entry) except -1
    cdef int attempt_failed(self, object reason, str detail) except -1
    cdef int fail(self, object reason, str detail) except -1
    cdef int copy_answered(self, Attempt copy, Block block, bint end) except -1
    cdef int copy_failed(self, Attempt copy, object reason) except -1
    cdef int seek_connection(self) except -1
    cdef int open_stream(self) except -1
    cdef int leave_upstream(self, unsigned int code) except -1

cdef class Hedge(Attempt):
    cdef Attempt whole
