from mesh.wire.codec cimport CLOSES, Handler, Stream
from mesh.wire.limits cimport Allowance
from mesh.wire.streams cimport ENDED, OWN_RESET, StreamState, StreamTable
from mesh.wire.windows cimport Windows

cdef bytes DRAIN_PING
cdef long long NO_TURN
cdef long long QUANTUM
cdef Py_ssize_t MOST_OUTPUT

cdef class SendingSide(Windows):
    cdef StreamTable table
    cdef object waiting
    cdef long long turn
    cdef readonly bint local_goaway
    cdef readonly bint peer_goaway
    cdef bint draining
    cdef readonly unsigned int last_peer_id
    cdef readonly long long send_window
    cdef long long own_resets
    cdef long long data_sent
    cdef long long frames_sent
    cdef long long opened
    cdef long long ended
    cdef long long reads
    cdef long answers
    cdef long long answered
    cdef long max_answers
    cdef Allowance pings
    cdef Allowance updates
    cdef Allowance useless
    cdef Allowance early_resets
    cdef Allowance rapid_resets
    cpdef int send_headers(self, StreamState stream, bytes header_block, bint end) except -1
    cpdef Py_ssize_t sendable(self, StreamState stream) except -1
    cpdef int send_data(self, StreamState stream, object buf, Py_ssize_t start, Py_ssize_t n, bint end) except -1
    cpdef int wait(self, StreamState stream) except -1
    cpdef int serve(self) except -1
    cpdef Py_ssize_t waiters(self) except -1
    cpdef int reset(self, StreamState stream, unsigned int code) except -1
    cpdef int goaway(self, unsigned int code=*, bytes debug=*) except -1
    cpdef int drain(self) except -1
    cdef int drop(self, StreamState stream, int how) except -1
    cdef int leave(self) except -1
    cdef int answer(self) except -1
    cdef int spend(self, Allowance allowance, str cause, long long earned=*) except -1
    cdef int fail(self, unsigned int code, str reason, str cause=*) except -1
