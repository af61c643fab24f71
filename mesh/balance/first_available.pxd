cimport cython

from mesh.balance.least_connections cimport LeastLoaded
from mesh.balance.node cimport Node


cdef class FirstAvailable(LeastLoaded):
    cdef long long capacity

    @cython.locals(full=cython.longlong)
    cdef double load(self, Node node) except -1
    cdef Node best(self)
