cimport cython

from mesh.balance.hashing cimport HashPicker, hash64
from mesh.balance.node cimport Node
from mesh.balance.rng cimport Rng, mix64

cdef Py_ssize_t REMEMBERED


@cython.final
cdef class Candidate:
    cdef Node node
    cdef unsigned long long hash


cdef class Rendezvous(HashPicker):
    cdef list candidates
    cdef bint even
    cdef dict memo

    cdef separate(self)
    cpdef double score(self, Node node, unsigned long long key) except? -1
    cdef inline double worth(self, long long weight, unsigned long long bits)
    @cython.locals(node=Node)
    cdef rebuild(self)
    cdef build(self)
    @cython.locals(node=Node)
    cdef Node lookup(self, unsigned long long key)
    @cython.locals(node=Node)
    cdef Node elsewhere(self, unsigned long long key, list tried)
    @cython.locals(best=Node, best_score=cython.double, best_bits=cython.ulonglong, candidate=Candidate,
                   bits=cython.ulonglong, score=cython.double)
    cdef Node highest(self, unsigned long long key, list tried, bint with_room)
