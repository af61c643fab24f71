cimport cython

from mesh.balance.load_tree cimport INFINITY, LoadTree
from mesh.balance.node cimport Node
from mesh.balance.picker cimport Picker
from mesh.balance.rng cimport Rng


cdef class LeastLoaded(Picker):
    cdef LoadTree tree

    cdef separate(self)
    cpdef double score(self, Node node, unsigned long long key) except? -1
    cdef double load(self, Node node) except -1
    cdef Node best(self)
    @cython.locals(node=Node)
    cdef rebuild(self)
    cdef look(self, Node node)
    cdef on_begin(self, Node node)
    cdef on_end(self, Node node)
    @cython.locals(node=Node)
    cdef Node draw(self, unsigned long long key)
    @cython.locals(node=Node, best=Node)
    cdef Node draw_other(self, unsigned long long key, list tried)


cdef class LeastConnections(LeastLoaded):
    cdef double load(self, Node node) except -1
