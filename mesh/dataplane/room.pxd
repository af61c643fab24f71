from mesh.balance.node cimport Node

cdef long long ENDPOINT_CONNECTIONS
cdef long long CONNECTING_CALLS

cdef class Room:
    cdef readonly long long endpoint_connections
    cdef readonly long long relayed_per_endpoint
    cdef readonly long long max_connections
    cdef readonly long long max_retries
    cdef readonly long long max_pending
    cdef readonly double queue_timeout
    cdef public long long pending
    cdef public long long retries
    cdef public list pools
    cdef readonly dict refused
    cdef readonly dict relayed
    cdef readonly long long relayed_total
    cdef bint sparing

    cpdef int refuse(self, object reason) except -1
    cdef bint may_retry(self) except -1
    cdef long long places(self, long long waiting, bint connecting) except? -1
    cpdef connections(self)
    cdef bint may_connect(self, object asking) except -1
    cdef bint starved(self, object asking) except -1
    cdef int freed(self) except -1
    cdef int begin_relay(self, Node node) except -1
    cdef int end_relay(self, Node node) except -1
    cdef bint full_of_relays(self, Node node) except -1
