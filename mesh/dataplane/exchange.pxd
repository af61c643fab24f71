from mesh.balance.ejection cimport to_blame
from mesh.balance.node cimport Node
from mesh.dataplane.cluster cimport Cluster
from mesh.dataplane.entry cimport Entry
from mesh.dataplane.gate cimport Gate
from mesh.dataplane.record cimport Record
from mesh.dataplane.relay cimport CONNECTING, DONE, NEW, OPEN, PAUSED, QUEUED, WAITING, Relay
from mesh.dataplane.timers cimport Timer, TimerWheel
from mesh.dataplane.hub cimport Hub
from mesh.dataplane.transport cimport Transport
from mesh.dataplane.upstream cimport Pool
from mesh.resilience.budget cimport Budget
from mesh.resilience.replay cimport ReplayBuffer
from mesh.wire.codec cimport Codec, Stream
from mesh.wire.grpc cimport grpc_status_of, parse_timeout
from mesh.wire.hpack cimport Block, Head

cdef class LateReset(Timer):
    cdef Transport up
    cdef Stream stream
    cdef Pool pool

cdef class Exchange(Relay):
    cdef Entry entry
    cdef Hub hub
    cdef Cluster cluster
    cdef Head head
    cdef unsigned long long key
    cdef bint is_grpc
    # this attempt
    cdef Node node
    cdef Pool pool
    cdef int attempt
    cdef list tried
    # time
    cdef double request_deadline
    cdef bint caller_deadline
    cdef double sent_at
    cdef Record record
    cdef Record attempt_record
    cdef str retry_why
    cdef bint renewed
    cdef double opened_at
    cdef bint retrying
    cdef double retry_after
    cdef int begin(self, Transport down, Stream stream, Block block, bint end, unsigned long long key) except -1
    cdef int on_caller_gone(self, bint reset) except -1
    cdef bint uploading(self) except -1
    cdef int proceed(self) except -1
    cdef int start_attempt(self) except -1
    cdef bint on_room(self) except -1
    cdef int on_no_room(self, object reason) except -1
    cdef int attempt_at(self, Node node) except -1
    cdef bint may_go_elsewhere(self) except -1
    cdef int admit(self) except -1
    cdef int open_stream(self) except -1
    cdef bint try_fresh_connection(self) except -1
    cdef int leave_upstream(self, unsigned int code) except -1
    cdef int end_attempt(self, object reason) except -1
    cdef int timed(self, bint ok) except -1
    cdef bint try_again(self, object reason, int grpc_status) except -1
    cdef int attempt_failed(self, object reason, str detail) except -1
    cdef int fail(self, object reason, str detail) except -1
    cdef int finish(self, object reason) except -1
    cdef int unreadable(self) except -1
