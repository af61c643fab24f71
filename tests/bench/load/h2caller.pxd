from h2conn cimport H2Conn

cdef class Caller(H2Conn):
    cdef object blocks
    cdef bytes body
    cdef int mode
    cdef long long answer
    cdef long long rounds
    cdef long long expect
    cdef int streams
    cdef int inflight
    cdef long long next_id
    cdef long long begun[4096]
    cdef int heads[4096]
    cdef long long got[4096]
    cdef long long turns[4096]

    cdef int finish(self, int slot, long long now, object why) except -1
    cdef int on_data(self, int slot, Py_ssize_t n, long long now) except -1
