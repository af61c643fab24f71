from mesh.balance.node cimport Node
from mesh.dataplane.cluster cimport Cluster
from mesh.dataplane.room cimport Room


cdef class PickedEndpoint:
    cdef readonly Node node
    cdef readonly str why
    cdef readonly str host
    cdef readonly int port
    cdef readonly str endpoint
    cdef public bint over


cdef class ClusterUpstream:
    cdef Cluster _cluster
    cdef readonly object refusal
    cpdef PickedEndpoint pick(self, str source, list tried)
    cdef PickedEndpoint _refuse(self)
    cpdef int released(self, PickedEndpoint target, bint ok, object reason) except -1


cdef class DatagramUpstream(ClusterUpstream):
    cpdef PickedEndpoint pick(self, str source, list tried)
