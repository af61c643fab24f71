from mesh.balance.ejection cimport to_blame
from mesh.dataplane.cluster cimport Cluster
from mesh.dataplane.hub cimport Hub
from mesh.dataplane.timers cimport Timer
from mesh.dataplane.record cimport Record, Recorder
from mesh.dataplane.tally cimport Tallies
from mesh.wire.grpc cimport format_timeout
from mesh.wire.hpack cimport Block, Head, literal
from mesh.wire.tracecontext cimport TraceParent, format_traceparent, parse_traceparent

cdef class Ticket(Timer):
    cdef int done(self, bint answered, bint cancelled) except -1

cdef class Entry:
    cdef readonly Hub hub
    cdef readonly int kind
    cdef readonly str listener
    cdef public Cluster cluster
    cdef readonly object router
    cdef readonly bint tracing
    cdef readonly bint parent_based
    cdef readonly bint root_always
    cdef readonly unsigned long long root_bound
    cdef public long long requests
    cdef public long long failures
    cdef public long long retries
    cdef public long long hedges
    cdef public long active
    cdef readonly bint watched
    cdef readonly Tallies tallies
    cdef readonly Recorder log
    cdef readonly Recorder decisions
    cdef readonly unsigned long long sample
    cdef Cluster cluster_for(self, Head head)
    cdef Record begin_record(self, Block block, str source, bint textual)
    cdef Record begin_attempt_record(self, Record whole, str why)
    cdef bytes call_fields(self, Record record, double left, int attempts, bint textual)
    cdef bytes call_lines(self, Record record, double left, int attempts)
    cdef int add_record(self, Record record, object reason) except -1
    cdef int see(self, Record record) except -1
    cdef int decided(self, Record attempt, Record whole, str why, object reason) except -1
