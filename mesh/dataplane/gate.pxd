from mesh.balance.node cimport LoadWatcher, Node, NodeSet
from mesh.dataplane.reactor cimport Reactor, Watch
from mesh.dataplane.room cimport Room
from mesh.dataplane.timers cimport Timer, TimerWheel
from mesh.dataplane.upstream cimport UpstreamCall
from mesh.resilience.fair_queue cimport FairQueue
from mesh.resilience.gradient cimport GradientLimit

cdef class Turn(Watch):
    cdef Gate gate

cdef class Hurry(Timer):
    cdef Gate gate

cdef class Gate(LoadWatcher):
    cdef readonly Reactor reactor
    cdef readonly Room room
    cdef readonly NodeSet nodes
    cdef readonly long long max_requests
    cdef readonly long long endpoint_requests
    cdef readonly long long endpoint_pending
    cdef readonly long long endpoint_retries
    cdef readonly GradientLimit adaptive
    cdef readonly long long under_way
    cdef readonly list full
    cdef FairQueue queue
    cdef Turn turn
    cdef Hurry hurry
    cdef bint awake
    cdef on_begin(self, Node node)
    cdef on_end(self, Node node)
    cdef on_pending(self, Node node)
    cdef int review(self, Node node) except -1
    cdef int sample(self, double latency, double now) except -1
    cdef bint has_room(self) except -1
    cdef bint is_full(self, Node node) except -1
    cdef bint may_repeat_at(self, Node node) except -1
    cdef bint may_repeat(self) except -1
    cdef bint closed_to(self, Node node, bint repeats) except -1
    cdef list closed(self, bint repeats)
    cdef int enter(self, UpstreamCall call) except -1
    cdef int leave(self, UpstreamCall call) except -1
    cdef int arm(self) except -1
    cdef int rest(self) except -1
    cpdef int wake(self) except -1
    cdef int serve(self) except -1
    cdef int expire(self) except -1
