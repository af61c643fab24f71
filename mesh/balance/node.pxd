cimport cython

cdef double INFINITY


cdef class LoadWatcher:
    cdef on_begin(self, Node node)
    cdef on_end(self, Node node)
    cdef on_pending(self, Node node)


@cython.final
cdef class Node:
    # What a pick looks at, in one cache line with the object's head.
    cdef public long long weight
    cdef readonly long long in_flight
    cdef public double latency
    cdef public double latency_at
    cdef list watchers
    cdef readonly long long pending
    cdef public long long retries
    cdef readonly object endpoint
    cdef readonly str resource
    cdef readonly long long full_weight
    cdef public double up_since
    cdef readonly int priority
    cdef readonly bint serving
    cdef readonly bint healthy
    cdef public long long consecutive_failures
    cdef public long long ejections
    cdef public double ejected_until
    cdef public double ejected_at
    cdef public double returned_at
    cdef public str ejected_why
    cdef public str last_failure
    cdef public bint held
    cdef public double probe_until
    cdef public bint unproven
    cdef public bint failing
    cdef public long long asked
    cdef public long long lapses
    cdef public long long timed
    cdef public double spent
    cdef public long long samples
    cdef public object pool
    cdef readonly Py_ssize_t position
    cdef readonly bint removed

    @cython.locals(watcher=LoadWatcher)
    cpdef int begin(self) except -1
    @cython.locals(watcher=LoadWatcher)
    cpdef int end(self) except -1
    @cython.locals(watcher=LoadWatcher)
    cpdef int queue(self, long long more) except -1
    cpdef watch(self, LoadWatcher watcher)
    cpdef unwatch(self, LoadWatcher watcher)
    cpdef bint eligible(self, double now) noexcept
    cpdef bint out(self, double now) noexcept
    @cython.locals(node=Node)
    cpdef bint among(self, list nodes) except -1
    cdef update(self, object endpoint)
    cdef judge(self)
    cdef remove(self)


cdef class NodeSet:
    cdef readonly list nodes
    cdef readonly dict by_name
    cdef public long long generation

    @cython.locals(node=Node, position=cython.Py_ssize_t, added=list, removed=list, changed=list, by_name=dict)
    cpdef tuple reconcile(self, object endpoints)
