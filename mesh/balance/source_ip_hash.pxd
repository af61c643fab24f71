cimport cython

from mesh.balance.node cimport Node, NodeSet
from mesh.balance.picker cimport Picker
from mesh.balance.rng cimport Rng, mix64

cdef unsigned long long FNV_BASIS, FNV_PRIME, MASK
cdef Py_ssize_t REMEMBERED

@cython.locals(value=cython.ulonglong, byte=cython.uchar)
cpdef unsigned long long hash64(bytes data)
cpdef unsigned long long source_key(str peer_host)


@cython.final
cdef class Candidate:
    cdef Node node
    cdef unsigned long long hash


cdef class SourceIpHash(Picker):
    cdef list candidates
    cdef bint even
    cdef dict memo

    cpdef str describe(self)
    @cython.locals(node=Node)
    cdef rebuild(self)
    @cython.locals(node=Node)
    cdef Node draw(self, unsigned long long key)
    cdef Node draw_other(self, unsigned long long key, list tried)
    @cython.locals(best=Node, best_score=cython.double, best_bits=cython.ulonglong, candidate=Candidate,
                   bits=cython.ulonglong, score=cython.double)
    cdef Node highest(self, unsigned long long key, list tried)
