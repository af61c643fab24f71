from engine cimport Client

cdef class H2Conn(Client):
    cdef unsigned char* inbox
    cdef Py_ssize_t have
    cdef unsigned char* outbox
    cdef Py_ssize_t out
    cdef Py_ssize_t out_from
    cdef long long taken
    cdef long long conn_window
    cdef long long initial_window
    cdef long long window[4096]
    cdef long long left[4096]
    cdef int offset[4096]
    cdef long long stream_id[4096]
    cdef bint open[4096]
    cdef bint ends[4096]
    cdef bint queued[4096]
    cdef int queue[4096]
    cdef int queue_first
    cdef int queue_count
    cdef list messages
    cdef bint server
    cdef bint greeted
    cdef bint indexed
    cdef long long max_streams

    cdef int begin(self, long long sid) except -1
    cdef int put(self, int kind, int flags, long long sid, const unsigned char* payload, Py_ssize_t n) except -1
    cdef int more(self, int slot, long long octets) except -1
    cdef int pump(self) except -1
    cdef int flush(self) except -1
    cdef int setting(self, const unsigned char* payload, Py_ssize_t n) except -1
    cdef int all_sent(self, int slot) except -1
    cdef int on_frame(self, int kind, int flags, long long sid, const unsigned char* payload, Py_ssize_t n,
                      long long now) except -1
    cdef int lost(self, object why) except -1
    cdef Py_ssize_t skip_preface(self) noexcept
    cdef int widen(self, long long sid, long long by) except -1
    cdef int widen_theirs(self) except -1
