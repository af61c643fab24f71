cdef class Timer:
    cdef Timer previous
    cdef Timer next
    cdef public double deadline
    cdef bint armed
    cdef int fire(self) except -1

cdef class Probe(Timer):
    cdef object action
    cdef int fire(self) except -1

cdef class TimerWheel:
    cdef list slots
    cdef int size
    cdef double tick
    cdef long long position
    cdef readonly int armed
    cdef int add(self, Timer timer, double deadline, double now) except -1
    cdef int cancel(self, Timer timer) except -1
    cpdef int advance(self, double now) except -1
