cdef int bucket_of(long long us) noexcept

cdef class Histogram:
    cdef long long counts[23552]

    cdef int add(self, long long us) noexcept
