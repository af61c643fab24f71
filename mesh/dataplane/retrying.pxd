from mesh.balance.balancer cimport Balancer
from mesh.balance.ejection cimport to_blame
from mesh.balance.node cimport Node
from mesh.dataplane.attempt cimport CANCEL, Attempt, Hedge
from mesh.dataplane.cluster cimport Cluster
from mesh.dataplane.entry cimport Entry
from mesh.dataplane.gate cimport Gate
from mesh.dataplane.hub cimport Hub
from mesh.dataplane.record cimport Record
from mesh.dataplane.relay cimport CONNECTING, DONE, OPEN, PAUSED, QUEUED, WAITING
from mesh.dataplane.room cimport Room
from mesh.dataplane.timers cimport TimerWheel
from mesh.dataplane.upstream cimport Pool
from mesh.resilience.budget cimport Budget
from mesh.resilience.hedge cimport Hedging
from mesh.wire.grpc cimport grpc_status_of
from mesh.wire.hpack cimport Block, Head

cdef int TOO_MANY_REQUESTS
cdef int RESOURCE_EXHAUSTED
cdef frozenset REPEATABLE

cdef class Retrying(Attempt):
    cdef unsigned long long key
    cdef bint is_grpc
    cdef Record record
    # over all attempts
    cdef int attempts
    cdef list tried
    cdef int inherited
    cdef bint owner
    cdef str retry_why
    cdef bint repeated
    cdef bint full
    # the current one, and the one beside it
    cdef double try_deadline
    cdef double hedge_at
    cdef Hedge hedge
    cdef bint may_run_twice(self) except -1
    cdef int start_attempt(self) except -1
    cdef bint on_room(self) except -1
    cdef int on_no_room(self, object reason) except -1
    cdef int attempt_at(self, Node node) except -1
    cdef bint may_go_elsewhere(self) except -1
    cdef int chain_allowance(self) except -1
    cdef int count_time(self) except -1
    cdef int arm(self) except -1
    cdef int send_hedge(self) except -1
    cdef int adopt(self, Hedge hedge) except -1
    cdef int drop_hedge(self, str outcome, object reason) except -1
    cdef object judge(self, object reason, int grpc_status, int http_status)
    cdef bint try_again(self, object reason, int grpc_status, int http_status, double wait) except -1
    cdef str budgeted(self)
    cdef bint stay(self, str why) except -1
    cdef int note(self, str name, str outcome, Node node, object reason, int number) except -1
    cdef int close_attempt(self, object reason, str why) except -1
    cdef int leave_node(self, Node node, int number) except -1
    cdef int end_attempt(self, object reason) except -1
    cdef int tell(self, Node node, object reason, Record record) except -1
    cdef int timed(self, bint ok) except -1
