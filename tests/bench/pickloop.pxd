cimport cython

from mesh.balance.balancer cimport Balancer
from mesh.balance.node cimport Node

cdef unsigned long long SPREAD


@cython.locals(i=cython.ulonglong, n=cython.ulonglong, first=cython.ulonglong, keys=cython.ulonglong)
cpdef double seconds(Balancer balancer, unsigned long long first, unsigned long long n, unsigned long long keys,
                     list tried) except -1
@cython.locals(i=cython.ulonglong, n=cython.ulonglong, first=cython.ulonglong, keys=cython.ulonglong, node=Node,
               ended=Node, running=list, start=cython.double, taken=cython.double)
cpdef double whole_calls(Balancer balancer, unsigned long long first, unsigned long long n, unsigned long long keys,
                         list tried) except -1
