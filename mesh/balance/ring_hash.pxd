cimport cython
from cpython.array cimport array as carray

from mesh.balance.hashing cimport HashPicker, hash64
from mesh.balance.node cimport Node
from mesh.balance.rng cimport GAMMA, MASK, Rng, mix64

cdef unsigned long long OWNER, PLACE
cdef Py_ssize_t MANY, FEWEST

cdef inline unsigned long long get64(carray numbers, Py_ssize_t i) noexcept
cdef inline void put64(carray numbers, Py_ssize_t i, unsigned long long value) noexcept
cdef inline unsigned int get32(carray numbers, Py_ssize_t i) noexcept
cdef inline void put32(carray numbers, Py_ssize_t i, unsigned int value) noexcept


@cython.final
cdef class Ring:
    cdef readonly Py_ssize_t total
    cdef int shift
    cdef carray points
    cdef carray ends

    @cython.locals(owner=cython.Py_ssize_t, name=cython.ulonglong, count=cython.ulonglong, j=cython.ulonglong,
                   arc=cython.Py_ssize_t, begin=cython.uint, in_arc=cython.uint)
    cdef fill(self, list hashes, list counts)
    @cython.locals(point=cython.ulonglong, arc=cython.ulonglong, i=cython.Py_ssize_t)
    cdef insert(self, unsigned long long point)
    @cython.locals(arc=cython.ulonglong, i=cython.Py_ssize_t)
    cpdef Py_ssize_t owner(self, unsigned long long place) except -1


cdef class RingHash(HashPicker):
    cdef Py_ssize_t min_size
    cdef readonly Py_ssize_t max_size
    cdef readonly Ring ring

    @cython.locals(node=Node)
    cdef build(self)
    @cython.locals(weights=list, n=cython.Py_ssize_t, points=cython.Py_ssize_t, steps=cython.int)
    cdef list counts(self)
    @cython.locals(node=Node)
    cdef Node lookup(self, unsigned long long key)
