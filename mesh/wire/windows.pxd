from mesh.wire.codec cimport Handler
from mesh.wire.frames cimport FrameWriter
from mesh.wire.streams cimport StreamState

cdef bytes PROBE
cdef double PROBE_PERIOD
cdef long long LEAST_WINDOW

cdef class Memory:
    cdef public long long limit
    cdef readonly long long held

cdef class Windows(FrameWriter):
    cdef public Memory memory
    cdef readonly long long window
    cdef long long max_connection_window
    cdef long long max_window
    cdef long long max_held
    cdef readonly long long recv_window
    cdef long long low_water
    cdef readonly long long held
    cdef double epoch
    cdef readonly double rtt
    cdef double probed
    cdef bint probing
    cdef long pings_due
    cpdef int ping(self, bytes data) except -1
    cpdef int release(self, StreamState stream, int credit) except -1
    cpdef int end(self) except -1
    cdef int top_up(self) except -1
    cdef int renew(self, StreamState stream) except -1
    cdef int widen(self, long long size) except -1
    cdef bint hurried(self, long long consumed, long long window, double since) except -1
    cdef int probe(self) except -1
    cdef int on_probe(self) except -1
