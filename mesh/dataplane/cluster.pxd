from mesh.balance.balancer cimport Balancer
from mesh.balance.ejection cimport Outlier
from mesh.balance.node cimport Node, NodeSet
from mesh.dataplane.gate cimport Gate
from mesh.dataplane.hub cimport Hub
from mesh.dataplane.record cimport Record
from mesh.dataplane.rates cimport Rates
from mesh.dataplane.room cimport Room
from mesh.dataplane.timers cimport Probe, TimerWheel
from mesh.dataplane.upstream cimport Pool, UpstreamCall
from mesh.resilience.budget cimport Budget
from mesh.resilience.hedge cimport Hedging
from mesh.wire.hpack cimport Head

cdef class Cluster:
    cdef readonly Hub hub
    cdef readonly str name
    cdef readonly object caller
    cdef object merge
    cdef Probe merged
    cdef readonly object service
    cdef readonly bint service_known
    cdef readonly bint endpoints_known
    cdef readonly NodeSet nodes
    cdef readonly Balancer balancer
    cdef readonly object affinity
    cdef public object checker
    cdef public object on_verdicts
    cdef readonly object policies
    cdef readonly object custom
    cdef readonly Outlier outlier
    cdef readonly Budget budget
    cdef readonly object retry
    cdef readonly object backoff
    cdef readonly tuple idempotent_methods
    cdef readonly Hedging hedging
    cdef object resting
    cdef readonly double per_try
    cdef readonly bint watched
    cdef readonly int max_attempts
    cdef readonly Py_ssize_t replay_bytes
    cdef readonly double request_timeout
    cdef readonly double connect_timeout
    cdef readonly bint is_grpc
    cdef readonly bint http1
    cdef readonly bint auto
    cdef readonly str why
    cdef public str version
    cdef readonly dict endpoints
    cdef list waiters
    cdef public long long ejected
    cdef readonly bint guards
    cdef bint guarded
    cdef readonly list heard
    cdef readonly Room room
    cdef readonly Gate gate
    cdef readonly Rates rates
    cpdef bint known(self)
    cpdef Node pick(self, unsigned long long key, list tried)
    cdef Node pick_for(self, Head head, unsigned long long key, list tried)
    cdef Node place(self, Head head, unsigned long long key, list tried, bint repeats)
    cdef Node choose(self, Head head, unsigned long long key, list tried)
    cdef int rest(self, Node node, double seconds) except -1
    cdef list avoided(self, list tried)
    cdef int describe(self, Record record) except -1
    cpdef int observe(self, Node node, double latency, bint ok) except -1
    cpdef int proved(self, Node node) except -1
    cdef bint textual(self, Node node, bint caller) except -1
    cdef Pool pool_of(self, Node node, bint caller)
    cdef Pool _make_pool(self, Node node, bint textual)
    cpdef int succeeded(self, Node node) except -1
    cpdef int failed(self, Node node, str why=*) except -1
    cpdef _heed_news(self)
    cdef int wait_known(self, UpstreamCall waiter) except -1
    cdef int stop_waiting(self, UpstreamCall waiter) except -1
