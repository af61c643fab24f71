cimport cython

from mesh.balance.node cimport Node
from mesh.balance.rng cimport Rng

cdef double INFINITY


@cython.final
cdef class Branch:
    cdef double least
    cdef long long weight


@cython.final
cdef class LoadTree:
    cdef list nodes
    cdef dict places
    cdef Py_ssize_t size
    cdef list branches

    @cython.locals(place=cython.Py_ssize_t, i=cython.Py_ssize_t, load=cython.double, leaf=Branch, node=Node)
    cpdef fill(self, list loads)
    @cython.locals(branch=Branch, own=Branch, other=LoadTree)
    cpdef LoadTree fork(self)
    @cython.locals(leaf=Branch)
    cpdef double load(self, Node node) except? -1
    @cython.locals(i=cython.Py_ssize_t, before=cython.double, leaf=Branch)
    cpdef double set(self, Node node, double load) except? -1
    @cython.locals(branch=Branch, left=Branch, right=Branch, least=cython.double, weight=cython.longlong)
    cdef bint settle(self, Py_ssize_t i) except -1
    @cython.locals(root=Branch, branch=Branch, sibling=Branch, left=cython.longlong, only=cython.bint, i=cython.Py_ssize_t)
    cpdef Node draw(self, Rng rng)
    @cython.locals(root=Branch, branch=Branch, i=cython.Py_ssize_t)
    cpdef Node first(self)
