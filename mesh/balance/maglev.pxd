cimport cython

from mesh.balance.hashing cimport HashPicker, hash64
from mesh.balance.node cimport Node
from mesh.balance.rng cimport GAMMA, Rng, mix64


@cython.final
cdef class Filler:
    cdef Node node
    cdef Py_ssize_t place
    cdef Py_ssize_t skip


@cython.final
cdef class Turns:
    cdef long long weight
    cdef long long taken
    cdef long long next
    cdef list fillers


cdef class Maglev(HashPicker):
    cdef Py_ssize_t size
    cdef list table
    cdef bytearray taken

    @cython.locals(node=Node, turns=Turns, heaviest=cython.longlong, left=cython.Py_ssize_t, round_=cython.longlong,
                   by_weight=dict, groups=list)
    cdef build(self)
    @cython.locals(filler=Filler, place=cython.Py_ssize_t, size=cython.Py_ssize_t, taken=bytearray)
    cdef Py_ssize_t take_turns(self, Turns turns, Py_ssize_t left) except -1
    @cython.locals(node=Node, size=cython.ulonglong)
    cdef Node lookup(self, unsigned long long key)
