from mesh.balance.node cimport Node
from mesh.dataplane.cluster cimport Cluster
from mesh.dataplane.entry cimport Entry
from mesh.dataplane.h2transport cimport H2Transport, Hub
from mesh.dataplane.h2upstream cimport Pool, UpstreamCall
from mesh.dataplane.record cimport Record
from mesh.dataplane.timers cimport Timer, TimerWheel
from mesh.resilience.budget cimport Budget
from mesh.resilience.replay cimport ReplayBuffer
from mesh.wire.h2 cimport Connection, Stream
from mesh.wire.grpc cimport grpc_status_of, parse_timeout
from mesh.wire.hpack cimport Block, Encoder, Head
from mesh.wire.octets cimport octets_of

cdef class Exchange(UpstreamCall):
    cdef Entry entry
    cdef Hub hub
    cdef Cluster cluster
    cdef H2Transport down
    cdef Stream down_stream
    cdef Head head
    cdef Block trailers
    cdef unsigned long long key
    cdef int state
    cdef bint request_ended
    cdef bint request_sent
    cdef bint response_ended
    cdef bint committed
    cdef bint is_grpc
    # this attempt
    cdef Node node
    cdef Pool pool
    cdef H2Transport up
    cdef Stream up_stream
    cdef int attempt
    cdef list tried
    cdef object pending
    cdef Py_ssize_t pending_at
    cdef object response
    cdef Py_ssize_t response_at
    cdef ReplayBuffer replay
    # time
    cdef double request_deadline
    cdef bint caller_deadline
    cdef Record record
    cdef Record attempt_record
    cdef str retry_why
    cdef int begin(self, H2Transport down, Stream stream, Block block, bint end, unsigned long long key) except -1
    cdef int on_request_data(self, bytearray buf, Py_ssize_t start, Py_ssize_t n, int credit, bint end) except -1
    cdef int on_request_trailers(self, Block block) except -1
    cdef int on_caller_gone(self, bint reset) except -1
    cdef int on_downstream_writable(self) except -1
    cdef int start_attempt(self) except -1
    cdef int admit(self) except -1
    cdef int rewind(self) except -1
    cdef int open_stream(self) except -1
    cdef int pump_request(self) except -1
    cdef int pump_response(self) except -1
    cdef int send_response_head(self, Head head, bint end) except -1
    cdef int release_pending(self) except -1
    cdef int leave_upstream(self, unsigned int code) except -1
    cdef int end_attempt(self, object reason) except -1
    cdef bint try_again(self, object reason, int grpc_status) except -1
    cdef int attempt_failed(self, object reason, str detail) except -1
    cdef int fail(self, object reason, str detail) except -1
    cdef int finish(self, object reason) except -1
