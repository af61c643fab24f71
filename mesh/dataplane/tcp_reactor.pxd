cdef class Watch:
    cdef public object sock
    cdef readonly int fd

    cdef int on_event(self, unsigned int mask) except -1
    cdef int on_again(self) except -1
    cdef int on_error(self) except -1


cdef class Reactor:
    cdef readonly object loop
    cdef public double now
    cdef public long long carried
    cdef readonly object view
    cdef object _epoll
    cdef dict _watches
    cdef list _doomed
    cdef list _again
    cdef bint _scheduled
    cdef bint _busy
    cdef bint _closed

    cdef int add(self, Watch watch, unsigned int mask) except -1
    cdef int remove(self, Watch watch) except -1
    cdef int defer(self, Watch watch) except -1
    cdef int _schedule(self) except -1
    cdef int _failed(self, Watch watch) except -1
    cdef int _bury(self) except -1
