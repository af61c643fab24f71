cimport cython

from mesh.balance.picker cimport Picker

cdef unsigned long long SPREAD


@cython.locals(i=cython.ulonglong, picker=Picker, n=cython.ulonglong, first=cython.ulonglong,
               keys=cython.ulonglong)
cpdef double seconds(Picker picker, unsigned long long first, unsigned long long n, unsigned long long keys,
                     list tried) except -1
