cimport cython

from mesh.balance.node cimport INFINITY, Node, NodeSet

cdef long long SCALE


@cython.final
cdef class SlowStart:
    cdef double window
    cdef double exponent
    cdef double min_ratio
    cdef double step
    cdef bint begun

    @cython.locals(node=Node, due=cython.double, weight=cython.longlong, changed=cython.bint, some=cython.bint)
    cpdef double advance(self, NodeSet nodes, double now) except? -1
    @cython.locals(full=cython.longlong, ratio=cython.double)
    cdef Py_ssize_t weight(self, Node node, double age) except -1
