cimport cython

from mesh.balance.node cimport INFINITY, Node

cdef int SAME_ZONE, SAME_REGION, FAILOVER, DISTANCES


@cython.final
cdef class Level:
    cdef readonly int key
    cdef readonly str name
    cdef readonly list members
    cdef readonly long long total
    cdef readonly long long known
    cdef readonly list healthy
    cdef readonly list chosen
    cdef readonly list active
    cdef readonly list away
    cdef readonly list probes
    cdef readonly bint held
    cdef list unproven
    cdef readonly double ratio
    cdef readonly double load
    cdef readonly bint panic

    cdef clear(self)
    @cython.locals(back=cython.double, members=list, weight=cython.longlong, up=cython.longlong, node=Node)
    cdef double settle(self, double now, int size, double place) except? -1
    cdef believe_no_ejection(self)


@cython.final
cdef class Eligibility:
    cdef object match
    cdef bint or_any
    cdef int size
    cdef double place
    cdef str region
    cdef str zone
    cdef bint by_place
    cdef bint by_zone
    cdef dict failover
    cdef double overprovisioning
    cdef double panic_threshold
    cdef dict levels
    cdef readonly double back

    @cython.locals(level=Level, levels=list)
    cpdef list sort(self, list nodes, double now)
    @cython.locals(level=Level, last=Level, node=Node, key=cython.int)
    cdef collect(self, list nodes, object match)
    @cython.locals(level=Level, node=Node)
    cdef bint any_up(self, double now) except -1
    @cython.locals(level=Level)
    cdef Level level(self, int key)
    cdef int distance(self, Node node) except -1
    cdef str name(self, int key)
    @cython.locals(level=Level, left=cython.double, taken=cython.double)
    cdef spread(self, list levels)
