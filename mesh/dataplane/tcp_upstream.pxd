from mesh.balance.node cimport Node
from mesh.dataplane.cluster cimport Cluster


cdef class PickedEndpoint:
    cdef readonly Node node
    cdef readonly str why
    cdef readonly str host
    cdef readonly int port
    cdef readonly str endpoint


cdef class ClusterUpstream:
    cdef Cluster _cluster
    cpdef PickedEndpoint pick(self, str source, list tried)
    cpdef int released(self, PickedEndpoint target, bint ok, object reason) except -1


cdef class DatagramUpstream(ClusterUpstream):
    cpdef PickedEndpoint pick(self, str source, list tried)
