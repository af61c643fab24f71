cimport cython

from mesh.balance.node cimport Node
from mesh.balance.picker cimport Picker
from mesh.balance.rng cimport GAMMA, MASK, Rng, mix64

cdef unsigned long long FNV_BASIS, FNV_PRIME
cdef unsigned long long REHASHES

@cython.locals(value=cython.ulonglong, byte=cython.uchar)
cpdef unsigned long long hash64(bytes data)
cpdef unsigned long long source_key(str peer_host)


cpdef Py_ssize_t position_of(Node node) except -1


cdef class HashPicker(Picker):
    cdef readonly double bounded_load
    cdef readonly long long in_flight
    cdef long long weights
    cdef list members
    cdef dict away
    cdef list built

    @cython.locals(node=Node, members=list, weights=list)
    cpdef take(self, list active, list away)
    cdef build(self)
    cdef Node lookup(self, unsigned long long key)
    @cython.locals(node=Node)
    cdef rebuild(self)
    cdef on_begin(self, Node node)
    cdef on_end(self, Node node)
    @cython.locals(node=Node)
    cdef Node draw(self, unsigned long long key)
    cdef Node draw_other(self, unsigned long long key, list tried)
    cdef bint has_room(self, Node node) except -1
    @cython.locals(node=Node, best=Node, i=cython.ulonglong, rank=cython.int, best_rank=cython.int,
                   score=cython.ulonglong, best_score=cython.ulonglong)
    cdef Node elsewhere(self, unsigned long long key, list tried)
