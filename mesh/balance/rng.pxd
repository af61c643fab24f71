cimport cython

cdef unsigned long long MASK, LOW32, GAMMA, MIX1, MIX2

cpdef unsigned long long mix64(unsigned long long x) noexcept


@cython.final
cdef class Rng:
    cdef unsigned long long state

    cpdef unsigned long long next64(self) noexcept
    cpdef unsigned int next32(self) noexcept
    cpdef double uniform(self) noexcept
    @cython.locals(product=cython.ulonglong, low=cython.ulonglong, uneven=cython.ulonglong, even=cython.ulonglong)
    cpdef unsigned long long below(self, unsigned long long n) except? 0
