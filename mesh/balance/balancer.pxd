cimport cython

from mesh.balance.custom_picker cimport CustomPicker
from mesh.balance.levels cimport Eligibility, Level
from mesh.balance.node cimport INFINITY, Node, NodeSet
from mesh.balance.picker cimport Picker
from mesh.balance.rng cimport Rng, mix64
from mesh.balance.slow_start cimport SlowStart

cdef unsigned long long LEVEL_SALT
cdef double SAFE_WAIT, PROBE_PATIENCE


@cython.final
cdef class Tier:
    cdef Picker picker
    cdef list active
    cdef list away
    cdef double until
    cdef str why
    cdef bint stale

    cdef take(self, double now)


@cython.final
cdef class Balancer:
    cdef readonly object policy
    cdef readonly NodeSet nodes
    cdef readonly Rng rng
    cdef str name
    cdef readonly str why
    cdef readonly Py_ssize_t among
    cdef bint hashing
    cdef readonly object sticky
    cdef SlowStart slow_start
    cdef readonly object caller
    cdef readonly object custom
    cdef Eligibility eligibility
    cdef readonly Picker picker
    cdef readonly bint feedback
    cdef dict by_key
    cdef list tiers
    cdef Tier only
    cdef readonly bint panic
    cdef readonly bint half_open
    cdef readonly list probes
    cdef public bint safe
    cdef double safe_by
    cdef long long generation
    cdef double refresh_at

    @cython.locals(tier=Tier, picker=Picker, node=Node)
    cpdef Node pick(self, unsigned long long key, double now, list tried)
    @cython.locals(node=Node, safe=cython.bint)
    cdef Node probe(self, double now)
    @cython.locals(node=Node)
    cpdef Node pick_again(self, bytes cookies, unsigned long long key, double now, list tried)
    @cython.locals(other=Tier)
    cdef Node pick_other(self, Tier tier, unsigned long long key, double now, list tried)
    @cython.locals(tier=Tier, last=Tier, bits=cython.ulonglong, place=cython.double, before=cython.double)
    cdef Tier draw(self, unsigned long long key)
    @cython.locals(tier=Tier, picker=Picker)
    cpdef int on_result(self, Node node, double latency, bint ok, double now) except -1
    cpdef move(self, object caller)
    @cython.locals(other=Balancer, tier=Tier, own=Tier, asked=CustomPicker)
    cpdef Balancer fork(self)
    @cython.locals(tier=Tier)
    cpdef double score(self, Node node, unsigned long long key) except? -1
    @cython.locals(level=Level)
    cpdef list concerned(self, double now)
    cpdef changed(self)
    cpdef str describe(self)
    @cython.locals(tier=Tier)
    cpdef close(self)
    @cython.locals(level=Level, tier=Tier, gone=Tier, levels=list, before=dict, weights_changed=cython.bint,
                   until=cython.double, waiting=list, probes=list)
    cdef refresh(self, double now)
    cdef Picker make_picker(self)
    cdef Node pick_by_policy(self, Tier tier, unsigned long long key, double now, list tried)


@cython.locals(node=Node)
cdef bint has_other(list nodes, list tried) except -1
