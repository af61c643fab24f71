cimport cython

cdef double INFINITY
cdef long long SLICES


@cython.final
cdef class Budget:
    cdef readonly double ratio
    cdef readonly double reserve
    cdef double slice
    cdef double slice_ends
    cdef long long deposits
    cdef long long withdrawals
    cdef long long new_deposits
    cdef long long new_withdrawals
    cdef long long present
    cdef list past

    cpdef deposit(self, double now)
    cpdef bint withdraw(self, double now) except -1
    cpdef double level(self, double now) except -1
    @cython.locals(deposits=cython.longlong, withdrawals=cython.longlong)
    cdef advance(self, double now)
